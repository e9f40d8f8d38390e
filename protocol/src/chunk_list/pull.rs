//! Fetching a chunk list from peers, as a kind of [`Pull`](crate::tree::Pull).

use super::node::{ListNode, NodeError, Part, parse_node};
use crate::store::NodeId;
use crate::tree::{Malformed, NodeKind};

/// The nodes of chunk lists, for [`Pull`](crate::tree::Pull): the root is the content id of a file
/// of more than one chunk.
pub enum ChunkListKind {}

/// What is known about a node of a list before it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedPart {
    /// It is the root of a file of this size.
    Root {
        /// What the entry says, in bytes.
        size: u64,
    },
    /// A node of this level lists it.
    Part {
        /// The level of its parent.
        parent_level: u8,
        /// What its parent says.
        part: Part,
    },
}

impl NodeKind for ChunkListKind {
    type Expected = ExpectedPart;

    fn children(bytes: &[u8], expected: &ExpectedPart) -> Result<Vec<(NodeId, ExpectedPart)>, Malformed> {
        let field = |NodeError(what)| Malformed::Field(what);
        let node = parse_node(bytes).map_err(field)?;
        match expected {
            ExpectedPart::Root { size } if node.bytes() == *size => {}
            ExpectedPart::Root { .. } => return Err(Malformed::UnlikeParent("the size of the file")),
            ExpectedPart::Part { parent_level, part } => {
                node.check_below(*parent_level, part)
                    .map_err(|NodeError(what)| Malformed::UnlikeParent(what))?;
            }
        }
        Ok(children(&node))
    }
}

fn children(node: &ListNode) -> Vec<(NodeId, ExpectedPart)> {
    let parent_level = node.level();
    node.children().iter().map(|part| (part.node, ExpectedPart::Part { parent_level, part: *part })).collect()
}
