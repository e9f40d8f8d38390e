//! Building a tree from its items and subtrees in the order of their keys.

use bytes::Bytes;

use super::node::{Child, Node};
use super::{Edited, Item, TreeError, levels_ended};
use crate::store::{NodeId, NodeStore};

/// Finished nodes are saved in batches of about this size.
const BATCH_BYTES: usize = 1024 * 1024;

/// One builder per level. A node is closed when the next part comes to its level, not when its last
/// key is pushed, so that no node is made above the root.
///
/// Invariant: of two levels that both have something pending, the higher one's keys come first. So
/// the last key of the lowest such level is the last key of all.
pub(super) struct Builder<'s, I: Item> {
    store: &'s dyn NodeStore,
    items: Vec<I>,
    children: Vec<Vec<Child<I::Key>>>, // of level 1, 2, …
    ends: Vec<u8>,                     // per level: how many levels its last key ends
    batch: Vec<(NodeId, Bytes)>,
    batch_bytes: usize,
    written: Vec<NodeId>,
}

impl<'s, I: Item> Builder<'s, I> {
    pub(super) fn new(store: &'s dyn NodeStore) -> Self {
        Self {
            store,
            items: Vec::new(),
            children: Vec::new(),
            ends: vec![0],
            batch: Vec::new(),
            batch_bytes: 0,
            written: Vec::new(),
        }
    }

    pub(super) fn push_item(&mut self, item: I) -> Result<(), TreeError> {
        item.check().map_err(TreeError::Unfit)?;
        if !self.items.is_empty() && self.ends[0] > 0 {
            self.close(0)?;
        }
        self.ends[0] = levels_ended::<I>(&item.key());
        self.items.push(item);
        Ok(())
    }

    /// Whether a subtree of this level can follow as it is: if a node of its level ends just before.
    pub(super) fn takes_subtree(&self, level: u8) -> bool {
        let lowest = (0..=usize::from(level)).find(|below| !self.is_empty(*below));
        lowest.is_none_or(|lowest| self.ends[lowest] > level)
    }

    /// Takes a whole subtree of `level`. Its last key must end a node of that level, or nothing may
    /// follow.
    pub(super) fn push_subtree(&mut self, level: u8, subtree: Child<I::Key>) -> Result<(), TreeError> {
        debug_assert!(self.takes_subtree(level));
        for below in 0..=usize::from(level) {
            if !self.is_empty(below) {
                self.close(below)?;
            }
        }
        self.push_child(usize::from(level) + 1, subtree)
    }

    pub(super) fn finish(mut self) -> Result<Edited, TreeError> {
        let mut root = self.close_to_root()?;
        self.flush()?;
        while let Some(only) = only_child::<I>(self.store, &root)? {
            root = only;
        }
        Ok(Edited { root, written: self.written })
    }

    /// The root is the lowest level that has a single node.
    fn close_to_root(&mut self) -> Result<NodeId, TreeError> {
        let mut level = 0;
        while (level + 1..self.ends.len()).any(|above| !self.is_empty(above)) {
            if !self.is_empty(level) {
                self.close(level)?;
            }
            level += 1;
        }
        match level.checked_sub(1).map(|above| &self.children[above][..]) {
            Some([only]) => Ok(only.id),
            _ => self.emit(level).map(|(id, _)| id),
        }
    }

    fn push_child(&mut self, level: usize, child: Child<I::Key>) -> Result<(), TreeError> {
        while self.ends.len() <= level {
            self.children.push(Vec::new());
            self.ends.push(0);
        }
        if !self.is_empty(level) && usize::from(self.ends[level]) > level {
            self.close(level)?;
        }
        self.ends[level] = levels_ended::<I>(&child.last);
        self.children[level - 1].push(child);
        Ok(())
    }

    fn is_empty(&self, level: usize) -> bool {
        match level.checked_sub(1) {
            None => self.items.is_empty(),
            Some(above) => self.children.get(above).is_none_or(Vec::is_empty),
        }
    }

    /// Ends the pending node of a level and hands it to the level above.
    fn close(&mut self, level: usize) -> Result<(), TreeError> {
        let (id, node) = self.emit(level)?;
        match node.last_key() {
            Some(last) => self.push_child(level + 1, Child { last, id, count: node.count() }),
            None => Ok(()),
        }
    }

    fn emit(&mut self, level: usize) -> Result<(NodeId, Node<I>), TreeError> {
        let node = match level.checked_sub(1) {
            None => Node::Leaf(std::mem::take(&mut self.items)),
            Some(above) => {
                Node::Inner { level: level as u8, children: std::mem::take(&mut self.children[above]) }
            }
        };
        let (id, bytes) = node.encode().map_err(TreeError::Unfit)?;
        self.batch_bytes += bytes.len();
        self.batch.push((id, bytes));
        self.written.push(id);
        if self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok((id, node))
    }

    /// Children are emitted before their parents, so all below a saved node is saved.
    fn flush(&mut self) -> Result<(), TreeError> {
        self.store.save(&self.batch)?;
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }
}

/// The child of an inner node that has only one: what is left of a tree that has shrunk.
fn only_child<I: Item>(store: &dyn NodeStore, id: &NodeId) -> Result<Option<NodeId>, TreeError> {
    match super::load_node::<I>(store, id, None)? {
        Node::Inner { children, .. } if children.len() == 1 => Ok(Some(children[0].id)),
        _ => Ok(None),
    }
}
