//! A disk that folds names, for tests: one file answers to every spelling of its name.

use std::io;
use std::sync::Arc;

use protocol::{RelPath, Timestamp};

use super::{
    ArchivedPath, ControlName, Disk, DiskLock, DiskStat, Listed, Place, ReadFile, StagedName, WriteFile,
};

/// Folds case, and the two forms of `é`. It keeps names as they were given, unless it is told to
/// write them decomposed.
pub struct FoldingDisk {
    inner: Arc<dyn Disk>,
    decomposes: bool,
}

const COMPOSED: &str = "é";
const DECOMPOSED: &str = "e\u{301}";

impl FoldingDisk {
    /// Folds what is on another disk.
    pub fn new(inner: Arc<dyn Disk>, decomposes: bool) -> Self {
        Self { inner, decomposes }
    }

    fn fold(name: &[u8]) -> String {
        String::from_utf8_lossy(name).to_lowercase().replace(DECOMPOSED, COMPOSED)
    }

    /// The place by the names that the disk has.
    fn find(&self, at: &Place) -> io::Result<Place> {
        let Place::Folder(path) = at else { return Ok(at.clone()) };
        let mut above: Option<RelPath> = None;
        for name in path.names() {
            let listed =
                self.inner.list(&above.clone().map_or(Place::Root, Place::Folder)).unwrap_or_default();
            let same = listed.into_iter().find(|one| Self::fold(&one.name) == Self::fold(name));
            let given = String::from_utf8_lossy(name);
            let new = if self.decomposes { given.replace(COMPOSED, DECOMPOSED) } else { given.into_owned() };
            let name = same.map_or(new.into_bytes(), |one| one.name);
            above = Some(RelPath::join(above.as_ref(), &name).map_err(io::Error::other)?);
        }
        Ok(above.map_or(Place::Root, Place::Folder))
    }
}

impl Disk for FoldingDisk {
    fn stat(&self, at: &Place) -> io::Result<Option<DiskStat>> {
        self.inner.stat(&self.find(at)?)
    }
    fn list(&self, directory: &Place) -> io::Result<Vec<Listed>> {
        self.inner.list(&self.find(directory)?)
    }
    fn open(&self, at: &Place) -> io::Result<Box<dyn ReadFile>> {
        self.inner.open(&self.find(at)?)
    }
    fn stage(&self, name: &StagedName) -> io::Result<Box<dyn WriteFile>> {
        self.inner.stage(name)
    }
    fn read_link(&self, at: &Place) -> io::Result<Vec<u8>> {
        self.inner.read_link(&self.find(at)?)
    }
    fn stage_whole(&self, name: &StagedName, bytes: &[u8], mode: u16) -> io::Result<()> {
        self.inner.stage_whole(name, bytes, mode)
    }
    fn stage_link(&self, name: &StagedName, target: &[u8], mtime: Timestamp) -> io::Result<()> {
        self.inner.stage_link(name, target, mtime)
    }
    fn make_directory(&self, at: &Place, mode: u16) -> io::Result<()> {
        self.inner.make_directory(&self.find(at)?, mode)
    }
    fn rename_new(&self, from: &Place, to: &Place) -> io::Result<()> {
        self.inner.rename_new(&self.find(from)?, &self.find(to)?)
    }
    fn exchange(&self, one: &Place, other: &Place) -> io::Result<()> {
        self.inner.exchange(&self.find(one)?, &self.find(other)?)
    }
    fn link_to_archive(&self, from: &Place, to: &ArchivedPath) -> io::Result<()> {
        self.inner.link_to_archive(&self.find(from)?, to)
    }
    fn remove_file(&self, at: &Place) -> io::Result<()> {
        self.inner.remove_file(&self.find(at)?)
    }
    fn remove_directory(&self, at: &Place) -> io::Result<()> {
        self.inner.remove_directory(&self.find(at)?)
    }
    fn set_mode(&self, at: &Place, mode: u16) -> io::Result<()> {
        self.inner.set_mode(&self.find(at)?, mode)
    }
    fn set_mtime(&self, at: &Place, mtime: Timestamp) -> io::Result<()> {
        self.inner.set_mtime(&self.find(at)?, mtime)
    }
    fn copy_to_staged(&self, from: &Place, to: &StagedName) -> io::Result<u64> {
        self.inner.copy_to_staged(&self.find(from)?, to)
    }
    fn share_with_staged(&self, from: &Place, to: &StagedName) -> io::Result<()> {
        self.inner.share_with_staged(&self.find(from)?, to)
    }
    fn sync_directory(&self, directory: &Place) -> io::Result<()> {
        self.inner.sync_directory(&self.find(directory)?)
    }
    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
    fn read_control(&self, name: ControlName) -> io::Result<Vec<u8>> {
        self.inner.read_control(name)
    }
    fn write_control(&self, name: ControlName, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_control(name, bytes)
    }
    fn lock(&self) -> io::Result<DiskLock> {
        self.inner.lock()
    }
}
