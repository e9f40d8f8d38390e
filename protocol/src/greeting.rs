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
pub const GREETING_BYTES: usize = 8 << 10;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk_list::ListBuilder;
    use crate::context::Context;
    use crate::tree::MemoryNodes;
    use crate::tree::tests::support::{file, set, tree};

    fn ids(nodes: &[Bytes]) -> BTreeSet<NodeId> {
        nodes.iter().map(|bytes| NodeId::of(bytes)).collect()
    }

    #[test]
    fn a_folder_of_one_large_file_is_told_whole() {
        let store = MemoryNodes::new();
        let mut list = ListBuilder::default();
        for n in 0..200u32 {
            list.push(crate::chunk::ChunkId(*blake3::hash(&n.to_be_bytes()).as_bytes()), 65_536);
        }
        let (list, nodes) = list.finish().expect("not empty");
        store.save(&nodes).expect("memory");
        let mut film = file("film", 1, 1, 7);
        film.content = Content::File { id: crate::ContentId(list.0), size: 200 * 65_536 };
        let entries = tree(&store, &set([film])).root();
        let context = Context::new().save(&store).expect("memory");
        let told = first_nodes(&store, context, entries).expect("memory");
        assert_eq!(ids(&told), store.ids().into_iter().collect());
    }

    #[test]
    fn of_a_large_folder_the_top_is_told() {
        let store = MemoryNodes::new();
        let files = (0..2_000).map(|n| file(&format!("directory {}/file {n}", n % 10), 1, 1, 3));
        let entries = tree(&store, &set(files)).root();
        let context = Context::new().save(&store).expect("memory");
        let told = first_nodes(&store, context, entries).expect("memory");
        assert_eq!([NodeId::of(&told[0]), NodeId::of(&told[1])], [context, entries]);
        let bytes: usize = told.iter().map(Bytes::len).sum();
        assert!((GREETING_BYTES / 2..=GREETING_BYTES).contains(&bytes), "{bytes}");
    }
}
