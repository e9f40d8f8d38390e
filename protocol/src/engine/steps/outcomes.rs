//! Carrying out a window, and what has become of it.

use std::collections::{BTreeMap, BTreeSet, Bound};
use std::time::Duration;

use crate::commit::Draft;
use crate::engine::staging::Failure;
use crate::engine::{
    Busy, Changes, Effect, Engine, EngineError, FolderStore, Outcome, Reason, Settle, Source, Unapplied,
};
use crate::entry::{Content, ContentId, Entry};
use crate::path::RelPath;
use crate::plan::Why;
use crate::record::Seen;
use crate::version::Version;

use super::Searched;
use super::window::Window;

/// What the outcomes of a window lead to.
#[derive(Default)]
struct Taken {
    /// Something was done.
    progress: bool,
    /// Contents that were not put where they were wanted.
    left: BTreeSet<ContentId>,
    /// Users' edits that came out.
    edits: Vec<(RelPath, Seen)>,
}

impl<S: FolderStore> Engine<S> {
    /// All that can be had is here. Answers the window if nothing is left to be done.
    pub(super) fn start_apply(&mut self, mut window: Window) -> Result<Option<Window>, EngineError> {
        let last = window.edits.last().map(|(key, _)| key.path.clone());
        let mut changes = Changes { durable: true, ..Changes::default() };
        let mut failed = Vec::new();
        let mut lacking = BTreeSet::new();
        let staging = &self.staging;
        window.ops.retain(|op| {
            let Source::Staged(content) = &op.source else { return true };
            let failure = staging.failure(content);
            if let Some(failure) = &failure {
                failed.push((op.path.clone(), failure.clone()));
                lacking.insert(*content);
            }
            failure.is_none()
        });
        let ops = std::mem::take(&mut window.ops);
        for op in &ops {
            window.sources.insert(op.path.clone(), op.source.clone());
            if op.after.is_none() && op.before.as_ref().is_some_and(crate::engine::holds::counts) {
                window.deletes.insert(op.path.clone());
            }
            if let Some(after) = op.after.as_ref().filter(|after| after.content.is_directory()) {
                window.directories.push((op.path.clone(), after.clone()));
            }
            // News of it can be here before the outcome is.
            self.step.made.add(&op.path);
            changes.journal.push((op.path.clone(), op.after.clone()));
            if let Source::Moved(from, _) = &op.source {
                self.step.made.add(from);
                changes.journal.push((from.clone(), None));
            }
        }
        for (path, failure) in failed {
            let (reason, message) = match failure {
                Failure::Nobody => (Reason::NoContent, "no connected device has this version".into()),
                Failure::Disk(message) => (Reason::Problem, message),
            };
            self.set_unapplied(&mut changes, path, Some(Unapplied { reason, message }));
            self.step.has_failed = true;
        }
        if !lacking.is_empty() {
            // Whoever wants them again begins anew.
            let lacking: Vec<_> = lacking.into_iter().collect();
            self.staging.take(&lacking);
            self.forget(lacking);
        }
        self.keep(changes)?;
        if ops.is_empty() {
            return Ok(Some(window));
        }
        self.step.under_way.push_back(window);
        self.busy = Busy::Applying;
        self.effects.push_back(Effect::Apply(ops));
        self.step.next = last.filter(|_| !self.step.has_removals);
        Ok(None)
    }

    pub(in crate::engine) fn on_applied(
        &mut self,
        now: Duration,
        outcomes: Vec<(RelPath, Outcome)>,
    ) -> Result<(), EngineError> {
        if self.busy != Busy::Applying {
            return Ok(());
        }
        let window = match self.step.forgotten.checked_sub(1) {
            Some(forgotten) => {
                self.step.forgotten = forgotten;
                None
            }
            None => self.step.under_way.pop_front(),
        };
        if self.step.forgotten == 0 && self.step.under_way.is_empty() {
            self.busy = Busy::No;
        }
        window.map_or(Ok(()), |window| self.close_window(now, window, outcomes))
    }

