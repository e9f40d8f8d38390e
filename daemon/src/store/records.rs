//! Reading and writing the records of one folder.

use protocol::{Content, ContentId, Record, Records, RelPath, Stat, StoreError};
use rusqlite::{OptionalExtension, Row, Statement, Transaction, params};

use super::FolderStore;
use super::codec::{self, decode_record, encode_record};
use super::error::Result;
use super::key::{self, key};

/// The columns of a record as [`read_row`] expects them.
pub(super) const COLUMNS: &str = "r.name, r.tag, r.inode, r.copy, r.body";

const DIRECTORY: &str = "(SELECT number FROM directories WHERE folder = ?1 AND path = ?2)";

/// Records of folder `?1` with `?2` in an indexed column.
pub(super) fn search_by(column: &str) -> String {
    // CROSS JOIN keeps SQLite from walking all directories of the folder first.
    format!(
        "SELECT {COLUMNS}, d.path FROM records r CROSS JOIN directories d
         WHERE r.{column} = ?2 AND d.number = r.directory AND +d.folder = ?1"
    )
}

/// Copies in directory `?2` of folder `?1`.
pub(super) fn copies_in_directory() -> String {
    // By itself SQLite would rather go through all names, which are in order already.
    format!(
        "SELECT {COLUMNS} FROM records r INDEXED BY records_copies
         WHERE directory = {DIRECTORY} AND copy = 1 ORDER BY name"
    )
}

/// Records in directory `?2` of folder `?1` from name `?3` on, `?4` of them.
pub(super) fn records_from_name() -> String {
    format!(
        "SELECT {COLUMNS} FROM records r WHERE directory = {DIRECTORY} AND name >= ?3 ORDER BY name LIMIT ?4"
    )
}

/// Names of records in directory `?2` of folder `?1`.
pub(super) fn names_in_directory() -> String {
    format!("SELECT r.name FROM records r WHERE directory = {DIRECTORY} ORDER BY name")
}

/// The path in a directory whose name is the first column.
fn path_of(directory: Option<&RelPath>, row: &Row<'_>) -> Result<RelPath> {
    let name = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
    RelPath::join(directory, name).map_err(|error| super::DatabaseError::row(&error.to_string()))
}

/// A record out of [`COLUMNS`], of a directory.
pub(super) fn read_row(directory: Option<&RelPath>, row: &Row<'_>) -> Result<(RelPath, Record)> {
    let path = path_of(directory, row)?;
    let encoded = codec::Row { tag: row.get(1)?, inode: row.get(2)?, copy: row.get(3)?, body: row.get(4)? };
    let record = decode_record(&path, &encoded)?;
    Ok((path, record))
}

impl FolderStore {
    fn record_at(&self, path: &RelPath) -> Result<Option<Record>> {
        let key = key(Some(path));
        let (directory, name) = key::split(&key);
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM records r WHERE directory = {DIRECTORY} AND name = ?3"
            ))?;
            let mut rows = select.query(params![self.number, directory, name])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            Ok(Some(read_row(path.parent().as_ref(), row)?.1))
        })
    }

    /// What `statement` finds in a directory.
    fn in_directory(&self, directory: Option<&RelPath>, statement: &str) -> Result<Vec<(RelPath, Record)>> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(statement)?;
            let mut rows = select.query(params![self.number, key(directory)])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(read_row(directory, row)?);
            }
            Ok(found)
        })
    }

    /// Up to `limit` records of a directory, from one of its paths on.
    fn beside_path(&self, from: &RelPath, limit: usize) -> Result<Vec<(RelPath, Record)>> {
        let (parent, key) = (from.parent(), key(Some(from)));
        let (directory, name) = key::split(&key);
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(&records_from_name())?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = select.query(params![self.number, directory, name, limit])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(read_row(parent.as_ref(), row)?);
            }
            Ok(found)
        })
    }

    fn names_in(&self, directory: Option<&RelPath>) -> Result<Vec<RelPath>> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(&names_in_directory())?;
            let mut rows = select.query(params![self.number, key(directory)])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(path_of(directory, row)?);
            }
            Ok(found)
        })
    }

    fn any_below_path(&self, path: &RelPath) -> Result<bool> {
        let key = key(Some(path));
        self.shared.connections.read(|connection| {
            // Directories without records have no row.
            let mut select = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM directories WHERE folder = ?1 AND path >= ?2 AND path < ?3)",
            )?;
            Ok(select.query_row(params![self.number, key, key::end(&key)], |row| row.get(0))?)
        })
    }

    /// Records of this folder that have `value` in the indexed column, while `wanted` agrees.
    fn indexed(
        &self,
        column: &str,
        value: i64,
        limit: usize,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Vec<RelPath>> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(&search_by(column))?;
            let found =
                search(&mut select, self.number, value, limit, |record| wanted(record).then_some(()))?;
            Ok(found.into_iter().map(|(path, ())| path).collect())
        })
    }
}

/// What `wanted` picks of the records that a statement of [`search_by`] finds.
fn search<T>(
    select: &mut Statement<'_>,
    folder: i64,
    value: i64,
    limit: usize,
    wanted: impl Fn(&Record) -> Option<T>,
) -> Result<Vec<(RelPath, T)>> {
    let mut rows = select.query(params![folder, value])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let directory = key::path(&row.get::<_, Vec<u8>>(5)?)?;
        let (path, record) = read_row(directory.as_ref(), row)?;
        if let Some(picked) = wanted(&record) {
            found.push((path, picked));
        }
    }
    Ok(found)
}

