//! What one transaction of a folder may change.

use protocol::engine::Settle;
use protocol::{NodeId, Record, RelPath, Shown, Stat};
use rusqlite::{Transaction, params};

use super::codec::{encode_stat, encode_target};
use super::error::Result;
use super::key::key;
use super::records::RecordWriter;
use super::{Durability, FolderStore};

/// A folder's state as it is kept: the rest is in the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedState {
    /// Root of the context.
    pub context: NodeId,
    /// Root of the tree of entries.
    pub entries: NodeId,
    /// Files and links of the rendering.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A signed head that is worth keeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHead {
    /// The BLAKE3 of the head's bytes.
    pub id: [u8; 32],
    /// Head and signature as received.
    pub bytes: Vec<u8>,
    /// When another head took its place, in seconds since 1970. `None`: current.
    pub superseded_at: Option<i64>,
}

/// A path that could not be applied yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Where.
    pub path: RelPath,
    /// Why, as a code.
    pub reason: String,
    /// Why, for a person.
    pub message: String,
    /// Since when, in seconds since 1970.
    pub since: i64,
}

/// A file that was displaced into the archive and is to be looked at again: a program may still
/// write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Displaced {
    /// The place in the archive, as the disk's owner writes it.
    pub archived: Vec<u8>,
    /// Where it was.
    pub original: RelPath,
    /// How it was when it was displaced.
    pub stat: Stat,
    /// When to look, in seconds since 1970.
    pub due: i64,
}

/// Changes of one folder, made together or not at all, in the order of the fields. Of several for
/// one path the last counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The new state.
    pub state: Option<SavedState>,
    /// The root of the entries that the records reflect from now on.
    pub applied: Option<NodeId>,
    /// New records; `None` removes.
    pub records: Vec<(RelPath, Option<Record>)>,
    /// Rows of the journal to drop, before `journal_begin`.
    pub journal_settle: Settle,
    /// What each path is about to show; `None` is nothing.
    pub journal_begin: Vec<(RelPath, Option<Shown>)>,
    /// Paths that are no longer pending. (Before `pending_add`.)
    pub pending_remove: Vec<RelPath>,
    /// Paths that could not be applied.
    pub pending_add: Vec<Pending>,
    /// Heads that need no longer be kept. (Before `heads_put`.)
    pub heads_remove: Vec<[u8; 32]>,
    /// Heads to keep, or to mark as superseded.
    pub heads_put: Vec<KeptHead>,
    /// Displaced files that were looked at, by their numbers.
    pub displaced_remove: Vec<i64>,
    /// Displaced files to look at.
    pub displaced_add: Vec<Displaced>,
}

impl FolderStore {
    /// Makes `changes` in one transaction.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn save(&self, changes: &Changes, durability: Durability) -> Result<()> {
        self.shared.connections.write(durability, |transaction| {
            save_state(transaction, self.number, changes)?;
            save_records(transaction, self.number, changes)?;
            save_journal(transaction, self.number, changes)?;
            save_pending(transaction, self.number, changes)?;
            save_heads(transaction, self.number, changes)?;
            save_displaced(transaction, self.number, changes)
        })
    }
}

fn save_state(transaction: &Transaction<'_>, folder: i64, changes: &Changes) -> Result<()> {
    if changes.state.is_none() && changes.applied.is_none() {
        return Ok(());
    }
    transaction.prepare_cached("INSERT OR IGNORE INTO state (folder) VALUES (?1)")?.execute([folder])?;
    if let Some(state) = &changes.state {
        transaction
            .prepare_cached(
                "UPDATE state SET context = ?2, entries = ?3, files = ?4, bytes = ?5 WHERE folder = ?1",
            )?
            .execute(params![
                folder,
                state.context.0,
                state.entries.0,
                state.files.cast_signed(),
                state.bytes.cast_signed(),
            ])?;
    }
    if let Some(applied) = &changes.applied {
        transaction
            .prepare_cached("UPDATE state SET applied = ?2 WHERE folder = ?1")?
            .execute(params![folder, applied.0])?;
    }
    Ok(())
}

fn save_records(transaction: &Transaction<'_>, folder: i64, changes: &Changes) -> Result<()> {
    let mut writer = RecordWriter::new(transaction, folder);
    for (path, record) in &changes.records {
        match record {
            Some(record) => writer.put(path, record)?,
            None => writer.remove(path)?,
        }
    }
    writer.finish()
}

fn save_journal(transaction: &Transaction<'_>, folder: i64, changes: &Changes) -> Result<()> {
    match &changes.journal_settle {
        Settle::Nothing => {}
        Settle::Paths(paths) => {
            let mut delete =
                transaction.prepare_cached("DELETE FROM journal WHERE folder = ?1 AND path = ?2")?;
            for path in paths {
                delete.execute(params![folder, key(Some(path))])?;
            }
        }
        Settle::Everything => {
            transaction.prepare_cached("DELETE FROM journal WHERE folder = ?1")?.execute([folder])?;
        }
    }
    let mut insert = transaction
        .prepare_cached("INSERT OR REPLACE INTO journal (folder, path, target) VALUES (?1, ?2, ?3)")?;
    for (path, target) in &changes.journal_begin {
        let target = target.as_ref().map(|shown| encode_target(path, shown));
        insert.execute(params![folder, key(Some(path)), target])?;
    }
    Ok(())
}

fn save_pending(transaction: &Transaction<'_>, folder: i64, changes: &Changes) -> Result<()> {
    let mut delete = transaction.prepare_cached("DELETE FROM pending WHERE folder = ?1 AND path = ?2")?;
    for path in &changes.pending_remove {
        delete.execute(params![folder, key(Some(path))])?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO pending (folder, path, reason, message, since) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for pending in &changes.pending_add {
        let Pending { path, reason, message, since } = pending;
        insert.execute(params![folder, key(Some(path)), reason, message, since])?;
    }
    Ok(())
}

fn save_heads(transaction: &Transaction<'_>, folder: i64, changes: &Changes) -> Result<()> {
    let mut delete = transaction.prepare_cached("DELETE FROM heads WHERE folder = ?1 AND id = ?2")?;
    for id in &changes.heads_remove {
        delete.execute(params![folder, id])?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO heads (folder, id, bytes, superseded_at) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for head in &changes.heads_put {
        insert.execute(params![folder, head.id, head.bytes, head.superseded_at])?;
    }
    Ok(())
}

fn save_displaced(transaction: &Transaction<'_>, folder: i64, changes: &Changes) -> Result<()> {
    let mut delete =
        transaction.prepare_cached("DELETE FROM archive_watch WHERE folder = ?1 AND number = ?2")?;
    for number in &changes.displaced_remove {
        delete.execute(params![folder, number])?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT INTO archive_watch (folder, due, archived, original, stat) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for displaced in &changes.displaced_add {
        let Displaced { archived, original, stat, due } = displaced;
        insert.execute(params![folder, due, archived, key(Some(original)), encode_stat(stat)])?;
    }
    Ok(())
}
