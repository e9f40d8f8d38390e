//! The one connection that writes, and the few that read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::error::{DatabaseError, Result};
use super::schema;

/// First release without the WAL-reset corruption.
const OLDEST_SQLITE: i32 = 3_051_003;
/// Tree nodes are a few KiB: in pages of 4 KiB, half of each page would stay empty.
const PAGE_BYTES: u32 = 8192;
/// To what the WAL shrinks again after a huge transaction.
const WAL_LIMIT_BYTES: u32 = 64 << 20;
/// Page cache of the writing connection, in KiB.
const WRITER_CACHE_KIB: i32 = 8 << 10;
/// Page cache of each reading connection, in KiB.
const READER_CACHE_KIB: i32 = 1 << 10;
/// How many reading connections stay open; a burst of readers opens more for a while.
const IDLE_READERS: usize = 12;
/// How many of them stay open at rest.
const RESTING_READERS: usize = 2;
/// Only another process (a person with a database tool) can make us wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// More than the number of different statements in this module.
const CACHED_STATEMENTS: usize = 64;

/// What a commit promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Survives the end of the process. A power cut may take it back, whole and in order.
    #[default]
    Process,
    /// On disk when the call returns, with all that was committed before it.
    PowerCut,
}

/// The open file.
pub(super) struct Connections {
    path: PathBuf,
    writer: Mutex<Writer>,
    readers: Mutex<Vec<Connection>>,
}

struct Writer {
    connection: Connection,
    /// What the connection's `synchronous` is set to.
    durability: Durability,
}

impl Connections {
    /// Opens or creates the file and brings its tables up to date.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(DatabaseError::OldSqlite(rusqlite::version()));
        }
        create_private(path)?;
        let mut connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let found = schema::check(&connection)?;
        if found == 0 {
            // Both can only be chosen before the first table exists.
            connection.pragma_update(None, "page_size", PAGE_BYTES)?;
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.query_row(&format!("PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}"), [], |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        prepare(&connection, WRITER_CACHE_KIB)?;
        schema::migrate(&mut connection, found)?;
        let writer = Mutex::new(Writer { connection, durability: Durability::Process });
        Ok(Self { path: path.to_owned(), writer, readers: Mutex::default() })
    }

    /// Reads. Each statement sees what was committed when it began; use a transaction if several
    /// must agree.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.readers.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open_reader()?,
        };
        let result = read(&connection);
        let mut readers = self.readers.lock();
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
        result
    }

    /// Runs `write` in one transaction, alone; an error takes all of it back.
    pub(super) fn write<T>(
        &self,
        durability: Durability,
        write: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut writer = self.writer.lock();
        if writer.durability != durability {
            let mode = match durability {
                Durability::Process => "NORMAL",
                Durability::PowerCut => "FULL",
            };
            writer.connection.pragma_update(None, "synchronous", mode)?;
            writer.durability = durability;
        }
        let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = write(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Gives up to `pages` unused pages back to the file system and empties the WAL. Whether there
    /// are more.
    pub(super) fn tidy(&self, pages: u32) -> Result<bool> {
        // Most of the WAL goes without the writer having to wait.
        self.open_with(OpenFlags::SQLITE_OPEN_READ_WRITE)?.query_row(
            "PRAGMA wal_checkpoint(PASSIVE)",
            [],
            |_| Ok(()),
        )?;
        let writer = self.writer.lock();
        let mut vacuum = writer.connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        writer.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let unused: i64 = writer.connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
        Ok(unused > 0)
    }

    /// Closes the readers that nobody uses, but for some, and empties page caches.
    pub(super) fn rest(&self) {
        let closed = {
            let mut readers = self.readers.lock();
            let from = readers.len().min(RESTING_READERS);
            readers.split_off(from)
        };
        drop(closed);
        let shrink = |connection: &Connection| {
            // Who cannot shrink stays as large as it is.
            let _ = connection.execute_batch("PRAGMA shrink_memory");
        };
        self.readers.lock().iter().for_each(shrink);
        shrink(&self.writer.lock().connection);
    }

    fn open_reader(&self) -> Result<Connection> {
        self.open_with(OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    fn open_with(&self, access: OpenFlags) -> Result<Connection> {
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        prepare(&connection, READER_CACHE_KIB)?;
        Ok(connection)
    }
}

fn prepare(connection: &Connection, cache_kib: i32) -> Result<()> {
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    // Else SQLite plans some statements anew for each value that is bound to them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// The database holds the names of all files: nobody else may read it. SQLite gives its side files
/// the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}
