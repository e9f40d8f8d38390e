//! Records that are asked for again and again while nothing changes them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::entry::ContentId;
use crate::path::RelPath;
use crate::record::{Record, Stat};
use crate::store::{Records, StoreError};

/// Most records that are fetched together.
const MOST_TOGETHER: usize = 256;

/// Records of which each is fetched once, and none from a directory that has none: in a first sync
/// that is every one. Where one path after another of a directory is asked for, they are fetched
/// together. For one plan: it grows with what is asked.
pub(crate) struct Remembered<'a> {
    below: &'a dyn Records,
    records: RefCell<BTreeMap<RelPath, Option<Record>>>,
    /// What was fetched together last.
    page: RefCell<Page>,
    has_any: RefCell<BTreeMap<RelPath, bool>>,
    /// A directory without any: paths are looked at directory by directory.
    bare: RefCell<Option<RelPath>>,
}

/// Neighbouring records: all that are beside `from`, from there on up to the last.
#[derive(Default)]
struct Page {
    from: Option<RelPath>,
    records: Vec<(RelPath, Record)>,
    /// Nothing comes behind the last.
    is_end: bool,
    /// How many records were asked for.
    limit: usize,
    /// How many paths have been found here, or not to be there.
    used: usize,
}

impl Page {
    /// What is at a path, if that lies in the page.
    fn find(&mut self, path: &RelPath) -> Option<Option<Record>> {
        let from = self.from.as_ref()?;
        let reaches = |(last, _): &(RelPath, Record)| path <= last;
        if !path.is_beside(from) || path < from || !(self.is_end || self.records.last().is_some_and(reaches)) {
            return None;
        }
        self.used += 1;
        let at = self.records.binary_search_by(|(known, _)| known.cmp(path));
        Some(at.ok().map(|at| self.records[at].1.clone()))
    }

    /// How many records to fetch next: twice as many as long as most of them are asked for.
    fn next_limit(&self) -> usize {
        match 2 * self.used >= self.records.len() {
            true => (2 * self.limit).clamp(1, MOST_TOGETHER),
            false => 1,
        }
    }
}

impl<'a> Remembered<'a> {
    pub(crate) fn new(below: &'a dyn Records) -> Self {
        Self {
            below,
            records: RefCell::default(),
            page: RefCell::default(),
            has_any: RefCell::default(),
            bare: RefCell::default(),
        }
    }

    /// Fetches a record, and those behind it that will be asked for next.
    fn fetch(&self, path: &RelPath) -> Result<Option<Record>, StoreError> {
        let mut page = self.page.borrow_mut();
        if let Some(found) = page.find(path) {
            self.keep_directory(path, found.as_ref());
            return Ok(found);
        }
        let limit = page.next_limit();
        if limit == 1 {
            let record = self.below.record(path)?;
            self.records.borrow_mut().insert(path.clone(), record.clone());
            *page = Page { limit, used: 1, ..Page::default() };
            return Ok(record);
        }
        let records = self.below.beside(path, limit)?;
        let is_end = records.len() < limit;
        *page = Page { from: Some(path.clone()), records, is_end, limit, used: 0 };
        let found = page.find(path).flatten();
        self.keep_directory(path, found.as_ref());
        Ok(found)
    }

    /// Directories are asked for again by what is in them.
    fn keep_directory(&self, path: &RelPath, found: Option<&Record>) {
        if let Some(record) = found.filter(|record| record.shown.content.is_directory()) {
            self.records.borrow_mut().insert(path.clone(), Some(record.clone()));
        }
    }
}

impl Records for Remembered<'_> {
    fn record(&self, path: &RelPath) -> Result<Option<Record>, StoreError> {
        if self.bare.borrow().as_ref().is_some_and(|bare| path.is_directly_in(Some(bare))) {
            return Ok(None);
        }
        if let Some(known) = self.records.borrow().get(path) {
            return Ok(known.clone());
        }
        if let Some(parent) = path.parent()
            && !self.any_below(&parent)?
        {
            *self.bare.borrow_mut() = Some(parent);
            return Ok(None);
        }
        self.fetch(path)
    }

    fn children(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        self.below.children(directory)
    }

    fn child_paths(&self, directory: Option<&RelPath>) -> Result<Vec<RelPath>, StoreError> {
        self.below.child_paths(directory)
    }

    fn beside(&self, from: &RelPath, limit: usize) -> Result<Vec<(RelPath, Record)>, StoreError> {
        self.below.beside(from, limit)
    }

    fn copies(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        self.below.copies(directory)
    }

    fn any_below(&self, path: &RelPath) -> Result<bool, StoreError> {
        if let Some(known) = self.has_any.borrow().get(path) {
            return Ok(*known);
        }
        let has_any = self.below.any_below(path)?;
        self.has_any.borrow_mut().insert(path.clone(), has_any);
        Ok(has_any)
    }

    fn with_content(&self, id: &ContentId, limit: usize) -> Result<Vec<RelPath>, StoreError> {
        self.below.with_content(id, limit)
    }

    fn with_stat(&self, stat: &Stat) -> Result<Vec<RelPath>, StoreError> {
        self.below.with_stat(stat)
    }
}
