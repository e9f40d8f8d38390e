//! Reading a chunk list, from any chunk on, without loading all of it.

use super::node::{ChunkRef, ListNode, MAX_LEVEL, NodeError, parse_node};
use crate::chunk::{ChunkId, MIN_CHUNK_BYTES};
use crate::entry::ContentId;
use crate::store::{NodeId, NodeStore, StoreError};

/// Why a chunk list cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A node is not here: it was never fetched, or was swept.
    #[error("a part of the chunk list is missing: {0:?}")]
    Missing(NodeId),
    /// A node is not what it should be. Its address is right, so it was written that way.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The lengths of the chunks do not add up to the size of the file.
    #[error("the chunk list is of {listed} bytes, the file of {size}")]
    Size {
        /// What the list says.
        listed: u64,
        /// What the entry says.
        size: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A chunk and where it lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Counted from 0.
    pub number: u64,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its id.
    pub id: ChunkId,
    /// Its length in bytes.
    pub len: u32,
}

/// The chunks of one content, whether it has a list or is one chunk.
pub struct ChunkList<'s> {
    store: &'s dyn NodeStore,
    root: ListNode,
}

impl<'s> ChunkList<'s> {
    /// Loads the root of the list of `content`, which must be as long as its entry says. Contents
    /// of one chunk need no list and load nothing.
    pub fn load(store: &'s dyn NodeStore, content: &ContentId, size: u64) -> Result<Self, ListError> {
        if let Some(only) = only_chunk(content, size) {
            return Ok(Self { store, root: ListNode::Chunks(vec![only]) });
        }
        let root = load_node(store, &NodeId(content.0))?;
        let listed = root.bytes();
        if listed != size {
            return Err(ListError::Size { listed, size });
        }
        Ok(Self { store, root })
    }

    /// How many chunks there are, holes included.
    pub fn count(&self) -> u64 {
        self.root.chunks()
    }

    /// The chunk of this number; none if there are not so many.
    pub fn locate(&self, number: u64) -> Result<Option<Located>, ListError> {
        self.iter_from(number).next().transpose()
    }

    /// All chunks in order, loading nodes as they are reached.
    pub fn iter(&self) -> impl Iterator<Item = Result<Located, ListError>> + '_ {
        self.iter_from(0)
    }

    /// The chunks from this number on; what lies before is not loaded. Ends after the first error.
    pub fn iter_from(&self, number: u64) -> impl Iterator<Item = Result<Located, ListError>> + '_ {
        let start = if number < self.count() { vec![(self.root.clone(), 0)] } else { Vec::new() };
        Chunks { store: self.store, path: start, number: 0, offset: 0, skip_to: number }
    }
}

/// The chunk of a content that is not longer than one; none if it has a list.
fn only_chunk(content: &ContentId, size: u64) -> Option<ChunkRef> {
    let len = u32::try_from(size).ok().filter(|len| *len <= MIN_CHUNK_BYTES as u32)?;
    Some(ChunkRef { id: ChunkId(content.0), len })
}

fn load_node(store: &dyn NodeStore, id: &NodeId) -> Result<ListNode, ListError> {
    let bytes = store.load(id)?.ok_or(ListError::Missing(*id))?;
    Ok(parse_node(&bytes)?)
}

struct Chunks<'s> {
    store: &'s dyn NodeStore,
    /// From the root down to the node being read, each with the next item to look at.
    path: Vec<(ListNode, usize)>,
    number: u64,
    offset: u64,
    skip_to: u64,
}

impl Chunks<'_> {
    fn step(&mut self) -> Result<Option<Located>, ListError> {
        while let Some((node, next)) = self.path.last_mut() {
            let at = *next;
            *next += 1;
            match node {
                ListNode::Chunks(chunks) => {
                    let Some(&ChunkRef { id, len }) = chunks.get(at) else {
                        self.path.pop();
                        continue;
                    };
                    let found = Located { number: self.number, offset: self.offset, id, len };
                    self.number += 1;
                    self.offset += u64::from(len);
                    if found.number >= self.skip_to {
                        return Ok(Some(found));
                    }
                }
                ListNode::Parts { level, parts } => {
                    let (level, Some(part)) = (*level, parts.get(at).copied()) else {
                        self.path.pop();
                        continue;
                    };
                    if self.number + part.chunks <= self.skip_to {
                        self.number += part.chunks;
                        self.offset += part.bytes;
                        continue;
                    }
                    let child = load_node(self.store, &part.node)?;
                    child.check_below(level, &part)?;
                    debug_assert!(self.path.len() <= usize::from(MAX_LEVEL), "levels go down by one");
                    self.path.push((child, 0));
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<Located, ListError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            self.path.clear();
        }
        step
    }
}
