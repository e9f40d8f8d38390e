//! The archive: where what is replaced or removed rests, `archive/<UTC time>/<original path>`.
//!
//! Putting something there is one rename (or one link), and nothing is ever written over: a name
//! that is taken moves on to the next number of the stamp. A file that has other names goes there as
//! a copy: what is written under those is no business of this one's. Freeing inodes is slow, so expiry
//! works in slices in the background. What is younger than the retention by its stamp *or* by the
//! disk's own clock (ctime) is never removed.

mod stamps;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

use parking_lot::Mutex;
use protocol::{RelPath, Stat, Timestamp};

use self::stamps::{DAY, stamp_seconds, stamp_text};
use crate::disk::{ArchivedPath, ControlName, Disk, DiskStat, Kind, Place, StagedName, Stamp};

/// How many names one second may have for one path before something must be wrong.
const MAX_NUMBER: u32 = 10_000;

/// The archive, open for the files of one step.
pub struct Archive<'d> {
    disk: &'d dyn Disk,
    now: Box<dyn Fn() -> i64 + Send + Sync + 'd>,
    state: Mutex<State>,
}

struct State {
    /// The second that the stamps are of.
    second: i64,
    number: u32,
    touched: BTreeSet<(Stamp, Option<RelPath>)>,
}

/// Something in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Where it is, and where it was.
    pub at: ArchivedPath,
    /// When it was archived, in seconds since 1970; `None` if the stamp is no time.
    pub archived_at: Option<i64>,
    /// Its stat: the original size and modification time.
    pub stat: DiskStat,
}

/// What became of a restoration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// The file is back, as a copy; the archive keeps its own.
    Done,
    /// Something has the name. It was left alone: move it away, or restore to another path.
    Taken,
}

/// What a slice of expiry did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// How many files and links are gone.
    pub removed: usize,
    /// Whether there is more to do now.
    pub more: bool,
    /// Files that were written to after they had been archived, by a program that had them open:
    /// a user's edit, kept.
    pub changed: Vec<ArchivedPath>,
}

impl<'d> Archive<'d> {
    /// The archive for a step that begins at this time (seconds since 1970).
    pub fn new(disk: &'d dyn Disk, now_seconds: i64) -> Self {
        let begun = Instant::now();
        Self::with_clock(disk, move || now_seconds.saturating_add_unsigned(begun.elapsed().as_secs()))
    }

    /// The same by a clock of seconds since 1970.
    pub fn with_clock(disk: &'d dyn Disk, now: impl Fn() -> i64 + Send + Sync + 'd) -> Self {
        let state = State { second: now(), number: 1, touched: BTreeSet::new() };
        Self { disk, now: Box::new(now), state: Mutex::new(state) }
    }

    /// Moves a file, link or directory into the archive as the former content of `path`. If this
    /// fails, it is still where it was.
    pub fn put(&self, from: &Place, path: &RelPath) -> io::Result<ArchivedPath> {
        self.under_free_name(path, |at| self.disk.rename_new(from, &Place::Archived(at.clone())))
    }

    /// Gives what is at `from` a second name in the archive, as the former content of `path`.
    pub fn link(&self, from: &Place, path: &RelPath) -> io::Result<ArchivedPath> {
        self.under_free_name(path, |at| self.disk.link_to_archive(from, at))
    }

    /// Puts a copy of a file into the archive, as the former content of `path`, with this mode and time:
    /// it is for a file that has other names, under which it may be written to.
    pub fn copy(&self, from: &Place, path: &RelPath, found: &DiskStat) -> io::Result<ArchivedPath> {
        let hash = blake3::hash(path.as_bytes()).to_hex();
        let name = StagedName::parse(&format!("copy-kept-{hash}")).ok_or(io::ErrorKind::InvalidInput)?;
        let copy = Place::Staged(name.clone());
        self.disk.discard(&name)?;
        self.disk.copy_to_staged(from, &name)?;
        let put = self.disk.set_mode(&copy, (found.stat.mode & 0o7777) as u16).and_then(|()| {
            self.disk.set_mtime(&copy, found.stat.mtime)?;
            self.put(&copy, path)
        });
        put.inspect_err(|_| {
            // The next start removes it otherwise.
            let _ = self.disk.remove_file(&copy);
        })
    }

