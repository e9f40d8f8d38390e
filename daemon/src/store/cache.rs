//! The nodes that were used last, in front of the database.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use protocol::NodeId;

/// What an entry costs besides its bytes: two keys, ticks, and the maps' own slack.
const OVERHEAD_BYTES: usize = 160;

/// Keeps the most recently used nodes within a budget of bytes.
pub(super) struct NodeCache {
    budget_bytes: usize,
    used_bytes: usize,
    tick: u64,
    nodes: HashMap<NodeId, Cached>,
    by_age: BTreeMap<u64, NodeId>,
}

struct Cached {
    bytes: Bytes,
    whole: bool,
    tick: u64,
}

impl NodeCache {
    pub(super) fn new(budget_bytes: usize) -> Self {
        Self { budget_bytes, used_bytes: 0, tick: 0, nodes: HashMap::new(), by_age: BTreeMap::new() }
    }

    /// A node and whether it is known to be whole.
    pub(super) fn find(&mut self, id: &NodeId) -> Option<(Bytes, bool)> {
        let cached = self.nodes.get_mut(id)?;
        self.by_age.remove(&cached.tick);
        self.tick += 1;
        cached.tick = self.tick;
        self.by_age.insert(self.tick, *id);
        Some((cached.bytes.clone(), cached.whole))
    }

    pub(super) fn insert(&mut self, id: NodeId, bytes: Bytes, whole: bool) {
        self.remove(&id);
        // A slice of a large buffer would keep all of it.
        let bytes = Bytes::copy_from_slice(&bytes);
        self.used_bytes += bytes.len() + OVERHEAD_BYTES;
        self.tick += 1;
        self.nodes.insert(id, Cached { bytes, whole, tick: self.tick });
        self.by_age.insert(self.tick, id);
        while self.used_bytes > self.budget_bytes {
            let Some((_, oldest)) = self.by_age.first_key_value() else { break };
            let oldest = *oldest;
            self.remove(&oldest);
        }
    }

    /// Notes that a node is whole, if it is here.
    pub(super) fn settle(&mut self, id: &NodeId) {
        if let Some(cached) = self.nodes.get_mut(id) {
            cached.whole = true;
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.budget_bytes);
    }

    /// Removes all of these, however many.
    pub(super) fn remove_all(&mut self, ids: &HashSet<NodeId>) {
        let here: Vec<_> = self.nodes.keys().filter(|id| ids.contains(id)).copied().collect();
        here.iter().for_each(|id| self.remove(id));
    }

    pub(super) fn remove(&mut self, id: &NodeId) {
        if let Some(cached) = self.nodes.remove(id) {
            self.by_age.remove(&cached.tick);
            self.used_bytes -= cached.bytes.len() + OVERHEAD_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays() {
        let id = |n: u8| NodeId([n; 32]);
        let mut cache = NodeCache::new(3 * (100 + OVERHEAD_BYTES));
        for n in 0..3 {
            cache.insert(id(n), Bytes::from(vec![n; 100]), false);
        }
        assert!(cache.find(&id(0)).is_some());
        cache.insert(id(3), Bytes::from(vec![3; 100]), true);

        assert!(cache.find(&id(1)).is_none(), "the oldest went");
        assert!(cache.find(&id(0)).is_some());
        assert_eq!(cache.find(&id(3)).map(|found| found.1), Some(true));
        assert_eq!(cache.by_age.len(), cache.nodes.len());
    }
}
