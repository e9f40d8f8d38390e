//! Which paths are looked at: everything, or some paths and what is below them.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;

use protocol::engine::Rules as _;
use protocol::{Record, RelPath};

use super::{OTHER_FILE_SYSTEM, ScanError, Scanner, unreadable};
use crate::disk::{DiskStat, Kind, Listed, Place};
use protocol::path::PathError;
use rustix::io::Errno;

impl Scanner<'_, '_> {
    pub(super) fn look_at_everything(&mut self) -> Result<(), ScanError> {
        let listed = self.cx.files.disk.list(&Place::Root).map_err(ScanError::RootUnreadable)?;
        if listed.is_empty() && !self.cx.may_be_empty && !self.cx.records.children(None)?.is_empty() {
            self.check_root()?;
            return Err(ScanError::RootEmptied);
        }
        let mut below = Vec::new();
        self.compare_names(None, listed, &mut below)?;
        self.look_below(below)
    }

    /// Walks down from these directories, which have been looked at themselves, about in the order of
    /// paths: so each part of a first scan lies behind those before it, and receivers, who work in
    /// that order, have not begun with what comes later.
    fn look_below(&mut self, mut directories: Vec<RelPath>) -> Result<(), ScanError> {
        directories.reverse();
        while let Some(directory) = directories.pop() {
            self.check_stop()?;
            let before = directories.len();
            match self.cx.files.disk.list(&Place::Folder(directory.clone())) {
                Ok(listed) => self.compare_names(Some(&directory), listed, &mut directories)?,
                Err(error) if is_missing(&error) => self.note_unstable(directory),
                Err(error) => self.parts.unsynced(directory, unreadable(&error)),
            }
            directories[before..].reverse();
            self.take_ready_answers()?;
        }
        Ok(())
    }

    /// Compares a listed directory with its records; subdirectories to walk go to `below`.
    fn compare_names(
        &mut self,
        directory: Option<&RelPath>,
        mut listed: Vec<Listed>,
        below: &mut Vec<RelPath>,
    ) -> Result<(), ScanError> {
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let records = self.cx.records.children(directory)?;
        if directory.is_none() {
            self.origins.is_nothing_known = records.is_empty();
        }
        let mut records = records.into_iter().peekable();
        for Listed { name, stat } in listed {
            while let Some((path, record)) = records.next_if(|(path, _)| path.name() < &name[..]) {
                self.vanished(path, Some(record))?;
            }
            let record = records.next_if(|(path, _)| path.name() == &name[..]).map(|(_, record)| record);
            match (RelPath::join(directory, &name), stat) {
                (Err(PathError::Reserved), _) => {}
                (Err(error), _) => self.unusable(directory, &name, &error),
                (Ok(path), Ok(found)) => self.look(path, &found, record, below)?,
                (Ok(path), Err(errno)) => {
                    self.parts.unsynced(path, unreadable(&io::Error::from_raw_os_error(errno)));
                }
            }
            self.parts.flush_if_due()?;
        }
        for (path, record) in records {
            self.vanished(path, Some(record))?;
        }
        Ok(())
    }

    /// A name that no path can have: told under as much of it as one can.
    fn unusable(&mut self, directory: Option<&RelPath>, name: &[u8], error: &PathError) {
        let cut = &name[..name.len().min(100)];
        if let Some(path) = RelPath::join(directory, cut).ok().or_else(|| directory.cloned()) {
            self.parts.unsynced(path, format!("has a name that cannot be synced: {error}"));
        }
    }

    /// Looks at each path and at all below it.
    pub(super) fn look_at_paths(&mut self, paths: &[RelPath]) -> Result<(), ScanError> {
        let mut looked_at = BTreeSet::new();
        for path in paths {
            self.check_stop()?;
            self.look_at_path(path, &mut looked_at)?;
            self.take_ready_answers()?;
        }
        Ok(())
    }

