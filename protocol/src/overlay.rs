//! Records as they will be once what has been noted so far is in the database.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::entry::{ContentId, EntryKey};
use crate::path::RelPath;
use crate::record::{Record, Stat};
use crate::store::{Records, StoreError};

type InDirectory = (Option<RelPath>, Vec<(RelPath, Record)>);

/// Records, and on top of them what was noted since.
pub(crate) struct Overlay<'a> {
    below: &'a dyn Records,
    noted: BTreeMap<RelPath, Option<Record>>,
    /// Those of `noted` that [`Records::copies`] is about, by directory.
    noted_copies: BTreeMap<Option<RelPath>, BTreeMap<RelPath, Record>>,
    /// The last answer of `below`: paths are looked at directory by directory.
    copies_below: RefCell<Option<InDirectory>>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(below: &'a dyn Records) -> Self {
        let copies_below = RefCell::new(None);
        Self { below, noted: BTreeMap::new(), noted_copies: BTreeMap::new(), copies_below }
    }

    pub(crate) fn note(&mut self, path: &RelPath, record: Option<Record>) {
        match &record {
            Some(record) if is_copy(path, record) => {
                let copies = self.noted_copies.entry(path.parent()).or_default();
                copies.insert(path.clone(), record.clone());
            }
            _ if self.noted_copies.is_empty() => {}
            _ => drop(self.noted_copies.get_mut(&path.parent()).map(|copies| copies.remove(path))),
        }
        self.noted.insert(path.clone(), record);
    }

    pub(crate) fn into_notes(self) -> Vec<(RelPath, Option<Record>)> {
        self.noted.into_iter().collect()
    }

    fn hides(&self, path: &RelPath) -> bool {
        self.noted.contains_key(path)
    }

    fn children_noted(&self, directory: Option<&RelPath>) -> Vec<(RelPath, Record)> {
        self.range_below(directory)
            .filter(|(path, _)| path.parent().as_ref() == directory)
            .filter_map(|(path, record)| Some((path.clone(), record.clone()?)))
            .collect()
    }

    fn range_below(&self, directory: Option<&RelPath>) -> impl Iterator<Item = (&RelPath, &Option<Record>)> {
        let from = directory.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.noted.range((from, Bound::Unbounded));
        let directory = directory.cloned();
        range.take_while(move |(path, _)| path.is_below(directory.as_ref()))
    }
}

/// Whether the record stands for several entries, or for one of another path.
fn is_copy(path: &RelPath, record: &Record) -> bool {
    let entries = &record.shown.entries;
    entries.len() > 1 || entries.iter().any(|key| key.path != *path)
}

/// The paths whose records name this entry: its own, and copies beside it; never others, because
/// copies do not leave their directory.
pub(crate) fn paths_of(records: &dyn Records, key: &EntryKey) -> Result<Vec<RelPath>, StoreError> {
    let mut paths = copies_of(records, key)?;
    if records.record(&key.path)?.is_some_and(|record| names(&record, key)) {
        paths.push(key.path.clone());
    }
    Ok(paths)
}

/// The same, without `path`.
pub(crate) fn other_paths_of(
    records: &dyn Records,
    key: &EntryKey,
    path: &RelPath,
) -> Result<Vec<RelPath>, StoreError> {
    let mut paths = if key.path == *path { copies_of(records, key)? } else { paths_of(records, key)? };
    paths.retain(|other| other != path);
    Ok(paths)
}

fn names(record: &Record, key: &EntryKey) -> bool {
    record.shown.entries.binary_search(key).is_ok()
}

/// The paths beside its own whose records name this entry.
pub(crate) fn copies_of(records: &dyn Records, key: &EntryKey) -> Result<Vec<RelPath>, StoreError> {
    let mut paths = Vec::new();
    for (path, record) in records.copies(key.path.parent().as_ref())? {
        if path != key.path && names(&record, key) {
            paths.push(path);
        }
    }
    Ok(paths)
}

impl Records for Overlay<'_> {
    fn record(&self, path: &RelPath) -> Result<Option<Record>, StoreError> {
        match self.noted.get(path) {
            Some(noted) => Ok(noted.clone()),
            None => self.below.record(path),
        }
    }

    fn children(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        let mut children = self.below.children(directory)?;
        children.retain(|(path, _)| !self.hides(path));
        children.extend(self.children_noted(directory));
        children.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(children)
    }

    fn child_paths(&self, directory: Option<&RelPath>) -> Result<Vec<RelPath>, StoreError> {
        let mut paths = self.below.child_paths(directory)?;
        if self.range_below(directory).next().is_some() {
            paths.retain(|path| !self.hides(path));
            paths.extend(self.children_noted(directory).into_iter().map(|(path, _)| path));
            paths.sort();
        }
        Ok(paths)
    }

    fn beside(&self, from: &RelPath, limit: usize) -> Result<Vec<(RelPath, Record)>, StoreError> {
        let mut beside = self.below.beside(from, limit)?;
        let until = beside.last().filter(|_| beside.len() >= limit).map(|(path, _)| path.clone());
        beside.retain(|(path, _)| !self.hides(path));
        let noted = self
            .noted
            .range((Bound::Included(from), until.as_ref().map_or(Bound::Unbounded, Bound::Included)));
        let directory = from.parent();
        let noted = noted.take_while(|(path, _)| path.is_below(directory.as_ref()));
        let noted = noted.filter(|(path, _)| path.is_beside(from));
        let noted = noted.filter_map(|(path, record)| Some((path.clone(), record.clone()?)));
        beside.extend(noted);
        if until.is_some() && beside.len() < limit {
            // What was hidden would seem to be the end.
            beside = self.children(directory.as_ref())?;
            beside.retain(|(path, _)| path >= from);
        }
        beside.sort_by(|(a, _), (b, _)| a.cmp(b));
        beside.truncate(limit);
        Ok(beside)
    }

    fn copies(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        let mut cached = self.copies_below.borrow_mut();
        let below = match cached.take() {
            Some(kept) if kept.0.as_ref() == directory => kept,
            _ => (directory.cloned(), self.below.copies(directory)?),
        };
        let below = &cached.insert(below).1;
        if below.is_empty() && self.noted_copies.is_empty() {
            return Ok(Vec::new());
        }
        let mut copies: Vec<_> = below.iter().filter(|(path, _)| !self.hides(path)).cloned().collect();
        if let Some(noted) = self.noted_copies.get(&directory.cloned()) {
            copies.extend(noted.iter().map(|(path, record)| (path.clone(), record.clone())));
        }
        copies.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(copies)
    }

    fn any_below(&self, path: &RelPath) -> Result<bool, StoreError> {
        if self.range_below(Some(path)).any(|(_, record)| record.is_some()) {
            return Ok(true);
        }
        let is_any = self.below.any_below(path)?;
        if !is_any || self.range_below(Some(path)).next().is_none() {
            return Ok(is_any);
        }
        // A removed directory was empty when it was removed, so direct children tell.
        Ok(self.below.child_paths(Some(path))?.iter().any(|child| !self.hides(child)))
    }

    fn with_content(&self, id: &ContentId, limit: usize) -> Result<Vec<RelPath>, StoreError> {
        self.below.with_content(id, limit)
    }

    fn with_stat(&self, stat: &Stat) -> Result<Vec<RelPath>, StoreError> {
        self.below.with_stat(stat)
    }
}
