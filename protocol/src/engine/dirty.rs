//! What has been noticed and is not looked at yet, and when it is time to look.

use std::collections::{BTreeSet, Bound};
use std::time::Duration;

use super::Noticed;
use crate::path::RelPath;

/// How long it must have been quiet before a single save is looked at.
const QUIET: Duration = Duration::from_millis(50);
/// What each further path of a burst adds to that.
const QUIET_A_PATH: Duration = Duration::from_millis(1);
/// How long where nobody but we have been at work, as far as is known: for the news to be complete.
const QUIET_OF_OURS: Duration = Duration::from_millis(10);
/// The longest that quiet is waited for after the last event.
const QUIET_AT_MOST: Duration = Duration::from_secs(2);
/// The longest that a change is not looked at under constant change.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same while all that is heard is that something is removed, and nothing speaks for waiting: what
/// is gone needs no more than one look, and peers can go along.
const PATIENCE_WITH_REMOVALS: Duration = Duration::from_millis(500);
/// More dirty paths than this are no longer told apart.
pub(super) const MAX_PATHS: usize = 50_000;

/// Paths that may have changed, and since when.
#[derive(Debug)]
pub(super) struct Dirty {
    paths: BTreeSet<RelPath>,
    /// Others, from which something was removed; none of them is below another.
    removed: BTreeSet<RelPath>,
    everything: bool,
    /// Nothing has been heard but of what is removed.
    only_removed: bool,
    /// There is nothing to wait for: what has changed is not known at all.
    is_lost: bool,
    /// How many paths have come that we have not made ourselves, those that are no longer told apart
    /// as well.
    burst: u32,
    first: Duration,
    last: Duration,
}

impl Dirty {
    pub(super) fn everything(now: Duration) -> Self {
        let (paths, removed) = (BTreeSet::new(), BTreeSet::new());
        let (first, last) = (now, now);
        Self { paths, removed, everything: true, only_removed: true, is_lost: true, burst: 0, first, last }
    }

    /// `is_ours`: what we have just made ourselves. It is looked at as well, since users may have
    /// been there too, but nobody is waited for.
    pub(super) fn add(&mut self, now: Duration, noticed: Noticed, is_ours: impl Fn(&RelPath) -> bool) {
        if !self.is_any() {
            self.first = now;
        }
        self.last = now;
        match noticed {
            Noticed::Everything => (self.everything, self.is_lost) = (true, true),
            Noticed::Paths(paths) => self.add_each(paths, is_ours, Self::add_path),
            Noticed::Removed(paths) => self.add_each(paths, is_ours, Self::add_removed),
        }
        if self.count() > MAX_PATHS {
            self.everything = true;
        }
        if self.everything {
            self.paths.clear();
            self.removed.clear();
        }
    }

    fn add_each(
        &mut self,
        paths: Vec<RelPath>,
        is_ours: impl Fn(&RelPath) -> bool,
        add: impl Fn(&mut Self, RelPath) -> u32,
    ) {
        for path in paths {
            let is_ours = is_ours(&path);
            let new = add(self, path);
            if !is_ours {
                self.burst = (self.burst + new).max(1);
            }
        }
    }

    /// Answers how many paths are new.
    fn add_path(&mut self, path: RelPath) -> u32 {
        self.only_removed = false;
        let is_known = self.removed.remove(&path);
        // What is below a removed directory is looked at with it.
        let is_covered =
            !self.removed.is_empty() && path.ancestors().any(|above| self.removed.contains(&above));
        u32::from(!is_covered && self.paths.insert(path) && !is_known)
    }

    /// Of a whole tree that is removed no more than its top is kept. Answers how many paths are new.
    fn add_removed(&mut self, path: RelPath) -> u32 {
        let is_new = !self.paths.contains(&path) && !self.removed.contains(&path);
        for set in [&mut self.paths, &mut self.removed] {
            let below = set.range((Bound::Included(&path), Bound::Unbounded));
            let below = below.take_while(|other| **other == path || other.is_below(Some(&path)));
            let below: Vec<_> = below.cloned().collect();
            for path in below {
                set.remove(&path);
            }
        }
        self.removed.insert(path);
        u32::from(is_new)
    }

    fn count(&self) -> usize {
        self.paths.len() + self.removed.len()
    }

    pub(super) fn is_any(&self) -> bool {
        self.everything || self.count() > 0
    }

    /// Whether somebody may have been at a path. Of paths that are no longer told apart nobody has, as far
    /// as is known, if all of them are of our own doing.
    pub(super) fn has(&self, path: &RelPath) -> bool {
        let is_anywhere = self.everything && (self.is_lost || self.burst > 0);
        is_anywhere || self.paths.contains(path) || self.removed.contains(path)
    }

    /// When it is time to look. `whole`: what is removed together must be seen together. `more`: we
    /// are about to change more, and look at what we have changed when that is done.
    pub(super) fn due(&self, whole: bool, more: bool) -> Option<Duration> {
        if self.is_lost {
            return Some(self.last);
        }
        if self.burst == 0 && more {
            return self.is_any().then(|| self.first + PATIENCE);
        }
        let quiet = match self.burst {
            0 => QUIET_OF_OURS,
            burst => (QUIET + QUIET_A_PATH.saturating_mul(burst)).min(QUIET_AT_MOST),
        };
        let patience = if self.only_removed && !whole { PATIENCE_WITH_REMOVALS } else { PATIENCE };
        self.is_any().then(|| (self.last + quiet).min(self.first + patience))
    }

