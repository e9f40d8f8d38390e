//! From the state to the disk: windows of changes, planned, gathered, applied.
//!
//! The difference between what was applied and what the state shows is worked off in windows. A
//! step that fits into one is applied whole; of a larger one, what comes new is shown as it comes
//! and removals come last. What a window has dealt with is edited into the applied root, so that the
//! next window begins behind it, also after a crash. Paths that could not be applied are kept aside
//! and hold up nothing.
//!
//! Reading order: this file, `planning`, `window`, `outcomes`.

mod outcomes;
mod planning;
mod window;

use std::collections::BTreeSet;
use std::time::Duration;

use self::window::Window;
use super::dirty::MAX_PATHS;
use super::staging::Staging;
use super::{Busy, Edits, Engine, EngineError, FolderStore, Reason};
use crate::entry::{Content, Entry};
use crate::path::RelPath;
use crate::render::Entries;
use crate::store::NodeId;
use crate::tree::{Difference, Differences};

/// Paths that could not be applied are tried again this often.
const RETRY: Duration = Duration::from_secs(30);

/// What differs at a path: the edits, and one of the entries that go.
type Group = (RelPath, Edits, Option<Entry>);

/// The running step.
#[derive(Default)]
pub(super) struct Step {
    window: Option<Window>,
    /// Up to which path the contents of a state are here, while there is more to do.
    up_to: Option<(NodeId, RelPath)>,
    /// Up to which path of a state contents have been wanted for windows to come.
    ahead: Option<(NodeId, RelPath)>,
    /// The state for which the need was counted and deletions were let through.
    counted: Option<NodeId>,
    /// The state of which only removals are left.
    removals_only: Option<NodeId>,
    /// Something is removed, which may be a rename.
    has_removals: bool,
    /// Deletions that were let through and are still to be made.
    let_through: u64,
    /// Paths that this step has changed: that they are noticed is no news.
    made: Made,
    need_files: u64,
    need_bytes: u64,
    tried_at: Option<Duration>,
    has_failed: bool,
}

/// Paths that the last windows have made, so that news of them is known to be of our own doing.
/// Remembered for as long as such news may wait for a scan, not for all of a first sync: when more
/// has been made than [`MAX_PATHS`], everything is scanned.
#[derive(Default)]
struct Made {
    lately: BTreeSet<RelPath>,
    before: BTreeSet<RelPath>,
}

impl Made {
    fn add(&mut self, path: &RelPath) {
        if self.lately.len() == MAX_PATHS {
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(path.clone());
    }

    fn remove(&mut self, path: &RelPath) {
        self.lately.remove(path);
        self.before.remove(path);
    }

    fn contains(&self, path: &RelPath) -> bool {
        self.lately.contains(path) || self.before.contains(path)
    }
}
impl Step {
    pub(super) fn is_running(&self) -> bool {
        self.window.is_some()
    }

    /// Whether this is of our own doing, as far as is remembered.
    pub(super) fn has_made(&self, path: &RelPath) -> bool {
        self.made.contains(path)
    }

    /// These, or all that was made, are looked at: what is noticed of them from now on is news.
    pub(super) fn look_at_made(&mut self, paths: &BTreeSet<RelPath>, all: bool) {
        if all {
            self.made = Made::default();
        }
        for path in paths {
            self.made.remove(path);
        }
    }

    pub(super) fn up_to(&self) -> Option<(NodeId, RelPath)> {
        self.up_to.clone()
    }

    /// Gives the window up, to be planned anew; answers its paths. Not while it is being applied.
    pub(super) fn drop_window(&mut self) -> Vec<RelPath> {
        let window = self.window.take();
        let Some(window) = window else { return Vec::new() };
        window.unplanned().chain(window.ops.iter().map(|op| &op.path)).cloned().collect()
    }

    pub(super) fn roots(&self) -> Option<[NodeId; 2]> {
        self.window.as_ref().map(|window| [window.roots.0, window.roots.1])
    }

    /// What there is to do is counted anew.
    pub(super) fn count_again(&mut self) {
        self.counted = None;
    }

    pub(super) fn retry_at(&self) -> Option<Duration> {
        self.tried_at.filter(|_| self.has_failed).map(|at| at + RETRY)
    }

    pub(super) fn need(&self, staging: &Staging) -> (u64, u64) {
        (self.need_files, self.need_bytes.max(staging.need_bytes()))
    }
}
impl<S: FolderStore> Engine<S> {
    pub(super) fn advance_step(&mut self, now: Duration) -> Result<(), EngineError> {
        if self.is_stopped() || !self.scanned || self.first_head_by.is_some() {
            return Ok(());
        }
        if self.busy != Busy::No {
            return Ok(());
        }
        if self.step.retry_at().is_some_and(|at| now >= at) {
            self.step.has_failed = false;
            self.stuck.clear();
            if !self.peers.is_empty() {
                self.retry(Reason::NoContent);
            }
            self.retry(Reason::Problem);
            self.retry(Reason::Waiting);
        }
        loop {
            let roots = (self.state.entries, self.applied);
            let is_old = |window: &mut Window| window.roots != roots || !self.revisit.is_empty();
            if let Some(window) = self.step.window.take_if(is_old) {
                // It is planned anew, with what nothing but it would lead to.
                self.revisit.extend(window.revisited);
            }
            if self.step.window.is_some() {
                break;
            }
            if roots.0 == roots.1 && self.revisit.is_empty() {
                self.end_step();
                return Ok(());
            }
            if !self.count_arrivals(now)? {
                return Ok(());
            }
            self.plan_window(now)?;
            if self.step.window.as_ref().is_some_and(|window| !window.ops.is_empty()) {
                break;
            }
            self.close_window(now, Vec::new())?;
        }
        if self.staging.is_settled() && !self.start_apply()? {
            self.close_window(now, Vec::new())?;
            return self.advance_step(now);
        }
        Ok(())
    }

