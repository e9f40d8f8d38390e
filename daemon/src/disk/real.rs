//! The disk as it is: system calls relative to the descriptor of a directory that
//! [`resolve`](super::resolve) found below the root. Linux only.
//!
//! No call takes more than one component of a user's path, and none follows a link.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use parking_lot::Mutex;
use protocol::Timestamp;
use protocol::path::CONTROL_DIRECTORY;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RawDir, RenameFlags};
use rustix::io::Errno;

use super::file::{OpenFile, copy, describe, only_mtime, open_quietly, share};
use super::place::{Spot, directory_path, not_for, spot};
use super::resolve::Resolver;
use super::unnamed::{Unnamed, own_path};
use super::{
    ArchivedPath, ControlName, Disk, DiskLock, DiskStat, Kind, Listed, Place, ReadFile, StagedName, WriteFile,
};

/// One `getdents64`.
const LIST_BYTES: usize = 64 * 1024;

/// Whether setuid and setgid are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialBits {
    /// They are dropped: a file from elsewhere gives nobody's rights.
    Strip,
    /// The folder has opted in.
    Keep,
}

/// The real disk below one root directory.
#[derive(Debug)]
pub struct RealDisk {
    pub(super) resolver: Resolver,
    pub(super) mode_mask: u16,
    pub(super) unnamed: Unnamed,
    /// Held while a control file is written.
    pub(super) writing: Mutex<()>,
    #[cfg(test)]
    pub(super) slowness: super::rename::Slowness,
}

/// A directory and a name in it.
pub(super) type Name<'a> = (&'a OwnedFd, &'a [u8]);

impl RealDisk {
    /// Opens the disk below `root`, which must be a directory and no symbolic link. Makes nothing.
    pub fn open(root: &Path, special: SpecialBits) -> io::Result<Self> {
        let mode_mask = match special {
            SpecialBits::Strip => 0o1777,
            SpecialBits::Keep => 0o7777,
        };
        Ok(Self {
            resolver: Resolver::open(root)?,
            mode_mask,
            unnamed: Unnamed::default(),
            writing: Mutex::default(),
            #[cfg(test)]
            slowness: Default::default(),
        })
    }

    /// Makes a staged file and gives it the bytes of another place in this way.
    fn fill_staged<T>(
        &self,
        from: &Place,
        to: &StagedName,
        fill: impl FnOnce(&OwnedFd, &OwnedFd) -> io::Result<T>,
    ) -> io::Result<T> {
        let source = self.open_regular(from)?;
        let target = self.open_staged(to, OFlags::EXCL)?;
        fill(&source, &target).inspect_err(|_| {
            // Half a copy is nobody's bytes; if it cannot be removed, the sweep of staging will.
            let _ = self.remove_file(&Place::Staged(to.clone()));
        })
    }

    #[cfg(test)]
    pub(super) fn forget_openat2(&self) {
        self.resolver.forget_openat2();
    }

    /// Does something to one name in its directory. What is missing there is looked for once more
    /// with a fresh descriptor: the directory may have been removed and made again.
    pub(super) fn at<T>(&self, at: &Place, deed: impl Fn(&OwnedFd, &[u8]) -> io::Result<T>) -> io::Result<T> {
        let spot = spot(at)?;
        let done = deed(&*self.resolver.directory(&spot.directory)?, &spot.name);
        if !is_missing(&done) || spot.directory.is_empty() {
            return done;
        }
        deed(&*self.resolver.fresh_directory(&spot.directory)?, &spot.name)
    }

    /// The same for two names.
    pub(super) fn at_both(
        &self,
        one: &Place,
        other: &Place,
        deed: impl Fn(Name<'_>, Name<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (one, other) = (spot(one)?, spot(other)?);
        let (from, to) =
            (self.resolver.directory(&one.directory)?, self.resolver.directory(&other.directory)?);
        let done = deed((&*from, &one.name), (&*to, &other.name));
        if !is_missing(&done) {
            return done;
        }
        let from = self.resolver.fresh_directory(&one.directory)?;
        let to = self.resolver.fresh_directory(&other.directory)?;
        deed((&*from, &one.name), (&*to, &other.name))
    }

    fn open_regular(&self, at: &Place) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        self.settle(at)?;
        self.at(at, |parent, name| {
            // Looked at first, since opening a device may do something.
            regular(&describe(&rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?))?;
            let file = open_quietly(parent, name, flags)?;
            regular(&describe(&rustix::fs::fstat(&file)?))?;
            Ok(file)
        })
    }

