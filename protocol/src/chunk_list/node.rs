//! One node of a chunk list, and what makes it valid.

use bytes::Bytes;
use minicbor::encode::Error as EncodeError;
use minicbor::{Decoder, Encoder};
use std::convert::Infallible;

use crate::chunk::{ChunkId, MAX_CHUNK_BYTES};
use crate::store::NodeId;

/// A node ends no earlier than here, but at the end of the list. Runs of equal items (holes) all
/// are boundaries or none is, so without it levels would not shrink.
pub const MIN_NODE_ITEMS: usize = 32;
/// A node ends no later than here: at most 256 × 52 bytes.
pub const MAX_NODE_ITEMS: usize = 256;
/// Between the two, one item in 64 ends a node: 96 on average, some 4 KiB.
const BOUNDARY_MASK: u8 = 63;
/// Highest level of a root. With 32 items a node, ten levels hold 2⁵⁰ chunks of at least 64 KiB:
/// more than a 64-bit file size allows.
pub const MAX_LEVEL: u8 = 10;
/// Longest node: its items, one level byte and two array heads.
const MAX_NODE_BYTES: usize = MAX_NODE_ITEMS * 52 + 8;

/// A chunk in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRef {
    /// What its bytes must hash to.
    pub id: ChunkId,
    /// Its length in bytes, 1 to [`MAX_CHUNK_BYTES`].
    pub len: u32,
}

/// A node one level below, and what it must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its address.
    pub node: NodeId,
    /// The sum of the lengths of all chunks below.
    pub bytes: u64,
    /// How many chunks are below.
    pub chunks: u64,
}

/// A node, parsed and checked as far as one node can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListNode {
    /// Level 0.
    Chunks(Vec<ChunkRef>),
    /// Higher levels.
    Parts {
        /// Its height; the nodes it lists are one lower.
        level: u8,
        /// The nodes it lists.
        parts: Vec<Part>,
    },
}

