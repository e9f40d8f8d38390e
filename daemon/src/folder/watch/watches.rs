//! The watches that are set: which number stands for which directory.
//!
//! One inotify instance for each folder, asked only for what can be a change: not for files being
//! opened, read and closed, which is most of what happens in a folder, much of it of our own doing.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::path::Path;

use parking_lot::{Mutex, MutexGuard};
use protocol::RelPath;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// What is asked of every directory. Not that a file was closed: what was written to it has been
/// told by then, and what was written through a mapping may come later.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::EXCL_UNLINK)
    .union(ONLY_DIRECTORIES);
/// Of the root nobody else tells that it has gone.
const ROOT: WatchFlags = CHANGES.union(WatchFlags::DELETE_SELF).union(WatchFlags::MOVE_SELF);
/// In the control directory only the probe is waited for, and it comes by a rename. Both ends of that
/// are asked for: of two equal events without another between them the kernel tells one.
const CONTROL: WatchFlags = WatchFlags::MOVE.union(ONLY_DIRECTORIES);
const ONLY_DIRECTORIES: WatchFlags = WatchFlags::ONLYDIR.union(WatchFlags::DONT_FOLLOW);

/// A directory that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Watched {
    /// The folder's own.
    Root,
    /// `.syncd`.
    Control,
    /// Any other.
    Directory(RelPath),
}

/// One inotify instance and its watches.
pub(super) struct Watches {
    inotify: OwnedFd,
    known: Mutex<Known>,
}

/// What the numbers stand for. An event is told under the name that its directory had when it was
/// last watched.
#[derive(Default)]
pub(super) struct Known {
    numbers: HashMap<i32, Watched>,
    paths: BTreeMap<RelPath, i32>,
}

impl Watches {
    pub(super) fn new() -> Result<Self, Errno> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { inotify, known: Mutex::default() })
    }

    /// To wait for and to read from.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.inotify
    }

    /// Held while events are read: no watch is set that is not known.
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    /// Sets the watch of a directory, or sets it anew under this name.
    pub(super) fn set(&self, at: &Path, what: Watched) -> Result<(), Errno> {
        let wanted = match what {
            Watched::Root => ROOT,
            Watched::Control => CONTROL,
            Watched::Directory(_) => CHANGES,
        };
        let mut known = self.known.lock();
        let number = inotify::add_watch(&self.inotify, at, wanted)?;
        known.note(number, what);
        Ok(())
    }

    /// A directory has been moved away from this path: it and all below are no longer watched.
    pub(super) fn drop_tree(&self, top: &RelPath) {
        let mut known = self.known.lock();
        for number in known.numbers_of_tree(top) {
            self.drop_one(&mut known, number);
        }
    }

    /// Sets all watches anew; what is watched only from before is not watched after.
    pub(super) fn renew(&self, set_all: impl FnOnce()) {
        let before = std::mem::take(&mut self.known.lock().paths);
        set_all();
        let mut known = self.known.lock();
        for number in before.into_values().filter(|number| !known.is_at_its_path(*number)).collect::<Vec<_>>()
        {
            self.drop_one(&mut known, number);
        }
    }

    fn drop_one(&self, known: &mut Known, number: i32) {
        known.forget(number);
        // It may have gone with its directory.
        let _ = inotify::remove_watch(&self.inotify, number);
    }
}

impl Known {
    /// The directory that a number stands for.
    pub(super) fn get(&self, number: i32) -> Option<&Watched> {
        self.numbers.get(&number)
    }

    /// The watch is there no more.
    pub(super) fn forget(&mut self, number: i32) -> Option<Watched> {
        let known = self.numbers.remove(&number)?;
        if let Watched::Directory(path) = &known
            && self.paths.get(path) == Some(&number)
        {
            self.paths.remove(path);
        }
        Some(known)
    }

    fn note(&mut self, number: i32, what: Watched) {
        if self.numbers.get(&number) != Some(&what) {
            self.forget(number);
        }
        if let Watched::Directory(path) = &what {
            self.paths.insert(path.clone(), number);
        }
        self.numbers.insert(number, what);
    }

    fn numbers_of_tree(&self, top: &RelPath) -> Vec<i32> {
        let below = self.paths.range((Bound::Excluded(top), Bound::Unbounded));
        let below = below.take_while(|(path, _)| path.is_below(Some(top)));
        self.paths.get_key_value(top).into_iter().chain(below).map(|(_, number)| *number).collect()
    }

    fn is_at_its_path(&self, number: i32) -> bool {
        match self.numbers.get(&number) {
            Some(Watched::Directory(path)) => self.paths.get(path) == Some(&number),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    #[test]
    fn a_directory_that_was_moved_is_known_by_its_new_name_alone() {
        let mut known = Known::default();
        for (number, name) in [(1, "old"), (2, "old/deep"), (3, "older")] {
            known.note(number, Watched::Directory(path(name)));
        }
        assert_eq!(known.numbers_of_tree(&path("old")), [1, 2]);
        known.note(2, Watched::Directory(path("new/deep")));
        assert_eq!(known.numbers_of_tree(&path("old")), [1]);
        assert_eq!(known.numbers_of_tree(&path("new")), [2]);
    }

    #[test]
    fn the_end_of_an_old_watch_does_not_touch_the_new_one_of_its_path() {
        let mut known = Known::default();
        known.note(1, Watched::Directory(path("d")));
        known.note(2, Watched::Directory(path("d")));
        assert_eq!(known.forget(1), Some(Watched::Directory(path("d"))));
        assert_eq!(known.numbers_of_tree(&path("d")), [2]);
    }
}
