//! Reading what [`Changes`](super::Changes) wrote, but for records.

use protocol::{NodeId, RelPath, Shown};
use rusqlite::{OptionalExtension, params};

use super::changes::{Displaced, KeptHead, Pending, SavedState};
use super::codec::{decode_stat, decode_target};
use super::error::Result;
use super::{FolderStore, key};

/// How many rows a folder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Records, directories included.
    pub records: u64,
    /// Paths that could not be applied yet.
    pub pending: u64,
    /// Paths of the journalled step.
    pub journal: u64,
}

impl FolderStore {
    /// The state that was saved last.
    pub fn load_state(&self) -> Result<Option<SavedState>> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT context, entries, files, bytes FROM state
                 WHERE folder = ?1 AND context IS NOT NULL",
            )?;
            let state = select.query_row([self.number], |row| {
                Ok(SavedState {
                    context: NodeId(row.get(0)?),
                    entries: NodeId(row.get(1)?),
                    files: row.get::<_, i64>(2)?.cast_unsigned(),
                    bytes: row.get::<_, i64>(3)?.cast_unsigned(),
                })
            });
            Ok(state.optional()?)
        })
    }

    /// The root of the entries that the records reflect.
    pub fn applied(&self) -> Result<Option<NodeId>> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached("SELECT applied FROM state WHERE folder = ?1")?;
            let applied = select.query_row([self.number], |row| row.get::<_, Option<[u8; 32]>>(0));
            Ok(applied.optional()?.flatten().map(NodeId))
        })
    }

    /// The step that was being applied: what each of its paths was to show. Empty if it was settled.
    pub fn journal(&self) -> Result<Vec<(RelPath, Option<Shown>)>> {
        self.shared.connections.read(|connection| {
            let mut select = connection
                .prepare_cached("SELECT path, target FROM journal WHERE folder = ?1 ORDER BY path")?;
            let mut rows = select.query([self.number])?;
            let mut journal = Vec::new();
            while let Some(row) = rows.next()? {
                let path = key::path_below_root(&row.get::<_, Vec<u8>>(0)?)?;
                let target: Option<Vec<u8>> = row.get(1)?;
                let target = target.map(|blob| decode_target(&path, &blob)).transpose()?;
                journal.push((path, target));
            }
            Ok(journal)
        })
    }

    /// Up to `limit` paths that could not be applied yet, in the order of paths.
    pub fn pending(&self, limit: usize) -> Result<Vec<Pending>> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT path, reason, message, since FROM pending WHERE folder = ?1 ORDER BY path LIMIT ?2",
            )?;
            let mut rows = select.query(params![self.number, i64::try_from(limit).unwrap_or(i64::MAX)])?;
            let mut pending = Vec::new();
            while let Some(row) = rows.next()? {
                let path = key::path_below_root(&row.get::<_, Vec<u8>>(0)?)?;
                let (reason, message, since) = (row.get(1)?, row.get(2)?, row.get(3)?);
                pending.push(Pending { path, reason, message, since });
            }
            Ok(pending)
        })
    }

    /// The heads that are kept, current ones first, then those superseded last.
    pub fn heads(&self) -> Result<Vec<KeptHead>> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT id, bytes, superseded_at FROM heads WHERE folder = ?1
                 ORDER BY superseded_at IS NOT NULL, superseded_at DESC, id",
            )?;
            let heads = select.query_map([self.number], |row| {
                Ok(KeptHead { id: row.get(0)?, bytes: row.get(1)?, superseded_at: row.get(2)? })
            })?;
            Ok(heads.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Some displaced files that are due at `now` (seconds since 1970), by number.
    pub fn displaced_due(&self, now: i64) -> Result<Vec<(i64, Displaced)>> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT number, archived, original, stat, due FROM archive_watch
                 WHERE folder = ?1 AND due <= ?2 ORDER BY due, number LIMIT 512",
            )?;
            let mut rows = select.query(params![self.number, now])?;
            let mut due = Vec::new();
            while let Some(row) = rows.next()? {
                let original = key::path_below_root(&row.get::<_, Vec<u8>>(2)?)?;
                let stat = decode_stat(&row.get::<_, Vec<u8>>(3)?)?;
                due.push((
                    row.get(0)?,
                    Displaced { archived: row.get(1)?, original, stat, due: row.get(4)? },
                ));
            }
            Ok(due)
        })
    }

    /// Counts rows; reads through an index, so not for every second.
    pub fn counts(&self) -> Result<Counts> {
        self.shared.connections.read(|connection| {
            let count = |sql: &str| -> Result<u64> {
                let count: i64 =
                    connection.prepare_cached(sql)?.query_row([self.number], |row| row.get(0))?;
                Ok(count.cast_unsigned())
            };
            Ok(Counts {
                records: count(
                    "SELECT count(*) FROM directories d JOIN records r ON r.directory = d.number
                     WHERE d.folder = ?1",
                )?,
                pending: count("SELECT count(*) FROM pending WHERE folder = ?1")?,
                journal: count("SELECT count(*) FROM journal WHERE folder = ?1")?,
            })
        })
    }
}
