//! The archive as the API shows it.

use std::collections::BTreeMap;

use protocol::RelPath;

use super::archive::{self, Archived, Restored};
use super::hands::Hands;
use crate::api::types::ArchiveRow;
use crate::disk::{Disk, StagedName};

/// More than this is not listed at once.
const MAX_LISTED: usize = 100_000;

impl Hands {
    /// What is in the archive at or below a path, newest first.
    pub fn archive_list(&self, path: Option<&RelPath>) -> std::io::Result<Vec<ArchiveRow>> {
        let Some(disk) = self.disk() else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        archive::walk(disk.as_ref(), |found| {
            if is_at(&found, path) {
                rows.push(row(&found));
            }
            rows.len() < MAX_LISTED
        })?;
        rows.sort_by(|a, b| b.archived.cmp(&a.archived).then_with(|| a.path.cmp(&b.path)));
        Ok(rows)
    }

    /// Brings back the newest archived file of each path at or below `path`, where nothing is there
    /// now; else beside it, as a file of its own.
    pub fn archive_restore(&self, path: Option<&RelPath>) -> std::io::Result<Vec<String>> {
        let Some(disk) = self.disk() else { return Ok(Vec::new()) };
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
        let mut restored = Vec::new();
        for (number, (path, found)) in newest.into_iter().enumerate() {
            let staged =
                StagedName::parse(&format!("restored-{number}")).ok_or(std::io::ErrorKind::InvalidInput)?;
            make_parents(disk.as_ref(), &path)?;
            if archive::restore(disk.as_ref(), &found.at, &staged)? == Restored::Done {
                restored.push(path.to_string());
            }
        }
        Ok(restored)
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

fn row(found: &Archived) -> ArchiveRow {
    let (path, stamp) = (found.at.path.to_string(), found.at.stamp.as_str().to_owned());
    ArchiveRow {
        stored: format!(".syncd/archive/{stamp}/{path}"),
        path,
        archived: stamp,
        bytes: found.stat.stat.size,
    }
}
