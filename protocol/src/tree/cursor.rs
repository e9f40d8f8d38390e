//! Walking a tree in the order of its keys, loading no more nodes than it takes.

use std::collections::Bound;

use super::{Item, Node, Tree, TreeError};
use crate::store::NodeId;

/// What lies ahead of a cursor: a node that is not loaded yet, or an item.
#[derive(Debug)]
pub(super) enum Part<I: Item> {
    Node {
        id: NodeId,
        /// `None` for a root, whose level is known only once it is loaded.
        level: Option<u8>,
        /// The last key below; `None` for a root.
        last: Option<I::Key>,
    },
    Item(I),
}

/// A position in a tree. `low` is the last key behind it, if anything is.
pub(super) struct Cursor<'s, I: Item> {
    tree: Tree<'s, I>,
    ahead: Vec<Part<I>>, // the nearest last; at most depth × fan-out
    pub(super) low: Option<I::Key>,
}

impl<'s, I: Item> Cursor<'s, I> {
    pub(super) fn new(tree: &Tree<'s, I>) -> Self {
        let root = Part::Node { id: tree.root(), level: None, last: None };
        Self { tree: tree.clone(), ahead: vec![root], low: None }
    }

    pub(super) fn next_part(&self) -> Option<&Part<I>> {
        self.ahead.last()
    }

    /// Steps over the next part, whatever it is.
    pub(super) fn pop(&mut self) -> Option<Part<I>> {
        let part = self.ahead.pop()?;
        match &part {
            Part::Node { last, .. } => self.low.clone_from(last),
            Part::Item(item) => self.low = Some(item.key()),
        }
        Some(part)
    }

    /// Puts what is in the next part, a node, in its place.
    pub(super) fn open(&mut self) -> Result<(), TreeError> {
        let Some(Part::Node { id, level, .. }) = self.ahead.last() else { return Ok(()) };
        let node = self.tree.load(id, *level)?;
        self.ahead.pop();
        match node {
            Node::Leaf(items) => self.ahead.extend(items.into_iter().rev().map(Part::Item)),
            Node::Inner { level, children } => {
                self.ahead.extend(children.into_iter().rev().map(|child| Part::Node {
                    id: child.id,
                    level: Some(level - 1),
                    last: Some(child.last),
                }));
            }
        }
        Ok(())
    }

    /// Steps over all keys that are `before` the wanted place; they must come first.
    pub(super) fn seek_past(&mut self, before: &dyn Fn(&I::Key) -> bool) -> Result<(), TreeError> {
        while let Some(part) = self.ahead.last() {
            match part {
                Part::Item(item) if before(&item.key()) => drop(self.pop()),
                Part::Item(_) => break,
                Part::Node { last: Some(last), .. } if before(last) => drop(self.pop()),
                Part::Node { .. } => self.open()?,
            }
        }
        Ok(())
    }

    fn next_item(&mut self) -> Result<Option<I>, TreeError> {
        loop {
            match self.ahead.last() {
                None => return Ok(None),
                Some(Part::Node { .. }) => self.open()?,
                Some(Part::Item(_)) => {}
            }
            if matches!(self.ahead.last(), Some(Part::Item(_)))
                && let Some(Part::Item(item)) = self.pop()
            {
                return Ok(Some(item));
            }
        }
    }
}

/// The items of a tree from some key on, in order; ends after the first error.
pub struct Range<'s, I: Item> {
    cursor: Option<Cursor<'s, I>>,
    failed: Option<TreeError>,
}

impl<'s, I: Item> Range<'s, I> {
    pub(super) fn new(tree: &Tree<'s, I>) -> Self {
        Self { cursor: Some(Cursor::new(tree)), failed: None }
    }

    pub(super) fn from_bound(tree: &Tree<'s, I>, from: &Bound<I::Key>) -> Self {
        let mut range = Self::new(tree);
        range.seek_past(|key| match from {
            Bound::Included(from) => key < from,
            Bound::Excluded(from) => key <= from,
            Bound::Unbounded => false,
        });
        range
    }

    /// Goes forward over all items whose keys are `before` the wanted place, without loading what
    /// lies between. `before` must hold for a first part of the keys ahead and for none after it.
    pub fn seek_past(&mut self, before: impl Fn(&I::Key) -> bool) {
        if let Some(cursor) = &mut self.cursor
            && let Err(error) = cursor.seek_past(&before)
        {
            self.failed = Some(error);
            self.cursor = None;
        }
    }
}

impl<I: Item> Iterator for Range<'_, I> {
    type Item = Result<I, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let next = self.cursor.as_mut()?.next_item().transpose();
        if matches!(next, Some(Err(_))) {
            self.cursor = None;
        }
        next
    }
}
