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
        if !path.is_beside(from) || path < from || !(self.is_end || self.records.last().is_some_and(reaches))
        {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Content, Metadata};
    use crate::overlay::Overlay;
    use crate::record::Shown;
    use std::cell::Cell;

    /// Records in memory, and how often anything was asked.
    #[derive(Default)]
    struct Known {
        records: BTreeMap<RelPath, Record>,
        asked: Cell<usize>,
    }

    impl Records for Known {
        fn record(&self, path: &RelPath) -> Result<Option<Record>, StoreError> {
            self.asked.set(self.asked.get() + 1);
            Ok(self.records.get(path).cloned())
        }
        fn children(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
            self.asked.set(self.asked.get() + 1);
            let inside = self.records.iter().filter(|(path, _)| path.is_directly_in(directory));
            Ok(inside.map(|(path, record)| (path.clone(), record.clone())).collect())
        }
        fn copies(&self, _: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
            Ok(Vec::new())
        }
        fn any_below(&self, path: &RelPath) -> Result<bool, StoreError> {
            Ok(self.records.keys().any(|other| other.is_below(Some(path))))
        }
        fn with_content(&self, _: &ContentId, _: usize) -> Result<Vec<RelPath>, StoreError> {
            Ok(Vec::new())
        }
        fn with_stat(&self, _: &Stat) -> Result<Vec<RelPath>, StoreError> {
            Ok(Vec::new())
        }
    }

    fn path(directory: u64, name: u64) -> RelPath {
        RelPath::parse(format!("d{directory}/f{name:03}").as_bytes()).expect("a path")
    }

    fn record(size: u64) -> Record {
        let content = Content::File { id: ContentId([0; 32]), size };
        let shown = Shown { content, metadata: Metadata::default(), entries: Vec::new() };
        Record { shown, stat: None, ignored: false }
    }

    /// Three in four of 300 names in each of four directories.
    fn known() -> Known {
        let all = (0..4).flat_map(|directory| (0..300).map(move |name| (directory, name)));
        let there = all.filter(|(directory, name)| (directory + name) % 4 > 0);
        let records = there.map(|(directory, name)| (path(directory, name), record(name))).collect();
        Known { records, ..Known::default() }
    }

    #[test]
    fn neighbours_are_fetched_together_and_are_what_each_of_them_is() {
        for step in [1, 7, 83] {
            let known = known();
            let remembered = Remembered::new(&known);
            let mut looked_at = 0;
            for n in (0..1200).step_by(step) {
                let path = path(n / 300, n % 300);
                let found = remembered.record(&path).expect("reads");
                assert_eq!(found.as_ref(), known.records.get(&path), "{path}");
                looked_at += 1;
            }
            let most = if step == 1 { 30 } else { looked_at };
            assert!(known.asked.get() <= most, "{} of {looked_at}", known.asked.get());
        }
    }

    #[test]
    fn what_is_noted_above_records_is_found_beside_others() {
        let known = known();
        let mut overlay = Overlay::new(&known);
        for name in (0..300).step_by(3) {
            overlay.note(&path(1, name), (name % 2 == 0).then(|| record(1_000 + name)));
        }
        let directory = path(1, 0).parent();
        let children = overlay.children(directory.as_ref()).expect("reads");
        let paths: Vec<_> = children.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(overlay.child_paths(directory.as_ref()).expect("reads"), paths);
        for (from, limit) in [(0, 5), (0, 1_000), (17, 64), (150, 1), (290, 100), (299, 2)] {
            let mut expected = children.clone();
            expected.retain(|(at, _)| *at >= path(1, from));
            expected.truncate(limit);
            assert_eq!(overlay.beside(&path(1, from), limit).expect("reads"), expected, "from {from}");
        }
    }
}
