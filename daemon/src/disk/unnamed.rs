//! Staged files without a name: short ones, which are made by the thousand and soon get their place
//! in the folder.
//!
//! Such a file is open and in no directory (`O_TMPFILE`). Moving it to its place is a hard link:
//! staging is neither searched, changed nor locked, while others make the next files. Whatever
//! needs a name gives it the one that it should have had; so does the end of the disk. After a crash
//! these files are gone, which costs that they are fetched again.

#[cfg(test)]
#[path = "unnamed_tests.rs"]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::{Place, RealDisk, StagedName};

/// Of the descriptors that the process may have open, one in so many is for these files.
const SHARE: u64 = 2;
/// Most of them in the process: what is gathered ahead for one folder.
const MOST: usize = 12_288;

/// The unnamed files of one disk.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    files: Mutex<HashMap<StagedName, Arc<UnnamedFile>>>,
    /// This file system cannot, or `/proc` is not there.
    is_refused: AtomicBool,
}

/// A file that has no name.
#[derive(Debug)]
pub(super) struct UnnamedFile {
    file: File,
    _room: Room,
}

/// One of the descriptors that all disks of the process share.
#[derive(Debug)]
struct Room;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Room {
    fn take() -> Option<Self> {
        let most = most();
        let taken = TAKEN
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < most).then_some(taken + 1));
        taken.is_ok().then_some(Self)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}

fn most() -> usize {
    static MAY_OPEN: OnceLock<usize> = OnceLock::new();
    *MAY_OPEN.get_or_init(|| {
        if !Path::new("/proc/self/fd").exists() {
            return 0;
        }
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        usize::try_from(limit / SHARE).unwrap_or(MOST).min(MOST)
    })
}

impl Unnamed {
    /// Makes a file for a directory; `None` where that cannot be, or when there are too many.
    pub(super) fn make(&self, directory: &OwnedFd, mode: Mode) -> io::Result<Option<UnnamedFile>> {
        if self.is_refused.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let Some(room) = Room::take() else { return Ok(None) };
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, c".", flags, mode) {
            Ok(made) => Ok(Some(UnnamedFile { file: made.into(), _room: room })),
            // A kernel that does not know the flag sees a directory that is opened for writing.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                self.is_refused.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(Errno::MFILE | Errno::NFILE) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps a file under a name; false if that is taken.
    pub(super) fn keep(&self, name: &StagedName, file: UnnamedFile) -> bool {
        let mut files = self.files.lock();
        let is_free = !files.contains_key(name);
        if is_free {
            files.insert(name.clone(), Arc::new(file));
        }
        is_free
    }

    /// Does something to the file of a name, if there is one.
    pub(super) fn with<T>(&self, name: &StagedName, deed: impl FnOnce(&File) -> T) -> Option<T> {
        // Whoever makes the next files does not wait for the system's answer.
        let unnamed = self.files.lock().get(name).cloned()?;
        Some(deed(&unnamed.file))
    }

    /// Links the file of a name to where it belongs, if there is one; then it is none of these any
    /// more. Nobody finds it meanwhile: who gave it a second name would write into a user's file.
    pub(super) fn place(
        &self,
        name: &StagedName,
        link: impl FnOnce(&File) -> io::Result<()>,
    ) -> Option<io::Result<()>> {
        let file = self.remove(name)?;
        Some(link(&file.file).inspect_err(|_| {
            self.files.lock().entry(name.clone()).or_insert(file);
        }))
    }

    /// Gives up the file of a name, if there is one.
    pub(super) fn remove(&self, name: &StagedName) -> Option<Arc<UnnamedFile>> {
        self.files.lock().remove(name)
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<StagedName> {
        self.files.lock().keys().cloned().collect()
    }
}

/// The path of an open file's inode, whatever its names are.
pub(super) fn own_path(descriptor: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// The system refuses to link a descriptor without a path: only root may, or whoever has opened it
/// since Linux 6.10.
static NEEDS_PATH: AtomicBool = AtomicBool::new(false);

/// Gives a file a name in a directory; `AlreadyExists` if that is taken.
pub(super) fn link(file: &File, directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
    if !NEEDS_PATH.load(Ordering::Relaxed) {
        match rustix::fs::linkat(file, c"", directory, name, AtFlags::EMPTY_PATH) {
            // What it says when it refuses, and also when the directory is no more.
            Err(Errno::NOENT) => {}
            linked => return Ok(linked?),
        }
    }
    link_by_path(file, directory, name)?;
    NEEDS_PATH.store(true, Ordering::Relaxed);
    Ok(())
}

fn link_by_path(file: &File, directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::linkat(CWD, own_path(file), directory, name, AtFlags::SYMLINK_FOLLOW)?)
}

impl RealDisk {
    /// Gives an unnamed staged file its name, for what can only be done by name.
    pub(super) fn settle(&self, at: &Place) -> io::Result<()> {
        let Place::Staged(name) = at else { return Ok(()) };
        match self.place_unnamed(name, at) {
            Some(Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Whatever an earlier run has left there, it is not lost: the sweep finds it.
                let aside = format!("displaced-{}", name.as_str());
                self.at(at, |staging, name| {
                    Ok(renameat_with(staging, name, staging, &*aside, RenameFlags::NOREPLACE)?)
                })?;
                self.place_unnamed(name, at).unwrap_or(Ok(()))
            }
            placed => placed.unwrap_or(Ok(())),
        }
    }

    /// Takes an unnamed staged file to a place; `None` if the name has none.
    pub(super) fn place_unnamed(&self, name: &StagedName, to: &Place) -> Option<io::Result<()>> {
        let placed = |file: &File| self.at(to, |directory, name| link(file, directory, name));
        self.unnamed.place(name, placed)
    }

    /// Makes a staged file of these bytes that has no name; false where that cannot be.
    pub(super) fn stage_unnamed(&self, name: &StagedName, bytes: &[u8], mode: Mode) -> io::Result<bool> {
        let at = Place::Staged(name.clone());
        let made = self.at(&at, |staging, _| self.unnamed.make(staging, mode))?;
        let Some(file) = made else { return Ok(false) };
        file.file.write_all_at(bytes, 0)?;
        match self.unnamed.keep(name, file) {
            true => Ok(true),
            false => Err(Errno::EXIST.into()),
        }
    }
}

/// What the next start can use is not fetched again.
impl Drop for RealDisk {
    fn drop(&mut self) {
        for name in self.unnamed.names() {
            // Where that fails it is fetched again.
            let _ = self.settle(&Place::Staged(name));
        }
    }
}
