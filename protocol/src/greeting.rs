//! What a peer is told of a folder as soon as it has proved that it knows it.
//!
//! It will ask for the newest state, node by node and level by level, and over a long path each level
//! costs a round trip. So the first nodes go with the head: the context, the entries from the top
//! down, and the chunk lists of files, as far as they fit. A small folder, or one with a large file,
//! is then known whole; of a larger one the levels that would be asked for one after the other.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::chunk::MIN_CHUNK_BYTES;
use crate::chunk_list::parse_node;
use crate::context::ContextItem;
use crate::entry::{Content, Entry};
use crate::store::{NodeId, NodeStore, StoreError};
use crate::tree::Node;

/// Bytes of nodes in a greeting: what a new connection may send at once anyway, and little enough
/// where the peer has all of it, as after a break of the line.
pub const GREETING_BYTES: usize = 16 << 10;

/// What hangs below a node.
#[derive(Clone, Copy)]
enum Kind {
    Context,
    Entries,
    List,
}

/// The first nodes of a state, [`GREETING_BYTES`] in all at most: those that are asked for first come
/// first.
pub fn first_nodes(
    store: &dyn NodeStore,
    context: NodeId,
    entries: NodeId,
) -> Result<Vec<Bytes>, StoreError> {
    let mut trees = VecDeque::from([(context, Kind::Context), (entries, Kind::Entries)]);
    let mut lists = VecDeque::new();
    let (mut nodes, mut seen, mut left) = (Vec::new(), BTreeSet::new(), GREETING_BYTES);
    while let Some((id, kind)) = trees.pop_front().or_else(|| lists.pop_front()) {
        if !seen.insert(id) {
            continue;
        }
        let Some(bytes) = store.load(&id)? else { continue };
        let Some(rest) = left.checked_sub(bytes.len()) else { break };
        left = rest;
        match kind {
            Kind::Context => trees.extend(children::<ContextItem>(&bytes).map(|id| (id, kind))),
            Kind::Entries => {
                trees.extend(children::<Entry>(&bytes).map(|id| (id, kind)));
                lists.extend(lists_of(&bytes).map(|id| (id, Kind::List)));
            }
            Kind::List => {
                let list = parse_node(&bytes).ok();
                let parts = list.iter().flat_map(|list| list.children());
                lists.extend(parts.map(|part| (part.node, kind)));
            }
        }
        nodes.push(bytes);
    }
    Ok(nodes)
}

fn children<I: crate::tree::Item>(bytes: &[u8]) -> impl Iterator<Item = NodeId> {
    let children = match Node::<I>::decode(bytes) {
        Ok(Node::Inner { children, .. }) => children,
        _ => Vec::new(),
    };
    children.into_iter().map(|child| child.id)
}

/// The chunk lists of the files that a leaf names.
fn lists_of(bytes: &[u8]) -> impl Iterator<Item = NodeId> {
    let entries = match Node::<Entry>::decode(bytes) {
        Ok(Node::Leaf(entries)) => entries,
        _ => Vec::new(),
    };
    entries.into_iter().filter_map(|entry| match entry.content {
        Content::File { id, size } if size > MIN_CHUNK_BYTES as u64 => Some(NodeId(id.0)),
        _ => None,
    })
}