    fn open_staged(&self, name: &StagedName, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let at = Place::Staged(name.clone());
        self.settle(&at)?;
        let file = self.at(&at, |staging, name| {
            let mode = Mode::RUSR | Mode::WUSR;
            Ok(rustix::fs::openat(staging, name, flags | OFlags::CLOEXEC, mode)?)
        })?;
        let stat = describe(&rustix::fs::fstat(&file)?);
        regular(&stat)?;
        if stat.links > 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the staged file has other names"));
        }
        Ok(file)
    }

    fn forget(&self, at: &Place) {
        if let Ok(Spot { mut directory, name }) = spot(at) {
            if !directory.is_empty() {
                directory.push(b'/');
            }
            directory.extend_from_slice(&name);
            self.resolver.forget(&directory);
        }
    }
}

impl Disk for RealDisk {
    fn stat(&self, at: &Place) -> io::Result<Option<DiskStat>> {
        if matches!(at, Place::Root) {
            return Ok(Some(describe(&rustix::fs::fstat(self.resolver.root())?)));
        }
        if let Place::Staged(name) = at
            && let Some(stat) = self.unnamed.with(name, |file| rustix::fs::fstat(file))
        {
            return Ok(Some(describe(&stat?)));
        }
        let found = self.at(at, |parent, name| {
            Ok(describe(&rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?))
        });
        match at {
            _ if !is_missing(&found) => return found.map(Some),
            // That nothing is staged is asked of every file that comes, and leads to no deletion.
            Place::Staged(_) => return Ok(None),
            _ => {}
        }
        // «Not there» may become a deletion on every device: said only if the parent is there now.
        self.resolver.fresh_directory(&spot(at)?.directory)?;
        Ok(None)
    }

