//! Removing the nodes that no kept head reaches.
//!
//! The caller walks: it [begins](Store::mark_begin), [marks](Store::mark) what the roots reach
//! (states and kept heads), and then calls [`Store::sweep_unmarked`] until it is done. What was
//! under way at the beginning and uses nodes that no state reaches yet (a commit, a merge, a pull)
//! must be among the roots, or begin again. What begins later is safe: a node that was saved or
//! looked at since counts as a root of its own ([`Store::unwalked`]), and as soon as removing
//! begins, what is to go is as good as gone.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use protocol::NodeId;
use rusqlite::{OptionalExtension, Transaction, params};

use super::error::{DatabaseError, Result};
use super::{Durability, Store};

/// How far the removal of unreachable nodes is.
pub(super) enum Sweep {
    Idle,
    /// `seen` are nodes that were saved or used since the beginning and are not marked.
    Marking {
        marked: HashSet<NodeId>,
        seen: HashSet<NodeId>,
    },
    /// These go, unless they are saved again before.
    Sweeping {
        doomed: HashSet<NodeId>,
    },
}

/// What one slice of sweeping did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// There are nodes to walk first: call [`Store::unwalked`].
    Unwalked,
    /// So many were removed, and there are more.
    Removed(u64),
    /// Nothing is left to remove.
    Done,
}

impl Sweep {
    /// A node is used. Whether it is still there.
    pub(super) fn on_use(&mut self, id: &NodeId) -> bool {
        match self {
            Self::Idle => true,
            Self::Marking { marked, seen } => {
                if !marked.contains(id) {
                    seen.insert(*id);
                }
                true
            }
            Self::Sweeping { doomed } => !doomed.contains(id),
        }
    }

    /// A node is kept, anew or again. The writer must be held.
    pub(super) fn on_save(&mut self, id: &NodeId) {
        if let Self::Sweeping { doomed } = self {
            doomed.remove(id);
        }
        self.on_use(id);
    }
}

impl Store {
    /// Begins anew: nothing is marked.
    pub fn mark_begin(&self) {
        *self.shared.sweep.lock() = Sweep::Marking { marked: HashSet::new(), seen: HashSet::new() };
    }

    /// Marks nodes as reachable, and returns those that were not yet: their children are to be
    /// marked next. Outside of marking nothing happens.
    pub fn mark(&self, ids: &[NodeId]) -> Vec<NodeId> {
        let mut sweep = self.shared.sweep.lock();
        let Sweep::Marking { marked, seen } = &mut *sweep else { return Vec::new() };
        let fresh: Vec<_> = ids.iter().copied().filter(|id| marked.insert(*id)).collect();
        for id in &fresh {
            seen.remove(id);
        }
        fresh
    }

    /// Nodes that were saved or used since the beginning and are not marked: mark them, and what
    /// they reach.
    pub fn unwalked(&self) -> Vec<NodeId> {
        match &*self.shared.sweep.lock() {
            Sweep::Marking { seen, .. } => seen.iter().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Removes up to `limit` of the nodes that are not marked. The first call ends the marking.
    ///
    /// # Errors
    /// Nothing more is removed then until the next [`Store::mark_begin`].
    pub fn sweep_unmarked(&self, limit: usize) -> Result<Swept> {
        let result = self.sweep_slice(limit);
        if result.is_err() {
            // What was to be no longer whole may have been taken back.
            *self.shared.sweep.lock() = Sweep::Idle;
        }
        result
    }

    fn sweep_slice(&self, limit: usize) -> Result<Swept> {
        self.shared.connections.write(Durability::Process, |transaction| {
            let mut sweep = self.shared.sweep.lock();
            if let Sweep::Marking { marked, seen } = &*sweep {
                if !seen.is_empty() {
                    return Ok(Swept::Unwalked);
                }
                let doomed = doom(transaction, marked)?;
                let mut cache = self.shared.cache.lock();
                doomed.iter().for_each(|id| cache.remove(id));
                self.shared.sweeps.fetch_add(1, Relaxed);
                *sweep = Sweep::Sweeping { doomed };
            }
            let Sweep::Sweeping { doomed } = &mut *sweep else {
                return Err(DatabaseError::Misuse("nodes are swept only after marking"));
            };
            let slice: Vec<_> = doomed.iter().copied().take(limit).collect();
            for id in &slice {
                remove(transaction, id)?;
                doomed.remove(id);
            }
            if !doomed.is_empty() {
                return Ok(Swept::Removed(slice.len() as u64));
            }
            *sweep = Sweep::Idle;
            Ok(Swept::Done)
        })
    }
}

/// What is not marked, and is no longer whole from here on: its children go before it, perhaps,
/// and a crash may come in between.
fn doom(transaction: &Transaction<'_>, marked: &HashSet<NodeId>) -> Result<HashSet<NodeId>> {
    let mut doomed = HashSet::new();
    let mut all = transaction.prepare("SELECT id FROM nodes")?;
    for id in all.query_map([], |row| row.get::<_, [u8; 32]>(0))? {
        let id = NodeId(id?);
        if !marked.contains(&id) {
            doomed.insert(id);
        }
    }
    let mut demote = transaction.prepare_cached("UPDATE nodes SET whole = 0 WHERE id = ?1")?;
    for id in &doomed {
        demote.execute([&id.0])?;
    }
    Ok(doomed)
}

fn remove(transaction: &Transaction<'_>, id: &NodeId) -> Result<()> {
    let number: Option<i64> = transaction
        .prepare_cached("DELETE FROM nodes WHERE id = ?1 RETURNING number")?
        .query_row([&id.0], |row| row.get(0))
        .optional()?;
    if let Some(number) = number {
        transaction.prepare_cached("DELETE FROM node_bytes WHERE number = ?1")?.execute(params![number])?;
    }
    Ok(())
}