impl FolderStore {
    /// For each of these contents up to `limit` paths that were last seen to hold it, and its size
    /// there. All as of one moment: a transaction for each would take longer than the search.
    pub fn holders(&self, contents: &[ContentId], limit: usize) -> Result<Vec<Vec<(RelPath, u64)>>> {
        self.shared.connections.read(|connection| {
            let snapshot = connection.unchecked_transaction()?;
            let mut select = snapshot.prepare_cached(&search_by("tag"))?;
            let mut holders = Vec::with_capacity(contents.len());
            for wanted in contents {
                let size = |record: &Record| match record.shown.content {
                    Content::File { id, size } if id == *wanted => Some(size),
                    _ => None,
                };
                holders.push(search(&mut select, self.number, codec::tag(wanted), limit, size)?);
            }
            drop(select);
            snapshot.finish()?;
            Ok(holders)
        })
    }

    /// How many conflict copies are shown: paths that stand for entries of other paths alone.
    pub fn conflicts(&self) -> Result<u64> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT {COLUMNS}, d.path FROM records r CROSS JOIN directories d
                 WHERE r.copy = 1 AND d.number = r.directory AND +d.folder = ?1"
            ))?;
            let mut rows = select.query([self.number])?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                let directory = key::path(&row.get::<_, Vec<u8>>(5)?)?;
                let (path, record) = read_row(directory.as_ref(), row)?;
                count += u64::from(record.shown.entries.iter().all(|entry| entry.path != path));
            }
            Ok(count)
        })
    }
}

impl Records for FolderStore {
    fn record(&self, path: &RelPath) -> Result<Option<Record>, StoreError> {
        Ok(self.record_at(path)?)
    }

    fn children(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        let all = format!("SELECT {COLUMNS} FROM records r WHERE directory = {DIRECTORY} ORDER BY name");
        Ok(self.in_directory(directory, &all)?)
    }

    fn child_paths(&self, directory: Option<&RelPath>) -> Result<Vec<RelPath>, StoreError> {
        Ok(self.names_in(directory)?)
    }

    fn beside(&self, from: &RelPath, limit: usize) -> Result<Vec<(RelPath, Record)>, StoreError> {
        Ok(self.beside_path(from, limit)?)
    }

    fn copies(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        Ok(self.in_directory(directory, &copies_in_directory())?)
    }

    fn any_below(&self, path: &RelPath) -> Result<bool, StoreError> {
        Ok(self.any_below_path(path)?)
    }

    fn with_content(&self, id: &ContentId, limit: usize) -> Result<Vec<RelPath>, StoreError> {
        let shows =
            |record: &Record| matches!(&record.shown.content, Content::File { id: shown, .. } if shown == id);
        Ok(self.indexed("tag", codec::tag(id), limit, shows)?)
    }

    fn with_stat(&self, stat: &Stat) -> Result<Vec<RelPath>, StoreError> {
        let same = |record: &Record| {
            record.stat.is_some_and(|known| known.size == stat.size && known.mtime == stat.mtime)
        };
        Ok(self.indexed("inode", stat.inode.cast_signed(), usize::MAX, same)?)
    }
}

/// Writes records of one folder within a transaction, and keeps `directories` to those in use.
pub(super) struct RecordWriter<'t> {
    transaction: &'t Transaction<'t>,
    folder: i64,
    /// The directory of the last path, and its number: batches come by directory.
    current: Option<(Vec<u8>, i64)>,
    /// Directories that have lost a record.
    shrunk: Vec<i64>,
}

impl<'t> RecordWriter<'t> {
    pub(super) fn new(transaction: &'t Transaction<'t>, folder: i64) -> Self {
        Self { transaction, folder, current: None, shrunk: Vec::new() }
    }

    pub(super) fn put(&mut self, path: &RelPath, record: &Record) -> Result<()> {
        let key = key(Some(path));
        let (directory, name) = key::split(&key);
        let number = match self.find(directory)? {
            Some(number) => number,
            None => {
                self.transaction
                    .prepare_cached("INSERT INTO directories (folder, path) VALUES (?1, ?2)")?
                    .execute(params![self.folder, directory])?;
                let number = self.transaction.last_insert_rowid();
                self.current = Some((directory.to_vec(), number));
                number
            }
        };
        let row = encode_record(path, record);
        self.transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO records (directory, name, tag, inode, copy, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![number, name, row.tag, row.inode, row.copy, row.body])?;
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &RelPath) -> Result<()> {
        let key = key(Some(path));
        let (directory, name) = key::split(&key);
        let Some(number) = self.find(directory)? else { return Ok(()) };
        self.transaction
            .prepare_cached("DELETE FROM records WHERE directory = ?1 AND name = ?2")?
            .execute(params![number, name])?;
        if self.shrunk.last() != Some(&number) {
            self.shrunk.push(number);
        }
        Ok(())
    }

    /// Call it last.
    pub(super) fn finish(mut self) -> Result<()> {
        self.shrunk.sort_unstable();
        self.shrunk.dedup();
        let mut delete = self.transaction.prepare_cached(
            "DELETE FROM directories WHERE number = ?1
             AND NOT EXISTS (SELECT 1 FROM records WHERE directory = ?1)",
        )?;
        for number in &self.shrunk {
            delete.execute([number])?;
        }
        Ok(())
    }

    fn find(&mut self, directory: &[u8]) -> Result<Option<i64>> {
        if let Some((path, number)) = &self.current
            && path == directory
        {
            return Ok(Some(*number));
        }
        let found: Option<i64> = self
            .transaction
            .prepare_cached("SELECT number FROM directories WHERE folder = ?1 AND path = ?2")?
            .query_row(params![self.folder, directory], |row| row.get(0))
            .optional()?;
        self.current = found.map(|number| (directory.to_vec(), number));
        Ok(found)
    }
}
