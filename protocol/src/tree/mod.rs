//! The Merkle search tree: an ordered set whose address depends on its items alone.
//!
//! A folder's entries and its context are kept in such trees (Auvolat & Taïani 2019, but with all
//! items in the leaves). Level 0 holds the items in order, cut after each key whose hash ends in
//! enough zero bits; the level above holds the cuts, cut by the same rule with more bits, until one
//! node is left, the root. So equal sets have equal roots whatever their history, two trees are
//! compared by walking only where addresses differ, and a change costs one node per level.
//!
//! Not here: where nodes are kept ([`NodeStore`]), who asks whom for them ([`Pull`] only says
//! which ones), and what entries mean.
//!
//! Reading order: [`Item`], [`Node`], [`Tree`]; then `builder` and `edit`, `cursor` and `diff`;
//! [`Pull`] fetches a tree from peers; `entry_codec` is the wire format of entries.

mod builder;
mod cursor;
mod diff;
mod edit;
mod entries;
mod entry_codec;
mod error;
mod item;
mod memory;
mod node;
mod pull;

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, Bound};
use std::fmt;
use std::rc::Rc;

pub use cursor::Range;
pub use diff::{Difference, Differences};
pub use edit::Edit;
pub use entries::{Entries, Group};
pub use entry_codec::{MAX_ATTRIBUTES_BYTES, MAX_EXTRA_BYTES};
pub use error::{Malformed, TreeError};
pub use item::{BITS_PER_LEVEL, Encoded, Item, MAX_LEVEL, levels_ended};
pub(crate) use item::{expect_array, fixed_bytes};
pub use memory::MemoryNodes;
pub use node::{Child, MAX_NODE_BYTES, Node};
pub use pull::{ExpectedNode, ItemNodes, NodeKind, Pull, PullError};

use crate::store::{NodeId, NodeStore};

/// One version of an ordered set: the address of its root, and where the nodes are. Nodes are never
/// changed; an edit makes a new tree that shares most of them.
pub struct Tree<'s, I: Item> {
    store: &'s dyn NodeStore,
    root: NodeId,
    lately: Rc<RefCell<Lately<I>>>,
}

/// What was looked into lately: whoever asks for one path after another finds the next one mostly
/// there.
struct Lately<I: Item> {
    nodes: BTreeMap<NodeId, Rc<Node<I>>>,
    /// The last leaf of them.
    leaf: Option<Rc<Node<I>>>,
    /// Nothing lies from this key on before that leaf.
    gap: Option<I::Key>,
}

impl<I: Item> Default for Lately<I> {
    fn default() -> Self {
        Self { nodes: BTreeMap::new(), leaf: None, gap: None }
    }
}

/// As many are kept unpacked, some 32 items each.
const MAX_LATELY: usize = 64;

/// What an edit has made; the nodes are saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The root of the new tree.
    pub root: NodeId,
    /// The nodes that the edit has written, children before parents. Some may have been there before.
    pub written: Vec<NodeId>,
}

impl<'s, I: Item> Tree<'s, I> {
    /// The tree with this root; nothing is loaded yet.
    pub fn new(store: &'s dyn NodeStore, root: NodeId) -> Self {
        Self { store, root, lately: Rc::default() }
    }

    /// Saves the node without items and returns its address.
    pub fn empty(store: &dyn NodeStore) -> Result<NodeId, TreeError> {
        let (id, bytes) = Node::<I>::Leaf(Vec::new()).encode().map_err(TreeError::Unfit)?;
        store.save(&[(id, bytes)])?;
        Ok(id)
    }

    /// The address of the root.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The item at a key. Loads one node per level.
    pub fn get(&self, key: &I::Key) -> Result<Option<I>, TreeError> {
        let mut found = None;
        self.look(Bound::Included(key), &mut |item| {
            found = item.cmp_key(key).is_eq().then(|| item.clone());
            false
        })?;
        Ok(found)
    }