    /// Makes the directories of a path, so that a lack of space or rights shows early.
    pub fn prepare(&self, path: &RelPath) -> io::Result<()> {
        let (second, number) = self.next_name();
        self.make_parents(&ArchivedPath { stamp: stamp(second, number)?, path: path.clone() })
    }

    /// `fsync`s the directories that got something since the last time.
    pub fn sync(&self) -> io::Result<()> {
        let touched = std::mem::take(&mut self.state.lock().touched);
        if touched.is_empty() {
            return Ok(());
        }
        let mut directories = BTreeSet::new();
        for (stamp, path) in touched {
            // Its own name may be new as well, and so up to the top.
            let above: Vec<_> = path.iter().flat_map(RelPath::ancestors).collect();
            let all = above.into_iter().map(Some).chain([path, None]);
            directories.extend(all.map(|path| (stamp.clone(), path)));
        }
        for (stamp, path) in &directories {
            self.disk.sync_directory(&place(stamp, path.as_ref()))?;
        }
        self.disk.sync_directory(&Place::Control(ControlName::Archive))
    }

    fn under_free_name(
        &self,
        path: &RelPath,
        deed: impl Fn(&ArchivedPath) -> io::Result<()>,
    ) -> io::Result<ArchivedPath> {
        let (second, first) = self.next_name();
        for number in first..MAX_NUMBER {
            let at = ArchivedPath { stamp: stamp(second, number)?, path: path.clone() };
            let mut done = deed(&at);
            if matches!(&done, Err(e) if is_no_way(e)) {
                done = self.make_parents(&at);
                // With the way to the archive there, it is the other one that is not.
                if done.is_ok() {
                    done = match deed(&at) {
                        Err(e) if is_no_way(&e) => return Err(e),
                        done => done,
                    };
                }
            }
            match done {
                Ok(()) => {
                    self.state.lock().touched.insert((at.stamp.clone(), path.parent()));
                    return Ok(at);
                }
                // Taken, or a file has the name of one of our directories.
                Err(e) if matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
                }
                Err(e) => return Err(e),
            }
            // Only a hint for the next: several may be here at once.
            let mut state = self.state.lock();
            if state.second == second {
                state.number = number;
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "no name in the archive is free"))
    }

    fn make_parents(&self, at: &ArchivedPath) -> io::Result<()> {
        self.disk.make_directory(&place(&at.stamp, at.path.parent().as_ref()), 0o700)
    }

    /// The second and number to begin with. A stamp is never much older than the ctime of what is
    /// archived under it: expiry takes such a file for one that was written to since.
    fn next_name(&self) -> (i64, u32) {
        let now = (self.now)();
        let mut state = self.state.lock();
        if state.second != now {
            (state.second, state.number) = (now, 1);
        }
        (state.second, state.number)
    }
}

fn stamp(second: i64, number: u32) -> io::Result<Stamp> {
    let base = stamp_text(second);
    let text = if number == 1 { base } else { format!("{base}-{number}") };
    Stamp::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no time"))
}

fn place(stamp: &Stamp, path: Option<&RelPath>) -> Place {
    match path {
        Some(path) => Place::Archived(ArchivedPath { stamp: stamp.clone(), path: path.clone() }),
        None => Place::Step(stamp.clone()),
    }
}

