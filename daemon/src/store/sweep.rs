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

/// Nodes that are compared with the marked ones while nobody else can look up any.
const LOOKED_UP_AT_ONCE: usize = 4_096;
/// Nodes that are no longer whole in one transaction: some milliseconds.
const DEMOTED_AT_ONCE: usize = 512;

/// How far the removal of unreachable nodes is.
pub(super) enum Sweep {
    Idle,
    /// `seen` are nodes that were saved or used since the beginning and are not marked.
    Marking {
        marked: HashSet<NodeId>,
        seen: HashSet<NodeId>,
    },
    /// These go, unless they are saved again before. Of those in `whole` the database still says
    /// that they are whole: none goes before that is taken back for all.
    Sweeping {
        doomed: HashSet<NodeId>,
        whole: Vec<NodeId>,
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
            Self::Sweeping { doomed, .. } => !doomed.contains(id),
        }
    }

    /// What was to be saved has not been, and counts as doomed no more: it must not stay whole while
    /// its children go. Once all are demoted, it is not.
    pub(super) fn on_failed_save(&mut self) {
        if matches!(self, Self::Sweeping { whole, .. } if !whole.is_empty()) {
            *self = Self::Idle;
        }
    }

    /// A node is kept, anew or again. The writer must be held. Whether it was as good as gone: then
    /// what the database says of it does not count.
    pub(super) fn on_save(&mut self, id: &NodeId) -> bool {
        let was_doomed = match self {
            Self::Sweeping { doomed, .. } => doomed.remove(id),
            _ => false,
        };
        self.on_use(id);
        was_doomed
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
        if !self.begin_removal()? {
            return Ok(Swept::Unwalked);
        }
        while self.demote_slice()? {
            std::thread::yield_now();
        }
        self.shared.connections.write(Durability::Process, |transaction| {
            let mut sweep = self.shared.sweep.lock();
            let Sweep::Sweeping { doomed, .. } = &mut *sweep else { return Ok(Swept::Done) };
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

    /// From marking to removing: what is not marked is doomed. `false` if there is more to mark.
    fn begin_removal(&self) -> Result<bool> {
        let marks = match &*self.shared.sweep.lock() {
            Sweep::Idle => return Err(DatabaseError::Misuse("nodes are swept only after marking")),
            Sweep::Sweeping { .. } => return Ok(true),
            Sweep::Marking { seen, .. } if !seen.is_empty() => return Ok(false),
            Sweep::Marking { marked, .. } => marked.len(),
        };
        // What is saved from here on is seen, and found out below.
        let all = self.all_nodes()?;
        let mut doomed = HashSet::new();
        for some in all.chunks(LOOKED_UP_AT_ONCE) {
            let Sweep::Marking { marked, .. } = &*self.shared.sweep.lock() else { return Ok(false) };
            doomed.extend(some.iter().filter(|id| !marked.contains(id)));
        }
        let whole = doomed.iter().copied().collect();
        let mut sweep = self.shared.sweep.lock();
        match &*sweep {
            Sweep::Marking { marked, seen } if seen.is_empty() && marked.len() == marks => {}
            _ => return Ok(false),
        }
        self.shared.cache.lock().remove_all(&doomed);
        self.shared.sweeps.fetch_add(1, Relaxed);
        *sweep = Sweep::Sweeping { doomed, whole };
        Ok(true)
    }

    fn all_nodes(&self) -> Result<Vec<NodeId>> {
        self.shared.connections.read(|connection| {
            let mut all = connection.prepare("SELECT id FROM nodes")?;
            let ids = all.query_map([], |row| Ok(NodeId(row.get(0)?)))?;
            Ok(ids.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// What is doomed is no longer whole: its children go before it, perhaps, and a crash may come in
    /// between. Whether there is more.
    fn demote_slice(&self) -> Result<bool> {
        self.shared.connections.write(Durability::Process, |transaction| {
            let mut sweep = self.shared.sweep.lock();
            let Sweep::Sweeping { doomed, whole } = &mut *sweep else { return Ok(false) };
            let mut demote = transaction.prepare_cached("UPDATE nodes SET whole = 0 WHERE id = ?1")?;
            let from = whole.len().saturating_sub(DEMOTED_AT_ONCE);
            for id in whole.drain(from..).filter(|id| doomed.contains(id)) {
                demote.execute([&id.0])?;
            }
            Ok(!whole.is_empty())
        })
    }

    /// How many nodes have been added since the database was opened.
    pub fn added_nodes(&self) -> u64 {
        self.shared.added.load(Relaxed)
    }

    /// How many nodes there are; reads through an index.
    pub fn count_nodes(&self) -> Result<u64> {
        self.shared.connections.read(|connection| {
            let count: i64 = connection.query_row("SELECT count(*) FROM nodes", [], |row| row.get(0))?;
            Ok(count.cast_unsigned())
        })
    }

    /// The roots of all folders' states, and the signed heads that are kept, as they were given.
    pub fn saved_roots(&self) -> Result<(Vec<NodeId>, Vec<Vec<u8>>)> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare("SELECT context, entries, applied FROM state")?;
            let mut rows = select.query([])?;
            let mut roots = Vec::new();
            while let Some(row) = rows.next()? {
                for column in 0..3 {
                    roots.extend(row.get::<_, Option<[u8; 32]>>(column)?.map(NodeId));
                }
            }
            let mut select = connection.prepare("SELECT bytes FROM heads")?;
            let heads = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            Ok((roots, heads))
        })
    }
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
