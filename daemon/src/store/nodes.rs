//! Nodes of trees and chunk lists by address, shared by all folders.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use protocol::{NodeId, NodeStore, StoreError};
use rusqlite::{OptionalExtension, Transaction, params};

use super::error::{DatabaseError, Result};
use super::{Durability, FolderStore, Shared, Store};

impl Shared {
    fn load(&self, id: &NodeId) -> Result<Option<Bytes>> {
        let sweeps = self.sweeps.load(Relaxed);
        if !self.sweep.lock().on_use(id) {
            return Ok(None);
        }
        if let Some((bytes, _)) = self.cache.lock().find(id) {
            return Ok(Some(bytes));
        }
        let found: Option<(Vec<u8>, bool)> = self.connections.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT bytes, whole FROM nodes JOIN node_bytes USING (number) WHERE id = ?1",
            )?;
            Ok(select.query_row([&id.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
        })?;
        let Some((bytes, whole)) = found else { return Ok(None) };
        if NodeId::of(&bytes) != *id {
            return Err(DatabaseError::Damaged(format!("node {id} has other bytes")));
        }
        let bytes = Bytes::from(bytes);
        // Not cached if removing began in between. A settling in between only makes the cache
        // believe less than is true.
        let _sweep = self.sweep.lock();
        if self.sweeps.load(Relaxed) == sweeps {
            self.cache.lock().insert(*id, bytes.clone(), whole);
        }
        Ok(Some(bytes))
    }

    fn is_whole(&self, id: &NodeId) -> Result<bool> {
        let sweeps = self.sweeps.load(Relaxed);
        if !self.sweep.lock().on_use(id) {
            return Ok(false);
        }
        if let Some((_, true)) = self.cache.lock().find(id) {
            return Ok(true);
        }
        let whole = self.connections.read(|connection| {
            let mut select = connection.prepare_cached("SELECT whole FROM nodes WHERE id = ?1")?;
            Ok(select.query_row([&id.0], |row| row.get(0)).optional()?.unwrap_or(false))
        })?;
        let _sweep = self.sweep.lock();
        // If removing began in between, what is asked for may be going: «no» is always safe.
        Ok(whole && self.sweeps.load(Relaxed) == sweeps)
    }

    fn save(&self, nodes: &[(NodeId, Bytes)], whole: bool) -> Result<()> {
        if nodes.is_empty() {
            return Ok(());
        }
        let saved = self.connections.write(Durability::Process, |transaction| {
            let mut sweep = self.sweep.lock();
            let doomed: Vec<bool> = nodes.iter().map(|(id, _)| sweep.on_save(id)).collect();
            drop(sweep);
            let mut added = 0;
            for ((id, bytes), was_doomed) in nodes.iter().zip(doomed) {
                added += u64::from(put(transaction, id, bytes, whole, was_doomed)?);
            }
            self.added.fetch_add(added, Relaxed);
            Ok(())
        });
        if saved.is_err() {
            self.sweep.lock().on_failed_save();
        }
        saved?;
        let mut cache = self.cache.lock();
        for (id, bytes) in nodes {
            let whole = whole || cache.find(id).is_some_and(|(_, whole)| whole);
            cache.insert(*id, bytes.clone(), whole);
        }
        Ok(())
    }

    fn settle(&self, ids: &[NodeId]) -> Result<()> {
        self.connections.write(Durability::Process, |transaction| {
            let mut update = transaction.prepare_cached("UPDATE nodes SET whole = 1 WHERE id = ?1")?;
            for id in ids {
                if update.execute([&id.0])? == 0 {
                    return Err(DatabaseError::Misuse("a node that is not here cannot be whole"));
                }
            }
            Ok(())
        })?;
        let mut cache = self.cache.lock();
        ids.iter().for_each(|id| cache.settle(id));
        Ok(())
    }
}

/// Whether it was not there.
fn put(
    transaction: &Transaction<'_>,
    id: &NodeId,
    bytes: &Bytes,
    whole: bool,
    was_doomed: bool,
) -> Result<bool> {
    debug_assert_eq!(NodeId::of(bytes), *id, "the address of a node is the hash of its bytes");
    let known: Option<bool> = transaction
        .prepare_cached("SELECT whole FROM nodes WHERE id = ?1")?
        .query_row([&id.0], |row| row.get(0))
        .optional()?;
    match known {
        Some(was_whole) => {
            if whole && !was_whole {
                transaction.prepare_cached("UPDATE nodes SET whole = 1 WHERE id = ?1")?.execute([&id.0])?;
            } else if was_doomed && was_whole && !whole {
                transaction.prepare_cached("UPDATE nodes SET whole = 0 WHERE id = ?1")?.execute([&id.0])?;
            }
            Ok(false)
        }
        None => {
            transaction
                .prepare_cached("INSERT INTO node_bytes (bytes) VALUES (?1)")?
                .execute([&bytes[..]])?;
            transaction
                .prepare_cached("INSERT INTO nodes (id, number, whole) VALUES (?1, ?2, ?3)")?
                .execute(params![id.0, transaction.last_insert_rowid(), whole])?;
            Ok(true)
        }
    }
}

macro_rules! node_store {
    ($of:ty) => {
        impl NodeStore for $of {
            fn load(&self, id: &NodeId) -> Result<Option<Bytes>, StoreError> {
                Ok(self.shared.load(id)?)
            }

            fn is_whole(&self, id: &NodeId) -> Result<bool, StoreError> {
                Ok(self.shared.is_whole(id)?)
            }

            fn save(&self, nodes: &[(NodeId, Bytes)]) -> Result<(), StoreError> {
                Ok(self.shared.save(nodes, true)?)
            }

            fn save_partial(&self, nodes: &[(NodeId, Bytes)]) -> Result<(), StoreError> {
                Ok(self.shared.save(nodes, false)?)
            }

            fn settle(&self, nodes: &[NodeId]) -> Result<(), StoreError> {
                Ok(self.shared.settle(nodes)?)
            }
        }
    };
}

node_store!(Store);
node_store!(FolderStore);
