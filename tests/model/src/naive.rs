//! Merge, commit and rendering, word for word after the executable specification.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use protocol::render::Labels;
use protocol::{Content, Entry, EntryKey, Metadata, Origin, RelPath, Shown, Version};
use regex_lite::Regex;

/// A context and a set of entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Origin to seq.
    pub context: BTreeMap<Origin, u64>,
    /// A key never means two things.
    pub entries: BTreeMap<EntryKey, Entry>,
}

impl State {
    /// Zero if the origin is unknown.
    pub fn seq(&self, origin: &Origin) -> u64 {
        self.context.get(origin).copied().unwrap_or(0)
    }

    /// Whether this state has taken the version into account.
    pub fn saw(&self, version: &Version) -> bool {
        self.seq(&version.origin) >= version.seq
    }

    /// At least as late for every origin.
    pub fn dominates(&self, other: &Self) -> bool {
        other.context.iter().all(|(origin, seq)| self.seq(origin) >= *seq)
    }

    /// One more than the largest in the context.
    pub fn next_seq(&self) -> u64 {
        1 + self.context.values().max().copied().unwrap_or(0)
    }
}

/// Contexts by maximum; an entry stays if both have it, or if the side without it never saw it.
pub fn merge(a: &State, b: &State) -> State {
    let mut context = a.context.clone();
    for (origin, seq) in &b.context {
        let ours = context.entry(*origin).or_default();
        *ours = (*ours).max(*seq);
    }
    let mut entries = BTreeMap::new();
    for (one, other) in [(a, b), (b, a)] {
        for (key, entry) in &one.entries {
            if other.entries.contains_key(key) || !other.saw(&key.version) {
                entries.insert(key.clone(), entry.clone());
            }
        }
    }
    State { context, entries }
}

/// One batch under one new version: removes entries, puts what is at these paths.
pub fn commit(
    state: &State,
    origin: Origin,
    removed: &BTreeSet<EntryKey>,
    put: &BTreeMap<RelPath, (Content, Metadata)>,
    found: bool,
) -> (State, Vec<Entry>) {
    let version = Version { seq: state.next_seq(), origin };
    let mut next = state.clone();
    next.context.insert(origin, version.seq);
    next.entries.retain(|key, _| !removed.contains(key));
    let mut new = Vec::new();
    for (path, (content, metadata)) in put {
        let (content, metadata) = (content.clone(), metadata.clone());
        let entry =
            Entry { path: path.clone(), version, found, content, metadata, extra: Default::default() };
        next.entries.insert(entry.key(), entry.clone());
        new.push(entry);
    }
    (next, new)
}

/// What the disk shows, all of it.
pub fn render<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<RelPath, Shown> {
    let mut here: BTreeMap<RelPath, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        here.entry(entry.path.clone()).or_default().push(entry);
    }
    let mut shown: BTreeMap<RelPath, Shown> = BTreeMap::new();
    let mut losers = Vec::new();
    for (path, group) in &here {
        let directories: Vec<_> = group.iter().copied().filter(|e| e.content.is_directory()).collect();
        if !directories.is_empty() {
            shown.insert(path.clone(), together(&directories));
        }
        for parent in path.ancestors() {
            let implied =
                Shown { content: Content::Directory, metadata: Metadata::default(), entries: Vec::new() };
            shown.entry(parent).or_insert(implied);
        }
    }
    for (path, group) in &here {
        let files: Vec<_> = group.iter().copied().filter(|e| !e.content.is_directory()).collect();
        for same in by_content(files) {
            if shown.contains_key(path) {
                losers.push((same[0].key(), same));
            } else {
                shown.insert(path.clone(), together(&same));
            }
        }
    }
    losers.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (_, same) in losers {
        for digits in 6..65 {
            let name = copy_name(same[0], digits);
            let file = together(&same);
            match shown.get_mut(&name) {
                None => drop(shown.insert(name, file)),
                Some(there) if there.content == file.content => {
                    there.entries.extend(file.entries);
                    there.entries.sort();
                    there.entries.dedup();
                }
                Some(_) => continue,
            }
            break;
        }
    }
    shown
}

/// Groups of equal content, the group with the highest rank first, and in it its best entry.
fn by_content(mut entries: Vec<&Entry>) -> Vec<Vec<&Entry>> {
    entries.sort_by_key(|e| std::cmp::Reverse(e.rank()));
    let mut groups: Vec<Vec<&Entry>> = Vec::new();
    for entry in entries {
        match groups.iter_mut().find(|group| group[0].content == entry.content) {
            Some(group) => group.push(entry),
            None => groups.push(vec![entry]),
        }
    }
    groups
}

fn together(same: &[&Entry]) -> Shown {
    let best = same.iter().max_by_key(|e| e.rank()).expect("groups are not empty");
    let entries: BTreeSet<_> = same.iter().map(|e| e.key()).collect();
    Shown {
        content: best.content.clone(),
        metadata: best.metadata.clone(),
        entries: entries.into_iter().collect(),
    }
}

/// Takes the tag from the real thing, for it is a hash; all else is done anew, for names of valid
/// UTF-8 and times within one day of 1970.
fn copy_name(loser: &Entry, digits: usize) -> RelPath {
    static MARK: OnceLock<Regex> = OnceLock::new();
    let mark = MARK.get_or_init(|| {
        let mark = r" \(conflict [0-9]{4,}-[0-9][0-9]-[0-9][0-9] [0-9][0-9]\.[0-9][0-9]\.[0-9][0-9] [^()/]* [0-9a-f]{6,64}\)";
        Regex::new(mark).expect("a valid expression")
    });
    let name = String::from_utf8(loser.path.name().to_vec()).expect("names of tests are UTF-8");
    let plain = mark.replace_all(&name, "").into_owned();
    let (stem, extension) = match plain.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= 32 => {
            (stem.to_owned(), format!(".{extension}"))
        }
        _ => (plain, String::new()),
    };
    let label = ByNumber.label(&loser.version.origin);
    let seconds = loser.metadata.mtime.seconds;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mark = format!(
        " (conflict 1970-01-01 {hour:02}.{minute:02}.{second:02} {label} {}){extension}",
        tag(loser, digits)
    );
    let mut room = stem.len().min(255 - mark.len());
    while !stem.is_char_boundary(room) {
        room -= 1;
    }
    let name = format!("{}{mark}", &stem[..room]);
    RelPath::join(loser.path.parent().as_ref(), name.as_bytes()).expect("it fits")
}

fn tag(loser: &Entry, digits: usize) -> String {
    let name = String::from_utf8(protocol::render::copy_name(loser, "", digits)).expect("UTF-8");
    let from = name.rfind(" (conflict ").expect("a copy's name has a mark");
    let mark = &name[from + " (conflict 1970-01-01 00.00.00  ".len()..];
    mark[..digits].to_owned()
}

/// Origins of tests begin with the number of their device; its label is `dev` and that number.
pub struct ByNumber;

impl Labels for ByNumber {
    fn label(&self, origin: &Origin) -> &str {
        const LABELS: [&str; 10] =
            ["dev0", "dev1", "dev2", "dev3", "dev4", "dev5", "dev6", "dev7", "dev8", "dev9"];
        LABELS[usize::from(origin.0[0])]
    }
}

/// The `number`-th origin of all, of this device.
pub fn origin(device: u8, number: u16) -> Origin {
    let [high, low] = number.to_be_bytes();
    Origin([device, 0, 0, 0, 0, 0, high, low])
}
