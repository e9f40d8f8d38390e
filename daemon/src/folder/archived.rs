//! The archive as people ask for it: what is in it, and bringing it back.

use std::collections::BTreeMap;

use protocol::RelPath;

use super::archive::{self, Archived, Restored};
use super::hands::Hands;
use crate::disk::{Disk, StagedName};

/// More than this is not listed at once.
const MAX_LISTED: usize = 100_000;

/// What has become of a wish to bring files back.
#[derive(Debug, Default)]
pub struct BroughtBack {
    /// These are back.
    pub restored: Vec<RelPath>,
    /// Something else has these names; it was left alone.
    pub taken: Vec<RelPath>,
}

impl Hands {
    /// What is in the archive at or below a path, newest first.
    pub fn archive_list(&self, path: Option<&RelPath>) -> std::io::Result<Vec<Archived>> {
        let Some(disk) = self.disk() else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        archive::walk(disk.as_ref(), |found| {
            if is_at(&found, path) {
                rows.push(found);
            }
            rows.len() < MAX_LISTED
        })?;
        rows.sort_by(|a, b| b.at.stamp.cmp(&a.at.stamp).then_with(|| a.at.path.cmp(&b.at.path)));
        Ok(rows)
    }

    /// Brings back the newest archived file of each path at or below `path`, where nothing is there
    /// now.
    pub fn archive_restore(&self, path: Option<&RelPath>) -> std::io::Result<BroughtBack> {
        let mut brought_back = BroughtBack::default();
        let Some(disk) = self.disk() else { return Ok(brought_back) };
        let mut newest: BTreeMap<RelPath, Archived> = BTreeMap::new();
        archive::walk(disk.as_ref(), |found| {
            if is_at(&found, path) {
                let older = newest.get(&found.at.path).is_none_or(|known| known.at.stamp <= found.at.stamp);
                if older {
                    newest.insert(found.at.path.clone(), found);
                }
            }
            true
        })?;
        for (number, (path, found)) in newest.into_iter().enumerate() {
            let staged =
                StagedName::parse(&format!("restored-{number}")).ok_or(std::io::ErrorKind::InvalidInput)?;
            make_parents(disk.as_ref(), &path)?;
            match archive::restore(disk.as_ref(), &found.at, &staged)? {
                Restored::Done => brought_back.restored.push(path),
                Restored::Taken => brought_back.taken.push(path),
            }
        }
        Ok(brought_back)
    }
}

fn make_parents(disk: &dyn Disk, path: &RelPath) -> std::io::Result<()> {
    let mut parents: Vec<_> = path.ancestors().collect();
    parents.reverse();
    for parent in parents {
        match disk.make_directory(&crate::disk::Place::Folder(parent), 0o755) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_at(found: &Archived, path: Option<&RelPath>) -> bool {
    path.is_none_or(|path| found.at.path == *path || found.at.path.is_below(Some(path)))
}
