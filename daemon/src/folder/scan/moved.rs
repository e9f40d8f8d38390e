//! Files that have been moved here as they were: known by their inodes, and not read again.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Content, Record, RelPath, Stat};

use super::{ScanError, Scanner};
use crate::disk::Place;

/// Paths that may have been where a file was before it was moved.
const MAX_MOVED_FROM: usize = 16;

/// Where files have come from. A directory that was moved brings all that was in it, so the next
/// one is looked for where the last one was.
#[derive(Default)]
pub(super) struct Origins {
    /// Directories that are not there any more.
    missing: BTreeSet<RelPath>,
    /// What was in one of them, by name.
    last: Option<(RelPath, BTreeMap<Vec<u8>, Record>)>,
    /// There were no records when the scan began: no file can have come from one of their paths.
    pub(super) is_nothing_known: bool,
}

impl Origins {
    fn same_name(&self, name: &[u8], stat: &Stat) -> Option<Content> {
        let (_, records) = self.last.as_ref()?;
        records.get(name).and_then(|record| content_of(record, stat))
    }
}

impl Scanner<'_, '_> {
    /// The content of a file that has been moved here as it was: same inode, times and size, and
    /// gone from where it was. (Moving a file sets its ctime on most file systems; moving a
    /// directory leaves those of the files in it.)
    pub(super) fn moved_here(&mut self, path: &RelPath, stat: &Stat) -> Result<Option<Content>, ScanError> {
        if let Some(content) = self.origins.same_name(path.name(), stat) {
            return Ok(Some(content));
        }
        for from in self.cx.records.with_stat(stat)?.into_iter().take(MAX_MOVED_FROM) {
            let Some(record) = self.cx.records.record(&from)? else { continue };
            let Some(content) = content_of(&record, stat) else { continue };
            if self.has_left(&from, stat) {
                self.remember_origin(&from)?;
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    fn has_left(&mut self, from: &RelPath, stat: &Stat) -> bool {
        let parent = from.parent();
        if parent.as_ref().is_some_and(|parent| self.origins.missing.contains(parent)) {
            return true;
        }
        match self.cx.files.disk.stat(&Place::Folder(from.clone())) {
            Ok(found) => found.is_none_or(|found| found.stat.inode != stat.inode),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.origins.missing.extend(parent);
                true
            }
            Err(_) => false,
        }
    }

    /// If all of its directory is gone, the rest of it may be where this one is. Should the directory
    /// come back meanwhile, none of its files can be here as well with the same stat.
    fn remember_origin(&mut self, from: &RelPath) -> Result<(), ScanError> {
        let Some(parent) = from.parent().filter(|parent| self.origins.missing.contains(parent)) else {
            return Ok(());
        };
        if self.origins.last.as_ref().is_none_or(|(last, _)| *last != parent) {
            let records = self.cx.records.children(Some(&parent))?;
            let by_name = records.into_iter().map(|(path, record)| (path.name().to_vec(), record));
            self.origins.last = Some((parent, by_name.collect()));
        }
        Ok(())
    }
}

/// What a record says, if it is of a file with this very stat.
fn content_of(record: &Record, stat: &Stat) -> Option<Content> {
    let is_it = matches!(record.shown.content, Content::File { .. }) && record.stat == Some(*stat);
    is_it.then(|| record.shown.content.clone())
}
