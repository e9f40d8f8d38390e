//! The database of one folder, in memory. Clones share it: it outlives the engine.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, Bound};
use std::rc::Rc;

use bytes::Bytes;
use protocol::engine::{Changes, FolderStore, Saved, Settle, Unapplied};
use protocol::head::SignedHead;
use protocol::tree::MemoryNodes;
use protocol::{ContentId, NodeId, NodeStore, Record, Records, RelPath, Shown, Stat, StoreError};

/// A database.
#[derive(Clone, Default)]
pub struct Store {
    nodes: Rc<MemoryNodes>,
    rows: Rc<RefCell<Rows>>,
    asked: Rc<Cell<usize>>,
}

#[derive(Default)]
struct Rows {
    saved: Option<Saved>,
    heads: Vec<SignedHead>,
    records: BTreeMap<RelPath, Record>,
    contents: BTreeMap<ContentId, BTreeSet<RelPath>>,
    copies: BTreeMap<Option<RelPath>, BTreeSet<RelPath>>,
    journal: BTreeMap<RelPath, Option<Shown>>,
    unapplied: BTreeMap<RelPath, Unapplied>,
}

impl Rows {
    fn set(&mut self, path: &RelPath, record: Option<&Record>) {
        if let Some(old) = self.records.remove(path) {
            if let Some(id) = file_id(&old) {
                self.contents.get_mut(&id).expect("indexed").remove(path);
            }
            if is_copy(path, &old) {
                self.copies.get_mut(&path.parent()).expect("indexed").remove(path);
            }
        }
        let Some(record) = record else { return };
        if let Some(id) = file_id(record) {
            self.contents.entry(id).or_default().insert(path.clone());
        }
        if is_copy(path, record) {
            self.copies.entry(path.parent()).or_default().insert(path.clone());
        }
        self.records.insert(path.clone(), record.clone());
    }
}

fn file_id(record: &Record) -> Option<ContentId> {
    match record.shown.content {
        protocol::Content::File { id, .. } => Some(id),
        _ => None,
    }
}

fn is_copy(path: &RelPath, record: &Record) -> bool {
    let entries = &record.shown.entries;
    entries.len() > 1 || entries.iter().any(|key| key.path != *path)
}

impl Store {
    /// All records.
    pub fn records(&self) -> BTreeMap<RelPath, Record> {
        self.rows.borrow().records.clone()
    }

    /// Changes the records without the engine: the journal is settled at start.
    pub fn settle(&self, settle: impl Fn(&RelPath, Option<&Shown>) -> Option<Option<Record>>) {
        let journal = std::mem::take(&mut self.rows.borrow_mut().journal);
        for (path, target) in journal {
            if let Some(record) = settle(&path, target.as_ref()) {
                self.rows.borrow_mut().set(&path, record.as_ref());
            }
        }
    }

    /// How many nodes were loaded and rows asked for or shown so far.
    pub fn work(&self) -> usize {
        self.nodes.loads() + self.asked.get()
    }

    fn count(&self, rows: usize) {
        self.asked.set(self.asked.get() + 1 + rows);
    }

    /// Everything is lost.
    pub fn lose(&mut self) {
        *self = Self::default();
    }
}

impl NodeStore for Store {
    fn load(&self, id: &NodeId) -> Result<Option<Bytes>, StoreError> {
        self.nodes.load(id)
    }

    fn is_whole(&self, id: &NodeId) -> Result<bool, StoreError> {
        self.nodes.is_whole(id)
    }

    fn save(&self, nodes: &[(NodeId, Bytes)]) -> Result<(), StoreError> {
        self.nodes.save(nodes)
    }

    fn save_partial(&self, nodes: &[(NodeId, Bytes)]) -> Result<(), StoreError> {
        self.nodes.save_partial(nodes)
    }

    fn settle(&self, nodes: &[NodeId]) -> Result<(), StoreError> {
        self.nodes.settle(nodes)
    }
}

impl Records for Store {
    fn record(&self, path: &RelPath) -> Result<Option<Record>, StoreError> {
        self.count(0);
        Ok(self.rows.borrow().records.get(path).cloned())
    }

