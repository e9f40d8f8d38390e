//! All records in the order of their paths, a page at a time.
//!
//! Records are kept by directory, so the walk merges the directories that are open at a point of
//! the tree: those on the way down to it.

use std::collections::VecDeque;

use protocol::{Record, RelPath};
use rusqlite::{Connection, OptionalExtension, params};

use super::FolderStore;
use super::error::Result;
use super::key::{self, is_below, key};
use super::records::{COLUMNS, read_row};

/// A directory on the way down, and its records that are still to come.
struct Open {
    key: Vec<u8>,
    records: VecDeque<(RelPath, Record)>,
}

impl FolderStore {
    /// Up to `limit` records after `after`, or from the first, in the order of paths.
    pub fn records_from(&self, after: Option<&RelPath>, limit: usize) -> Result<Vec<(RelPath, Record)>> {
        self.walk(&[], after, limit)
    }

    /// Up to `limit` records strictly below `path`, in the order of paths, beginning after `after`
    /// (which is below `path`) if it is given.
    pub fn below(
        &self,
        path: &RelPath,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Record)>> {
        self.walk(&key(Some(path)), after, limit)
    }

    fn walk(&self, within: &[u8], after: Option<&RelPath>, limit: usize) -> Result<Vec<(RelPath, Record)>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let after = key(after);
        self.shared.connections.read(|connection| {
            // One snapshot for all statements.
            let snapshot = connection.unchecked_transaction()?;
            let walked = Walk { connection: &snapshot, folder: self.number, limit }.run(within, &after)?;
            snapshot.finish()?;
            Ok(walked)
        })
    }
}

struct Walk<'c> {
    connection: &'c Connection,
    folder: i64,
    limit: usize,
}

impl Walk<'_> {
    fn run(&self, within: &[u8], after: &[u8]) -> Result<Vec<(RelPath, Record)>> {
        let mut found = Vec::new();
        let mut open = self.open_at(within, after)?;
        let mut select = self.connection.prepare_cached(
            "SELECT number, path FROM directories WHERE folder = ?1 AND path >= ?2 ORDER BY path",
        )?;
        let mut rows =
            select.query(params![self.folder, if is_below(after, within) { after } else { within }])?;
        loop {
            let next: Option<(i64, Vec<u8>)> = match rows.next()? {
                Some(row) => Some((row.get(0)?, row.get(1)?)),
                None => None,
            };
            let next = next.filter(|(_, path)| path == within || is_below(path, within));
            let before = next.as_ref().map(|(_, path)| path.as_slice());
            if self.emit(&mut open, before, &mut found) {
                return Ok(found);
            }
            let Some((number, path)) = next else { return Ok(found) };
            let records = self.page(number, &path, &[], self.limit - found.len())?;
            open.push(Open { key: path, records });
        }
    }

    /// Moves to `found` what comes before the next directory: all of the open directories that it
    /// is not in, and those up to itself of the one that it is in. Whether the page is full.
    fn emit(&self, open: &mut Vec<Open>, next: Option<&[u8]>, found: &mut Vec<(RelPath, Record)>) -> bool {
        while let Some(top) = open.last_mut() {
            let until = next.filter(|next| is_below(next, &top.key));
            while let Some((path, _)) = top.records.front() {
                if until.is_some_and(|until| key(Some(path)).as_slice() > until) {
                    return false;
                }
                found.extend(top.records.pop_front());
                if found.len() >= self.limit {
                    return true;
                }
            }
            if until.is_some() {
                return false;
            }
            open.pop();
        }
        false
    }

    /// The directories from `within` down to the one of `after`, each from there on.
    fn open_at(&self, within: &[u8], after: &[u8]) -> Result<Vec<Open>> {
        let mut open = Vec::new();
        if !is_below(after, within) {
            return Ok(open);
        }
        let mut rest = after;
        loop {
            let (directory, name) = key::split(rest);
            if directory != within && !is_below(directory, within) {
                break;
            }
            let number = self
                .connection
                .prepare_cached("SELECT number FROM directories WHERE folder = ?1 AND path = ?2")?
                .query_row(params![self.folder, directory], |row| row.get(0))
                .optional()?;
            if let Some(number) = number {
                let records = self.page(number, directory, name, self.limit)?;
                open.push(Open { key: directory.to_vec(), records });
            }
            if directory.is_empty() {
                break;
            }
            rest = directory;
        }
        open.reverse();
        Ok(open)
    }

    fn page(
        &self,
        number: i64,
        directory: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<VecDeque<(RelPath, Record)>> {
        let directory = key::path(directory)?;
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM records r WHERE directory = ?1 AND name > ?2 ORDER BY name LIMIT ?3"
        ))?;
        let mut rows = select.query(params![number, after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut records = VecDeque::new();
        while let Some(row) = rows.next()? {
            records.push_back(read_row(directory.as_ref(), row)?);
        }
        Ok(records)
    }
}
