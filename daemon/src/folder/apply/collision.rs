//! Names that the disk does not tell apart, or would write in another way.
//!
//! One of two such names is here, the other cannot be. It is left as it is, and so is whatever would
//! be below it: the way there leads into the other one.

use std::collections::BTreeMap;

use protocol::RelPath;

use super::{Batch, Executor, Op, Outcome, Source, Step, Why, op_name, problem, trouble};
use crate::disk::{Kind, Place};
use crate::folder::spelling::Spelling;

impl Executor<'_> {
    /// Whether something answers to a path, but is called otherwise.
    pub(super) fn is_foreign(&self, path: &RelPath) -> Step<bool> {
        Ok(self.other_name(path)?.is_some())
    }

    fn other_name(&self, path: &RelPath) -> Step<Option<RelPath>> {
        let Some(found) = self.look(path)? else { return Ok(None) };
        self.spelling.other_name(path, &found).map_err(trouble)
    }

    /// Nothing can be put at a path that is in use: says whether it is so by another name.
    pub(super) fn explain(&self, op: &Op, outcome: Outcome, batch: &mut Batch) -> Outcome {
        let is_new = op.before.is_none() || batch.vacated.contains(&op.path);
        if !matches!(outcome, Outcome::Touched) || op.after.is_none() || !is_new {
            return outcome;
        }
        match self.other_name(&op.path) {
            Ok(Some(other)) => {
                batch.refused.insert(op.path.clone());
                collision(&op.path, &other)
            }
            _ => outcome,
        }
    }

    /// Whether the op would lead into a directory of another name; then what was taken aside for it
    /// goes back.
    pub(super) fn is_led_astray(&self, op: &Op, batch: &Batch) -> bool {
        let refused = op.path.ancestors().any(|above| batch.refused.contains(&above));
        if refused && let Err(outcome) = self.give_back(op) {
            tracing::warn!(path = %op.path, ?outcome, "what was taken aside stays in staging");
        }
        refused
    }

    /// A rename of nothing but the spelling: the file is in its own way, and goes aside first.
    pub(super) fn respell(&self, op: &Op, batch: &mut Batch) -> Step<Option<Outcome>> {
        let (Source::MovedFrom { path: old, .. }, Some(after)) = (&op.source, &op.after) else {
            return Ok(None);
        };
        if self.other_name(&op.path)?.as_ref() != Some(old) {
            return Ok(None);
        }
        if self.acquire(op, after)?.is_none() {
            return Ok(None);
        }
        batch.touch(old);
        batch.vacated.insert(old.clone());
        self.create(op, after, batch).map(Some)
    }

    /// Takes back what the disk has written under another name than it was told.
    pub(super) fn take_back_respelled(&self, ops: &[Op], outcomes: &mut [Outcome]) {
        let spelling = Spelling::new(self.disk);
        let is_new = |op: &Op| op.before.is_none() && op.after.is_some();
        let mut respelled = BTreeMap::new();
        for (op, outcome) in ops.iter().zip(&*outcomes) {
            let is_plain = op.path.name().is_ascii();
            if is_plain || !is_new(op) || !matches!(outcome, Outcome::Done(_)) {
                continue;
            }
            if let Ok(Some(found)) = self.look(&op.path)
                && let Ok(Some(other)) = spelling.other_name(&op.path, &found)
            {
                respelled.insert(op.path.clone(), other);
            }
        }
        if respelled.is_empty() {
            return;
        }
        // Deepest first: what was put below goes as well.
        for (op, outcome) in ops.iter().zip(outcomes).rev() {
            let is_below = op.path.ancestors().any(|above| respelled.contains_key(&above));
            let other = respelled.get(&op.path);
            if (other.is_none() && !is_below) || !is_new(op) || !matches!(outcome, Outcome::Done(_)) {
                continue;
            }
            *outcome = match (self.take_back(op), other) {
                (Err(trouble), _) => *trouble,
                (Ok(()), Some(other)) => collision(&op.path, other),
                (Ok(()), None) => Outcome::Waits(Why::ParentMissing),
            };
        }
    }

    fn take_back(&self, op: &Op) -> Step<()> {
        let at = Place::Folder(op.path.clone());
        if self.look(&op.path)?.is_some_and(|found| found.kind == Kind::Directory) {
            return self.disk.remove_directory(&at).map_err(trouble);
        }
        self.disk.rename_new(&at, &Place::Staged(op_name(&op.path))).map_err(trouble)?;
        self.give_back(op)
    }
}

fn collision(path: &RelPath, other: &RelPath) -> Outcome {
    *problem(
        "COLLISION",
        format!(
            "this disk takes `{path}` and `{other}` for one name, and the latter is what it has: rename one of \
             them on a device that tells them apart"
        ),
    )
}