    /// Records what has become of a window.
    pub(super) fn close_window(
        &mut self,
        now: Duration,
        mut window: Window,
        outcomes: Vec<(RelPath, Outcome)>,
    ) -> Result<(), EngineError> {
        let is_overtaken = self.is_overtaken(&mut window)?;
        let settle = match self.step.under_way.is_empty() {
            true => Settle::Everything,
            false => Settle::Paths(window.journalled().cloned().collect()),
        };
        let used: Vec<_> = window.staged().collect();
        let mut changes = Changes { settle, records: window.records, ..Changes::default() };
        let blocked = window.blocked.into_iter().map(|path| (path, Why::Users));
        let not_empty = self.note_unplanned(&mut changes, window.waiting.into_iter().chain(blocked));
        for path in window.settled {
            if self.unapplied.get(&path).is_some_and(|why| why.reason != Reason::LocalChange) {
                self.set_unapplied(&mut changes, path, None);
            }
        }
        let taken = self.take_outcomes(now, &window.sources, &window.deletes, outcomes, &mut changes);
        self.judge_not_empty(&mut changes, not_empty);
        if !window.sources.is_empty() {
            self.staging.take(&used);
            self.forget(taken.left.into_iter().collect());
        }
        if taken.progress {
            self.stuck.clear();
            self.retry(Reason::Waiting);
        }
        if is_overtaken {
            // What has come since may want something else where the window has just put something.
            let paths: Vec<_> = changes.records.iter().map(|(path, _)| path.clone()).collect();
            self.leave_open(&mut changes, paths)?;
        }
        self.retry_collisions(&changes);
        self.applied = match window.then {
            Some(then) if window.roots.1 == self.applied => then,
            _ => self.tree(self.applied).edit(window.edits)?.root,
        };
        changes.saved = Some(self.saved());
        let before = self.told;
        if !taken.edits.is_empty() && self.is_writer() {
            self.commit_displaced(taken.edits, &mut changes)?;
        }
        self.keep(changes)?;
        self.announce(before, &[]);
        if self.applied == self.state.entries {
            let forgotten = self.staging.clear();
            self.forget(forgotten);
        }
        Ok(())
    }

    /// Whether the state wants something else by now at the paths of a window that has been carried out.
    /// If not, that is how far the step has come.
    fn is_overtaken(&mut self, window: &mut Window) -> Result<bool, EngineError> {
        if !self.is_still_wanted(window)? {
            return Ok(true);
        }
        window.move_on(self.state.entries);
        if let Some(searched) = window.searched.take() {
            if let Searched::Until(Bound::Excluded(path)) = &searched {
                self.news.set_up_to(self.state.entries, path.clone());
                self.step.up_to = Some((self.state.entries, path.clone()));
            }
            self.step.searched = searched;
        }
        Ok(false)
    }

    /// What has become of the operations of a window.
    fn take_outcomes(
        &mut self,
        now: Duration,
        sources: &BTreeMap<RelPath, Source>,
        deletes: &BTreeSet<RelPath>,
        outcomes: Vec<(RelPath, Outcome)>,
        changes: &mut Changes,
    ) -> Taken {
        let mut taken = Taken::default();
        for (path, outcome) in outcomes {
            let done = matches!(outcome, Outcome::Done(_) | Outcome::Displaced { .. });
            taken.progress |= done;
            if !done {
                self.step.made.remove(&path);
            }
            self.step.let_through -= u64::from(done && deletes.contains(&path)).min(self.step.let_through);
            match sources.get(&path) {
                Some(Source::Staged(content)) if !done => drop(taken.left.insert(*content)),
                Some(Source::Staged(content)) => self.staging.is_shown(content),
                Some(Source::Moved(from, _)) if done => {
                    self.set_unapplied(changes, from.clone(), None);
                    changes.records.push((from.clone(), None));
                }
                Some(Source::Moved(from, _)) => self.set_waiting(changes, from.clone()),
                _ => {}
            }
            if let Some(edit) = self.on_outcome(now, changes, path, outcome) {
                taken.edits.push(edit);
            }
        }
        taken
    }

    /// Why nothing could be planned for these. Answers the directories that are not empty, of which
    /// it is too early to tell.
    fn note_unplanned(
        &mut self,
        changes: &mut Changes,
        unplanned: impl Iterator<Item = (RelPath, Why)>,
    ) -> Vec<RelPath> {
        let mut not_empty = Vec::new();
        let is_reported = |why: &Unapplied| matches!(why.reason, Reason::LocalChange | Reason::Unsynced);
        for (path, why) in unplanned {
            match why {
                Why::Ignored => self.set_unapplied(changes, path, Some(Self::not_wanted())),
                _ if self.unapplied.get(&path).is_some_and(is_reported) => {}
                Why::NotEmpty => not_empty.push(path),
                _ => self.set_waiting(changes, path),
            }
        }
        not_empty
    }

