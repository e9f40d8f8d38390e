//! A state: what a folder holds, and all commits that it has taken into account.

use crate::context::Context;
use crate::head::Head;
use crate::store::{NodeId, NodeStore};
use crate::tree::{Tree, TreeError};
use crate::{Entry, Version};

/// One whole state of a folder. States are merged whole, never in part: hence a version was taken
/// into account exactly if the context has its origin at its seq or later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// All commits that were taken into account.
    pub context: Context,
    /// The root of the context's tree.
    pub context_root: NodeId,
    /// The root of the tree of entries.
    pub entries: NodeId,
    /// What `status` shows; of another device's state a claim.
    pub totals: Totals,
}

/// Counted on the rendering, conflict copies included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Files and links.
    pub files: u64,
    /// Bytes of the files and of the links' texts.
    pub bytes: u64,
}

impl Totals {
    /// These totals after a change of so many files and bytes.
    #[must_use]
    pub fn changed(self, (files, bytes): (i64, i64)) -> Self {
        Self {
            files: self.files.saturating_add_signed(files),
            bytes: self.bytes.saturating_add_signed(bytes),
        }
    }
}

impl State {
    /// The state of a folder in which nothing has happened; saves its two nodes.
    pub fn empty(store: &dyn NodeStore) -> Result<Self, TreeError> {
        let context = Context::new();
        let context_root = context.save(store)?;
        let entries = Tree::<Entry>::empty(store)?;
        Ok(Self { context, context_root, entries, totals: Totals::default() })
    }

    /// The state that a head names; its nodes must be whole in the store.
    pub fn load(store: &dyn NodeStore, head: &Head) -> Result<Self, TreeError> {
        let context = Context::load(store, head.context)?;
        Ok(Self { context, context_root: head.context, entries: head.entries, totals: head.totals })
    }

    /// Its entries.
    pub fn tree<'s>(&self, store: &'s dyn NodeStore) -> Tree<'s, Entry> {
        Tree::new(store, self.entries)
    }

    /// Whether the state has taken this commit into account.
    pub fn saw(&self, version: &Version) -> bool {
        self.context.saw(version)
    }
}