/// Why some bytes are no node of a chunk list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of a chunk list is malformed: {0}")]
pub struct NodeError(pub &'static str);

/// Parses a node. Refuses whatever [`ListNode::encode`] would not have written, a node that should
/// have ended before, and impossible lengths.
pub fn parse_node(bytes: &[u8]) -> Result<ListNode, NodeError> {
    if bytes.len() > MAX_NODE_BYTES {
        return Err(NodeError("too long"));
    }
    let node = decode(bytes).map_err(|_| NodeError("no such node"))??;
    node.check()?;
    if node.encode() != bytes {
        return Err(NodeError("not in canonical form"));
    }
    Ok(node)
}

fn decode(bytes: &[u8]) -> Result<Result<ListNode, NodeError>, minicbor::decode::Error> {
    let mut d = Decoder::new(bytes);
    d.array()?;
    let level = d.u8()?;
    let width = if level == 0 { 2 } else { 3 };
    let values = d.array()?.unwrap_or(0);
    if values == 0 || values % width != 0 || values / width > MAX_NODE_ITEMS as u64 {
        return Ok(Err(NodeError("wrong number of items")));
    }
    if level > MAX_LEVEL {
        return Ok(Err(NodeError("too high")));
    }
    let items = (values / width) as usize;
    let mut chunks = Vec::with_capacity(if level == 0 { items } else { 0 });
    let mut parts = Vec::with_capacity(if level == 0 { 0 } else { items });
    for _ in 0..items {
        let Ok(id) = d.bytes()?.try_into() else { return Ok(Err(NodeError("an id is not 32 bytes"))) };
        if level == 0 {
            chunks.push(ChunkRef { id: ChunkId(id), len: d.u32()? });
        } else {
            parts.push(Part { node: NodeId(id), bytes: d.u64()?, chunks: d.u64()? });
        }
    }
    Ok(Ok(if level == 0 { ListNode::Chunks(chunks) } else { ListNode::Parts { level, parts } }))
}

/// Whether an item with this id ends a node of `items` items, itself included.
pub(super) fn ends_node(id: &[u8; 32], items: usize) -> bool {
    items >= MAX_NODE_ITEMS || (items >= MIN_NODE_ITEMS && id[31] & BOUNDARY_MASK == 0)
}

impl ListNode {
    /// The canonical bytes.
    pub fn encode(&self) -> Bytes {
        let mut e = Encoder::new(Vec::with_capacity(16 + self.len() * 52));
        self.encode_to(&mut e).expect("writing to a vector cannot fail");
        e.into_writer().into()
    }

    fn encode_to(&self, e: &mut Encoder<Vec<u8>>) -> Result<(), EncodeError<Infallible>> {
        let width = if self.level() == 0 { 2 } else { 3 };
        e.array(2)?.u8(self.level())?.array(self.len() as u64 * width)?;
        match self {
            Self::Chunks(chunks) => {
                for chunk in chunks {
                    e.bytes(&chunk.id.0)?.u32(chunk.len)?;
                }
            }
            Self::Parts { parts, .. } => {
                for part in parts {
                    e.bytes(&part.node.0)?.u64(part.bytes)?.u64(part.chunks)?;
                }
            }
        }
        Ok(())
    }

    /// 0 for a node that lists chunks.
    pub fn level(&self) -> u8 {
        match self {
            Self::Chunks(_) => 0,
            Self::Parts { level, .. } => *level,
        }
    }

    /// The nodes that it lists, none on level 0.
    pub fn children(&self) -> &[Part] {
        match self {
            Self::Chunks(_) => &[],
            Self::Parts { parts, .. } => parts,
        }
    }

    /// The sum of the lengths of all chunks at or below.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Chunks(chunks) => chunks.iter().map(|c| u64::from(c.len)).sum(),
            Self::Parts { parts, .. } => parts.iter().map(|p| p.bytes).sum(),
        }
    }

    /// How many chunks are at or below.
    pub fn chunks(&self) -> u64 {
        match self {
            Self::Chunks(chunks) => chunks.len() as u64,
            Self::Parts { parts, .. } => parts.iter().map(|p| p.chunks).sum(),
        }
    }

    /// Checks a node that was fetched for `part` of a node of level `level`.
    pub fn check_below(&self, level: u8, part: &Part) -> Result<(), NodeError> {
        if self.level().checked_add(1) != Some(level) {
            return Err(NodeError("on another level than its parent says"));
        }
        if self.bytes() != part.bytes || self.chunks() != part.chunks {
            return Err(NodeError("of another length than its parent says"));
        }
        Ok(())
    }

    fn len(&self) -> usize {
        match self {
            Self::Chunks(chunks) => chunks.len(),
            Self::Parts { parts, .. } => parts.len(),
        }
    }

    fn check(&self) -> Result<(), NodeError> {
        let ended = |ids: &mut dyn Iterator<Item = &[u8; 32]>| {
            ids.take(self.len() - 1).enumerate().any(|(i, id)| ends_node(id, i + 1))
        };
        let ended = match self {
            Self::Chunks(chunks) => {
                let possible = 1..=MAX_CHUNK_BYTES as u32;
                if chunks.iter().any(|c| !possible.contains(&c.len)) {
                    return Err(NodeError("a chunk of impossible length"));
                }
                ended(&mut chunks.iter().map(|c| &c.id.0))
            }
            Self::Parts { parts, .. } => {
                check_sums(parts)?;
                ended(&mut parts.iter().map(|p| &p.node.0))
            }
        };
        if ended { Err(NodeError("should have ended before")) } else { Ok(()) }
    }
}

/// No part is empty or claims more bytes than its chunks can have, and the sums do not overflow.
fn check_sums(parts: &[Part]) -> Result<(), NodeError> {
    let mut bytes = 0u64;
    for part in parts {
        let most = part.chunks.saturating_mul(MAX_CHUNK_BYTES as u64);
        if part.chunks == 0 || part.bytes < part.chunks || part.bytes > most {
            return Err(NodeError("a part of impossible length"));
        }
        // There are no more chunks than bytes, so their sum does not overflow either.
        bytes = bytes.checked_add(part.bytes).ok_or(NodeError("of impossible length"))?;
    }
    Ok(())
}
