//! Entries and trees for tests.

use std::collections::BTreeMap;

use crate::entry::{Content, ContentId, Entry, EntryKey, Metadata, Timestamp};
use crate::path::RelPath;
use crate::store::{NodeId, NodeStore};
use crate::tree::{MemoryNodes, Node, Tree, levels_ended};
use crate::version::{Origin, Version};

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a valid path")
}

/// A file; its content follows from `content`.
pub(crate) fn file(at: &str, seq: u64, origin: u8, content: u8) -> Entry {
    Entry {
        path: path(at),
        version: Version { seq, origin: Origin([origin; 8]) },
        found: false,
        content: Content::File { id: ContentId([content; 32]), size: u64::from(content) },
        metadata: Metadata {
            mtime: Timestamp { seconds: 1_700_000_000, nanos: 5 },
            mode: 0o644,
            ..Metadata::default()
        },
        extra: Vec::new(),
    }
}

pub(crate) type Set = BTreeMap<EntryKey, Entry>;

pub(crate) fn set(entries: impl IntoIterator<Item = Entry>) -> Set {
    entries.into_iter().map(|entry| (entry.key(), entry)).collect()
}

/// The root that the definition asks for: made level by level, without the builder.
pub(crate) fn naive_root(set: &Set) -> NodeId {
    let leaves = cut(set.values(), 0, |entry| entry.key());
    let mut level = 0;
    let mut nodes: Vec<Node<Entry>> =
        leaves.into_iter().map(|items| Node::Leaf(items.into_iter().cloned().collect())).collect();
    while nodes.len() > 1 {
        level += 1;
        let children: Vec<_> = nodes.iter().map(child).collect();
        nodes = cut(children, level, |child| child.last.clone())
            .into_iter()
            .map(|children| Node::Inner { level, children })
            .collect();
    }
    let root = nodes.pop().unwrap_or(Node::Leaf(Vec::new()));
    root.encode().expect("small").0
}

fn child(node: &Node<Entry>) -> crate::tree::Child<EntryKey> {
    let id = node.encode().expect("small").0;
    crate::tree::Child { last: node.last_key().expect("not empty"), id, count: node.count() }
}

fn cut<T>(parts: impl IntoIterator<Item = T>, level: u8, key: impl Fn(&T) -> EntryKey) -> Vec<Vec<T>> {
    let mut cuts = vec![Vec::new()];
    for part in parts {
        let ends = levels_ended::<Entry>(&key(&part)) > level;
        cuts.last_mut().expect("never empty").push(part);
        if ends {
            cuts.push(Vec::new());
        }
    }
    cuts.retain(|cut| !cut.is_empty());
    cuts
}

pub(crate) fn tree<'s>(store: &'s MemoryNodes, set: &Set) -> Tree<'s, Entry> {
    let empty = Tree::<Entry>::empty(store).expect("memory");
    let edits = set.iter().map(|(key, entry)| (key.clone(), Some(entry.clone())));
    let root = Tree::new(store, empty).edit(edits).expect("sorted").root;
    Tree::new(store, root)
}

/// All nodes below a root, the root included.
pub(crate) fn reachable(store: &MemoryNodes, root: NodeId) -> Vec<NodeId> {
    let bytes = store.load(&root).expect("memory").expect("whole");
    let mut ids = vec![root];
    if let Node::Inner { children, .. } = Node::<Entry>::parse(&bytes).expect("canonical") {
        for child in children {
            ids.extend(reachable(store, child.id));
        }
    }
    ids
}
