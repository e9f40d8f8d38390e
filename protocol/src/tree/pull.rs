//! Fetching what hangs together by addresses from peers, from the top down: a tree, or a chunk list.
//!
//! A [`Pull`] says which nodes to ask for and takes what comes, from anyone and in any order. Each
//! node is kept as soon as it is checked, so a pull that was cut short goes on where it was. It does
//! not know peers, time or retries.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;

use bytes::Bytes;

use super::node::{MAX_NODE_BYTES, Node};
use super::{Item, Malformed, levels_ended};
use crate::store::{NodeId, NodeStore, StoreError};

/// A kind of node that names others.
pub trait NodeKind {
    /// What a parent says about a child; enough to refuse a child that does not fit.
    type Expected: Clone + PartialEq;

    /// Checks a node from elsewhere, `expected` included, and names its children in order.
    fn children(bytes: &[u8], expected: &Self::Expected) -> Result<Vec<(NodeId, Self::Expected)>, Malformed>;
}

/// Why a pull cannot go on, or a node was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The peer sent something that was not asked for, or changed it. The pull goes on.
    #[error("a node arrived that nobody asked for")]
    Unasked,
    /// The address is right, so whoever signed the root made it wrong. The pull is over.
    #[error("node {id} of the tree is malformed: {why}")]
    Malformed {
        /// Its address.
        id: NodeId,
        /// What is wrong with it.
        #[source]
        why: Malformed,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `finish` came too early: a mistake in this program.
    #[error("nodes of the tree are still missing")]
    Incomplete,
}

/// One tree on its way here.
pub struct Pull<K: NodeKind> {
    queue: VecDeque<(NodeId, K::Expected)>, // not looked for yet; depth first, so it stays short
    wanted: BTreeMap<NodeId, K::Expected>,  // asked for
    partial: BTreeMap<NodeId, K::Expected>, // here, and to be settled at the end
}

impl<K: NodeKind> Pull<K> {
    /// A pull of all that hangs below `root`, of which `expected` is known.
    pub fn new(root: NodeId, expected: K::Expected) -> Self {
        Self { queue: VecDeque::from([(root, expected)]), wanted: BTreeMap::new(), partial: BTreeMap::new() }
    }

    /// Up to `max` more nodes to ask for. What the store has whole is skipped; what it has in part,
    /// from an earlier pull, is read and not asked for. Call it again after each node that arrived.
    pub fn poll_wanted(&mut self, store: &dyn NodeStore, max: usize) -> Result<Vec<NodeId>, PullError> {
        let mut ask = Vec::new();
        while ask.len() < max {
            let Some((id, expected)) = self.queue.pop_back() else { break };
            if let Some(known) = self.wanted.get(&id).or_else(|| self.partial.get(&id)) {
                if *known != expected {
                    let why = Malformed::UnlikeParent("another parent says otherwise");
                    return Err(PullError::Malformed { id, why });
                }
            } else if store.is_whole(&id)? {
                // Nothing below can be missing.
            } else if let Some(bytes) = store.load(&id)? {
                self.descend(id, &bytes, expected)?;
            } else {
                self.wanted.insert(id, expected);
                ask.push(id);
            }
        }
        Ok(ask)
    }

    /// As [`Self::poll_wanted`], when some nodes have come unasked: those that are wanted are taken.
    pub fn poll_missing(
        &mut self,
        store: &dyn NodeStore,
        max: usize,
        pushed: &BTreeMap<NodeId, Bytes>,
    ) -> Result<Vec<NodeId>, PullError> {
        let mut missing = Vec::new();
        loop {
            let mut any = false;
            for id in self.poll_wanted(store, max)? {
                match pushed.get(&id) {
                    Some(bytes) => {
                        any = true;
                        self.handle_node(store, bytes)?;
                    }
                    None => missing.push(id),
                }
            }
            if !any {
                return Ok(missing);
            }
        }
    }

    /// Whether this node has been asked for and has not arrived.
    pub fn wants(&self, id: &NodeId) -> bool {
        self.wanted.contains_key(id)
    }

