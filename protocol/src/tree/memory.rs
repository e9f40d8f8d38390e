//! Nodes in memory, for tests and simulation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::store::{NodeId, NodeStore, StoreError};

/// A [`NodeStore`] that forgets all when it is dropped, and counts what is asked of it.
#[derive(Debug, Default)]
pub struct MemoryNodes {
    nodes: Mutex<BTreeMap<NodeId, (Bytes, bool)>>, // whole or not
    loads: AtomicUsize,
}

impl MemoryNodes {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often a node was loaded so far.
    pub fn loads(&self) -> usize {
        self.loads.load(Ordering::Relaxed)
    }

    /// How many nodes it holds, partial ones included.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// All addresses, ascending.
    pub fn ids(&self) -> Vec<NodeId> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, (Bytes, bool)>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeStore for MemoryNodes {
    fn load(&self, id: &NodeId) -> Result<Option<Bytes>, StoreError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        Ok(self.lock().get(id).map(|(bytes, _)| bytes.clone()))
    }

    fn is_whole(&self, id: &NodeId) -> Result<bool, StoreError> {
        Ok(self.lock().get(id).is_some_and(|(_, whole)| *whole))
    }

    fn save(&self, nodes: &[(NodeId, Bytes)]) -> Result<(), StoreError> {
        let mut kept = self.lock();
        for (id, bytes) in nodes {
            kept.insert(*id, (bytes.clone(), true));
        }
        Ok(())
    }

    fn save_partial(&self, nodes: &[(NodeId, Bytes)]) -> Result<(), StoreError> {
        let mut kept = self.lock();
        for (id, bytes) in nodes {
            kept.entry(*id).or_insert_with(|| (bytes.clone(), false));
        }
        Ok(())
    }

    fn settle(&self, nodes: &[NodeId]) -> Result<(), StoreError> {
        let mut kept = self.lock();
        for id in nodes {
            if let Some((_, whole)) = kept.get_mut(id) {
                *whole = true;
            }
        }
        Ok(())
    }
}