    fn children(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        let rows = self.rows.borrow();
        let from = directory.map_or(Bound::Unbounded, Bound::Excluded);
        let below = rows
            .records
            .range::<RelPath, _>((from, Bound::Unbounded))
            .take_while(|(p, _)| p.is_below(directory));
        let children = below.filter(|(path, _)| path.parent().as_ref() == directory);
        let children: Vec<_> = children.map(|(path, record)| (path.clone(), record.clone())).collect();
        self.count(children.len());
        Ok(children)
    }

    fn beside(&self, from: &RelPath, limit: usize) -> Result<Vec<(RelPath, Record)>, StoreError> {
        let rows = self.rows.borrow();
        let directory = from.parent();
        let onward = rows
            .records
            .range::<RelPath, _>((Bound::Included(from), Bound::Unbounded))
            .take_while(|(path, _)| path.is_below(directory.as_ref()));
        let beside = onward.filter(|(path, _)| path.is_beside(from)).take(limit);
        let beside: Vec<_> = beside.map(|(path, record)| (path.clone(), record.clone())).collect();
        self.count(beside.len());
        Ok(beside)
    }

    fn copies(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        let rows = self.rows.borrow();
        let paths = rows.copies.get(&directory.cloned());
        self.count(paths.map_or(0, BTreeSet::len));
        Ok(paths.into_iter().flatten().map(|path| (path.clone(), rows.records[path].clone())).collect())
    }

    fn any_below(&self, path: &RelPath) -> Result<bool, StoreError> {
        self.count(0);
        let rows = self.rows.borrow();
        let next = rows.records.range::<RelPath, _>((Bound::Excluded(path), Bound::Unbounded)).next();
        Ok(next.is_some_and(|(next, _)| next.is_below(Some(path))))
    }

    fn with_content(&self, id: &ContentId, limit: usize) -> Result<Vec<RelPath>, StoreError> {
        self.count(0);
        let rows = self.rows.borrow();
        Ok(rows.contents.get(id).into_iter().flatten().take(limit).cloned().collect())
    }

    fn with_stat(&self, stat: &Stat) -> Result<Vec<RelPath>, StoreError> {
        let same = |record: &Record| {
            record.stat.is_some_and(|s| (s.inode, s.size, s.mtime) == (stat.inode, stat.size, stat.mtime))
        };
        let rows = self.rows.borrow();
        Ok(rows.records.iter().filter(|(_, record)| same(record)).map(|(path, _)| path.clone()).collect())
    }
}

impl FolderStore for Store {
    fn saved(&self) -> Result<Option<Saved>, StoreError> {
        Ok(self.rows.borrow().saved)
    }

    fn heads(&self) -> Result<Vec<SignedHead>, StoreError> {
        Ok(self.rows.borrow().heads.clone())
    }

    fn unapplied(&self) -> Result<Vec<(RelPath, Unapplied)>, StoreError> {
        let rows = self.rows.borrow();
        Ok(rows.unapplied.iter().map(|(path, why)| (path.clone(), why.clone())).collect())
    }

    fn keep(&self, changes: Changes) -> Result<(), StoreError> {
        let mut rows = self.rows.borrow_mut();
        if let Some(saved) = changes.saved {
            for root in [saved.context, saved.entries, saved.applied] {
                assert!(self.nodes.is_whole(&root)?, "a root is kept before its nodes");
            }
            rows.saved = Some(saved);
        }
        if let Some(heads) = changes.heads {
            rows.heads = heads;
        }
        for (path, record) in &changes.records {
            rows.set(path, record.as_ref());
        }
        match &changes.settle {
            Settle::Nothing => {}
            Settle::Paths(paths) => paths.iter().for_each(|path| drop(rows.journal.remove(path))),
            Settle::Everything => rows.journal.clear(),
        }
        rows.journal.extend(changes.journal);
        for (path, why) in changes.unapplied {
            match why {
                Some(why) => drop(rows.unapplied.insert(path, why)),
                None => drop(rows.unapplied.remove(&path)),
            }
        }
        Ok(())
    }

    fn forget(&self) -> Result<(), StoreError> {
        *self.rows.borrow_mut() = Rows::default();
        Ok(())
    }
}