    fn list(&self, directory: &Place) -> io::Result<Vec<Listed>> {
        let path = directory_path(directory)?;
        let descriptor = self.resolver.readable_directory(&path)?;
        let mut buffer = vec![MaybeUninit::uninit(); LIST_BYTES];
        let mut entries = RawDir::new(&descriptor, &mut buffer);
        let mut listed = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let bytes = name.to_bytes();
            let ours = path.is_empty() && bytes == CONTROL_DIRECTORY.as_bytes();
            if bytes == b"." || bytes == b".." || ours {
                continue;
            }
            let stat = match rustix::fs::statat(&descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(describe(&stat)),
                Err(Errno::NOENT) => continue,
                Err(e) => Err(e.raw_os_error()),
            };
            listed.push(Listed { name: bytes.to_vec(), stat });
        }
        Ok(listed)
    }

    fn open(&self, at: &Place) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(OpenFile::new(self.open_regular(at)?, self.mode_mask)))
    }

    fn stage(&self, name: &StagedName) -> io::Result<Box<dyn WriteFile>> {
        let file = match self.open_staged(name, OFlags::empty()) {
            // Left by a crash with the mode of a file that nobody may write.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                self.set_mode(&Place::Staged(name.clone()), 0o600)?;
                self.open_staged(name, OFlags::empty())?
            }
            opened => opened?,
        };
        Ok(Box::new(OpenFile::new(file, self.mode_mask)))
    }

    fn stage_whole(&self, name: &StagedName, bytes: &[u8], bits: u16) -> io::Result<()> {
        let at = Place::Staged(name.clone());
        let bits = mode(bits & 0o777 | 0o600);
        if self.stage_unnamed(name, bytes, bits)? {
            return Ok(());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.at(&at, |staging, name| Ok(rustix::fs::openat(staging, name, flags, bits)?))?;
        let written = OpenFile::new(file, self.mode_mask).write_at(bytes, 0);
        written.inspect_err(|_| {
            // Half a file is nobody's bytes; if it cannot be removed, it is verified before it counts.
            let _ = self.remove_file(&at);
        })
    }

    fn read_link(&self, at: &Place) -> io::Result<Vec<u8>> {
        self.at(at, |parent, name| Ok(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes()))
    }

    fn stage_link(&self, name: &StagedName, target: &[u8], mtime: Timestamp) -> io::Result<()> {
        let at = Place::Staged(name.clone());
        self.settle(&at)?;
        self.at(&at, |staging, name| Ok(rustix::fs::symlinkat(target, staging, name)?))?;
        self.set_mtime(&at, mtime)
    }

    fn make_directory(&self, at: &Place, bits: u16) -> io::Result<()> {
        match at {
            Place::Archived(archived) => {
                return self.make_archive_directories(&archived.stamp, Some(&archived.path));
            }
            Place::Step(stamp) => return self.make_archive_directories(stamp, None),
            _ => {}
        }
        self.at(at, |parent, name| Ok(rustix::fs::mkdirat(parent, name, mode(bits & 0o777))?))?;
        // The umask has had its say, and it is not ours.
        self.set_mode(at, bits)
    }

    fn rename_new(&self, from: &Place, to: &Place) -> io::Result<()> {
        self.settle(to)?;
        if let Place::Staged(name) = from
            && let Some(placed) = self.place_unnamed(name, to)
        {
            return placed;
        }
        let done = self.rename_to_free(from, to);
        self.forget(from);
        self.forget(to);
        done
    }

    fn exchange(&self, one: &Place, other: &Place) -> io::Result<()> {
        self.settle(one)?;
        self.settle(other)?;
        let done = self.at_both(one, other, |(first, old), (second, new)| {
            match rustix::fs::renameat_with(first, old, second, new, RenameFlags::EXCHANGE) {
                Err(Errno::INVAL | Errno::NOSYS) => Err(Errno::OPNOTSUPP.into()),
                exchanged => Ok(exchanged?),
            }
        });
        self.forget(one);
        self.forget(other);
        done
    }

    fn link_to_archive(&self, from: &Place, to: &ArchivedPath) -> io::Result<()> {
        self.settle(from)?;
        self.at_both(from, &Place::Archived(to.clone()), |(source, old), (target, new)| {
            Ok(rustix::fs::linkat(source, old, target, new, AtFlags::empty())?)
        })
    }

    fn remove_file(&self, at: &Place) -> io::Result<()> {
        if !matches!(at, Place::Staged(_) | Place::Archived(_) | Place::Control(_)) {
            return Err(not_for(at));
        }
        if let Place::Staged(name) = at
            && self.unnamed.remove(name).is_some()
        {
            return Ok(());
        }
        self.at(at, |parent, name| Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?))
    }

    fn remove_directory(&self, at: &Place) -> io::Result<()> {
        self.forget(at);
        self.at(at, |parent, name| Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?))
    }

    fn set_mode(&self, at: &Place, bits: u16) -> io::Result<()> {
        let wanted = mode(bits & self.mode_mask);
        if let Place::Staged(name) = at
            && let Some(set) = self.unnamed.with(name, |file| rustix::fs::fchmod(file, wanted))
        {
            return Ok(set?);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = self.at(at, |parent, name| Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?))?;
        if !matches!(describe(&rustix::fs::fstat(&held)?).kind, Kind::File | Kind::Directory) {
            return Err(not_for(at));
        }
        // An O_PATH descriptor has no fchmod, and fchmodat2 is too young; the link in /proc is the
        // descriptor's inode, whatever its name shows by now.
        Ok(rustix::fs::chmodat(CWD, own_path(&held), wanted, AtFlags::empty())?)
    }

    fn set_mtime(&self, at: &Place, mtime: Timestamp) -> io::Result<()> {
        let (times, flags) = (only_mtime(mtime), AtFlags::SYMLINK_NOFOLLOW);
        if let Place::Staged(name) = at
            && let Some(set) = self.unnamed.with(name, |file| rustix::fs::futimens(file, &times))
        {
            return Ok(set?);
        }
        self.at(at, |parent, name| Ok(rustix::fs::utimensat(parent, name, &times, flags)?))
    }

    fn copy_to_staged(&self, from: &Place, to: &StagedName) -> io::Result<u64> {
        self.fill_staged(from, to, copy)
    }

    fn share_with_staged(&self, from: &Place, to: &StagedName) -> io::Result<()> {
        self.fill_staged(from, to, share)
    }

    fn sync_directory(&self, directory: &Place) -> io::Result<()> {
        let descriptor = self.resolver.readable_directory(&directory_path(directory)?)?;
        Ok(rustix::fs::fsync(&descriptor)?)
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(self.resolver.root())?)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let fs = rustix::fs::fstatvfs(self.resolver.root())?;
        Ok(fs.f_bavail.saturating_mul(fs.f_frsize))
    }

    fn read_control(&self, name: ControlName) -> io::Result<Vec<u8>> {
        self.read_small(name)
    }

    fn write_control(&self, name: ControlName, bytes: &[u8]) -> io::Result<()> {
        self.write_small(name, bytes)
    }

    fn lock(&self) -> io::Result<DiskLock> {
        let descriptor = self.resolver.readable_directory(CONTROL_DIRECTORY.as_bytes())?;
        rustix::fs::flock(&descriptor, FlockOperation::NonBlockingLockExclusive)?;
        Ok(DiskLock { _descriptor: descriptor })
    }
}

pub(super) fn mode(bits: u16) -> Mode {
    Mode::from_raw_mode(u32::from(bits))
}

fn is_missing<T>(done: &io::Result<T>) -> bool {
    matches!(done, Err(e) if e.kind() == io::ErrorKind::NotFound)
}

fn regular(stat: &DiskStat) -> io::Result<()> {
    match stat.kind {
        Kind::File => Ok(()),
        Kind::Symlink => Err(Errno::LOOP.into()),
        Kind::Directory | Kind::Other => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
        }
    }
}
