//! Writing a chunk list while its file is read.

use bytes::Bytes;

use super::node::{ChunkRef, ListNode, Part, ends_node};
use crate::chunk::ChunkId;
use crate::store::NodeId;

/// Builds the nodes of a list from its chunks in order. Keeps one open node a level, and the nodes
/// that nobody has taken yet.
#[derive(Default)]
pub struct ListBuilder {
    open_chunks: Vec<ChunkRef>,
    /// The open node of level 1, 2 and so on.
    open_parts: Vec<Vec<Part>>,
    closed: Vec<(NodeId, Bytes)>,
    chunks: u64,
}

impl ListBuilder {
    /// Appends a chunk of `len` bytes, 1 to [`MAX_CHUNK_BYTES`](crate::chunk::MAX_CHUNK_BYTES).
    pub fn push(&mut self, id: ChunkId, len: usize) {
        debug_assert!((1..=crate::chunk::MAX_CHUNK_BYTES).contains(&len));
        self.chunks += 1;
        self.open_chunks.push(ChunkRef { id, len: len as u32 });
        if ends_node(&id.0, self.open_chunks.len()) {
            let part = self.close_chunks();
            self.push_part(0, part);
        }
    }

    /// How many chunks were pushed.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// The nodes closed since the last call, children before parents.
    pub fn take_nodes(&mut self) -> Vec<(NodeId, Bytes)> {
        std::mem::take(&mut self.closed)
    }

    /// The list is complete: its root, which is the only node of the lowest level that has but one,
    /// and the nodes not taken before, the root last. None if no chunk was pushed.
    pub fn finish(mut self) -> Option<(NodeId, Vec<(NodeId, Bytes)>)> {
        if !self.open_chunks.is_empty() {
            let part = self.close_chunks();
            self.push_part(0, part);
        }
        for index in 0.. {
            let (open, above) = self.open_parts.get_mut(index..)?.split_first_mut()?;
            let parts = std::mem::take(open);
            let highest = above.iter().all(Vec::is_empty);
            match parts[..] {
                [] => {}
                [only] if highest => return Some((only.node, self.closed)),
                _ => {
                    let part = self.close_parts(index, parts);
                    self.push_part(index + 1, part);
                }
            }
        }
        None
    }

    fn close_chunks(&mut self) -> Part {
        let node = ListNode::Chunks(std::mem::take(&mut self.open_chunks));
        self.close(&node)
    }

    fn close_parts(&mut self, index: usize, parts: Vec<Part>) -> Part {
        let level = u8::try_from(index + 1).expect("64-bit lengths bound the level");
        self.close(&ListNode::Parts { level, parts })
    }

    fn close(&mut self, node: &ListNode) -> Part {
        let bytes = node.encode();
        let id = NodeId::of(&bytes);
        self.closed.push((id, bytes));
        Part { node: id, bytes: node.bytes(), chunks: node.chunks() }
    }

    /// Appends to the open node of level `index + 1`, and closes what is full, upwards.
    fn push_part(&mut self, mut index: usize, mut part: Part) {
        loop {
            if self.open_parts.len() <= index {
                self.open_parts.resize_with(index + 1, Vec::new);
            }
            self.open_parts[index].push(part);
            if !ends_node(&part.node.0, self.open_parts[index].len()) {
                return;
            }
            let parts = std::mem::take(&mut self.open_parts[index]);
            part = self.close_parts(index, parts);
            index += 1;
        }
    }
}
