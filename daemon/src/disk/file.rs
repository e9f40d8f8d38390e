//! Open files of the real disk, and copying from one to another.

use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
#[cfg(target_os = "linux")]
use std::sync::OnceLock;

use protocol::{Stat, Timestamp};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Timespec, Timestamps};
use rustix::io::Errno;

#[cfg(target_os = "linux")]
use super::PAGE_BYTES;
use super::{DiskStat, Kind, ReadFile, WriteFile};

/// One call of `copy_file_range`, and the buffer of a copy by hand.
const COPY_BYTES: usize = 1 << 20;

/// A regular file, opened for reading, or a staged one for writing too.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    mode_mask: u16,
    /// The same file for writing past the cache, once that was asked for; `None` where it cannot be.
    #[cfg(target_os = "linux")]
    direct: OnceLock<Option<File>>,
}

impl OpenFile {
    pub(super) fn new(descriptor: OwnedFd, mode_mask: u16) -> Self {
        Self {
            file: File::from(descriptor),
            mode_mask,
            #[cfg(target_os = "linux")]
            direct: OnceLock::new(),
        }
    }
}

impl ReadFile for OpenFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// Without filling the buffer with zeros before.
    fn append_at(&self, bytes: &mut Vec<u8>, most: usize, offset: u64) -> io::Result<usize> {
        if most == 0 {
            return Ok(0);
        }
        let before = bytes.len();
        bytes.reserve_exact(most);
        loop {
            match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(bytes), offset) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(read) => {
                    bytes.truncate(before + most);
                    return Ok(read.min(most));
                }
            }
        }
    }

    fn stat(&self) -> io::Result<DiskStat> {
        Ok(describe(&rustix::fs::fstat(&self.file)?))
    }
}

impl WriteFile for OpenFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    #[cfg(target_os = "linux")]
    fn write_past_cache(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (before, pages, after) = whole_pages(bytes, offset);
        if pages.is_empty() {
            return self.write_at(bytes, offset);
        }
        let Some(direct) = self.direct.get_or_init(|| past_cache(&self.file)) else {
            return self.write_at(bytes, offset);
        };
        let at = offset + before.len() as u64;
        match direct.write_all_at(pages, at) {
            Ok(()) => {}
            // A file system that wants it otherwise.
            Err(error) if is_unsupported(&error) => self.write_at(pages, at)?,
            Err(error) => return Err(error),
        }
        self.write_at(before, offset)?;
        self.write_at(after, at + pages.len() as u64)
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, offset: u64, bytes: u64) -> bool {
        rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), offset, bytes).is_ok()
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn set_mode(&self, mode: u16) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.file, Mode::from_raw_mode(u32::from(mode & self.mode_mask)))?)
    }

    fn set_mtime(&self, mtime: Timestamp) -> io::Result<()> {
        Ok(rustix::fs::futimens(&self.file, &only_mtime(mtime))?)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The advice begins to write what is dirty, waits for nothing, and drops what is written.
    #[cfg(target_os = "linux")]
    fn write_back(&self, offset: u64, bytes: u64) {
        let bytes = std::num::NonZeroU64::new(bytes);
        let _ = rustix::fs::fadvise(&self.file, offset, bytes, rustix::fs::Advice::DontNeed);
    }
}

/// What of it are whole pages, in the file and in memory, and what lies before and behind them.
#[cfg(target_os = "linux")]
fn whole_pages(bytes: &[u8], offset: u64) -> (&[u8], &[u8], &[u8]) {
    let page = PAGE_BYTES as u64;
    let before = (offset.next_multiple_of(page) - offset) as usize;
    let (before, rest) = bytes.split_at(before.min(bytes.len()));
    let fits = rest.as_ptr().align_offset(PAGE_BYTES) == 0;
    let (pages, after) = rest.split_at(if fits { rest.len() - rest.len() % PAGE_BYTES } else { 0 });
    (before, pages, after)
}

/// An open file once more, to be written to past the cache.
#[cfg(target_os = "linux")]
fn past_cache(file: &File) -> Option<File> {
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    rustix::fs::open(again, flags, Mode::empty()).ok().map(File::from)
}

#[cfg(target_os = "linux")]
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Opens a file without leaving a trace in its time of last access, as far as we may: if it is ours.
pub(super) fn open_quietly(parent: &OwnedFd, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    match rustix::fs::openat(parent, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?),
        opened => Ok(opened?),
    }
}

/// What we remember of a `stat`.
pub(super) fn describe(stat: &rustix::fs::Stat) -> DiskStat {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    };
    DiskStat {
        kind,
        stat: Stat {
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: timestamp(stat.st_mtime, stat.st_mtime_nsec),
            ctime: timestamp(stat.st_ctime, stat.st_ctime_nsec),
            mode: stat.st_mode,
        },
        device: stat.st_dev,
        links: widen(stat.st_nlink),
        allocated: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
    }
}

/// The width differs between architectures.
fn widen(number: impl Into<u64>) -> u64 {
    number.into()
}

fn timestamp(seconds: i64, nanos: impl TryInto<u32>) -> Timestamp {
    Timestamp { seconds, nanos: nanos.try_into().unwrap_or(0) }
}

/// Sets the modification time and leaves the other.
pub(super) fn only_mtime(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: i64::from(mtime.nanos.min(999_999_999)),
        },
    }
}

/// Shares all blocks until either is written to.
pub(super) fn share(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    match rustix::fs::ioctl_ficlone(to, from) {
        // By ioctl_ficlone(2) these, too, are said by file systems that have no such thing.
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::XDEV) => {
            Err(io::ErrorKind::Unsupported.into())
        }
        shared => Ok(shared?),
    }
}

/// Copies all bytes: shares the blocks if the file system can, else copies what is no hole.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd) -> io::Result<u64> {
    if share(from, to).is_ok() {
        return Ok(describe(&rustix::fs::fstat(to)?).stat.size);
    }
    let size = describe(&rustix::fs::fstat(from)?).stat.size;
    let mut at = 0;
    while at < size {
        let (start, end) = next_data(from, at, size)?;
        copy_range(from, to, start, end)?;
        at = end;
    }
    rustix::fs::ftruncate(to, size)?;
    Ok(size)
}

/// The next stretch of data at or behind `at`; empty at the end if only a hole is left.
fn next_data(file: &OwnedFd, at: u64, size: u64) -> io::Result<(u64, u64)> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => {
            let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(size).min(size);
            Ok(if start < end { (start, end) } else { (size, size) })
        }
        Err(Errno::NXIO) => Ok((size, size)),
        Err(_) => Ok((at, size)),
    }
}

fn copy_range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> io::Result<()> {
    let (mut source, mut target) = (start, start);
    while source < end {
        let want = usize::try_from(end - source).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), want) {
            // The file has become shorter: whoever asked will see it by the hash.
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                return copy_by_hand(from, to, source, end);
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &OwnedFd, to: &OwnedFd, mut at: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let read = match rustix::io::pread(from, &mut buffer[..want], at) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        let mut done = 0;
        while done < read {
            match rustix::io::pwrite(to, &buffer[done..read], at + done as u64) {
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        at += read as u64;
    }
    Ok(())
}
