//! One path against its record.

use std::time::Duration;

use protocol::commit::Observation;
use protocol::entry::{MAX_TARGET_BYTES, MODE_MASK};
use protocol::{Content, Metadata, Record, RelPath, Seen, Stat, Timestamp};
use rustix::fs::FileType;

use super::parts::elapsed;
use super::{ScanError, Scanner, Task, unreadable};
use crate::disk::{DiskStat, Kind, Place};
use crate::folder::hash::{Answer, HashError, HashedFile};

/// A file system's clock ticks at least so often, where it counts nanoseconds.
const TICK: Duration = Duration::from_millis(20);
/// Elsewhere (FAT) it may tick as seldom as this.
const COARSE_TICK: Duration = Duration::from_secs(2);
/// So many files may wait to be hashed: bounds what is held in memory.
const MAX_WAITING: usize = 1024;
/// How long to wait for a hash before looking whether a part is due.
const PATIENCE: Duration = Duration::from_millis(250);
/// A program that saves in place cuts the file first, and writes within this time.
const SAVES_WITHIN: Duration = Duration::from_millis(100);

impl Scanner<'_, '_> {
    pub(super) fn compare(
        &mut self,
        path: RelPath,
        found: &DiskStat,
        record: Option<Record>,
    ) -> Result<(), ScanError> {
        match found.kind {
            Kind::Directory => {
                self.compare_directory(path, found, record);
                Ok(())
            }
            Kind::File => self.compare_file(path, found, record),
            Kind::Symlink => {
                self.compare_link(path, found, record);
                Ok(())
            }
            Kind::Other => {
                self.parts.unsynced(path, other_kind(found.stat.mode));
                Ok(())
            }
        }
    }

    /// Times of a directory say what happened in it, not to it.
    fn compare_directory(&mut self, path: RelPath, found: &DiskStat, record: Option<Record>) {
        let known = record.as_ref().is_some_and(|record| {
            let same = |stat: &Stat| stat.inode == found.stat.inode && stat.mode == found.stat.mode;
            !record.ignored && record.shown.content.is_directory() && record.stat.as_ref().is_some_and(same)
        });
        if !known {
            let seen = seen(Content::Directory, found, true);
            self.parts.observe(Observation { path, record, seen: Some(seen), ignored: false });
        }
    }

