//! The seams to the database: where tree nodes and records come from.
//!
//! Both traits are synchronous; who implements them decides what a call costs. Loading a node is
//! expected to be cheap (a cache, then one indexed read).

use bytes::Bytes;
use std::fmt;

use crate::entry::ContentId;
use crate::path::RelPath;
use crate::record::{Record, Stat};

/// The address of a tree node, of a context node or of a node of a chunk list: the BLAKE3 of its
/// bytes as sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// The address of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The database failed; the cause is in the source.
#[derive(Debug, thiserror::Error)]
#[error("the database failed: {0}")]
pub struct StoreError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

/// Nodes by address. A node is *whole* when everything below it is here as well; nodes fetched from
/// a peer top-down are *partial* until their pull is complete, and survive a restart as such.
pub trait NodeStore {
    /// The bytes of a node, whole or partial.
    fn load(&self, id: &NodeId) -> Result<Option<Bytes>, StoreError>;
    /// Whether the node and all below it are here.
    fn is_whole(&self, id: &NodeId) -> Result<bool, StoreError>;
    /// Keeps nodes whose subtrees are all here, or among `nodes`.
    fn save(&self, nodes: &[(NodeId, Bytes)]) -> Result<(), StoreError>;
    /// Keeps nodes of which something below may be missing.
    fn save_partial(&self, nodes: &[(NodeId, Bytes)]) -> Result<(), StoreError>;
    /// A pull is complete: these partial nodes are whole.
    fn settle(&self, nodes: &[NodeId]) -> Result<(), StoreError>;
}

/// The applied records of one folder, read only.
pub trait Records {
    /// What was last applied or found at `path`.
    fn record(&self, path: &RelPath) -> Result<Option<Record>, StoreError>;
    /// The records directly inside `directory` (`None` is the root), ordered by path.
    fn children(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError>;
    /// The paths of [`children`](Self::children).
    fn child_paths(&self, directory: Option<&RelPath>) -> Result<Vec<RelPath>, StoreError> {
        Ok(self.children(directory)?.into_iter().map(|(path, _)| path).collect())
    }
    /// The first records of the directory of `from`, ordered by path, from this path on: `limit`, or
    /// all if there are fewer.
    fn beside(&self, from: &RelPath, limit: usize) -> Result<Vec<(RelPath, Record)>, StoreError> {
        let mut beside = self.children(from.parent().as_ref())?;
        beside.retain(|(path, _)| path >= from);
        beside.truncate(limit);
        Ok(beside)
    }
    /// The records directly inside `directory` that stand for several entries, or for one of
    /// another path: conflict copies and merged equals. Few, and found by an index.
    fn copies(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError>;
    /// Whether there is any record strictly below `path`.
    fn any_below(&self, path: &RelPath) -> Result<bool, StoreError>;
    /// Up to `limit` paths that were last seen to hold this content.
    fn with_content(&self, id: &ContentId, limit: usize) -> Result<Vec<RelPath>, StoreError>;
    /// Paths whose record has this inode, size and modification time: where a file that has
    /// appeared elsewhere may have been moved from.
    fn with_stat(&self, stat: &Stat) -> Result<Vec<RelPath>, StoreError>;
}
