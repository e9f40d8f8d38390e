//! Nodes that were looked at lately, decoded: point lookups come in runs of neighbours.

use std::rc::Rc;

use super::{Item, Node};
use crate::store::NodeId;

/// Nodes that are kept: the way to some dozen places. Some 20 KiB each.
const KEPT: usize = 32;

/// The nodes that were found last, the latest first.
pub(super) struct Recent<I: Item>(Vec<(NodeId, Rc<Node<I>>)>);

impl<I: Item> Default for Recent<I> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<I: Item> Recent<I> {
    pub(super) fn find(&mut self, id: &NodeId) -> Option<Rc<Node<I>>> {
        let at = self.0.iter().position(|(known, _)| known == id)?;
        self.0[..=at].rotate_right(1);
        Some(Rc::clone(&self.0[0].1))
    }

    pub(super) fn keep(&mut self, id: NodeId, node: Rc<Node<I>>) {
        self.0.truncate(KEPT - 1);
        self.0.insert(0, (id, node));
    }
}
