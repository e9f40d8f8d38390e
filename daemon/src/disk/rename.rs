//! Renaming to a free name.
//!
//! Where the file system has no `RENAME_NOREPLACE` (NFS, 9p, FUSE) it takes several steps, and a user
//! may save a file between two of them, by a rename over its name. So what has a user's name is only
//! ever *moved*, over a name of ours that was reserved for it: whatever is there by then comes along.
//! A hard link that is followed by a removal would remove it; that is for names of ours.

use std::io;

use rustix::fs::{AtFlags, OFlags, RenameFlags};
use rustix::io::Errno;

use super::file::describe;
use super::real::mode;
use super::{DiskStat, Kind, Place, RealDisk, StagedName};

/// How many files may be aside at once.
const MAX_ASIDE: u32 = 1000;

impl RealDisk {
    /// Renames what has a name; `AlreadyExists` if anything is at `to`.
    pub(super) fn rename_to_free(&self, from: &Place, to: &Place) -> io::Result<()> {
        #[cfg(test)]
        if self.slowness.is_slow() {
            return self.rename_slowly(from, to);
        }
        let renamed = self.at_both(from, to, |(source, old), (target, new)| {
            Ok(rustix::fs::renameat_with(source, old, target, new, RenameFlags::NOREPLACE)?)
        });
        match renamed {
            Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::INVAL | Errno::NOSYS)) => {
                self.rename_slowly(from, to)
            }
            renamed => renamed,
        }
    }

    fn rename_slowly(&self, from: &Place, to: &Place) -> io::Result<()> {
        if is_ours(to) {
            return self.rename_over_reserved(from, to);
        }
        if is_ours(from) {
            return self.link_and_remove(from, to);
        }
        let aside = self.take_aside(from)?;
        self.link_and_remove(&aside, to).inspect_err(|_| {
            // If its name is taken by now, it stays where the sweep of staging finds it.
            let _ = self.link_and_remove(&aside, from);
        })
    }

    fn take_aside(&self, from: &Place) -> io::Result<Place> {
        for number in 0..MAX_ASIDE {
            let Some(name) = StagedName::parse(&format!("displaced-aside-{number}")) else { break };
            let aside = Place::Staged(name);
            match self.rename_over_reserved(from, &aside) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                renamed => return renamed.map(|()| aside),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many files lie aside"))
    }

    /// Takes whatever has the name to a name of ours.
    fn rename_over_reserved(&self, from: &Place, to: &Place) -> io::Result<()> {
        let is_directory = self.look_at(from)?.kind == Kind::Directory;
        self.between();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.at(to, |parent, name| match is_directory {
            true => Ok(rustix::fs::mkdirat(parent, name, mode(0o700))?),
            false => Ok(rustix::fs::openat(parent, name, flags, mode(0o600)).map(drop)?),
        })?;
        let reserved = self.look_at(to)?;
        self.between();
        let renamed = self.at_both(from, to, |(source, old), (target, new)| {
            Ok(rustix::fs::renameat(source, old, target, new)?)
        });
        self.between();
        let Err(error) = renamed else { return Ok(()) };
        if self.look_at(to)?.stat.inode != reserved.stat.inode {
            // It was done all the same: an answer was lost on the way.
            return Ok(());
        }
        let how = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        self.at(to, |parent, name| Ok(rustix::fs::unlinkat(parent, name, how)?))?;
        Err(error)
    }

    /// From a name of ours, which nobody else changes. For a directory the worst is that an empty
    /// one, made in the window, is replaced.
    fn link_and_remove(&self, from: &Place, to: &Place) -> io::Result<()> {
        let is_directory = self.look_at(from)?.kind == Kind::Directory;
        self.between();
        self.at_both(from, to, |(source, old), (target, new)| {
            if !is_directory {
                rustix::fs::linkat(source, old, target, new, AtFlags::empty())?;
                self.between();
                return Ok(rustix::fs::unlinkat(source, old, AtFlags::empty())?);
            }
            match rustix::fs::statat(target, new, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST.into()),
                Err(Errno::NOENT) => Ok(rustix::fs::renameat(source, old, target, new)?),
                Err(e) => Err(e.into()),
            }
        })
    }

    fn look_at(&self, at: &Place) -> io::Result<DiskStat> {
        self.at(at, |parent, name| {
            Ok(describe(&rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?))
        })
    }

    /// Between two steps; a test may come here.
    fn between(&self) {
        #[cfg(test)]
        self.slowness.come_between();
    }
}

fn is_ours(at: &Place) -> bool {
    matches!(at, Place::Staged(_) | Place::Archived(_))
}

#[cfg(test)]
pub(super) use tests::Slowness;

#[cfg(test)]
#[path = "rename_tests.rs"]
mod tests;
