//! Making a new tree out of an old one and sorted edits.
//!
//! The old tree is walked in order along with the edits. What no edit touches is handed to the
//! builder whole, where a node ended just before; so the cost is edits × depth × fan-out.

use super::builder::Builder;
use super::node::{Child, Node};
use super::{Edited, Item, Tree, TreeError};

/// One edit: put this item at its key, or leave the key without one.
pub type Edit<I> = (<I as Item>::Key, Option<I>);

pub(super) struct Editor<'a, 's, I: Item, E> {
    tree: &'a Tree<'s, I>,
    edits: E,
    next: Option<Edit<I>>,
    builder: Builder<'s, I>,
}

impl<'a, 's, I, F, E> Editor<'a, 's, I, E>
where
    I: Item,
    F: From<TreeError>,
    E: Iterator<Item = Result<Edit<I>, F>>,
{
    pub(super) fn run(tree: &'a Tree<'s, I>, mut edits: E) -> Result<Edited, F> {
        let Some(first) = edits.next().transpose()? else {
            return Ok(Edited { root: tree.root(), written: Vec::new() });
        };
        let builder = Builder::new(tree.store());
        let mut editor = Self { tree, edits, next: Some(first), builder };
        editor.walk(tree.load(&tree.root(), None)?, None)?;
        Ok(editor.builder.finish()?)
    }

    /// Takes over a node with all edits up to `bound`, which is the last key that belongs to it;
    /// `None` at the end of the tree. Recursion is as deep as the tree, at most 13 levels.
    fn walk(&mut self, node: Node<I>, bound: Option<&I::Key>) -> Result<(), F> {
        match node {
            Node::Leaf(items) => self.walk_items(items, bound),
            Node::Inner { level, children } => {
                let end = children.len() - 1;
                for (number, child) in children.into_iter().enumerate() {
                    self.walk_child(level - 1, child, bound.is_none() && number == end)?;
                }
                Ok(())
            }
        }
    }

    fn walk_child(&mut self, level: u8, child: Child<I::Key>, at_end: bool) -> Result<(), F> {
        let touched = self.next.as_ref().is_some_and(|(key, _)| at_end || *key <= child.last);
        if !touched && self.builder.takes_subtree(level) {
            return Ok(self.builder.push_subtree(level, child)?);
        }
        let node = self.tree.load(&child.id, Some(level))?;
        self.walk(node, if at_end { None } else { Some(&child.last) })
    }

    fn walk_items(&mut self, items: Vec<I>, bound: Option<&I::Key>) -> Result<(), F> {
        for item in items {
            let key = item.key();
            while self.next.as_ref().is_some_and(|(next, _)| *next < key) {
                self.apply_next()?;
            }
            if self.next.as_ref().is_some_and(|(next, _)| *next == key) {
                self.apply_next()?;
            } else {
                self.builder.push_item(item)?;
            }
        }
        while self.next.as_ref().is_some_and(|(next, _)| bound.is_none_or(|bound| next <= bound)) {
            self.apply_next()?;
        }
        Ok(())
    }

    fn apply_next(&mut self) -> Result<(), F> {
        let Some((key, item)) = self.next.take() else { return Ok(()) };
        if let Some(item) = item {
            if item.key() != key {
                return Err(TreeError::Unsorted.into());
            }
            self.builder.push_item(item)?;
        }
        self.next = self.edits.next().transpose()?;
        match &self.next {
            Some((next, _)) if *next <= key => Err(TreeError::Unsorted.into()),
            _ => Ok(()),
        }
    }
}
