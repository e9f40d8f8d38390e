//! Entries and states that are the same every time.

use harness::Seed;
use protocol::context::{Context, Label};
use protocol::entry::{Content, ContentId, Entry, Metadata, Timestamp};
use protocol::path::RelPath;
use protocol::state::State;
use protocol::store::NodeStore;
use protocol::tree::{Edit, Tree};
use protocol::version::{Origin, Version};

/// Two writers.
pub(super) const ANNA: Origin = Origin([1; 8]);
pub(super) const BEN: Origin = Origin([2; 8]);

/// The file with this number: a hundred of them lie in a directory.
pub(super) fn path(number: u64) -> RelPath {
    let text = format!("d{:03}/file-{number:06}.dat", number / 100);
    RelPath::parse(text.as_bytes()).expect("a plain path")
}

/// A content as good as any other.
pub(super) fn content(number: u64) -> ContentId {
    ContentId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// A file as one of its writers has put it.
pub(super) fn entry(number: u64, version: Version) -> Entry {
    let mut seed = Seed::new(number);
    Entry {
        path: path(number),
        version,
        found: false,
        content: Content::File { id: content(seed.number()), size: seed.number() % 100_000 },
        metadata: Metadata {
            mtime: Timestamp { seconds: 1_700_000_000 + number as i64, nanos: 123_456_789 },
            mode: 0o644,
            ..Metadata::default()
        },
        extra: Vec::new(),
    }
}

/// Edits that put files.
pub(super) fn puts(
    numbers: impl Iterator<Item = u64>,
    version: Version,
) -> impl Iterator<Item = Edit<Entry>> {
    numbers.map(move |number| {
        let entry = entry(number, version);
        (entry.key(), Some(entry))
    })
}

/// A folder with that many files, all put by Anna's first commit.
pub(super) fn state(store: &dyn NodeStore, files: u64) -> State {
    let empty = State::empty(store).expect("memory holds it");
    commit(store, &empty, ANNA, 0..files)
}

/// The same folder after one more commit, which puts these files (beside what is there, as two do who
/// do not know of each other).
pub(super) fn commit(
    store: &dyn NodeStore,
    before: &State,
    origin: Origin,
    numbers: impl Iterator<Item = u64>,
) -> State {
    let version = Version { seq: before.context.next_seq(), origin };
    let entries = Tree::new(store, before.entries).edit(puts(numbers, version)).expect("edits in order").root;
    let context: Context = before.context.with(origin, Label::new("bench"), version.seq);
    let context_root = context.save(store).expect("memory holds it");
    State { context, context_root, entries, totals: before.totals }
}