    /// `looked_at`: paths above others that need no second look.
    fn look_at_path(&mut self, path: &RelPath, looked_at: &mut BTreeSet<RelPath>) -> Result<(), ScanError> {
        match self.cx.files.disk.stat(&Place::Folder(path.clone())) {
            Ok(Some(found)) => {
                match self.spelling.foreign_part(path, &found) {
                    Ok(None) => {}
                    // By its own name it is looked at when that is noticed.
                    Ok(Some(part)) => {
                        let record = self.cx.records.record(&part)?;
                        return self.vanished(part, record);
                    }
                    Err(error) if is_missing(&error) => {
                        self.note_unstable(path.clone());
                        return Ok(());
                    }
                    Err(error) => {
                        self.parts.unsynced(path.clone(), unreadable(&error));
                        return Ok(());
                    }
                }
                self.look_above(path, looked_at)?;
                if !looked_at.insert(path.clone()) {
                    return Ok(());
                }
                let record = self.cx.records.record(path)?;
                if path.parent().is_some_and(|parent| self.cx.ignored.is_ignored(&parent, true)) {
                    return self.note_ignored(path.clone(), record);
                }
                let mut below = Vec::new();
                self.look(path.clone(), &found, record, &mut below)?;
                self.look_below(below)
            }
            Ok(None) => {
                let record = self.cx.records.record(path)?;
                self.vanished(path.clone(), record)
            }
            Err(error) if is_missing(&error) => self.climb(path, looked_at),
            Err(error) => {
                self.parts.unsynced(path.clone(), unreadable(&error));
                Ok(())
            }
        }
    }

    /// Directories above a path that nobody has told us of are noted with it.
    fn look_above(&mut self, path: &RelPath, looked_at: &mut BTreeSet<RelPath>) -> Result<(), ScanError> {
        for above in path.ancestors() {
            let record = self.cx.records.record(&above)?;
            let known = record.as_ref().is_some_and(|r| r.shown.content.is_directory() && !r.ignored);
            if known || !looked_at.insert(above.clone()) {
                return Ok(());
            }
            if let Ok(Some(found)) = self.cx.files.disk.stat(&Place::Folder(above.clone())) {
                self.look(above, &found, record, &mut Vec::new())?;
            }
        }
        Ok(())
    }

    /// The directory of the path is not there: what is, above it, decides.
    fn climb(&mut self, path: &RelPath, looked_at: &mut BTreeSet<RelPath>) -> Result<(), ScanError> {
        for above in path.ancestors() {
            match self.cx.files.disk.stat(&Place::Folder(above.clone())) {
                Err(error) if is_missing(&error) => continue,
                Err(error) => self.parts.unsynced(above, unreadable(&error)),
                Ok(Some(DiskStat { kind: Kind::Directory, .. })) => self.note_unstable(path.clone()),
                Ok(_) if looked_at.contains(&above) => {}
                Ok(found) => {
                    looked_at.insert(above.clone());
                    let record = self.cx.records.record(&above)?;
                    match found {
                        Some(found) => self.look(above, &found, record, &mut Vec::new())?,
                        None => self.vanished(above, record)?,
                    }
                }
            }
            return Ok(());
        }
        Err(ScanError::RootChanged)
    }

    /// Nothing is at the path, in a directory that is there.
    fn vanished(&mut self, path: RelPath, record: Option<Record>) -> Result<(), ScanError> {
        if record.is_some() || self.cx.records.any_below(&path)? {
            self.note_gone(path, false);
        }
        Ok(())
    }

    /// Looks at one path; if it is a directory to be walked, it goes to `below`.
    fn look(
        &mut self,
        path: RelPath,
        found: &DiskStat,
        record: Option<Record>,
        below: &mut Vec<RelPath>,
    ) -> Result<(), ScanError> {
        self.cx.files.progress.looked_at.fetch_add(1, Ordering::Relaxed);
        let is_directory = found.kind == Kind::Directory;
        if self.cx.ignored.is_ignored_here(&path, is_directory) {
            return self.note_ignored(path, record);
        }
        if found.device != self.root.device {
            self.parts.unsynced(path, OTHER_FILE_SYSTEM);
            return Ok(());
        }
        let was_directory = record.as_ref().is_some_and(|r| r.shown.content.is_directory());
        if was_directory && matches!(found.kind, Kind::File | Kind::Symlink) {
            self.note_gone(path.clone(), true);
        }
        if is_directory {
            below.push(path.clone());
        }
        self.compare(path, found, record)
    }
}

/// Whether a path cannot be reached because something on the way is gone or is no directory.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}
