//! What is ours below the root: small files in the control directory, and the directories of the archive.

use std::io;

use protocol::RelPath;
use protocol::path::CONTROL_DIRECTORY;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::file::OpenFile;
use super::place::{control_name, control_path, not_for};
use super::real::mode;
use super::{ControlName, Disk, Place, RealDisk, Stamp, WriteFile};

/// Most bytes that a control file may have.
const MAX_CONTROL_BYTES: usize = 64 * 1024;
/// Mode of everything in the control directory.
const PRIVATE_DIRECTORY: u16 = 0o700;

impl RealDisk {
    pub(super) fn make_archive_directories(&self, stamp: &Stamp, path: Option<&RelPath>) -> io::Result<()> {
        let mut at = control_path(ControlName::Archive);
        let names = path.into_iter().flat_map(RelPath::names);
        for name in std::iter::once(stamp.as_str().as_bytes()).chain(names) {
            let directory = self.resolver.directory(&at)?;
            match rustix::fs::mkdirat(&*directory, name, mode(PRIVATE_DIRECTORY)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            at.push(b'/');
            at.extend_from_slice(name);
        }
        // A file may have the name.
        self.resolver.directory(&at).map(drop)
    }

    pub(super) fn read_small(&self, name: ControlName) -> io::Result<Vec<u8>> {
        let file = self.open(&Place::Control(name))?;
        let mut bytes = vec![0; MAX_CONTROL_BYTES + 1];
        let mut length = 0;
        loop {
            match file.read_at(&mut bytes[length..], length as u64)? {
                0 => break,
                read => length += read,
            }
            if length > MAX_CONTROL_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a control file is too large"));
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    pub(super) fn write_small(&self, name: ControlName, bytes: &[u8]) -> io::Result<()> {
        let new = match name {
            ControlName::Marker => ControlName::NewMarker,
            ControlName::Probe => ControlName::NewProbe,
            _ => return Err(not_for(&Place::Control(name))),
        };
        let new = control_name(new).as_bytes();
        // Who removed the new file of another would rename nothing, or half of it.
        let _turn = self.writing.lock();
        let control = self.resolver.fresh_directory(CONTROL_DIRECTORY.as_bytes())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // What lies there is our own unfinished write.
        match rustix::fs::unlinkat(&*control, new, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let file = rustix::fs::openat(&*control, new, flags, Mode::RUSR | Mode::WUSR)?;
        let file = OpenFile::new(file, self.mode_mask);
        file.write_at(bytes, 0)?;
        file.sync()?;
        rustix::fs::renameat(&*control, new, &*control, control_name(name).as_bytes())?;
        self.sync_directory(&Place::Control(ControlName::Directory))
    }
}
