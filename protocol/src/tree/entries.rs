//! What rendering asks of a set of entries, answered from a tree.

use std::collections::Bound;

use super::{Tree, TreeError};
use crate::entry::{Entry, EntryKey};
use crate::path::RelPath;
use crate::version::{Origin, Version};

/// A set of entries, as rendering and commits look at it.
pub trait Entries {
    /// The entries at `path`, by version ascending.
    fn at(&self, path: &RelPath) -> Result<Vec<Entry>, TreeError>;
    /// Whether there is an entry strictly below `path`.
    fn any_below(&self, path: &RelPath) -> Result<bool, TreeError>;
    /// What is at a path and below.
    fn group(&self, path: &RelPath) -> Result<Group, TreeError> {
        Ok(Group { path: path.clone(), entries: self.at(path)?, below: self.any_below(path)? })
    }
    /// Whether this entry is in the set.
    fn contains(&self, key: &EntryKey) -> Result<bool, TreeError>;
    /// One group for each name directly inside `directory` (`None` is the root) that has entries at
    /// it or below, ordered by path.
    fn groups(&self, directory: Option<&RelPath>) -> Result<Vec<Group>, TreeError>;
}

/// What a set of entries has at one path and below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Where.
    pub path: RelPath,
    /// The entries at the path itself, by version ascending.
    pub entries: Vec<Entry>,
    /// Whether there are entries strictly below.
    pub below: bool,
}

/// Before every version that there is.
const FIRST: Version = Version { seq: 0, origin: Origin([0; 8]) };

impl Entries for Tree<'_, Entry> {
    fn at(&self, path: &RelPath) -> Result<Vec<Entry>, TreeError> {
        Ok(self.group(path)?.entries)
    }

    fn group(&self, path: &RelPath) -> Result<Group, TreeError> {
        let mut group = Group { path: path.clone(), entries: Vec::new(), below: false };
        let from = EntryKey { path: path.clone(), version: FIRST };
        self.look(Bound::Included(&from), &mut |entry| {
            let is_here = entry.path == *path;
            if is_here {
                group.entries.push(entry.clone());
            } else {
                group.below = entry.path.is_below(Some(path));
            }
            is_here
        })?;
        Ok(group)
    }

    fn any_below(&self, path: &RelPath) -> Result<bool, TreeError> {
        let mut found = false;
        let from = EntryKey { path: path.clone(), version: FIRST };
        self.look(Bound::Included(&from), &mut |entry| {
            found = entry.path.is_below(Some(path));
            entry.path == *path
        })?;
        Ok(found)
    }

    fn contains(&self, key: &EntryKey) -> Result<bool, TreeError> {
        Ok(self.get(key)?.is_some())
    }

    fn groups(&self, directory: Option<&RelPath>) -> Result<Vec<Group>, TreeError> {
        let mut range = self.range(Bound::Unbounded);
        if let Some(directory) = directory {
            range.seek_past(|key| key.path <= *directory);
        }
        let depth = directory.map_or(0, RelPath::depth) + 1;
        let mut groups: Vec<Group> = Vec::new();
        while let Some(entry) = range.next().transpose()? {
            if !entry.path.is_below(directory) {
                break;
            }
            let child = cut(&entry.path, depth);
            if groups.last().is_none_or(|group| group.path != child) {
                groups.push(Group { path: child.clone(), entries: Vec::new(), below: false });
            }
            let Some(group) = groups.last_mut() else { continue };
            if entry.path == child {
                group.entries.push(entry);
            } else {
                group.below = true;
                range.seek_past(|key| key.path.is_below(Some(&child)));
            }
        }
        Ok(groups)
    }
}

/// The first `depth` names of a path that has at least as many.
fn cut(path: &RelPath, depth: usize) -> RelPath {
    let above = path.depth().saturating_sub(depth);
    match above.checked_sub(1) {
        None => path.clone(),
        Some(above) => path.ancestors().nth(above).unwrap_or_else(|| path.clone()),
    }
}
