//! What is not wanted on this device.
//!
//! The engine reads no rules: whoever drives it gives it their verdict, before the first scan and
//! whenever they change. A path that is ignored is neither created, changed nor deleted here. It is
//! no need and no problem, and hinders nobody from calling this device complete; its row
//! ([`Reason::Ignored`]) only leads back to it when the rules change.

use std::collections::Bound;
use std::fmt;
use std::sync::Arc;

use super::{Edits, Engine, EngineError, FolderStore, Reason, Unapplied};
use crate::path::RelPath;
use crate::record::Record;
use crate::render::Entries;

/// The file at the root that holds the rules; it is synced itself, and cannot be ignored.
pub const IGNORE_FILE: &str = ".syncignore";

/// Which paths are not wanted here: a snapshot.
pub trait Rules: fmt::Debug + Send + Sync {
    /// Whether a path, or a directory above it, is ignored.
    fn is_ignored(&self, path: &RelPath, is_directory: bool) -> bool;
}

/// Everything is wanted.
#[derive(Debug)]
pub(super) struct Everything;

impl Rules for Everything {
    fn is_ignored(&self, _: &RelPath, _: bool) -> bool {
        false
    }
}

impl<S: FolderStore> Engine<S> {
    /// What is not as the state wants it is judged anew: some of it is not wanted any more, some is
    /// wanted again.
    pub(super) fn on_rules(&mut self, rules: Arc<dyn Rules>) {
        if Arc::ptr_eq(&self.rules, &rules) {
            return;
        }
        self.rules = rules;
        self.revisit.extend(self.step.drop_window());
        self.stuck.clear();
        self.revisit.extend(self.unapplied.keys().cloned());
        if !self.revisit.is_empty() {
            self.step.count_again();
        }
    }

    /// In what the applied entries and those of the state differ at the file with the rules.
    pub(super) fn edits_of_rules(&self) -> Result<Edits, EngineError> {
        let Ok(path) = RelPath::parse(IGNORE_FILE.as_bytes()) else { return Ok(Edits::new()) };
        let (before, after) = (self.tree(self.applied).at(&path)?, self.tree(self.state.entries).at(&path)?);
        if before == after {
            return Ok(Edits::new());
        }
        let gone = before.iter().filter(|entry| !after.contains(entry)).map(|entry| (entry.key(), None));
        let gone: Edits = gone.collect();
        Ok(gone.into_iter().chain(after.into_iter().map(|entry| (entry.key(), Some(entry)))).collect())
    }

    /// Files that were deleted elsewhere while they were ignored here, and are wanted again: that
    /// their turn has come is a deletion like any other.
    pub(super) fn deletions_put_off(&self) -> Result<Vec<(RelPath, Record)>, EngineError> {
        let new = self.tree(self.state.entries);
        let mut gone = Vec::new();
        for (path, why) in &self.unapplied {
            if why.reason != Reason::Ignored || self.rules.is_ignored(path, false) {
                continue;
            }
            let Some(record) = self.store.record(path)?.filter(|r| !r.shown.content.is_directory()) else {
                continue;
            };
            if new.at(path)?.is_empty() {
                gone.push((path.clone(), record));
            }
        }
        Ok(gone)
    }

    /// Whether all that keeps a directory from going is ignored: then it stays, and that is no
    /// problem. Asked when the rows of what is below it have been written.
    pub(super) fn holds_only_ignored(&self, directory: &RelPath) -> bool {
        let mut below = self
            .unapplied
            .range((Bound::Excluded(directory), Bound::Unbounded))
            .take_while(|(path, _)| path.is_below(Some(directory)))
            .peekable();
        below.peek().is_some() && below.all(|(_, why)| why.reason == Reason::Ignored)
    }

    pub(super) fn not_wanted() -> Unapplied {
        Unapplied { reason: Reason::Ignored, message: String::new() }
    }
}
