//! From disk to state: what users did becomes one commit.
//!
//! A path that does not show its record is the user's. One commit removes the live entries in the
//! records of such paths and puts what is there now. No more is needed:
//!
//! - a newer entry that came meanwhile, or could not be applied, was not replaced by this user, so
//!   it stays, beside the new one;
//! - a deleted path whose entry is gone from the state removes nothing: the edit that came
//!   meanwhile stays, and no commit is made;
//! - a conflict copy's record names the losing entry. So deleting the copy drops that entry, editing
//!   it makes a file of its own, moving it over the original replaces both, renaming the directory
//!   around it makes files of original and copy; none is a special case.
//!
//! Before that, what the state wants there anyway, and replaces no live entry, is noted without a
//! commit. An entry that an untouched path still shows stays. Readers only note.
//!
//! Metadata is committed when it alone changes, but makes no conflict: on a path whose entries the
//! state has replaced meanwhile it is merely noted, and gives way.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::{Content, Entry, EntryKey, Metadata};
use crate::overlay::{Overlay, copies_of, paths_of};
use crate::path::RelPath;
use crate::record::{Record, Seen, Shown};
use crate::render::{Entries, Labels, Renderer};
use crate::store::Records;
use crate::tree::TreeError;
use crate::version::{Rank, Version};

/// A commit that puts a path leaves at most this many older copies beside it.
pub const COPIES: usize = 8;

/// A path that was looked at: it does not show its record, or only the rest of `lstat` differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Where.
    pub path: RelPath,
    /// What the database says was there; the one that it was compared with.
    pub record: Option<Record>,
    /// What is there. `None`: nothing, under a verified parent.
    pub seen: Option<Seen>,
    /// Whether the path is ignored now. Then nothing of it is committed.
    pub ignored: bool,
}

/// A folder at the moment of a scan.
#[derive(Clone, Copy)]
pub struct Folder<'a> {
    /// The entries of the state.
    pub entries: &'a dyn Entries,
    /// The labels of its context.
    pub labels: &'a dyn Labels,
    /// The applied records, with the journal settled.
    pub records: &'a dyn Records,
    /// The version that a commit would take: the running origin, and one more than the largest seq
    /// of the context.
    pub version: Version,
    /// Whether commits may be made. Readers only note.
    pub writer: bool,
    /// Whether records are known to be as old as the disk. If not, what is put is *found*.
    pub trusted: bool,
    /// How many older copies stay beside a path that is put: [`COPIES`].
    pub copies_kept: usize,
}

/// What a scan found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scanned {
    /// New records, and those to be dropped, by path. The ones that `commit` brings are among them:
    /// both must become durable together.
    pub notes: Vec<(RelPath, Option<Record>)>,
    /// The commit to be made, if users changed anything.
    pub commit: Option<Draft>,
    /// On a reader: the paths that do not show what was applied. They stay until `revert`.
    pub local_changes: Vec<RelPath>,
}

/// A commit as edits of the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its version, which goes into the context also if nothing is put.
    pub version: Version,
    /// Live entries that go; sorted.
    pub removed: Vec<EntryKey>,
    /// Entries of `version`; sorted.
    pub put: Vec<Entry>,
}

/// Commits and notes what was observed. Only observed paths count as changed, so together with a
/// changed path the caller looks at the directories above it and at the records below it: a state
/// must not have a file where it has something below. Of its directory all [`Records::copies`]
/// should be observed as well, or a copy that was moved in the same moment takes one commit more.
/// Work is proportional to the observations.
pub fn scan(folder: &Folder<'_>, observations: &[Observation]) -> Result<Scanned, TreeError> {
    let mut scan = Scan {
        folder,
        renderer: Renderer::new(folder.entries, folder.labels),
        records: Overlay::new(folder.records),
        changed: BTreeMap::new(),
        local_changes: Vec::new(),
    };
    let mut sorted: Vec<_> = observations.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    for observation in sorted {
        scan.look(observation)?;
    }
    scan.finish()
}

struct Scan<'a> {
    folder: &'a Folder<'a>,
    renderer: Renderer<'a>,
    records: Overlay<'a>,
    /// What will be committed.
    changed: BTreeMap<RelPath, &'a Observation>,
    local_changes: Vec<RelPath>,
}

impl<'a> Scan<'a> {
    /// Notes the observation, or remembers it as a change.
    fn look(&mut self, observation: &'a Observation) -> Result<(), TreeError> {
        let Observation { path, record, seen, ignored } = observation;
        if *ignored {
            self.note_ignored(path, record.as_ref());
            return Ok(());
        }
        let was_ignored = record.as_ref().is_some_and(|record| record.ignored);
        if was_ignored && seen.is_none() {
            // Deleted while nobody was to look: the file is fetched again.
            self.records.note(path, None);
            return Ok(());
        }
        let content = |seen: &Option<Seen>| seen.as_ref().map(|seen| seen.content.clone());
        let recorded = record.as_ref().map(|record| &record.shown);
        if content(seen).as_ref() == recorded.map(|shown| &shown.content) {
            return self.look_at_metadata(observation);
        }
        let wanted = self.renderer.path(path)?;
        let is_wanted = content(seen).as_ref() == wanted.as_ref().map(|wanted| &wanted.content);
        if is_wanted && !(self.folder.writer && self.replaces_any(record.as_ref())?) {
            let note = seen.as_ref().zip(wanted).map(|(seen, wanted)| noted(seen, wanted.entries));
            self.records.note(path, note);
        } else if self.folder.writer {
            self.changed.insert(path.clone(), observation);
        } else {
            if let (true, Some(record)) = (was_ignored, record) {
                // From now on it counts as a change of the reader's.
                self.records.note(path, Some(Record { ignored: false, ..record.clone() }));
            }
            self.local_changes.push(path.clone());
        }
        Ok(())
    }