/// Something on the way to a name is missing, or is a file.
fn is_no_way(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The stamps of the archive, oldest first.
fn stamps(disk: &dyn Disk) -> io::Result<Vec<Stamp>> {
    let listed = disk.list(&Place::Control(ControlName::Archive))?;
    let mut stamps: Vec<_> =
        listed.iter().filter_map(|l| Stamp::parse(std::str::from_utf8(&l.name).ok()?)).collect();
    stamps.sort();
    Ok(stamps)
}

/// Calls `visit` for each file and link in the archive, oldest step first, until it answers
/// `false`. Reads one directory at a time.
pub fn walk(disk: &dyn Disk, mut visit: impl FnMut(Archived) -> bool) -> io::Result<()> {
    for stamp in stamps(disk)? {
        let archived_at = stamp_seconds(&stamp);
        let mut directories = vec![None];
        while let Some(directory) = directories.pop() {
            for (path, stat) in children(disk, &stamp, directory.as_ref())? {
                if stat.kind == Kind::Directory {
                    directories.push(Some(path));
                } else if !visit(Archived {
                    at: ArchivedPath { stamp: stamp.clone(), path },
                    archived_at,
                    stat,
                }) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn children(
    disk: &dyn Disk,
    stamp: &Stamp,
    directory: Option<&RelPath>,
) -> io::Result<Vec<(RelPath, DiskStat)>> {
    let listed = match disk.list(&place(stamp, directory)) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
        listed => listed?,
    };
    let named =
        listed.into_iter().filter_map(|l| Some((RelPath::join(directory, &l.name).ok()?, l.stat.ok()?)));
    Ok(named.collect())
}

/// Copies something of the archive back to where it was, as a new file; missing directories are
/// made. Nothing is ever written over.
pub fn restore(disk: &dyn Disk, at: &ArchivedPath, staged: &StagedName) -> io::Result<Restored> {
    let from = Place::Archived(at.clone());
    let stat = disk.stat(&from)?.ok_or(io::ErrorKind::NotFound)?;
    let copy = Place::Staged(staged.clone());
    match stat.kind {
        Kind::Symlink => disk.stage_link(staged, &disk.read_link(&from)?, stat.stat.mtime)?,
        _ => {
            disk.copy_to_staged(&from, staged)?;
            disk.stage(staged)?.sync()?;
            disk.set_mode(&copy, (stat.stat.mode & 0o7777) as u16)?;
            disk.set_mtime(&copy, stat.stat.mtime)?;
        }
    }
    let placed = make_directories(disk, &at.path)
        .and_then(|()| disk.rename_new(&copy, &Place::Folder(at.path.clone())));
    if placed.is_err() {
        disk.remove_file(&copy)?;
    }
    match placed {
        Ok(()) => Ok(Restored::Done),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Restored::Taken),
        Err(e) => Err(e),
    }
}

fn make_directories(disk: &dyn Disk, path: &RelPath) -> io::Result<()> {
    let mut above: Vec<_> = path.ancestors().collect();
    above.reverse();
    for directory in above {
        match disk.make_directory(&Place::Folder(directory), 0o755) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Removes what was archived before `cutoff_seconds`, oldest first, at most `slice` files a call.
pub fn expire(disk: &dyn Disk, cutoff_seconds: i64, slice: usize) -> io::Result<Expired> {
    let mut expired = Expired::default();
    for stamp in stamps(disk)? {
        match stamp_seconds(&stamp) {
            Some(archived_at) if archived_at < cutoff_seconds => {
                empty(disk, &stamp, archived_at, cutoff_seconds, slice, &mut expired)?;
            }
            _ => continue,
        }
        if expired.removed >= slice {
            expired.more = true;
            break;
        }
    }
    Ok(expired)
}

fn empty(
    disk: &dyn Disk,
    stamp: &Stamp,
    archived_at: i64,
    cutoff: i64,
    slice: usize,
    expired: &mut Expired,
) -> io::Result<()> {
    let mut found = vec![None];
    let mut at = 0;
    while at < found.len() {
        let directory: Option<RelPath> = found[at].clone();
        at += 1;
        for (path, stat) in children(disk, stamp, directory.as_ref())? {
            if stat.kind == Kind::Directory {
                found.push(Some(path));
                continue;
            }
            let archived = ArchivedPath { stamp: stamp.clone(), path };
            // What has other names was written to under one of those, if at all.
            let is_alone = stat.links == 1;
            if is_alone && stat.stat.mtime.seconds.min(stat.stat.ctime.seconds) > archived_at + 1 {
                expired.changed.push(archived);
            } else if stat.stat.ctime.seconds < cutoff {
                disk.remove_file(&Place::Archived(archived))?;
                expired.removed += 1;
            }
            if expired.removed >= slice {
                return Ok(());
            }
        }
    }
    // Deepest last found, so emptied from the back.
    for directory in found.iter().rev() {
        match disk.remove_directory(&place(stamp, directory.as_ref())) {
            Err(e) if !matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
                return Err(e);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether what is at a place has changed since this stat was taken *there* (a rename changes the
/// ctime). What is gone has not changed.
pub fn changed_since(disk: &dyn Disk, at: &Place, then: &Stat) -> io::Result<bool> {
    Ok(disk.stat(at)?.is_some_and(|now| now.stat != *then))
}

/// Seconds of a timestamp, for callers that count in days.
pub fn cutoff(now: Timestamp, days: u32) -> i64 {
    now.seconds - i64::from(days) * DAY
}
