//! Keeping the database small: nodes that no folder needs any more are removed in quiet times.
//!
//! All folders share one database, so this is the daemon's. What is needed is what the states, the
//! kept heads and whatever is on its way reach, chunk lists of files included. While any folder scans
//! or applies, nothing is begun: it may have made nodes that nothing names yet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use protocol::chunk::MIN_CHUNK_BYTES;
use protocol::chunk_list::parse_node;
use protocol::context::ContextItem;
use protocol::head::{Head, SignedHead};
use protocol::tree::Node;
use protocol::{Content, Entry, NodeId, NodeStore};

use super::folders::Folders;
use crate::store::{Store, Swept};

/// How often it is asked whether a sweep is worth it.
const LOOK: Duration = Duration::from_secs(15);
/// Fewer new nodes than this are never worth one: some 100 MB.
const WORTH: u64 = 20_000;
/// Looks after the start before what earlier runs have left is swept: ten minutes.
const FIRST_LOOKS: u32 = 40;
/// Nodes that are removed in one transaction.
const REMOVED_AT_ONCE: usize = 128;
/// Pages that are given back in one go.
const PAGES_AT_ONCE: u32 = 128;
/// The pause after so much.
const BREATH: Duration = Duration::from_millis(10);
/// Nodes that are walked between two pauses.
const WALKED_AT_ONCE: usize = 64;

/// When the last sweep was, counted in nodes.
#[derive(Debug, Default)]
struct Tally {
    looks: u32,
    /// [`Store::added_nodes`] at the end of the last sweep.
    added: u64,
    /// What it kept; `None` before the first.
    kept: Option<u64>,
}

impl Tally {
    /// Whether a sweep is worth it; `count` is asked for only where earlier runs may have left much.
    fn is_due(&mut self, added: u64, count: impl FnOnce() -> u64) -> bool {
        self.looks += 1;
        let new = added.saturating_sub(self.added);
        match self.kept {
            Some(kept) => new > WORTH.max(kept),
            None => new > WORTH || (self.looks == FIRST_LOOKS && count() > WORTH),
        }
    }
}

/// Sweeps when it is worth it, for as long as there are folders.
pub(super) async fn keep_small(folders: Weak<Folders>) {
    let mut tally = Tally::default();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(folders) = folders.upgrade() else { return };
        let store = folders.store().clone();
        if !tally.is_due(store.added_nodes(), || store.count_nodes().unwrap_or(0)) {
            continue;
        }
        match sweep(&folders).await {
            Ok(None) => {} // somebody is busy: next time
            Ok(Some(kept)) => tally = Tally { added: store.added_nodes(), kept: Some(kept), ..tally },
            Err(error) => {
                tracing::warn!(%error, "nodes that nobody needs could not be removed");
                tally.kept = tally.kept.or(Some(0));
                tally.added = store.added_nodes();
            }
        }
    }
}

/// Removes what no folder needs; how many nodes are left, or `None` if a folder was busy.
pub(super) async fn sweep(
    folders: &Arc<Folders>,
) -> Result<Option<u64>, Box<dyn std::error::Error + Send + Sync>> {
    if folders.roots_in_use().await.is_none() {
        return Ok(None);
    }
    let store = folders.store().clone();
    store.mark_begin();
    // Asked again: what was made before the beginning is named now, what is made after it counts.
    let Some(mut roots) = folders.roots_in_use().await else { return Ok(None) };
    let stop = folders.stopping();
    tokio::task::spawn_blocking(move || {
        let (saved, heads) = store.saved_roots()?;
        roots.extend(saved);
        for head in heads.iter().filter_map(|bytes| SignedHead::decode(bytes).ok()) {
            // A head that cannot be read names nothing that could be kept.
            let Ok(head) = Head::decode(&head.bytes) else { continue };
            roots.extend([head.entries, head.context]);
        }
        let before = store.count_nodes()?;
        let done = walk(&store, roots, &stop)? && remove(&store, &stop)?;
        let kept = store.count_nodes()?;
        tracing::info!(before, kept, done, "nodes that nobody needs were removed");
        Ok(Some(kept))
    })
    .await?
}

/// Marks all that the roots reach. `false` if the daemon stops.
fn walk(store: &Store, roots: Vec<NodeId>, stop: &AtomicBool) -> Result<bool, protocol::StoreError> {
    let mut next = store.mark(&roots);
    loop {
        for _ in 0..WALKED_AT_ONCE {
            let Some(id) = next.pop() else { break };
            // A chunk list that is not here yet, or part of a tree that is on its way.
            let Some(bytes) = store.load(&id)? else { continue };
            next.extend(store.mark(&children(&bytes)));
        }
        if next.is_empty() {
            next = store.mark(&store.unwalked());
            if next.is_empty() {
                return Ok(true);
            }
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        std::thread::sleep(BREATH / 10);
    }
}

/// What a node names, whatever kind of node it is; where its bytes could be two kinds, both.
fn children(bytes: &[u8]) -> Vec<NodeId> {
    let mut named = Vec::new();
    match Node::<Entry>::decode(bytes) {
        Ok(Node::Inner { children, .. }) => named.extend(children.iter().map(|child| child.id)),
        Ok(Node::Leaf(entries)) => named.extend(entries.iter().filter_map(|entry| match &entry.content {
            Content::File { id, size } if *size > MIN_CHUNK_BYTES as u64 => Some(NodeId(id.0)),
            _ => None,
        })),
        Err(_) => {}
    }
    if let Ok(Node::Inner { children, .. }) = Node::<ContextItem>::decode(bytes) {
        named.extend(children.iter().map(|child| child.id));
    }
    if let Ok(list) = parse_node(bytes) {
        named.extend(list.children().iter().map(|part| part.node));
    }
    named
}

/// Removes what is not marked, and gives the room back. `false` if the daemon stops.
fn remove(store: &Store, stop: &AtomicBool) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match store.sweep_unmarked(REMOVED_AT_ONCE)? {
            Swept::Done => break,
            Swept::Removed(_) => std::thread::sleep(BREATH),
            Swept::Unwalked => {
                walk(store, store.unwalked(), stop)?;
            }
        }
    }
    while !stop.load(Ordering::Relaxed) && store.tidy(PAGES_AT_ONCE)? {
        std::thread::sleep(BREATH);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_worth_it_when_more_is_new_than_was_kept() {
        let mut tally = Tally { looks: 0, added: 1_000, kept: Some(50_000) };
        assert!(!tally.is_due(51_000, || 0) && tally.is_due(51_001, || 0));
        let mut first = Tally::default();
        assert!(!first.is_due(WORTH, || u64::MAX) && first.is_due(WORTH + 1, || 0));
        for _ in first.looks..FIRST_LOOKS - 1 {
            assert!(!first.is_due(0, || u64::MAX), "too soon");
        }
        assert!(first.is_due(0, || WORTH + 1), "left by earlier runs");
        assert!(!first.is_due(0, || u64::MAX), "asked once");
    }
}
