//! Names on disks that fold them.
//!
//! Where a directory does not tell case (or forms of Unicode) apart, one file answers to many
//! spellings, and only listing the directory tells which is its name. Whoever asks by another must
//! hear that nothing is there, or two paths of the folder would mean one file: what is done to one
//! would be done to the other.
//!
//! Listing is dear, so a plain name is first asked for with the case of its letters changed: where
//! that finds nothing, or something else, it has no other spelling.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use protocol::RelPath;

use crate::disk::{Disk, DiskStat, Kind, Place};

/// The names of a directory, and what each is.
type Names = BTreeMap<Vec<u8>, (u64, Kind)>;

/// Looks at spellings. It remembers what it has listed, so it is for one scan or one batch.
pub struct Spelling<'a> {
    disk: &'a dyn Disk,
    listed: RefCell<BTreeMap<Option<RelPath>, Names>>,
    /// Directories whose whole path is spelled as on the disk.
    exact: RefCell<BTreeSet<RelPath>>,
}

impl<'a> Spelling<'a> {
    /// Knows nothing yet.
    pub fn new(disk: &'a dyn Disk) -> Self {
        Self { disk, listed: RefCell::default(), exact: RefCell::default() }
    }

    /// The outermost part of a path that the disk spells in another way; something was `found` there.
    pub fn foreign_part(&self, path: &RelPath, found: &DiskStat) -> io::Result<Option<RelPath>> {
        let mut above: Vec<_> = path.ancestors().collect();
        while let Some(directory) = above.pop() {
            if self.exact.borrow().contains(&directory) {
                continue;
            }
            let Some(stat) = self.disk.stat(&Place::Folder(directory.clone()))? else { return Ok(None) };
            if self.other_name(&directory, &stat)?.is_some() {
                return Ok(Some(directory));
            }
            self.exact.borrow_mut().insert(directory);
        }
        Ok(self.other_name(path, found)?.map(|_| path.clone()))
    }

    /// The name that the directory lists for what was `found` at a path, if it is not the path's own.
    pub fn other_name(&self, path: &RelPath, found: &DiskStat) -> io::Result<Option<RelPath>> {
        let parent = path.parent();
        let is_known = self.listed.borrow().get(&parent).is_some_and(|names| names.contains_key(path.name()));
        if is_known || self.has_one_spelling(path, found)? {
            return Ok(None);
        }
        // What is remembered may be older than the name.
        let names = self.list(parent.as_ref())?;
        let same = |(_, what): &(&Vec<u8>, &(u64, Kind))| **what == (found.stat.inode, found.kind);
        let other = match names.contains_key(path.name()) {
            true => None,
            false => names.iter().find(same).and_then(|(name, _)| RelPath::join(parent.as_ref(), name).ok()),
        };
        self.listed.borrow_mut().insert(parent, names);
        Ok(other)
    }

    fn list(&self, directory: Option<&RelPath>) -> io::Result<Names> {
        let listed = self.disk.list(&directory.cloned().map_or(Place::Root, Place::Folder))?;
        let named = listed.into_iter().filter_map(|one| Some((one.name, one.stat.ok()?)));
        Ok(named.map(|(name, stat)| (name, (stat.stat.inode, stat.kind))).collect())
    }

    fn has_one_spelling(&self, path: &RelPath, found: &DiskStat) -> io::Result<bool> {
        let name = path.name();
        if !name.is_ascii() {
            return Ok(false);
        }
        let swap = |byte: &u8| match byte.is_ascii_lowercase() {
            true => byte.to_ascii_uppercase(),
            false => byte.to_ascii_lowercase(),
        };
        let swapped: Vec<_> = name.iter().map(swap).collect();
        if swapped == name {
            return Ok(true);
        }
        let Ok(other) = RelPath::join(path.parent().as_ref(), &swapped) else { return Ok(false) };
        let other = match self.disk.stat(&Place::Folder(other)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => other?,
        };
        Ok(other.is_none_or(|other| other.stat.inode != found.stat.inode))
    }
}
