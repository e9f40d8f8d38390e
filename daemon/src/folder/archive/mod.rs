//! The archive: where what is replaced or removed rests, `archive/<UTC time>/<original path>`.
//!
//! Putting something there is one rename (or one link), and nothing is ever written over: a name
//! that is taken moves on to the next number of the stamp. Freeing inodes is slow, so expiry works
//! in slices in the background. What is younger than the retention by its stamp *or* by the disk's
//! own clock (ctime) is never removed.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;

use parking_lot::Mutex;
use protocol::{RelPath, Stat, Timestamp};

use crate::disk::{ArchivedPath, ControlName, Disk, DiskStat, Kind, Place, StagedName, Stamp};

/// How many names one second may have for one path before something must be wrong.
const MAX_NUMBER: u32 = 10_000;
/// Seconds of a day.
const DAY: i64 = 86_400;

/// The archive, open for the files of one step.
pub struct Archive<'d> {
    disk: &'d dyn Disk,
    base: String,
    state: Mutex<State>,
}

struct State {
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
    /// The archive for one step at this time (seconds since 1970).
    pub fn new(disk: &'d dyn Disk, now_seconds: i64) -> Self {
        let state = State { number: 1, touched: BTreeSet::new() };
        Self { disk, base: stamp_text(now_seconds), state: Mutex::new(state) }
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

    /// Makes the directories of a path, so that a lack of space or rights shows early.
    pub fn prepare(&self, path: &RelPath) -> io::Result<()> {
        let number = self.state.lock().number;
        self.make_parents(&ArchivedPath { stamp: self.stamp(number)?, path: path.clone() })
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
        let first = self.state.lock().number;
        for number in first..MAX_NUMBER {
            let at = ArchivedPath { stamp: self.stamp(number)?, path: path.clone() };
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
            self.state.lock().number = number;
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "no name in the archive is free"))
    }

    fn make_parents(&self, at: &ArchivedPath) -> io::Result<()> {
        self.disk.make_directory(&place(&at.stamp, at.path.parent().as_ref()), 0o700)
    }

    fn stamp(&self, number: u32) -> io::Result<Stamp> {
        let text = if number == 1 { self.base.clone() } else { format!("{}-{number}", self.base) };
        Stamp::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no time"))
    }
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
            if stat.stat.mtime.seconds.min(stat.stat.ctime.seconds) > archived_at + 1 {
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

/// `2026-11-21T14.03.22Z`; times outside of the years 0 to 9999 are cut to them.
fn stamp_text(seconds: i64) -> String {
    let seconds = seconds.clamp(-62_167_219_200, 253_402_300_799);
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}.{minute:02}.{second:02}Z")
}

fn stamp_seconds(stamp: &Stamp) -> Option<i64> {
    let text = stamp.as_str().get(..20)?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds =
        days(year, month, day) * DAY + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    (stamp_text(seconds) == text).then_some(seconds)
}

/// Year, month and day of a day since 1970 (Howard Hinnant, «chrono-compatible date algorithms»).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Seconds of a timestamp, for callers that count in days.
pub fn cutoff(now: Timestamp, days: u32) -> i64 {
    now.seconds - i64::from(days) * DAY
}
