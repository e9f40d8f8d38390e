//! The disk of one folder, behind one trait.
//!
//! Everything that the daemon does to a folder's files goes through [`Disk`]: the real one, one
//! that fails or stalls at its n-th call, one in memory. A disk knows paths below its root and
//! the control directory `.syncd/`; it cannot be made to touch anything else, whatever a peer, a
//! symbolic link or another process does. It decides nothing: what may be replaced is the
//! caller's business, which is why replacing is a swap that keeps both sides.

//! Reading order: the words and the trait here; `resolve` (how a path below the root becomes a
//! descriptor), `real` (system calls), `rename` (to a free name), `unnamed` (staged files that need no
//! name), `control` (what is ours), `file` (open files), `faulty` (for tests).

mod control;
mod faulty;
mod file;
#[cfg(test)]
mod folding;
mod place;
mod real;
mod rename;
mod resolve;
#[cfg(test)]
mod tests;
mod unnamed;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use protocol::{RelPath, Stat, Timestamp};

pub use faulty::{Call, Effect, FaultyDisk};
#[cfg(test)]
pub use folding::FoldingDisk;
pub use real::{RealDisk, SpecialBits};

/// Where something is, always below the root of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The root directory itself.
    Root,
    /// A path of the user's.
    Folder(RelPath),
    /// A file in `.syncd/staging/`, flat.
    Staged(StagedName),
    /// A path in `.syncd/archive/`.
    Archived(ArchivedPath),
    /// The directory of one step, `.syncd/archive/<stamp>/`.
    Step(Stamp),
    /// A plain name in `.syncd/`: `marker`, `staging`, `archive`, a probe.
    Control(ControlName),
}

/// A name in `.syncd/staging/`: up to 100 characters of `a-z 0-9 . - _`, not starting with a dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StagedName(Arc<str>);

impl StagedName {
    /// Parses a name; `None` if it has other characters or another length.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= 100 && !text.starts_with('.');
        let plain = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        (fits && plain).then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StagedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `archive/<stamp>/<original path>`; the stamp is a UTC time, `2026-11-21T14.03.22Z`, with a
/// number behind it where one second has several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchivedPath {
    /// The directory of one step: when its files were replaced or removed.
    pub stamp: Stamp,
    /// Where the file was.
    pub path: RelPath,
}

/// A directory of the archive: 1 to 60 characters of `A-Z 0-9 . -`, not starting with a dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp(Arc<str>);

