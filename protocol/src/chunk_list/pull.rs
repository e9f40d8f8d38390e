//! Fetching a chunk list part by part.

use super::node::{MAX_LEVEL, Part, parse_node};
use crate::store::NodeId;
use crate::tree::{Malformed, NodeKind};

/// The nodes of chunk lists.
pub struct ListNodes;

/// What is known of a node of a chunk list before it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedList {
    /// The root: the length of the file.
    File(u64),
    /// A node that a node of this level lists.
    Part(u8, Part),
}

impl NodeKind for ListNodes {
    type Expected = ExpectedList;

    fn children(bytes: &[u8], expected: &ExpectedList) -> Result<Vec<(NodeId, ExpectedList)>, Malformed> {
        let node = parse_node(bytes).map_err(|_| Malformed::Encoding)?;
        match expected {
            ExpectedList::File(size) if node.bytes() != *size => {
                return Err(Malformed::UnlikeParent("its length"));
            }
            ExpectedList::File(_) if node.level() > MAX_LEVEL => return Err(Malformed::Level),
            ExpectedList::File(_) => {}
            ExpectedList::Part(level, part) => {
                node.check_below(*level, part).map_err(|_| Malformed::UnlikeParent("its length"))?;
            }
        }
        let level = node.level();
        Ok(node.children().iter().map(|part| (part.node, ExpectedList::Part(level, *part))).collect())
    }
}
