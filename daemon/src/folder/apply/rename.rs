//! Renames: of files, and of whole directories.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use protocol::{Record, RelPath, Shown};

use super::look::{Look, same_thing};
use super::{Batch, Executor, Op, Outcome, Source, Step, problem, trouble};
use crate::disk::{Kind, Place, StagedName};

impl Executor<'_> {
    /// Renames a file or a whole directory to a name that is free.
    pub(super) fn move_directly(
        &self,
        op: &Op,
        after: &Shown,
        old: &RelPath,
        record: &Record,
        batch: &mut Batch,
    ) -> Step<Outcome> {
        let seen = match self.judge(old, record)? {
            Look::Untouched(seen) => seen,
            _ => return self.without_source(op, after),
        };
        let (from, to) = (Place::Folder(old.clone()), Place::Folder(op.path.clone()));
        match self.disk.rename_new(&from, &to) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(self.respell(op, batch)?.unwrap_or(Outcome::Touched));
            }
            renamed => renamed.map_err(trouble)?,
        }
        batch.touch(&op.path);
        batch.touch(old);
        let Some(found) = self.look(&op.path)? else { return Ok(Outcome::Touched) };
        let moved_directory = found.kind == Kind::Directory && found.stat.inode == seen.stat.inode;
        if moved_directory || same_thing(&seen, &found) {
            self.dress(&to, &found, after).map_err(trouble)?;
            return self.record(&op.path, after, Some(&found));
        }
        // An edit that slipped in: back to its name.
        match self.disk.rename_new(&to, &from) {
            Ok(()) => Err(problem("SOURCE_CHANGED", "the file to be renamed was just changed")),
            Err(_) => self.displaced(old, &to, found, None),
        }
    }

    /// Takes the sources of moves aside whose targets are in use, so that a swap of two names, or a
    /// ring, needs no order. Answers the ops that have ended with it.
    pub(super) fn vacate(&self, ops: &[Op], batch: &mut Batch) -> BTreeMap<usize, Box<Outcome>> {
        let targets: BTreeSet<_> = ops.iter().filter(|op| op.after.is_some()).map(|op| &op.path).collect();
        let mut early = BTreeMap::new();
        for (number, op) in ops.iter().enumerate() {
            let (Source::MovedFrom { path, .. }, Some(after)) = (&op.source, &op.after) else { continue };
            if op.before.is_none() && !targets.contains(path) {
                continue;
            }
            match self.with_access(op, batch, |_| self.acquire(op, after)) {
                Ok(Some(_)) => {
                    batch.touch(path);
                    batch.vacated.insert(path.clone());
                }
                Ok(None) => {}
                Err(outcome) => {
                    early.insert(number, outcome);
                }
            }
        }
        early
    }

    /// Takes one source aside; `None` if it is not what it should be.
    pub(super) fn take_aside(
        &self,
        old: &RelPath,
        record: &Record,
        name: StagedName,
    ) -> Step<Option<StagedName>> {
        let Look::Untouched(seen) = self.judge(old, record)? else { return Ok(None) };
        let (from, aside) = (Place::Folder(old.clone()), Place::Staged(name.clone()));
        self.disk.rename_new(&from, &aside).map_err(trouble)?;
        let Some(found) = self.stat_at(&aside).map_err(trouble)? else { return Ok(None) };
        let directory = found.kind == Kind::Directory && found.stat.inode == seen.stat.inode;
        if directory || same_thing(&seen, &found) {
            return Ok(Some(name));
        }
        match self.disk.rename_new(&aside, &from) {
            Ok(()) => Ok(None),
            Err(_) => Err(Box::new(self.displaced(old, &aside, found, None)?)),
        }
    }
}
