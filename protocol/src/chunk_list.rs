//! The chunk list of a file that is longer than one chunk: which chunks, in which order.
//!
//! A list is cut by content into nodes of some 100 items (4 KiB), under nodes that list nodes, up
//! to one root whose address is the file's [content id](crate::ContentId). A change of a huge file
//! so makes a handful of small nodes, and peers fetch and verify them like the nodes of a tree.
//! [`ListBuilder`] writes, [`ListNode`] is one node parsed, [`ChunkList`] reads.
//!
//! A node is canonical CBOR: `[level, [items…]]`, the items flat. On level 0 an item is a chunk's
//! `id, length`; above, `address, bytes, chunks` of a node one level below.

mod build;
mod node;
mod pull;
mod read;

pub use build::ListBuilder;
pub use node::{ChunkRef, ListNode, MAX_LEVEL, MAX_NODE_ITEMS, MIN_NODE_ITEMS, NodeError, Part, parse_node};
pub use pull::{ChunkListKind, ExpectedPart};
pub use read::{ChunkList, ListError, Located};

#[cfg(test)]
mod tests;