impl Stamp {
    /// Parses a stamp; `None` if it has other characters or another length.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= 60 && !text.starts_with('.');
        let plain = text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-'));
        (fits && plain).then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A plain name directly in `.syncd/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlName {
    /// `.syncd/` itself.
    Directory,
    /// The marker: a random id, the start counter and nonce.
    Marker,
    /// The next marker, before it is renamed over the old one.
    NewMarker,
    /// The directory of staged files.
    Staging,
    /// The directory of archived files.
    Archive,
    /// Touched by `wait`, to see it come back through the watcher.
    Probe,
    /// The next probe, before it is renamed over the old one.
    NewProbe,
}

/// What kind of thing is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, never followed.
    Symlink,
    /// A FIFO, socket or device: reported, never opened.
    Other,
}

/// What `lstat` says of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskStat {
    /// What it is.
    pub kind: Kind,
    /// What is remembered of it.
    pub stat: Stat,
    /// Device number, comparable only with the root's of the same moment.
    pub device: u64,
    /// Number of hard links.
    pub links: u64,
    /// Bytes allocated, for sparse files.
    pub allocated: u64,
}

/// One name of a listed directory. Names that are no path component (the control directory at the
/// root left out, of course) are listed as they are; the caller reports them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The bytes of the name.
    pub name: Vec<u8>,
    /// Its `lstat`, or why it could not be had. A name that vanished meanwhile is not listed.
    pub stat: Result<DiskStat, i32>,
}

/// What goes [past the cache](WriteFile::write_past_cache) are whole ones of these, in memory too. Other
/// processors' kernels may have pages of up to 64 KiB.
pub const PAGE_BYTES: usize = if cfg!(target_arch = "x86_64") { 4096 } else { 65536 };

/// An open regular file. Many threads may use it at once.
pub trait ReadFile: Send + Sync {
    /// Reads at an offset, as `pread`; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Appends up to `most` bytes from an offset on, as one `pread`; nothing at the end.
    fn append_at(&self, bytes: &mut Vec<u8>, most: usize, offset: u64) -> io::Result<usize> {
        let before = bytes.len();
        bytes.resize(before + most, 0);
        let read = self.read_at(&mut bytes[before..], offset);
        bytes.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }
    /// `fstat`.
    fn stat(&self) -> io::Result<DiskStat>;
}

/// An open staged file.
pub trait WriteFile: ReadFile {
    /// Writes all of it at an offset.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// The same for what is long and is not read soon: whole pages go straight to the disk, if the file
    /// system lets them and they lie in memory as in the file, [`PAGE_BYTES`] apart. The system need
    /// then neither find memory for a copy nor write that later.
    fn write_past_cache(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)
    }
    /// Takes room on the disk for what is about to be written there; it reads as zeros until then.
    /// Whether that could be done.
    fn allocate(&self, _offset: u64, _bytes: u64) -> bool {
        false
    }
    /// Sets the length; what is added is a hole.
    fn set_length(&self, bytes: u64) -> io::Result<()>;
    /// Permission bits.
    fn set_mode(&self, mode: u16) -> io::Result<()>;
    /// Time of last modification.
    fn set_mtime(&self, mtime: Timestamp) -> io::Result<()>;
    /// `fdatasync`.
    fn sync(&self) -> io::Result<()>;
    /// Tells the system to begin writing these bytes to the disk, so that [`Self::sync`] has less
    /// to wait for. Promises nothing.
    fn write_back(&self, _offset: u64, _bytes: u64) {}
}

/// The disk of one folder. All calls block; `ErrorKind::NotFound` always means `ENOENT` of the last
/// component or of one on the way, never a symbolic link (that is `ELOOP`, or `ENOTDIR`).
pub trait Disk: Send + Sync {
    /// `lstat`; `None` only for `ENOENT` of the last component under a parent that is there. If a
    /// parent is missing as well, or is no directory, the answer is an error (`NotFound`, `NotADirectory`).
    fn stat(&self, at: &Place) -> io::Result<Option<DiskStat>>;
    /// Names and stats of a directory, through one descriptor, in no order; `.`, `..` and, at the
    /// root, the control directory are left out.
    fn list(&self, directory: &Place) -> io::Result<Vec<Listed>>;
    /// Opens a regular file for reading, without following a link and without ever blocking on what
    /// is no regular file (that is `InvalidInput`).
    fn open(&self, at: &Place) -> io::Result<Box<dyn ReadFile>>;
    /// Opens a staged file for writing, making it (mode 0600) if it is not there. One that has
    /// other names as well is refused (`InvalidInput`): writing to it would change those.
    fn stage(&self, name: &StagedName) -> io::Result<Box<dyn WriteFile>>;
    /// Makes a staged file of these bytes, with this mode as far as the process's umask lets it;
    /// its owner may always write. `AlreadyExists` if the name is taken, unless by a file of an earlier run.
    /// Until [`Self::rename_new`] has put it somewhere a crash may take it away, and
    /// [`Self::list`] need not show it.
    fn stage_whole(&self, name: &StagedName, bytes: &[u8], mode: u16) -> io::Result<()>;
    /// The text of a symbolic link.
    fn read_link(&self, at: &Place) -> io::Result<Vec<u8>>;
    /// Makes a symbolic link in staging.
    fn stage_link(&self, name: &StagedName, target: &[u8], mtime: Timestamp) -> io::Result<()>;
    /// Makes a directory; `AlreadyExists` if anything is there. In the archive parents are made
    /// too, and a directory that is there already is none of the caller's concern.
    fn make_directory(&self, at: &Place, mode: u16) -> io::Result<()>;
    /// Renames; fails with `AlreadyExists` if anything is at `to`.
    fn rename_new(&self, from: &Place, to: &Place) -> io::Result<()>;
    /// Swaps two places atomically; both must exist. `Unsupported` where the file system cannot.
    fn exchange(&self, one: &Place, other: &Place) -> io::Result<()>;
    /// Gives a file or link a second name, in the archive: the same inode, so that nothing that
    /// happens to the first name loses its bytes. `AlreadyExists` if the name is taken.
    fn link_to_archive(&self, from: &Place, to: &ArchivedPath) -> io::Result<()>;
    /// Removes a file or link; only in staging, archive and control.
    fn remove_file(&self, at: &Place) -> io::Result<()>;
    /// Removes a staged file, if there is one.
    fn discard(&self, name: &StagedName) -> io::Result<()> {
        match self.remove_file(&Place::Staged(name.clone())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
    /// Removes an empty directory, of the user's too (it holds no bytes).
    fn remove_directory(&self, at: &Place) -> io::Result<()>;
    /// Permission bits of a file or directory, without following a link.
    fn set_mode(&self, at: &Place, mode: u16) -> io::Result<()>;
    /// Time of last modification, without following a link.
    fn set_mtime(&self, at: &Place, mtime: Timestamp) -> io::Result<()>;
    /// Makes a staged file with the bytes of another place: a reflink, else `copy_file_range`,
    /// else a copy; holes stay holes. Answers how many bytes it has. `AlreadyExists` if the name
    /// is taken.
    fn copy_to_staged(&self, from: &Place, to: &StagedName) -> io::Result<u64>;
    /// Makes a staged file that shares its blocks with another place until either is written to: a
    /// reflink, nothing else. `Unsupported` where files cannot share, `AlreadyExists` if the name is
    /// taken.
    fn share_with_staged(&self, from: &Place, to: &StagedName) -> io::Result<()>;
    /// `fsync` of a directory.
    fn sync_directory(&self, directory: &Place) -> io::Result<()>;
    /// `syncfs` of the whole file system.
    fn sync_all(&self) -> io::Result<()>;
    /// Free bytes for us on this file system.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Small whole files of ours (the marker), read with a bound of 64 KiB.
    fn read_control(&self, name: ControlName) -> io::Result<Vec<u8>>;
    /// Writes a small file of ours whole: temporary name, `fsync`, rename, `fsync` of the directory.
    fn write_control(&self, name: ControlName, bytes: &[u8]) -> io::Result<()>;
    /// Takes the lock of the control directory, held until the answer is dropped or the process
    /// ends; `WouldBlock` if another daemon holds it.
    fn lock(&self) -> io::Result<DiskLock>;
}

/// The lock of a control directory, for as long as this lives.
#[derive(Debug)]
pub struct DiskLock {
    _descriptor: OwnedFd,
}
