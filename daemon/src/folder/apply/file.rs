//! Files and links: created, replaced, removed.

use std::io;

use protocol::{Content, Record, RelPath, Shown};
use rustix::io::Errno;

use super::look::{Look, has_other_names, proves, record_of, same_thing};
use super::{
    Batch, Executor, Op, Outcome, Resting, Source, Step, archive_leftover, named, op_name, problem, trouble,
};
use crate::disk::{ArchivedPath, DiskStat, Kind, Place, StagedName};

/// How many edits of one path may wait to be committed.
const MAX_DISPLACED: u32 = 1000;

/// An exchange that was made.
struct Swap {
    /// What came out.
    staged: StagedName,
    /// What the path showed just before.
    seen: DiskStat,
    /// What went in.
    new: Option<DiskStat>,
    /// What the archive has got.
    kept: Option<Kept>,
}

/// The old file in the archive, before it goes from its path.
struct Kept {
    at: ArchivedPath,
    /// Bytes of its own; else it is a second name.
    is_copy: bool,
}

impl Executor<'_> {
    /// Puts a file, link or moved directory where nothing is.
    pub(super) fn create(&self, op: &Op, after: &Shown, batch: &mut Batch) -> Step<Outcome> {
        if let Source::MovedFrom { path, record } = &op.source
            && !batch.vacated.contains(path)
        {
            return self.move_directly(op, after, path, record, batch);
        }
        let Some((from, seen)) = self.new_file(op, after)? else {
            return self.without_source(op, after);
        };
        if seen.kind != Kind::Directory {
            self.dress(&from, &seen, after).map_err(trouble)?;
        }
        match self.disk.rename_new(&from, &Place::Folder(op.path.clone())) {
            Ok(()) => {
                batch.touch(&op.path);
                self.record(&op.path, after, Some(&seen))
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let found = self.shows(&op.path, after)?;
                self.give_back(op)?;
                Ok(found.map_or(Outcome::Touched, |found| Outcome::Done(Some(record_of(after, &found)))))
            }
            Err(e) => {
                self.give_back(op)?;
                Err(trouble(e))
            }
        }
    }

    fn is_half_moved(&self, op: &Op) -> Step<bool> {
        let moved = matches!(op.source, Source::MovedFrom { .. });
        Ok(moved && self.stat_staged(&op_name(&op.path))?.is_some())
    }

    /// What is to be put at a free name: staged as it is, or taken aside before.
    fn new_file(&self, op: &Op, after: &Shown) -> Step<Option<(Place, DiskStat)>> {
        if let Source::Staged(name) = &op.source
            && let Some(seen) = self.stat_staged(name)?
        {
            return Ok(Some((Place::Staged(name.clone()), seen)));
        }
        let Some(name) = self.acquire(op, after)? else { return Ok(None) };
        Ok(self.stat_staged(&name)?.map(|seen| (Place::Staged(name), seen)))
    }

    /// Replaces a file or link by another.
    pub(super) fn replace(
        &self,
        op: &Op,
        before: &Record,
        after: &Shown,
        batch: &mut Batch,
    ) -> Step<Outcome> {
        let seen = match self.judge(&op.path, before)? {
            Look::Untouched(seen) => seen,
            // A crash has interrupted a swap of names, with this one vacated and the other in place.
            Look::Gone if self.is_half_moved(op)? => return self.create(op, after, batch),
            Look::Gone | Look::Touched => {
                let shown = self.shows(&op.path, after)?;
                self.give_back(op)?;
                let done = |found| Outcome::Done(Some(record_of(after, &found)));
                return Ok(shown.map_or(Outcome::Touched, done));
            }
        };
        let Some(staged) = self.acquire(op, after)? else { return self.without_source(op, after) };
        match self.exchange(op, after, &staged, &seen) {
            Ok((new, kept)) => {
                batch.touch(&op.path);
                let swap = Swap { staged, seen, new, kept };
                self.judge_displaced(op, before, after, swap, batch)
            }
            Err(outcome) => {
                self.give_back(op)?;
                Err(outcome)
            }
        }
    }

    /// The archive first: if it cannot take the old file, nothing happens.
    fn exchange(
        &self,
        op: &Op,
        after: &Shown,
        staged: &StagedName,
        seen: &DiskStat,
    ) -> Step<(Option<DiskStat>, Option<Kept>)> {
        let (from, at) = (Place::Staged(staged.clone()), Place::Folder(op.path.clone()));
        let new = self.stat_at(&from).map_err(trouble)?;
        if let Some(new) = &new {
            self.dress(&from, new, after).map_err(trouble)?;
        }
        let kept = self.keep(op, seen)?;
        // The link has changed the ctime, so the record's stat proves nothing any more.
        let exchanged = match self.look(&op.path) {
            Ok(Some(last)) if same_thing(seen, &last) => {
                self.disk.exchange(&from, &at).map_err(gone_or_trouble)
            }
            Ok(_) => Err(Box::new(Outcome::Touched)),
            Err(outcome) => Err(outcome),
        };
        if let (Err(_), Some(kept)) = (&exchanged, &kept) {
            self.unkeep(kept)?;
        }
        exchanged.map(|()| (new, kept))
    }

    /// Links the old file into the archive, or copies it if it has other names; `None` where there are
    /// no hard links.
    fn keep(&self, op: &Op, seen: &DiskStat) -> Step<Option<Kept>> {
        let at = Place::Folder(op.path.clone());
        let (kept, is_copy) = match self.copy_linked(&op.path, seen) {
            Some(copied) => (copied, true),
            None => (self.archive.link(&at, &op.path), false),
        };
        match kept {
            Ok(at) => Ok(Some(Kept { at, is_copy })),
            Err(e)
                if !is_copy
                    && matches!(
                        Errno::from_io_error(&e),
                        Some(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NOSYS)
                    ) =>
            {
                self.archive.prepare(&op.path).map_err(|e| archive_failed(&e))?;
                Ok(None)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Box::new(Outcome::Touched)),
            Err(e) => Err(archive_failed(&e)),
        }
    }

    /// Takes the second name away again; if it is the last one by now, it stays.
    fn unkeep(&self, kept: &Kept) -> Step<()> {
        let place = Place::Archived(kept.at.clone());
        if kept.is_copy || self.stat_at(&place).map_err(trouble)?.is_some_and(|s| s.links > 1) {
            self.disk.remove_file(&place).map_err(trouble)?;
        }
        Ok(())
    }

    /// The new file is in place. What came out?
    fn judge_displaced(
        &self,
        op: &Op,
        before: &Record,
        after: &Shown,
        swap: Swap,
        batch: &mut Batch,
    ) -> Step<Outcome> {
        let out = Place::Staged(swap.staged.clone());
        let Some(found) = self.stat_at(&out).map_err(trouble)? else {
            return self.record(&op.path, after, swap.new.as_ref());
        };
        let untouched = same_thing(&swap.seen, &found)
            && (proves(&before.shown.content, &found.stat)
                || self.holds(&out, &found, &before.shown, false).map_err(trouble)?);
        let kept_stat = match &swap.kept {
            Some(kept) => self.disk.stat(&Place::Archived(kept.at.clone())).map_err(trouble)?,
            None => None,
        };
        let is_kept = kept_stat.is_some_and(|k| k.stat.inode == found.stat.inode && k.kind == found.kind);
        if untouched {
            let archived = match swap.kept {
                // A second name of what the archive holds, or of what the user has elsewhere.
                Some(kept) if is_kept || kept.is_copy && found.links > 1 => {
                    self.disk.remove_file(&out).map(|()| kept.at)
                }
                _ => self.archive.put(&out, &op.path),
            };
            self.rests(archived.map_err(|e| archive_failed(&e))?, &found, batch);
            return self.record(&op.path, after, swap.new.as_ref());
        }
        if let (true, Some(kept)) = (is_kept, swap.kept) {
            // An edit in place: the file is the user's, and will go on being edited.
            self.unkeep(&kept)?;
        }
        let placed = match self.record(&op.path, after, swap.new.as_ref())? {
            Outcome::Done(record) => record,
            _ => None,
        };
        self.displaced(&op.path, &out, found, placed)
    }

    /// Removes a file, a link or an empty directory.
    pub(super) fn remove(&self, path: &RelPath, before: &Record, batch: &mut Batch) -> Step<Outcome> {
        if before.shown.content.is_directory() {
            return self.remove_directory(path, before, batch);
        }
        let seen = match self.judge(path, before)? {
            Look::Gone => return Ok(Outcome::Done(None)),
            Look::Touched => return Ok(Outcome::Touched),
            Look::Untouched(seen) => seen,
        };
        if let Some(copied) = self.copy_linked(path, &seen) {
            let kept = Kept { at: copied.map_err(put_failed)?, is_copy: true };
            return self.remove_name(path, &seen, &kept, batch);
        }
        let at = Place::Folder(path.clone());
        let kept = self.archive.put(&at, path).map_err(put_failed)?;
        batch.touch(path);
        let archived = Place::Archived(kept.clone());
        let Some(found) = self.stat_at(&archived).map_err(trouble)? else { return Ok(Outcome::Done(None)) };
        if same_thing(&seen, &found) {
            batch.resting.push(Resting { at: kept, stat: found.stat });
            return Ok(Outcome::Done(None));
        }
        // An edit that slipped in: back to its name.
        match self.disk.rename_new(&archived, &at) {
            Ok(()) => Ok(Outcome::Touched),
            // Taken meanwhile, or the directory is gone.
            Err(_) => self.displaced(path, &archived, found, None),
        }
    }

    /// A copy in the archive of a file that has other names; `None` if it has none, or may not be read.
    fn copy_linked(&self, path: &RelPath, seen: &DiskStat) -> Option<io::Result<ArchivedPath>> {
        let copied =
            has_other_names(seen).then(|| self.archive.copy(&Place::Folder(path.clone()), path, seen));
        copied.filter(|copied| !matches!(copied, Err(e) if e.kind() == io::ErrorKind::PermissionDenied))
    }

    /// Removes one of the names of a file of which the archive has a copy.
    fn remove_name(&self, path: &RelPath, seen: &DiskStat, kept: &Kept, batch: &mut Batch) -> Step<Outcome> {
        let at = Place::Folder(path.clone());
        let aside = match self.displaced(path, &at, *seen, None) {
            Ok(Outcome::Displaced { staged, .. }) => Place::Staged(staged),
            other => {
                self.unkeep(kept)?;
                return other;
            }
        };
        batch.touch(path);
        let Some(found) = self.stat_at(&aside).map_err(trouble)? else { return Ok(Outcome::Done(None)) };
        if same_thing(seen, &found) {
            if found.links > 1 {
                self.disk.remove_file(&aside).map_err(trouble)?;
            } else {
                let at = self.archive.put(&aside, path).map_err(|e| archive_failed(&e))?;
                self.rests(at, &found, batch);
            }
            return Ok(Outcome::Done(None));
        }
        // An edit that slipped in: back to its name.
        match (self.disk.rename_new(&aside, &at), aside) {
            (Ok(()), _) => self.unkeep(kept).map(|()| Outcome::Touched),
            (Err(_), Place::Staged(staged)) => Ok(Outcome::Displaced { staged, seen: found, placed: None }),
            (Err(e), _) => Err(trouble(e)),
        }
    }

    /// Notes what is in the archive now. Its ctime is of the last rename or unlink; if more than that
    /// has changed, the judged stat is noted, which a later look will not find.
    fn rests(&self, at: ArchivedPath, judged: &DiskStat, batch: &mut Batch) {
        let now = self.disk.stat(&Place::Archived(at.clone())).ok().flatten();
        let stat = now.filter(|now| same_thing(judged, now)).unwrap_or(*judged).stat;
        batch.resting.push(Resting { at, stat });
    }

    /// Brings the source under the name that a replay finds. `None` if there is no source.
    pub(super) fn acquire(&self, op: &Op, after: &Shown) -> Step<Option<StagedName>> {
        let name = op_name(&op.path);
        let place = Place::Staged(name.clone());
        if let Some(found) = self.stat_staged(&name)? {
            if self.holds(&place, &found, after, false).map_err(trouble)? {
                return Ok(Some(name));
            }
            archive_leftover(self.archive, &name).map_err(|e| archive_failed(&e))?;
        }
        match &op.source {
            Source::None => Ok(None),
            Source::Staged(staged) => match self.disk.rename_new(&Place::Staged(staged.clone()), &place) {
                Ok(()) => Ok(Some(name)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(trouble(e)),
            },
            Source::MovedFrom { path, record } => self.take_aside(path, record, name),
        }
    }

    /// A move that did not come about: its file goes back to its old name, or to the archive. A
    /// staged file goes back to its name in staging.
    pub(super) fn give_back(&self, op: &Op) -> Step<()> {
        let name = op_name(&op.path);
        let from = Place::Staged(name.clone());
        let to = match &op.source {
            Source::None => return Ok(()),
            Source::Staged(staged) => Place::Staged(staged.clone()),
            Source::MovedFrom { path, .. } => Place::Folder(path.clone()),
        };
        match self.disk.rename_new(&from, &to) {
            Ok(()) => Ok(()),
            Err(_) if self.stat_staged(&name)?.is_none() => Ok(()),
            Err(_) => archive_leftover(self.archive, &name).map_err(|e| archive_failed(&e)),
        }
    }

    /// Nothing to put there: done by an earlier run, or to be fetched again.
    pub(super) fn without_source(&self, op: &Op, after: &Shown) -> Step<Outcome> {
        match self.shows(&op.path, after)? {
            Some(found) => Ok(Outcome::Done(Some(record_of(after, &found)))),
            None => Err(problem("SOURCE_MISSING", "what was to be put there is no longer at hand")),
        }
    }

    /// Gives what a user's edit left somewhere a name in staging that nothing else uses.
    pub(super) fn displaced(
        &self,
        path: &RelPath,
        from: &Place,
        seen: DiskStat,
        placed: Option<Record>,
    ) -> Step<Outcome> {
        for number in 0..MAX_DISPLACED {
            let name = named(&format!("displaced-{number}"), path);
            match self.disk.rename_new(from, &Place::Staged(name.clone())) {
                Ok(()) => return Ok(Outcome::Displaced { staged: name, seen, placed }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(trouble(e)),
            }
        }
        Err(problem("DISK_ERROR", "too many edits of this path wait in staging"))
    }

    /// Gives a file its mode and time, where they differ.
    pub(super) fn dress(&self, at: &Place, seen: &DiskStat, shown: &Shown) -> io::Result<()> {
        let wanted = &shown.metadata;
        if !matches!(shown.content, Content::Symlink { .. })
            && !shown.entries.is_empty()
            && (seen.stat.mode & 0o7777 != u32::from(wanted.mode))
        {
            self.disk.set_mode(at, wanted.mode)?;
        }
        if !shown.content.is_directory() && seen.stat.mtime != wanted.mtime {
            self.disk.set_mtime(at, wanted.mtime)?;
        }
        Ok(())
    }

    fn stat_staged(&self, name: &StagedName) -> Step<Option<DiskStat>> {
        self.stat_at(&Place::Staged(name.clone())).map_err(trouble)
    }
}

fn archive_failed(error: &io::Error) -> Box<Outcome> {
    problem("ARCHIVE_FAILED", format!("the old file cannot be kept in the archive ({error})"))
}

/// A file could not be moved from its path into the archive.
fn put_failed(error: io::Error) -> Box<Outcome> {
    match Errno::from_io_error(&error) {
        // Its own directory does not let it go.
        Some(Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::NOTDIR | Errno::LOOP) => trouble(error),
        Some(Errno::NOENT) => Box::new(Outcome::Touched),
        _ if error.kind() == io::ErrorKind::NotFound => Box::new(Outcome::Touched),
        _ => archive_failed(&error),
    }
}

/// A path that was there a moment ago and is not is the user's.
fn gone_or_trouble(error: io::Error) -> Box<Outcome> {
    if error.kind() == io::ErrorKind::NotFound { Box::new(Outcome::Touched) } else { trouble(error) }
}
