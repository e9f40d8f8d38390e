//! Directories, and changes of nothing but metadata.

use std::io;

use protocol::{Content, Record, RelPath, Shown};

use super::look::{Look, record_of};
use super::{Batch, Executor, Op, Outcome, Step, Why, parent_is_missing, trouble};
use crate::disk::{Kind, Place};

/// What a directory has that only its children imply.
const IMPLIED_MODE: u16 = 0o755;

impl Executor<'_> {
    pub(super) fn make_directory(
        &self,
        op: &Op,
        after: &Shown,
        number: usize,
        batch: &mut Batch,
    ) -> Step<Outcome> {
        let mode = if after.entries.is_empty() { IMPLIED_MODE } else { after.metadata.mode };
        // Ours until the batch is through: a directory may be read-only for its owner.
        match self.disk.make_directory(&Place::Folder(op.path.clone()), mode | 0o700) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return self.adopt_directory(op, after, mode, number, batch);
            }
            Err(e) => return Err(trouble(e)),
        }
        batch.touch(&op.path);
        if mode | 0o700 != mode {
            batch.modes.insert(op.path.clone(), (number, mode));
        }
        self.record(&op.path, after, None)
    }

    /// A directory is there: what is wanted, or left by a crash before it got its mode.
    fn adopt_directory(
        &self,
        op: &Op,
        after: &Shown,
        mode: u16,
        number: usize,
        batch: &mut Batch,
    ) -> Step<Outcome> {
        if self.is_foreign(&op.path)? {
            return Ok(Outcome::Touched);
        }
        if let Some(found) = self.shows(&op.path, after)? {
            return Ok(Outcome::Done(Some(record_of(after, &found))));
        }
        let unfinished = |found: &crate::disk::DiskStat| {
            found.kind == Kind::Directory && found.stat.mode & 0o1777 == u32::from(mode | 0o700) & 0o1777
        };
        if self.look(&op.path)?.as_ref().is_some_and(unfinished) {
            batch.modes.insert(op.path.clone(), (number, mode));
            return self.record(&op.path, after, None);
        }
        Ok(Outcome::Touched)
    }

    /// Removes an empty directory.
    pub(super) fn remove_directory(
        &self,
        path: &RelPath,
        before: &Record,
        batch: &mut Batch,
    ) -> Step<Outcome> {
        match self.judge(path, before)? {
            Look::Gone => return Ok(Outcome::Done(None)),
            Look::Touched => return Ok(Outcome::Touched),
            Look::Untouched(_) => {}
        }
        match self.disk.remove_directory(&Place::Folder(path.clone())) {
            Ok(()) => batch.touch(path),
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
                return Ok(Outcome::Waits(Why::NotEmpty));
            }
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Ok(Outcome::Touched),
            Err(e) if parent_is_missing(&e) => {}
            Err(e) => return Err(trouble(e)),
        }
        Ok(Outcome::Done(None))
    }

    /// The same content with other metadata (or for other entries).
    pub(super) fn change_metadata(
        &self,
        op: &Op,
        before: &Record,
        after: &Shown,
        number: usize,
        batch: &mut Batch,
    ) -> Step<Outcome> {
        let Look::Untouched(seen) = self.judge(&op.path, before)? else {
            let shown = self.shows(&op.path, after)?;
            return Ok(shown.map_or(Outcome::Touched, |found| Outcome::Done(Some(record_of(after, &found)))));
        };
        let place = Place::Folder(op.path.clone());
        match after.content {
            Content::Directory if after.entries.is_empty() => {}
            Content::Directory => {
                batch.modes.insert(op.path.clone(), (number, after.metadata.mode));
            }
            _ => self.dress(&place, &seen, after).map_err(trouble)?,
        }
        let Some(found) = self.look(&op.path)? else { return Ok(Outcome::Touched) };
        // Somebody put another file there meanwhile: at worst it has got a mode and a time.
        let same = found.stat.inode == seen.stat.inode && found.kind == seen.kind;
        let same = same && (found.kind != Kind::File || found.stat.size == seen.stat.size);
        Ok(if same { Outcome::Done(Some(record_of(after, &found))) } else { Outcome::Touched })
    }

    /// Gives directories the modes that would have kept us from filling them, deepest first.
    pub(super) fn set_directory_modes(&self, ops: &[Op], batch: &Batch, outcomes: &mut [Outcome]) {
        for (path, (number, mode)) in batch.modes.iter().rev() {
            let Some(after) = &ops[*number].after else { continue };
            let done = self.disk.set_mode(&Place::Folder(path.clone()), *mode);
            outcomes[*number] = match done {
                Ok(()) => self.record(path, after, None).unwrap_or_else(|outcome| *outcome),
                Err(e) => *trouble(e),
            };
        }
    }
}