    /// Takes a node that arrived. It is in the store afterwards, as partial.
    pub fn handle_node(&mut self, store: &dyn NodeStore, bytes: &Bytes) -> Result<(), PullError> {
        if bytes.len() > MAX_NODE_BYTES {
            return Err(PullError::Unasked);
        }
        let id = NodeId::of(bytes);
        let expected = self.wanted.remove(&id).ok_or(PullError::Unasked)?;
        self.descend(id, bytes, expected)?;
        Ok(store.save_partial(&[(id, bytes.clone())])?)
    }

    /// Whoever was asked for this node does not have it, or is gone: it will be asked for again,
    /// after all others.
    pub fn handle_gone(&mut self, id: &NodeId) {
        if let Some(expected) = self.wanted.remove(id) {
            self.queue.push_front((*id, expected));
        }
    }

    /// Whether nothing is missing any more. True only after `poll_wanted` found nothing to ask for.
    pub fn is_complete(&self) -> bool {
        self.queue.is_empty() && self.wanted.is_empty()
    }

    /// Marks all that this pull has seen as whole.
    pub fn finish(self, store: &dyn NodeStore) -> Result<(), PullError> {
        if !self.is_complete() {
            return Err(PullError::Incomplete);
        }
        let nodes: Vec<_> = self.partial.into_keys().collect();
        Ok(store.settle(&nodes)?)
    }

    fn descend(&mut self, id: NodeId, bytes: &[u8], expected: K::Expected) -> Result<(), PullError> {
        let children = K::children(bytes, &expected).map_err(|why| PullError::Malformed { id, why })?;
        self.queue.extend(children.into_iter().rev());
        self.partial.insert(id, expected);
        Ok(())
    }
}

/// The nodes of a [`Tree`](super::Tree) of these items.
pub struct ItemNodes<I>(PhantomData<fn() -> I>);

/// What is known of a node of a tree before it is here; `None` for the root, of which nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedNode<K> {
    level: u8,
    after: Option<K>,
    last: K,
    count: u64,
}

impl<I: Item> NodeKind for ItemNodes<I> {
    type Expected = Option<ExpectedNode<I::Key>>;

    fn children(bytes: &[u8], expected: &Self::Expected) -> Result<Vec<(NodeId, Self::Expected)>, Malformed> {
        let node = Node::<I>::parse(bytes)?;
        match expected {
            Some(expected) => check_expected(&node, expected)?,
            None => check_root(&node)?,
        }
        let Node::Inner { level, children } = node else { return Ok(Vec::new()) };
        let mut after = expected.as_ref().and_then(|expected| expected.after.clone());
        let named = children.into_iter().map(|child| {
            let after = after.replace(child.last.clone());
            (child.id, Some(ExpectedNode { level: level - 1, after, last: child.last, count: child.count }))
        });
        Ok(named.collect())
    }
}

fn check_root<I: Item>(node: &Node<I>) -> Result<(), Malformed> {
    match node {
        Node::Inner { children, .. } if children.len() < 2 => Err(Malformed::Level),
        _ => Ok(()),
    }
}

fn check_expected<I: Item>(node: &Node<I>, expected: &ExpectedNode<I::Key>) -> Result<(), Malformed> {
    let first = match node {
        Node::Leaf(items) => items.first().map(Item::key),
        Node::Inner { children, .. } => children.first().map(|child| child.last.clone()),
    };
    if node.level() != expected.level {
        return Err(Malformed::UnlikeParent("its level"));
    }
    if node.last_key().as_ref() != Some(&expected.last) {
        return Err(Malformed::UnlikeParent("its last key"));
    }
    if node.count() != expected.count {
        return Err(Malformed::UnlikeParent("its count"));
    }
    if first <= expected.after {
        return Err(Malformed::UnlikeParent("where it begins"));
    }
    // The previous node must have ended at this level, or the two should be one.
    match &expected.after {
        Some(after) if levels_ended::<I>(after) <= expected.level => Err(Malformed::Boundary),
        _ => Ok(()),
    }
}