    /// What there is to look at, and whether it is everything.
    pub(super) fn take(&mut self) -> (bool, BTreeSet<RelPath>) {
        (self.burst, self.is_lost, self.only_removed) = (0, false, true);
        let mut paths = std::mem::take(&mut self.paths);
        paths.append(&mut self.removed);
        (std::mem::take(&mut self.everything), paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn paths(names: &[&str]) -> Vec<RelPath> {
        names.iter().map(|name| RelPath::parse(name.as_bytes()).expect("a path")).collect()
    }

    fn many() -> Vec<RelPath> {
        let name = |n: usize| RelPath::parse(format!("{n}").as_bytes()).expect("a path");
        (0..=MAX_PATHS).map(name).collect()
    }

    /// A large tree that is unpacked would otherwise be scanned as a whole again and again meanwhile.
    #[test]
    fn more_paths_than_are_told_apart_are_waited_for_like_others() {
        let mut dirty = nothing();
        dirty.add(SECOND, Noticed::Paths(many()), |_| false);
        assert_eq!(dirty.due(false, false), Some(SECOND + QUIET_AT_MOST));
        dirty.take();
        dirty.add(SECOND, Noticed::Removed(many()), |_| false);
        assert_eq!(dirty.due(false, false), Some(SECOND + PATIENCE_WITH_REMOVALS));
    }

    fn nothing() -> Dirty {
        let mut dirty = Dirty::everything(Duration::ZERO);
        dirty.take();
        dirty
    }

    #[test]
    fn of_a_removed_tree_only_the_top_is_looked_at() {
        let mut dirty = nothing();
        dirty.add(SECOND, Noticed::Paths(paths(&["a/changed", "b"])), |_| false);
        dirty.add(
            SECOND,
            Noticed::Removed(paths(&["a/1", "a/2", "a/deep/3", "a/deep", "a", "a.txt"])),
            |_| false,
        );
        let burst = (QUIET + QUIET_A_PATH * 8).min(QUIET_AT_MOST);
        assert_eq!(dirty.due(true, false), Some(SECOND + burst), "the wait is that of all that has come");
        // It was seen while its directory went.
        dirty.add(SECOND, Noticed::Paths(paths(&["a/2"])), |_| false);
        assert_eq!(dirty.take(), (false, paths(&["a", "a.txt", "b"]).into_iter().collect()));
    }

    #[test]
    fn what_is_only_removed_is_soon_looked_at_unless_it_is_judged_as_a_whole() {
        let mut dirty = nothing();
        dirty.add(SECOND, Noticed::Removed(paths(&["a"])), |_| false);
        dirty.add(SECOND * 2, Noticed::Removed(paths(&["b"])), |_| false);
        assert_eq!(dirty.due(false, false), Some(SECOND + PATIENCE_WITH_REMOVALS));
        assert!(dirty.due(true, false) > Some(SECOND * 2));
        dirty.add(SECOND * 2, Noticed::Paths(paths(&["a"])), |_| false);
        assert!(dirty.due(false, false) > Some(SECOND * 2), "it is there again: there may be more to come");
    }

    #[test]
    fn what_we_have_made_ourselves_is_looked_at_when_all_is_made_and_delays_nothing() {
        let mut dirty = nothing();
        let names: Vec<_> = (0..5_000).map(|n| format!("f{n}")).collect();
        let made = || Noticed::Paths(paths(&names.iter().map(String::as_str).collect::<Vec<_>>()));
        dirty.add(SECOND, made(), |_| true);
        assert_eq!(dirty.due(true, true), Some(SECOND + PATIENCE), "there is more to come");
        assert_eq!(dirty.due(true, false), Some(SECOND + QUIET_OF_OURS));
        dirty.add(SECOND * 2, Noticed::Paths(paths(&["a"])), |_| false);
        assert_eq!(dirty.due(true, true), Some(SECOND * 2 + QUIET + QUIET_A_PATH), "a user's save");
        assert_eq!(dirty.take().1.len(), 5_001);

        dirty.add(SECOND, made(), |_| true);
        dirty.add(SECOND, Noticed::Paths(paths(&["f7"])), |_| false);
        assert_eq!(dirty.due(true, true), Some(SECOND + QUIET + QUIET_A_PATH), "of a path that we made");
        dirty.take();

        dirty.add(SECOND, made(), |_| false);
        assert_eq!(dirty.due(true, false), Some(SECOND + QUIET_AT_MOST), "somebody else is at work");
    }

    #[test]
    fn too_many_paths_of_ours_are_no_reason_to_look_at_once() {
        let mut dirty = nothing();
        for n in 0..=MAX_PATHS {
            dirty.add(SECOND, Noticed::Paths(paths(&[&format!("f{n}")])), |_| true);
        }
        assert_eq!(dirty.due(true, true), Some(SECOND + PATIENCE));
        let other = &paths(&["other"])[0];
        assert!(!dirty.has(other), "nobody has been anywhere else");
        dirty.add(SECOND * 2, Noticed::Everything, |_| true);
        assert_eq!(dirty.due(true, true), Some(SECOND * 2));
        assert!(dirty.has(other));
    }
}