    /// Shows the items from a key on, in order, until `take` has enough. Costs less than a
    /// [`range`](Self::range) where few items of many places are wanted.
    fn look(&self, from: Bound<&I::Key>, take: &mut dyn FnMut(&I) -> bool) -> Result<(), TreeError> {
        let leaf = {
            let lately = self.lately.borrow();
            lately.leaf.clone().filter(|leaf| leaf.spans(from, lately.gap.as_ref()))
        };
        let Some(Node::Leaf(items)) = leaf.as_deref() else {
            let mut is_first = true;
            return self.look_into(&self.root, None, from, &mut is_first, take).map(drop);
        };
        let at = items.partition_point(|item| is_before(&from, |key| item.cmp_key(key)));
        match items.last() {
            Some(last) if items[at..].iter().all(&mut *take) => {
                let mut is_first = true;
                self.look_into(&self.root, None, Bound::Excluded(&last.key()), &mut is_first, take).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whether `take` wants more. `is_first`: until a leaf has been looked into.
    fn look_into(
        &self,
        id: &NodeId,
        level: Option<u8>,
        from: Bound<&I::Key>,
        is_first: &mut bool,
        take: &mut dyn FnMut(&I) -> bool,
    ) -> Result<bool, TreeError> {
        let node = self.load_lately(id, level)?;
        match &*node {
            Node::Leaf(items) => {
                let at = items.partition_point(|item| is_before(&from, |key| item.cmp_key(key)));
                let mut lately = self.lately.borrow_mut();
                lately.leaf = Some(node.clone());
                lately.gap = match from {
                    Bound::Included(key) if at == 0 && *is_first => Some(key.clone()),
                    _ => None,
                };
                drop(lately);
                *is_first = false;
                Ok(items[at..].iter().all(take))
            }
            Node::Inner { level, children } => {
                let at = children.partition_point(|child| is_before(&from, |key| child.last.cmp(key)));
                for child in &children[at..] {
                    if !self.look_into(&child.id, Some(level - 1), from, is_first, take)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    fn load_lately(&self, id: &NodeId, level: Option<u8>) -> Result<Rc<Node<I>>, TreeError> {
        let known = self.lately.borrow().nodes.get(id).cloned();
        if let Some(node) = known {
            let fits = level.is_none_or(|level| level == node.level());
            return if fits {
                Ok(node)
            } else {
                Err(TreeError::Malformed { id: *id, why: Malformed::Level })
            };
        }
        let node = Rc::new(self.load(id, level)?);
        let nodes = &mut self.lately.borrow_mut().nodes;
        if nodes.len() >= MAX_LATELY {
            nodes.clear();
        }
        nodes.insert(*id, node.clone());
        Ok(node)
    }

    /// The items from a key on, in order, loaded as they are asked for.
    pub fn range(&self, from: Bound<I::Key>) -> Range<'s, I> {
        Range::from_bound(self, &from)
    }

    /// How many items there are. Loads the root only.
    pub fn count(&self) -> Result<u64, TreeError> {
        Ok(self.load(&self.root, None)?.count())
    }

    /// Puts and removes items; `edits` are sorted, each key once. Saves the new nodes, in batches, so
    /// that a tree of any size is built in little memory. Costs edits × depth × fan-out.
    pub fn edit(&self, edits: impl IntoIterator<Item = Edit<I>>) -> Result<Edited, TreeError> {
        self.try_edit(edits.into_iter().map(Ok::<_, TreeError>))
    }

    /// As [`edit`](Self::edit), of edits that may fail to come; then nothing is to be used.
    pub fn try_edit<F: From<TreeError>>(
        &self,
        edits: impl IntoIterator<Item = Result<Edit<I>, F>>,
    ) -> Result<Edited, F> {
        edit::Editor::run(self, edits.into_iter())
    }

    /// Where this tree, left, differs from another, right. Loads only what differs and the way there.
    pub fn diff(&self, other: &Self) -> Differences<'s, I> {
        Differences::new(self, other)
    }

    fn store(&self) -> &'s dyn NodeStore {
        self.store
    }

    /// Loads a node; `level` is what its parent promises.
    fn load(&self, id: &NodeId, level: Option<u8>) -> Result<Node<I>, TreeError> {
        load_node(self.store, id, level)
    }
}

/// Whether what so compares with keys lies before the place where a range begins.
fn is_before<K>(from: &Bound<&K>, compare: impl FnOnce(&K) -> Ordering) -> bool {
    match from {
        Bound::Included(key) => compare(key).is_lt(),
        Bound::Excluded(key) => compare(key).is_le(),
        Bound::Unbounded => false,
    }
}

fn load_node<I: Item>(store: &dyn NodeStore, id: &NodeId, level: Option<u8>) -> Result<Node<I>, TreeError> {
    let bytes = store.load(id)?.ok_or(TreeError::Missing(*id))?;
    let node = Node::decode(&bytes).map_err(|why| TreeError::Malformed { id: *id, why })?;
    if level.is_some_and(|level| level != node.level()) {
        return Err(TreeError::Malformed { id: *id, why: Malformed::Level });
    }
    Ok(node)
}

impl<I: Item> Clone for Tree<'_, I> {
    fn clone(&self) -> Self {
        Self { store: self.store, root: self.root, lately: self.lately.clone() }
    }
}

impl<I: Item> fmt::Debug for Tree<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tree {:?}", self.root)
    }
}

#[cfg(test)]
pub(crate) mod tests;
