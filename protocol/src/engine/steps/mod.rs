//! From the state to the disk: windows of changes, planned, gathered, applied.
//!
//! The difference between what was applied and what the state shows is worked off in windows. A
//! step that fits into one is applied whole; of a larger one, what comes new is shown as it comes
//! and removals come last. What a window has dealt with is edited into the applied root, so that the
//! next window begins behind it, also after a crash. Paths that could not be applied are kept aside
//! and hold up nothing.
//!
//! While a window is carried out, the next one is planned and given to the disk, so that neither of
//! them waits for the other (`following`).
//!
//! Reading order: this file, `counting`, `planning`, `wanting`, `window`, `outcomes`, `following`.

mod counting;
mod following;
mod outcomes;
mod planning;
mod wanting;
mod window;

use std::collections::{BTreeSet, Bound, VecDeque};
use std::time::Duration;

pub(super) use self::window::Window;
use super::dirty::MAX_PATHS;
use super::staging::Staging;
use super::{Busy, Edits, Engine, EngineError, FolderStore, Reason};
use crate::entry::Entry;
use crate::path::RelPath;
use crate::store::NodeId;
use crate::tree::{Difference, Differences};

/// Paths that could not be applied are tried again this often.
const RETRY: Duration = Duration::from_secs(30);

/// What differs at a path: the edits, and one of the entries that go.
type Group = (RelPath, Edits, Option<Entry>);

/// The running step.
#[derive(Default)]
pub(super) struct Step {
    /// Planned, and not begun.
    window: Option<Window>,
    /// What the disk has been given, in this order.
    under_way: VecDeque<Window>,
    /// Windows that the disk is carrying out, of a folder that has been forgotten meanwhile.
    forgotten: usize,
    /// Up to which path the contents of a state are here, while there is more to do.
    up_to: Option<(NodeId, RelPath)>,
    /// Up to which path of a state contents have been wanted for windows to come.
    ahead: Option<(NodeId, RelPath)>,
    /// Behind this path contents are wanted for windows to come, when the disk has been given its work.
    next: Option<RelPath>,
    /// The state for which the need was counted and deletions were let through.
    counted: Option<NodeId>,
    /// How far what is put in the counted state has been dealt with.
    searched: Searched,
    /// Something is removed, which may be a rename.
    has_removals: bool,
    /// Deletions that were let through and are still to be made.
    let_through: u64,
    /// Contents that have come to a path since the step began, once it had to be known.
    arriving: Option<BTreeSet<u64>>,
    /// Paths that this step has changed: that they are noticed is no news.
    made: Made,
    need_files: u64,
    need_bytes: u64,
    tried_at: Option<Duration>,
    has_failed: bool,
}

/// How far a search through differences has come. What lies behind is still to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Searched {
    /// It goes on here.
    Until(Bound<RelPath>),
    Everything,
}

impl Default for Searched {
    fn default() -> Self {
        Self::Until(Bound::Unbounded)
    }
}

/// Paths that the last windows have made, so that news of them is known to be of our own doing.
/// Remembered for as long as such news may wait for a scan, not for all of a first sync: when more
/// has been made than [`MAX_PATHS`], everything is scanned. By a tag of each: that two paths share one
/// means that news of the other is looked at a moment sooner or later.
#[derive(Default)]
struct Made {
    lately: BTreeSet<u64>,
    before: BTreeSet<u64>,
}

impl Made {
    fn add(&mut self, path: &RelPath) {
        if self.lately.len() == MAX_PATHS {
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(tag(path));
    }

    fn remove(&mut self, path: &RelPath) {
        let tag = tag(path);
        self.lately.remove(&tag);
        self.before.remove(&tag);
    }

    fn contains(&self, path: &RelPath) -> bool {
        let tag = tag(path);
        self.lately.contains(&tag) || self.before.contains(&tag)
    }
}

fn tag(path: &RelPath) -> u64 {
    start_of(blake3::hash(path.as_bytes()).as_bytes())
}

/// Stands for a hash: enough to tell those of a folder apart.
fn start_of(hash: &[u8]) -> u64 {
    hash.first_chunk().map_or(0, |start| u64::from_le_bytes(*start))
}

impl Step {
    pub(super) fn is_running(&self) -> bool {
        self.window.is_some() || !self.under_way.is_empty()
    }

    /// Begins anew; what the disk has been given is none of ours any more.
    pub(super) fn forget(&mut self) {
        *self = Self { forgotten: self.forgotten + self.under_way.len(), ..Self::default() };
    }

    /// Whether a path is being changed right now.
    pub(super) fn is_changing(&self, path: &RelPath) -> bool {
        self.under_way.iter().any(|window| window.has(path))
    }

    /// What is being carried out.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Window> {
        self.under_way.iter()
    }

    /// Whether this is of our own doing, as far as is remembered.
    pub(super) fn has_made(&self, path: &RelPath) -> bool {
        self.made.contains(path)
    }