    fn compare_link(&mut self, path: RelPath, found: &DiskStat, record: Option<Record>) {
        if is_unchanged(record.as_ref(), found) {
            return self.still(path, record);
        }
        let now = (self.cx.files.now)();
        let target = match self.cx.files.disk.read_link(&Place::Folder(path.clone())) {
            Ok(target) => target,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidInput
                ) =>
            {
                return self.note_unstable(path);
            }
            Err(error) => return self.parts.unsynced(path, unreadable(&error)),
        };
        if target.is_empty() || target.len() > MAX_TARGET_BYTES || target.contains(&0) {
            return self.parts.unsynced(path, "is a symbolic link whose text is too long");
        }
        self.told(path, record, Content::Symlink { target: target.into() }, found, now);
    }

    fn compare_file(
        &mut self,
        path: RelPath,
        found: &DiskStat,
        record: Option<Record>,
    ) -> Result<(), ScanError> {
        if is_unchanged(record.as_ref(), found) {
            self.still(path, record);
            return Ok(());
        }
        if let Some(rest) = self.cx.unrest.remaining(&path, (self.cx.files.now)()) {
            self.restless(path, rest);
            return Ok(());
        }
        if let Some(rest) = being_saved(record.as_ref(), found, (self.cx.files.now)()) {
            self.parts.unstable(path, rest);
            return Ok(());
        }
        let inode = record.as_ref().and_then(|record| record.stat).map(|stat| stat.inode);
        if inode != Some(found.stat.inode)
            && !self.origins.is_nothing_known
            && let Some(content) = self.moved_here(&path, &found.stat)?
        {
            let seen = seen(content, found, true);
            self.parts.observe(Observation { path, record, seen: Some(seen), ignored: false });
            return self.parts.flush_if_due();
        }
        let before = record.as_ref().map(|record| record.shown.content.clone());
        self.pool.push(path.clone(), found, before, Task { path, record });
        self.take_answers(MAX_WAITING)
    }

    /// What is there is what was there; it may have been ignored until now.
    fn still(&mut self, path: RelPath, record: Option<Record>) {
        let Some(record) = record.filter(|record| record.ignored) else { return };
        let seen = Seen {
            content: record.shown.content.clone(),
            metadata: record.shown.metadata.clone(),
            stat: record.stat,
        };
        self.parts.observe(Observation { path, record: Some(record), seen: Some(seen), ignored: false });
    }

    fn restless(&mut self, path: RelPath, rest: Duration) {
        if self.cx.unrest.is_worth_telling(&path) {
            self.parts.unsynced(path.clone(), "keeps changing while it is read");
        }
        self.parts.unstable(path, rest);
    }

    /// Takes what has been hashed, and waits until no more than `most` files are left.
    pub(super) fn take_answers(&mut self, most: usize) -> Result<(), ScanError> {
        while self.pool.waiting() > most {
            if let Some(answer) = self.pool.take(PATIENCE) {
                self.take_answer(answer)?;
            }
            self.check_stop()?;
            self.parts.flush_if_due()?;
        }
        Ok(())
    }

    /// Takes what has been hashed without waiting.
    pub(super) fn take_ready_answers(&mut self) -> Result<(), ScanError> {
        while let Some(answer) = self.pool.take(Duration::ZERO) {
            self.take_answer(answer)?;
        }
        self.parts.flush_if_due()
    }

    fn take_answer(&mut self, answer: Answer<Task>) -> Result<(), ScanError> {
        match answer {
            Answer::Nodes(nodes) => self.parts.keep(nodes)?,
            Answer::Done(Task { path, record }, Ok(HashedFile { content, stat, looked_at })) => {
                self.cx.unrest.forget(&path);
                self.parts.hashed(content.size_bytes());
                self.told(path, record, content, &stat, looked_at);
            }
            Answer::Done(task, Err(HashError::Unstable)) => {
                let rest = self.cx.unrest.note(&task.path, (self.cx.files.now)());
                self.restless(task.path, rest);
            }
            Answer::Done(task, Err(HashError::Io(error))) => {
                self.parts.unsynced(task.path, unreadable(&error));
            }
            Answer::Done(_, Err(HashError::Stopped)) => return Err(ScanError::Stopped),
        }
        Ok(())
    }

    /// A file or link was read at `looked_at`; it is told of if anything differs.
    fn told(
        &mut self,
        path: RelPath,
        record: Option<Record>,
        content: Content,
        found: &DiskStat,
        looked_at: Timestamp,
    ) {
        let racy = is_racy(&found.stat, looked_at);
        if racy {
            self.parts.racy(path.clone());
        }
        let seen = seen(content, found, !racy);
        let same = record.as_ref().is_some_and(|record| {
            !record.ignored
                && record.shown.content == seen.content
                && record.shown.metadata == seen.metadata
                && record.stat == seen.stat
        });
        if !same {
            self.parts.observe(Observation { path, record, seen: Some(seen), ignored: false });
        }
    }
}

fn is_unchanged(record: Option<&Record>, found: &DiskStat) -> bool {
    record.and_then(|record| record.stat).is_some_and(|stat| stat == found.stat)
}

/// How long to wait for the rest of a save, if the file has just been emptied.
fn being_saved(record: Option<&Record>, found: &DiskStat, now: Timestamp) -> Option<Duration> {
    let had_bytes = record?.shown.content.size_bytes() > 0;
    let rest = SAVES_WITHIN.saturating_sub(elapsed(found.stat.ctime, now));
    // A clock that was set back must not make it wait for long.
    let is_now = now >= found.stat.ctime;
    (had_bytes && found.stat.size == 0 && is_now && !rest.is_zero()).then_some(rest)
}

fn seen(content: Content, found: &DiskStat, trusted: bool) -> Seen {
    Seen { metadata: metadata(&content, &found.stat), content, stat: trusted.then_some(found.stat) }
}

/// What is kept of a stat: no mode of links, no time of directories.
pub(crate) fn metadata(content: &Content, stat: &Stat) -> Metadata {
    let mode = (stat.mode & u32::from(MODE_MASK)) as u16;
    match content {
        Content::Directory => Metadata { mode, ..Metadata::default() },
        Content::File { .. } => Metadata { mode, mtime: stat.mtime, ..Metadata::default() },
        Content::Symlink { .. } => Metadata { mtime: stat.mtime, ..Metadata::default() },
    }
}

/// Whether the file may be written once more without a trace in these times: they are of the very
/// tick of the clock in which it was read.
pub(crate) fn is_racy(stat: &Stat, looked_at: Timestamp) -> bool {
    let coarse = stat.mtime.nanos == 0 && stat.ctime.nanos == 0;
    let tick = if coarse { COARSE_TICK } else { TICK };
    let near = |time| elapsed(time, looked_at).max(elapsed(looked_at, time)) < tick;
    near(stat.mtime) || near(stat.ctime)
}

fn other_kind(mode: u32) -> &'static str {
    match FileType::from_raw_mode(mode) {
        FileType::Fifo => "is a FIFO and is not synced",
        FileType::Socket => "is a socket and is not synced",
        _ => "is a device and is not synced",
    }
}
