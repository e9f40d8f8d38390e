//! The question: does a path show this?

use std::io;

use protocol::{Content, Record, RelPath, Shown, Stat};

use super::{Executor, Outcome, Step, kind_of, parent_is_missing, trouble};
use crate::disk::{DiskStat, Kind, Place};

/// Permission bits that are compared; setuid and setgid may have been stripped.
const COMPARED_MODE: u32 = 0o1777;
/// A file that was modified longer before its last change than this cannot be modified again
/// without its mtime showing it: two of the slowest clock ticks of Linux (10 ms).
const TICK_NANOS: i128 = 20_000_000;
/// The same where times are whole seconds (FAT counts in twos).
const COARSE_NANOS: i128 = 2_000_000_000;

/// What a path shows, compared with its record.
pub(super) enum Look {
    /// Nothing is there.
    Gone,
    /// What the record says.
    Untouched(DiskStat),
    /// Anything else: the user's.
    Touched,
}

impl Executor<'_> {
    /// `lstat`; a path whose parent is missing shows nothing.
    pub(super) fn look(&self, path: &RelPath) -> Step<Option<DiskStat>> {
        self.stat_at(&Place::Folder(path.clone())).map_err(trouble)
    }

    pub(super) fn stat_at(&self, place: &Place) -> io::Result<Option<DiskStat>> {
        match self.disk.stat(place) {
            Err(e) if parent_is_missing(&e) => Ok(None),
            found => found,
        }
    }

    /// Compares a path with its record.
    pub(super) fn judge(&self, path: &RelPath, record: &Record) -> Step<Look> {
        let place = Place::Folder(path.clone());
        let Some(found) = self.look(path)? else { return Ok(Look::Gone) };
        let proven = !record.shown.content.is_directory() && record.stat == Some(found.stat);
        let kind = found.kind == kind_of(&record.shown.content);
        if kind
            && (proven || self.holds(&place, &found, &record.shown, true).map_err(trouble)?)
            && (proven || !self.is_foreign(path)?)
        {
            return Ok(Look::Untouched(found));
        }
        Ok(Look::Touched)
    }

    /// The stat of a path if it shows this already, metadata included.
    pub(super) fn shows(&self, path: &RelPath, shown: &Shown) -> Step<Option<DiskStat>> {
        let Some(found) = self.look(path)? else { return Ok(None) };
        let place = Place::Folder(path.clone());
        let shows = self.holds(&place, &found, shown, true).map_err(trouble)? && !self.is_foreign(path)?;
        Ok(shows.then_some(found))
    }

    /// Whether what is at a place has this kind and content (and metadata, if asked).
    pub(super) fn holds(
        &self,
        place: &Place,
        found: &DiskStat,
        shown: &Shown,
        with_metadata: bool,
    ) -> io::Result<bool> {
        if found.kind != kind_of(&shown.content) || (with_metadata && !has_metadata(found, shown)) {
            return Ok(false);
        }
        match &shown.content {
            Content::Directory => Ok(true),
            Content::Symlink { target } => Ok(self.disk.read_link(place)?[..] == target[..]),
            Content::File { id, size } => {
                if found.stat.size != *size {
                    return Ok(false);
                }
                let file = self.disk.open(place)?;
                let before = file.stat()?;
                let same = (self.verify)(&*file)? == *id;
                // One that moves while it is read shows nothing in particular.
                Ok(same && file.stat()?.stat == before.stat)
            }
        }
    }

    /// The record of a path where this was just put; `placed` is what was put there.
    pub(super) fn record(&self, path: &RelPath, shown: &Shown, placed: Option<&DiskStat>) -> Step<Outcome> {
        let found = self.look(path)?;
        let ours = found.filter(|f| placed.is_none_or(|p| p.stat.inode == f.stat.inode));
        // A user who was here since is noticed by the scan, which trusts no stat that is not ours.
        let unproven = Record { shown: shown.clone(), stat: None, ignored: false };
        Ok(Outcome::Done(Some(ours.map_or(unproven, |found| record_of(shown, &found)))))
    }
}

/// The record of something that was just put there.
pub(super) fn record_of(shown: &Shown, found: &DiskStat) -> Record {
    let ours = found.kind == kind_of(&shown.content) && has_metadata(found, shown);
    let stat = (ours && proves(&shown.content, &found.stat)).then_some(found.stat);
    Record { shown: shown.clone(), stat, ignored: false }
}

/// Whether any change since is bound to show in the stat: it was modified well before the ctime,
/// which is the time of our last rename, and whoever modified it later would give it a later mtime.
pub(super) fn proves(content: &Content, stat: &Stat) -> bool {
    match *content {
        Content::Directory | Content::Symlink { .. } => true,
        Content::File { size, .. } => {
            let nanos = |t: protocol::Timestamp| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanos);
            let coarse = stat.ctime.nanos == 0 && stat.mtime.nanos == 0;
            let tick = if coarse { COARSE_NANOS } else { TICK_NANOS };
            let distance = (nanos(stat.ctime) - nanos(stat.mtime)).abs();
            distance > tick && stat.size == size
        }
    }
}

/// Whether it has the mode and time that it shall.
pub(super) fn has_metadata(found: &DiskStat, shown: &Shown) -> bool {
    let wanted = &shown.metadata;
    let same_mode = found.stat.mode & COMPARED_MODE == u32::from(wanted.mode) & COMPARED_MODE;
    match shown.content {
        // A directory that only its children imply has no mode of its own.
        Content::Directory => shown.entries.is_empty() || same_mode,
        Content::File { .. } => same_mode && found.stat.mtime == wanted.mtime,
        Content::Symlink { .. } => true,
    }
}

/// Whether a file has names besides this one: then it is written to under those as well.
pub(super) fn has_other_names(found: &DiskStat) -> bool {
    found.kind == Kind::File && found.links > 1
}

/// Whether two stats, taken before and after a rename, are of the same untouched thing. The ctime
/// cannot be compared: renaming changes it.
pub(super) fn same_thing(before: &DiskStat, after: &DiskStat) -> bool {
    let (b, a) = (&before.stat, &after.stat);
    before.kind == after.kind && (b.inode, b.size, b.mtime, b.mode) == (a.inode, a.size, a.mtime, a.mode)
}