    /// These are looked at: what is noticed of them from now on is news.
    pub(super) fn look_at_made(&mut self, paths: &BTreeSet<RelPath>) {
        paths.iter().for_each(|path| self.made.remove(path));
    }

    /// The same of all that was made.
    pub(super) fn forget_made(&mut self) {
        self.made = Made::default();
    }

    pub(super) fn up_to(&self) -> Option<(NodeId, RelPath)> {
        self.up_to.clone()
    }

    /// Gives the planned window up, to be planned anew; answers its paths.
    pub(super) fn drop_window(&mut self) -> Vec<RelPath> {
        let window = self.window.take();
        let Some(window) = window else { return Vec::new() };
        window.unplanned().chain(window.ops.iter().map(|op| &op.path)).cloned().collect()
    }

    pub(super) fn roots(&self) -> impl Iterator<Item = NodeId> {
        let windows = self.under_way.iter().chain(&self.window);
        windows.flat_map(|window| [window.roots.0, window.roots.1]).chain(self.planned()).chain(self.counted)
    }

    /// What is applied when all that is under way has been carried out.
    fn planned(&self) -> Option<NodeId> {
        self.under_way.back().and_then(|window| window.then)
    }

    /// What there is to do is counted anew.
    pub(super) fn count_again(&mut self) {
        self.counted = None;
        self.searched = Searched::default();
    }

    /// The state has moved on, and puts something from this path on: what lies before it has been
    /// searched as before.
    fn search_again_from(&mut self, first: Option<RelPath>, old: NodeId, new: NodeId) {
        let ahead =
            self.ahead.take().filter(|(of, to)| *of == old && first.as_ref().is_none_or(|first| to < first));
        self.ahead = ahead.map(|(_, to)| (new, to));
        let Some(first) = first else { return };
        let is_ahead = match &self.searched {
            Searched::Until(Bound::Unbounded) => true,
            Searched::Until(Bound::Included(path) | Bound::Excluded(path)) => *path < first,
            Searched::Everything => false,
        };
        if !is_ahead {
            self.searched = Searched::Until(Bound::Included(first));
        }
    }

    /// Something is left to be decided, though nothing has happened.
    pub(super) fn goes_on(&self) -> bool {
        self.next.is_some()
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
        match self.busy {
            Busy::No => {}
            Busy::Applying => return self.advance_following(now),
            Busy::Scanning { .. } => return Ok(()),
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
            let is_done = roots.0 == roots.1 && self.revisit.is_empty();
            if !is_done && !self.count_arrivals(now)? {
                return Ok(());
            }
            if self.is_planned()? {
                break;
            }
            if is_done {
                self.end_step();
                return Ok(());
            }
            let window = self.plan_next(now)?;
            if !window.ops.is_empty() {
                self.want_window(window)?;
                break;
            }
            self.close_window(now, window, Vec::new())?;
        }
        if self.staging.is_settled()
            && let Some(window) = self.step.window.take()
            && let Some(empty) = self.start_apply(window)?
        {
            self.close_window(now, empty, Vec::new())?;
            return self.advance_step(now);
        }
        Ok(())
    }

    /// Whether the next window is planned. One that is out of date is planned anew.
    fn is_planned(&mut self) -> Result<bool, EngineError> {
        let Some(mut window) = self.step.window.take() else { return Ok(false) };
        if window.roots.1 != self.planned() || !self.revisit.is_empty() || !self.is_still_wanted(&window)? {
            // With what nothing but it would lead to.
            self.revisit.extend(window.revisited);
            return Ok(false);
        }
        window.move_on(self.state.entries);
        self.step.window = Some(window);
        Ok(true)
    }

    fn end_step(&mut self) {
        if self.step.counted.take().is_some() || self.step.window.is_some() {
            self.step.window = None;
            self.step.searched = Searched::default();
            self.step.arriving = None;
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

    /// What will have been applied before the next window.
    fn planned(&self) -> NodeId {
        self.step.planned().unwrap_or(self.applied)
    }

    /// What differs between the applied entries and the state, path by path.
    pub(super) fn groups_of_differences(&self) -> impl Iterator<Item = Result<Group, EngineError>> {
        let (old, new) = (self.tree(self.applied), self.tree(self.state.entries));
        groups(old.diff(&new))
    }

    /// The same, from some path on.
    fn groups_from(
        &self,
        from: Bound<&RelPath>,
    ) -> Result<impl Iterator<Item = Result<Group, EngineError>>, EngineError> {
        let (old, new) = (self.tree(self.planned()), self.tree(self.state.entries));
        let mut differences = old.diff(&new);
        match from {
            Bound::Included(path) => differences.seek_past(|key| key.path < *path)?,
            Bound::Excluded(path) => differences.seek_past(|key| key.path <= *path)?,
            Bound::Unbounded => {}
        }
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
