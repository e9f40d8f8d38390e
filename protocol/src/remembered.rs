//! Records that are asked for again and again while nothing changes them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::entry::ContentId;
use crate::path::RelPath;
use crate::record::{Record, Stat};
use crate::store::{Records, StoreError};

/// Records of which each is fetched once, and none from a directory that has none: in a first sync
/// that is every one. For one plan: it grows with what is asked.
pub(crate) struct Remembered<'a> {
    below: &'a dyn Records,
    records: RefCell<BTreeMap<RelPath, Option<Record>>>,
    has_any: RefCell<BTreeMap<RelPath, bool>>,
    /// A directory without any: paths are looked at directory by directory.
    bare: RefCell<Option<RelPath>>,
}

impl<'a> Remembered<'a> {
    pub(crate) fn new(below: &'a dyn Records) -> Self {
        Self { below, records: RefCell::default(), has_any: RefCell::default(), bare: RefCell::default() }
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
        let record = self.below.record(path)?;
        self.records.borrow_mut().insert(path.clone(), record.clone());
        Ok(record)
    }

    fn children(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        self.below.children(directory)
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