    fn end_step(&mut self) {
        if self.step.counted.take().is_some() || self.step.window.is_some() {
            self.step.window = None;
            self.step.removals_only = None;
            self.step.up_to = None;
            self.step.ahead = None;
            self.step.let_through = 0;
            (self.step.need_files, self.step.need_bytes) = (0, 0);
            let forgotten = self.staging.clear();
            self.forget(forgotten);
        }
        if !self.unapplied.values().any(|why| why.reason == Reason::NoContent) {
            let forgotten = self.staging.take_partial();
            self.forget(forgotten);
        }
        self.tell_complete();
    }

    /// Counts what the step has to do, once for each state; whether it may be done.
    fn count_arrivals(&mut self, now: Duration) -> Result<bool, EngineError> {
        if self.step.counted == Some(self.state.entries) {
            return Ok(true);
        }
        let (mut files, mut bytes, mut has_removals) = (0, 0, false);
        let mut gone = Vec::new();
        let new = self.tree(self.state.entries);
        for group in self.groups_of_differences() {
            let (path, edits, removed) = group?;
            let put = edits.iter().find_map(|(_, entry)| entry.as_ref());
            has_removals |= put.is_none();
            let content = put.or(removed.as_ref()).map(|entry| entry.content.clone());
            let Some(content) = content.filter(|content| !content.is_directory()) else { continue };
            if self.rules.is_ignored(&path, false) {
                continue;
            }
            files += 1;
            match put {
                Some(_) => bytes += content.size_bytes(),
                // Not if only one of several entries of equal content goes.
                None if !new.at(&path)?.iter().any(|entry| entry.content == content) => gone.push(content),
                None => {}
            }
        }
        gone.extend(self.deletions_put_off()?.into_iter().map(|(_, record)| record.shown.content));
        let gone = self.gone_for_good(gone)?;
        let known = self.state.totals.files + gone;
        // What was let through for an earlier state, and is not made yet, has been counted.
        let new = gone.saturating_sub(self.step.let_through);
        if self.guard.refuses(now, new, known, self.settings.hold_deletions, false) {
            self.hold_deletions(gone, known, false);
            return Ok(false);
        }
        self.step.let_through = gone;
        self.step.has_removals = has_removals;
        self.step.counted = Some(self.state.entries);
        (self.step.need_files, self.step.need_bytes) = (files, bytes);
        Ok(true)
    }

    /// How many of these contents do not come to another path in the same step.
    fn gone_for_good(&self, mut gone: Vec<Content>) -> Result<u64, EngineError> {
        let mut leaving: BTreeSet<_> = gone.iter().cloned().collect();
        if !leaving.is_empty() {
            for group in self.groups_of_differences() {
                let (_, edits, _) = group?;
                edits.iter().filter_map(|(_, entry)| entry.as_ref()).for_each(|entry| {
                    leaving.remove(&entry.content);
                });
            }
        }
        gone.retain(|content| leaving.contains(content));
        Ok(gone.len() as u64)
    }

    /// What differs between the applied entries and the state, path by path.
    pub(super) fn groups_of_differences(&self) -> impl Iterator<Item = Result<Group, EngineError>> {
        let (old, new) = (self.tree(self.applied), self.tree(self.state.entries));
        groups(old.diff(&new))
    }

    /// The same, of what lies behind a path.
    fn groups_behind(
        &self,
        path: &RelPath,
    ) -> Result<impl Iterator<Item = Result<Group, EngineError>>, EngineError> {
        let (old, new) = (self.tree(self.applied), self.tree(self.state.entries));
        let mut differences = old.diff(&new);
        differences.seek_past(|key| key.path <= *path)?;
        Ok(groups(differences))
    }
}

fn groups(differences: Differences<'_, Entry>) -> impl Iterator<Item = Result<Group, EngineError>> {
    let mut differences = differences.peekable();
    std::iter::from_fn(move || {
        let first = match differences.next()? {
            Ok(first) => first,
            Err(error) => return Some(Err(error.into())),
        };
        let path = first.key.path.clone();
        let mut removed = first.left.clone();
        let mut edits = vec![(first.key, first.right)];
        while let Some(Ok(Difference { key, .. })) = differences.peek() {
            if key.path != path {
                break;
            }
            if let Some(Ok(next)) = differences.next() {
                removed = removed.or(next.left);
                edits.push((next.key, next.right));
            }
        }
        Some(Ok((path, edits, removed)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_remembered_for_as_long_as_its_news_may_wait_for_a_scan() {
        let path = |n: usize| RelPath::parse(format!("f{n}").as_bytes()).expect("a path");
        let mut made = Made::default();
        (0..MAX_PATHS).for_each(|n| made.add(&path(n)));
        assert!(made.contains(&path(0)), "so many paths may be noticed before all is scanned");
        (MAX_PATHS..3 * MAX_PATHS).for_each(|n| made.add(&path(n)));
        assert!(!made.contains(&path(0)), "not all of a first sync");
    }
}
