//! From a path below the root to a descriptor, never leaving the root.
//!
//! A directory is opened with `openat2(BENEATH | NO_SYMLINKS | NO_MAGICLINKS | NO_XDEV)`, or, where
//! a kernel or a sandbox has no `openat2`, component by component with `O_NOFOLLOW`. Whatever
//! happens below it is then done by one-component calls relative to that descriptor, none of which
//! follows a link. A directory on another device than the root is not entered (`CrossesDevices`).
//!
//! Descriptors of a few directories are kept for [`FRESH`]. A kept descriptor can never lead to a
//! link's target: it *is* the directory that once had the path. If somebody moves that directory
//! meanwhile, what we do in it happens as if we had done it just before the move, which no one can
//! tell from the µs between resolving and acting that every caller has anyway. Our own moves and
//! removals drop what they touch.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How long a kept descriptor is believed.
const FRESH: Duration = Duration::from_millis(20);
/// How many are kept: a rename needs two, a deep batch a few more.
const KEPT: usize = 8;
/// Longest path handed to the kernel at once, below `PATH_MAX` (4,096 with its NUL).
const PIECE_BYTES: usize = 4000;
/// How often `EAGAIN` (a rename or mount raced with the resolution) is tried again.
const RETRIES: usize = 64;

const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The root, and the way from it to any directory below.
#[derive(Debug)]
pub(super) struct Resolver {
    root: Arc<OwnedFd>,
    device: u64,
    without_openat2: AtomicBool,
    kept: Mutex<Vec<KeptDirectory>>,
}

#[derive(Debug)]
struct KeptDirectory {
    path: Vec<u8>,
    descriptor: Arc<OwnedFd>,
    opened: Instant,
}

impl Resolver {
    /// Opens the root, which must be a directory and no link.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())?;
        let device = rustix::fs::fstat(&root)?.st_dev;
        Ok(Self {
            root: Arc::new(root),
            device,
            without_openat2: AtomicBool::new(false),
            kept: Mutex::new(Vec::with_capacity(KEPT)),
        })
    }

    /// The descriptor of the root, readable.
    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Resolves component by component from now on, as on a kernel without `openat2`.
    #[cfg(test)]
    pub(super) fn forget_openat2(&self) {
        self.without_openat2.store(true, Ordering::Relaxed);
    }

    /// A descriptor (`O_PATH`) of a directory; an empty path is the root. It may be a kept one.
    pub(super) fn directory(&self, path: &[u8]) -> io::Result<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        let now = Instant::now();
        let mut kept = self.kept.lock();
        kept.retain(|k| now.duration_since(k.opened) < FRESH);
        if let Some(found) = kept.iter().find(|k| k.path == path) {
            return Ok(Arc::clone(&found.descriptor));
        }
        drop(kept);
        self.fresh_directory(path)
    }

    /// As [`directory`](Self::directory), resolved now.
    pub(super) fn fresh_directory(&self, path: &[u8]) -> io::Result<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        let opened = Instant::now();
        let descriptor = Arc::new(self.resolve(path, PATH_ONLY)?);
        let mut kept = self.kept.lock();
        kept.retain(|k| k.path != path);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(KeptDirectory { path: path.to_vec(), descriptor: Arc::clone(&descriptor), opened });
        Ok(descriptor)
    }

    /// A readable descriptor of a directory, resolved now: for listing and `fsync`.
    pub(super) fn readable_directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if path.is_empty() {
            return Ok(rustix::fs::openat(&self.root, c".", flags, Mode::empty())?);
        }
        self.resolve(path, flags)
    }

    /// Forgets the descriptors of this path and of all below: it is about to be moved or removed.
    pub(super) fn forget(&self, path: &[u8]) {
        self.kept
            .lock()
            .retain(|k| !(k.path.starts_with(path) && matches!(k.path.get(path.len()), None | Some(b'/'))));
    }

    fn resolve(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let mut at: Option<OwnedFd> = None;
        let mut rest = path;
        while !rest.is_empty() {
            let (piece, behind) = split_piece(rest);
            let from = at.as_ref().unwrap_or(&self.root);
            let piece_flags = if behind.is_empty() { flags } else { PATH_ONLY };
            let next = self.resolve_piece(from, piece, piece_flags)?;
            at = Some(next);
            rest = behind;
        }
        let found = at.ok_or(Errno::NOENT)?;
        // NO_XDEV does not see the border of a btrfs subvolume, which renames cannot cross either.
        if rustix::fs::fstat(&found)?.st_dev != self.device {
            return Err(Errno::XDEV.into());
        }
        Ok(found)
    }

    fn resolve_piece(&self, from: &OwnedFd, piece: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let how = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        for _ in 0..RETRIES {
            if self.without_openat2.load(Ordering::Relaxed) {
                return self.walk(from, piece, flags);
            }
            match rustix::fs::openat2(from, piece, flags, Mode::empty(), how) {
                Ok(found) => return Ok(found),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Only the failure is remembered: it cannot turn into a success later.
                Err(Errno::NOSYS | Errno::PERM) => self.without_openat2.store(true, Ordering::Relaxed),
                Err(e) => return Err(e.into()),
            }
        }
        // Somebody renames without end: without BENEATH there is nothing to be raced.
        self.walk(from, piece, flags)
    }

    fn walk(&self, from: &OwnedFd, piece: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let mut at: Option<OwnedFd> = None;
        let mut names = piece.split(|b| *b == b'/').peekable();
        while let Some(name) = names.next() {
            let flags = if names.peek().is_none() { flags } else { PATH_ONLY };
            let here = at.as_ref().unwrap_or(from);
            let next = rustix::fs::openat(here.as_fd(), name, flags | OFlags::NOFOLLOW, Mode::empty())?;
            if rustix::fs::fstat(&next)?.st_dev != self.device {
                return Err(Errno::XDEV.into());
            }
            at = Some(next);
        }
        Ok(at.ok_or(Errno::NOENT)?)
    }
}

/// Cuts off as many whole components as the kernel takes at once. Names are at most 255 bytes, so
/// there is always one.
fn split_piece(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= PIECE_BYTES {
        return (path, &[]);
    }
    match path[..PIECE_BYTES].iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, &[]),
    }
}