    /// The content is what was applied.
    fn look_at_metadata(&mut self, observation: &'a Observation) -> Result<(), TreeError> {
        let Observation { path, record: Some(record), seen: Some(seen), .. } = observation else {
            return Ok(()); // nothing there, nothing recorded
        };
        let differs = has_metadata(&record.shown) && kept_metadata(seen) != record.shown.metadata;
        if differs && self.folder.writer && self.replaces_any(Some(record))? {
            self.changed.insert(path.clone(), observation);
            return Ok(());
        }
        let note = noted(seen, record.shown.entries.clone());
        if note != *record {
            self.records.note(path, Some(note));
        }
        Ok(())
    }

    fn note_ignored(&mut self, path: &RelPath, record: Option<&Record>) {
        if let Some(record) = record.filter(|record| !record.ignored) {
            self.records.note(path, Some(Record { ignored: true, ..record.clone() }));
        }
    }

    /// The live entries that a change of a path with this record replaces: those applied there, not
    /// those that the state has there by now.
    fn replaced(&self, record: Option<&Record>) -> Result<Vec<EntryKey>, TreeError> {
        let mut live = Vec::new();
        for key in record.iter().flat_map(|record| &record.shown.entries) {
            if self.folder.entries.contains(key)? {
                live.push(key.clone());
            }
        }
        Ok(live)
    }

    fn replaces_any(&self, record: Option<&Record>) -> Result<bool, TreeError> {
        Ok(!self.replaced(record)?.is_empty())
    }

    fn finish(mut self) -> Result<Scanned, TreeError> {
        let mut removed = BTreeSet::new();
        for observation in self.changed.values() {
            for key in self.replaced(observation.record.as_ref())? {
                // An apply was cut short between two names, or a copy was moved over an original
                // that is gone: then another path still shows this entry.
                // Its own path, which is asked for one by one, need not be if it has changed.
                let is_changed = self.changed.contains_key(&key.path);
                let paths =
                    if is_changed { copies_of(&self.records, &key)? } else { paths_of(&self.records, &key)? };
                if paths.iter().all(|path| self.changed.contains_key(path)) {
                    removed.insert(key);
                }
            }
        }
        let changed = std::mem::take(&mut self.changed);
        for path in changed.keys() {
            self.records.note(path, None);
        }
        let mut put = Vec::new();
        for (path, observation) in changed {
            let Some(seen) = &observation.seen else { continue };
            removed.extend(self.surplus(&path)?);
            put.push((self.entry(path, seen), seen));
        }
        for (entry, seen) in &put {
            self.records.note(&entry.path, Some(noted(seen, vec![entry.key()])));
        }
        let commit = (!removed.is_empty() || !put.is_empty()).then(|| Draft {
            version: self.folder.version,
            removed: removed.into_iter().collect(),
            put: put.into_iter().map(|(entry, _)| entry).collect(),
        });
        Ok(Scanned { notes: self.records.into_notes(), commit, local_changes: self.local_changes })
    }

    fn entry(&self, path: RelPath, seen: &Seen) -> Entry {
        Entry {
            path,
            version: self.folder.version,
            found: !self.folder.trusted,
            content: seen.content.clone(),
            metadata: kept_metadata(seen),
            extra: Default::default(),
        }
    }

    /// Two programs that rewrite one file for ever must not fill the folder. A commit that puts a
    /// path also removes its copies beyond the newest, of those that this device shows; their bytes
    /// go to every device's archive. Merge and rendering know nothing of a limit.
    fn surplus(&self, path: &RelPath) -> Result<Vec<EntryKey>, TreeError> {
        let mut copies = Vec::new();
        for (shown_at, record) in self.records.copies(path.parent().as_ref())? {
            let of_path = record.shown.entries.iter().all(|key| key.path == *path);
            if shown_at == *path || !of_path {
                continue;
            }
            let live = self.replaced(Some(&record))?;
            if let Some(rank) = self.best_rank(path, &live)? {
                copies.push((rank, live));
            }
        }
        copies.sort_unstable();
        let excess = copies.len().saturating_sub(self.folder.copies_kept);
        Ok(copies.into_iter().take(excess).flat_map(|(_, live)| live).collect())
    }

    fn best_rank(&self, path: &RelPath, keys: &[EntryKey]) -> Result<Option<Rank>, TreeError> {
        if keys.is_empty() {
            return Ok(None);
        }
        let entries = self.folder.entries.at(path)?;
        Ok(entries.iter().filter(|entry| keys.contains(&entry.key())).map(Entry::rank).max())
    }
}

/// The record of what is there. Its metadata is what was seen, so that apply sets the state's.
pub(crate) fn noted(seen: &Seen, entries: Vec<EntryKey>) -> Record {
    let mut shown = Shown { content: seen.content.clone(), metadata: kept_metadata(seen), entries };
    if !has_metadata(&shown) {
        shown.metadata = Metadata::default();
    }
    Record { shown, stat: seen.stat, ignored: false }
}

/// A directory that is only implied has no metadata of its own.
pub(crate) fn has_metadata(shown: &Shown) -> bool {
    !shown.entries.is_empty() || !shown.content.is_directory()
}

/// A directory's mtime and a link's mode are not kept.
fn kept_metadata(seen: &Seen) -> Metadata {
    let mut metadata = seen.metadata.clone();
    match seen.content {
        Content::Directory => metadata.mtime = Default::default(),
        Content::Symlink { .. } => metadata.mode = 0,
        Content::File { .. } => {}
    }
    metadata
}
