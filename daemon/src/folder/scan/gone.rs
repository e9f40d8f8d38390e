//! Telling of what has gone, at the very end of a scan.

use std::time::Duration;

use protocol::commit::Observation;
use protocol::engine::Rules as _;
use protocol::{Record, RelPath};

use super::walk::is_missing;
use super::{Gone, OTHER_FILE_SYSTEM, ScanError, Scanner, unreadable};
use crate::disk::{Kind, Place};
use crate::folder::spelling::Spelling;

/// What contradicts itself is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl Scanner<'_, '_> {
    /// The path has a record, and `lstat` has said that nothing is there.
    pub(super) fn note_gone(&mut self, path: RelPath, only_below: bool) {
        self.cx.unrest.forget(&path);
        self.gone.push(Gone { path, only_below });
    }

    pub(super) fn note_unstable(&mut self, path: RelPath) {
        self.parts.unstable(path, LOOK_AGAIN);
    }

    pub(super) fn tell_gone(&mut self) -> Result<(), ScanError> {
        let mut gone = std::mem::take(&mut self.gone);
        gone.sort();
        let mut above: Option<Gone> = None;
        for gone in gone {
            self.check_stop()?;
            let told =
                above.as_ref().is_some_and(|a| gone.path == a.path || gone.path.is_below(Some(&a.path)));
            if told {
                continue;
            }
            if self.is_really_gone(&gone) {
                self.tell(&gone)?;
            }
            above = Some(gone);
        }
        Ok(())
    }

    /// Looks again: long may have passed, and what is told now is deleted on every device.
    fn is_really_gone(&mut self, gone: &Gone) -> bool {
        let parent = gone.path.parent();
        let at = parent.clone().map_or(Place::Root, Place::Folder);
        match (self.cx.files.disk.stat(&at), parent) {
            (Ok(Some(found)), _) if found.kind == Kind::Directory && found.device == self.root.device => {}
            (Ok(Some(found)), Some(parent)) if found.kind == Kind::Directory => {
                self.parts.unsynced(parent, OTHER_FILE_SYSTEM);
                return false;
            }
            (Err(error), _) if !is_missing(&error) => {
                self.parts.unsynced(gone.path.clone(), unreadable(&error));
                return false;
            }
            _ => {
                self.note_unstable(gone.path.clone());
                return false;
            }
        }
        let really = match self.cx.files.disk.stat(&Place::Folder(gone.path.clone())) {
            Ok(None) => true,
            Ok(Some(found)) if gone.only_below => matches!(found.kind, Kind::File | Kind::Symlink),
            // The disk folds names, and a user has changed the spelling.
            Ok(Some(found)) => {
                let spelling = Spelling::new(self.cx.files.disk.as_ref());
                spelling.foreign_part(&gone.path, &found).is_ok_and(|part| part.is_some())
            }
            Err(error) => {
                self.parts.unsynced(gone.path.clone(), unreadable(&error));
                return false;
            }
        };
        if !really {
            self.note_unstable(gone.path.clone());
        }
        really
    }

    fn tell(&mut self, gone: &Gone) -> Result<(), ScanError> {
        let records = self.cx.records.clone();
        if !gone.only_below
            && let Some(record) = records.record(&gone.path)?
        {
            self.tell_one(gone.path.clone(), record)?;
        }
        let mut directories = vec![gone.path.clone()];
        while let Some(directory) = directories.pop() {
            for (path, record) in records.children(Some(&directory))? {
                if record.shown.content.is_directory() {
                    directories.push(path.clone());
                }
                self.tell_one(path, record)?;
            }
        }
        Ok(())
    }

    /// What is ignored is not deleted: its record says from now on that nobody looked.
    fn tell_one(&mut self, path: RelPath, record: Record) -> Result<(), ScanError> {
        let ignored = self.cx.ignored.is_ignored(&path, record.shown.content.is_directory());
        if ignored && record.ignored {
            return Ok(());
        }
        self.parts.remove(Observation { path, record: Some(record), seen: None, ignored })
    }

    /// A path is ignored: its record, and those of all below it, come to say so, once. The path
    /// itself comes last, so that a record that says so holds for all below.
    pub(super) fn note_ignored(&mut self, path: RelPath, record: Option<Record>) -> Result<(), ScanError> {
        let Some(record) = record.filter(|record| !record.ignored) else { return Ok(()) };
        if record.shown.content.is_directory() {
            for (path, record) in self.cx.records.children(Some(&path))? {
                self.note_ignored(path, Some(record))?;
            }
        }
        self.parts.observe(Observation { path, record: Some(record), seen: None, ignored: true });
        self.parts.flush_if_due()
    }
}
