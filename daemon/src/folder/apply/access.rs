//! Directories that forbid their owner to write.
//!
//! What is in them is changed all the same, as it would be if root did it: the directory is opened
//! for as long as the batch lasts. A crash meanwhile leaves it writable, which is the less evil of
//! the two.

use super::{Batch, Executor, Op, Outcome, Source, Step, parent_is_missing};
use crate::disk::{Kind, Place};
use protocol::RelPath;

/// What an owner needs to change names in a directory.
pub(super) const OWNERS: u32 = 0o700;

impl Executor<'_> {
    /// Does a part of an op; where that is forbidden and we can allow it, once more.
    pub(super) fn with_access<T>(
        &self,
        op: &Op,
        batch: &mut Batch,
        part: impl Fn(&mut Batch) -> Step<T>,
    ) -> Step<T> {
        let done = part(batch);
        let is_forbidden = |outcome: &Outcome| matches!(outcome, Outcome::Problem { code: "PERMISSION", .. });
        match done {
            Err(outcome) if is_forbidden(&outcome) && self.unlock(op, batch) => part(batch),
            done => done,
        }
    }

    /// Opens the directories in which the op changes names; whether any was not.
    fn unlock(&self, op: &Op, batch: &mut Batch) -> bool {
        let from = match &op.source {
            Source::MovedFrom { path, .. } => path.parent(),
            _ => None,
        };
        let mut any = false;
        for directory in [op.path.parent(), from].into_iter().flatten() {
            any |= self.unlock_one(directory, batch);
        }
        any
    }

    fn unlock_one(&self, directory: RelPath, batch: &mut Batch) -> bool {
        let at = Place::Folder(directory.clone());
        let Ok(Some(found)) = self.disk.stat(&at) else { return false };
        let mode = found.stat.mode & 0o1777;
        let is_open = mode & OWNERS == OWNERS;
        if found.kind != Kind::Directory
            || is_open
            || self.disk.set_mode(&at, (mode | OWNERS) as u16).is_err()
        {
            return false;
        }
        batch.unlocked.insert(directory, mode as u16);
        true
    }

    /// The directory is itself what the next op is about: it is to be found as it was.
    pub(super) fn lock(&self, path: &RelPath, batch: &mut Batch) {
        if let Some(mode) = batch.unlocked.remove(path) {
            self.set_back(path, mode);
        }
    }

    /// All that were opened get their modes back, deepest first.
    pub(super) fn lock_all(&self, batch: &mut Batch) {
        for (path, mode) in std::mem::take(&mut batch.unlocked).into_iter().rev() {
            self.set_back(&path, mode);
        }
    }

    fn set_back(&self, path: &RelPath, mode: u16) {
        match self.disk.set_mode(&Place::Folder(path.clone()), mode) {
            Ok(()) => {}
            Err(error) if parent_is_missing(&error) => {}
            Err(error) => tracing::warn!(%path, %error, "a directory does not get its mode back"),
        }
    }
}
