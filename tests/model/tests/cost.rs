//! Work is proportional to the change: nothing lists a directory because of one save in it.

use std::collections::BTreeMap;

use model::naive::ByNumber;
use model::path;
use model::real::{Applied, Set};
use model::team::Team;
use protocol::commit::{Folder, Observation, scan};
use protocol::plan::{View, plan};
use protocol::render::{Entries, Group, affected, render_path, totals_change};
use protocol::tree::TreeError;
use protocol::{ContentId, Entry, EntryKey, Record, Records, RelPath, Stat, StoreError, Version};

/// Entries or records of which a directory must not be listed.
struct Unlisted<T>(T);

impl Entries for Unlisted<Set<'_>> {
    fn at(&self, path: &RelPath) -> Result<Vec<Entry>, TreeError> {
        self.0.at(path)
    }
    fn any_below(&self, path: &RelPath) -> Result<bool, TreeError> {
        self.0.any_below(path)
    }
    fn contains(&self, key: &EntryKey) -> Result<bool, TreeError> {
        self.0.contains(key)
    }
    fn groups(&self, _: Option<&RelPath>) -> Result<Vec<Group>, TreeError> {
        panic!("a directory was rendered")
    }
}

impl Records for Unlisted<Applied<'_>> {
    fn record(&self, path: &RelPath) -> Result<Option<Record>, StoreError> {
        self.0.record(path)
    }
    fn children(&self, _: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        panic!("a directory was listed")
    }
    fn copies(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        self.0.copies(directory)
    }
    fn any_below(&self, path: &RelPath) -> Result<bool, StoreError> {
        self.0.any_below(path)
    }
    fn with_content(&self, _: &ContentId, _: usize) -> Result<Vec<RelPath>, StoreError> {
        Ok(Vec::new())
    }
    fn with_stat(&self, _: &Stat) -> Result<Vec<RelPath>, StoreError> {
        Ok(Vec::new())
    }
}

/// Even where another file of the directory is in conflict.
#[test]
fn one_save_renders_and_lists_no_directory() {
    let mut t = Team::new(model::Mind::Real, 2, &[("f", "old"), ("g", "old")]);
    t[0].put("g", "A");
    t[1].put("g", "B");
    t.sync();
    t[0].put("f", "new");
    let device = &t[0];
    let (entries, records) = (Unlisted(Set(&device.state.entries)), Unlisted(Applied(&device.applied)));
    let (record, seen) = (device.applied.get(&path("f")).cloned(), device.seen(&path("f")));
    let folder = Folder {
        entries: &entries,
        labels: &ByNumber,
        records: &records,
        version: Version { seq: device.state.next_seq(), origin: device.origin },
        writer: true,
        trusted: true,
        copies_kept: 8,
    };
    let observation = Observation { path: path("f"), record, seen, ignored: false };
    let draft = scan(&folder, &[observation]).expect("it works").commit.expect("a commit");
    let mut after: BTreeMap<_, _> = device.state.entries.clone();
    after.retain(|key, _| !draft.removed.contains(key));
    after.extend(draft.put.into_iter().map(|entry| (entry.key(), entry)));
    let after = Unlisted(Set(&after));
    let paths = affected(&entries, &after, &ByNumber, [path("f")]).expect("it works");
    assert_eq!(paths.iter().map(ToString::to_string).collect::<Vec<_>>(), ["f"]);
    assert_eq!(totals_change(&entries, &after, &ByNumber, &paths).expect("it works"), (0, 0));
    let want = render_path(&after, &ByNumber, &path("f")).expect("it works");
    let view = View { entries: &after, records: &records, is_touched: &|_| false, is_ignored: &|_, _| false };
    let plan = plan(&view, [(path("f"), want)], &|_| false).expect("it works");
    assert_eq!(plan.passes.len(), 1);
}