    /// Directories that shall go and are not empty, deepest first: what is below them tells why.
    fn judge_not_empty(&mut self, changes: &mut Changes, mut directories: Vec<RelPath>) {
        directories.sort_by(|a, b| b.cmp(a));
        for path in directories {
            if self.holds_only_ignored(&path) {
                self.set_unapplied(changes, path, Some(Self::not_wanted()));
            } else {
                self.set_waiting(changes, path);
            }
        }
    }

    pub(super) fn set_waiting(&mut self, changes: &mut Changes, path: RelPath) {
        let why = Unapplied { reason: Reason::Waiting, message: String::new() };
        self.set_unapplied(changes, path, Some(why));
    }

    /// The disk is not as the plan thought: without a change it makes no sense to try again soon.
    pub(super) fn get_stuck(&mut self, changes: &mut Changes, path: RelPath) {
        self.step.has_failed = true;
        self.stuck.insert(path.clone());
        self.set_waiting(changes, path);
    }

    pub(super) fn on_outcome(
        &mut self,
        now: Duration,
        changes: &mut Changes,
        path: RelPath,
        outcome: Outcome,
    ) -> Option<(RelPath, Seen)> {
        self.step.need_files = self.step.need_files.saturating_sub(1);
        match outcome {
            Outcome::Done(record) => {
                self.set_unapplied(changes, path.clone(), None);
                changes.records.push((path, record));
                None
            }
            Outcome::Displaced { record, edit } => {
                self.set_unapplied(changes, path.clone(), None);
                changes.records.push((path.clone(), record));
                if let (true, Content::File { id, .. }) = (self.is_writer(), &edit.content) {
                    self.staging.keep_displaced(*id);
                }
                Some((path, edit))
            }
            Outcome::Touched => {
                self.dirty.add(now, crate::engine::Noticed::Paths(vec![path.clone()]), |_| false);
                self.get_stuck(changes, path);
                None
            }
            Outcome::Waits => {
                self.get_stuck(changes, path);
                None
            }
            Outcome::HoldsIgnored => {
                self.set_unapplied(changes, path, Some(Self::not_wanted()));
                None
            }
            Outcome::Collision(message) => {
                // Only a name that goes can help: its bytes are not gathered again before.
                self.set_unapplied(changes, path, Some(Unapplied { reason: Reason::Collision, message }));
                None
            }
            Outcome::Problem(message) => {
                self.step.has_failed = true;
                self.set_unapplied(changes, path, Some(Unapplied { reason: Reason::Problem, message }));
                None
            }
        }
    }

    /// Files that were written to after they had been displaced. A stopped folder forgets this; the
    /// archive still has them.
    pub(in crate::engine) fn on_edited(&mut self, edits: Vec<(RelPath, Seen)>) -> Result<(), EngineError> {
        if self.is_stopped() || !self.is_writer() || edits.is_empty() {
            return Ok(());
        }
        let mut changes = Changes::default();
        let before = self.told;
        self.commit_displaced(edits, &mut changes)?;
        self.keep(changes)?;
        self.announce(before, &[]);
        Ok(())
    }

    /// A user's edit came out when a path was replaced: it is committed as an edit of that path, as
    /// a scan a moment earlier would have done. Its bytes are staged, so the next window shows it.
    pub(super) fn commit_displaced(
        &mut self,
        edits: Vec<(RelPath, Seen)>,
        changes: &mut Changes,
    ) -> Result<(), EngineError> {
        let version = Version { seq: self.state.context.next_seq(), origin: self.identity.origin };
        let put = edits
            .into_iter()
            .map(|(path, seen)| Entry {
                path,
                version,
                found: false,
                content: seen.content,
                metadata: seen.metadata,
                extra: Vec::new(),
            })
            .collect();
        let applied = self.applied;
        let nodes = self.commit(Draft { version, removed: Vec::new(), put }, changes)?;
        drop(nodes);
        // The disk does not show these entries yet: they are differences for the next window.
        self.applied = applied;
        changes.saved = Some(self.saved());
        Ok(())
    }
}
