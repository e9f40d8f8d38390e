//! The tables, and how an older file gets them.
//!
//! Migrations only go forward; each is one transaction that also raises `user_version`. A file of
//! a later version is refused before anything is written to it.

use rusqlite::{Connection, TransactionBehavior};

use super::error::{DatabaseError, Result};

/// `PRAGMA application_id` of our files: "sync".
const APPLICATION_ID: i64 = 0x7379_6e63;

/// What leads from version n to n + 1. Released migrations never change; append.
const MIGRATIONS: &[&str] = &[FIRST, WHOSE_ADDRESS, LINKED];

/// Version 1.
///
/// - Paths are kept with `/` replaced by 0x00, so that comparing bytes compares components.
/// - A record's key is (directory, name): short rows, and a directory is one range. `directories`
///   holds exactly the directories that have records, so that «anything below» is one lookup there.
/// - `tag` is the first 8 bytes of a file's content id (the rest is in `body`), so that its index
///   is small. `inode` likewise comes out of the body for its index.
/// - The bytes of nodes live apart from their ids: what is whole changes without rewriting them.
const FIRST: &str = "
CREATE TABLE folders (
    number INTEGER PRIMARY KEY,
    id BLOB UNIQUE, -- NULL: being forgotten
    root_id BLOB, root_device INTEGER NOT NULL DEFAULT 0, root_inode INTEGER NOT NULL DEFAULT 0,
    start_counter INTEGER NOT NULL DEFAULT 0, start_nonce BLOB, next_nonce BLOB,
    created INTEGER NOT NULL DEFAULT 0, paused INTEGER NOT NULL DEFAULT 0,
    trusted INTEGER NOT NULL DEFAULT 0,
    opening_key BLOB, opening_blinding BLOB
) STRICT;
CREATE TABLE state (
    folder INTEGER PRIMARY KEY,
    context BLOB, entries BLOB, files INTEGER, bytes INTEGER, applied BLOB
) STRICT;
CREATE TABLE heads (
    folder INTEGER NOT NULL, id BLOB NOT NULL, bytes BLOB NOT NULL, superseded_at INTEGER,
    PRIMARY KEY (folder, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE nodes (
    id BLOB PRIMARY KEY, number INTEGER NOT NULL, whole INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE node_bytes (number INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE directories (
    number INTEGER PRIMARY KEY, folder INTEGER NOT NULL, path BLOB NOT NULL,
    UNIQUE (folder, path)
) STRICT;
CREATE TABLE records (
    directory INTEGER NOT NULL, name BLOB NOT NULL,
    tag INTEGER, inode INTEGER, copy INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (directory, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX records_by_content ON records (tag) WHERE tag IS NOT NULL;
CREATE INDEX records_by_inode ON records (inode) WHERE inode IS NOT NULL;
CREATE INDEX records_copies ON records (directory) WHERE copy = 1;
CREATE TABLE journal (
    folder INTEGER NOT NULL, path BLOB NOT NULL, target BLOB,
    PRIMARY KEY (folder, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE pending (
    folder INTEGER NOT NULL, path BLOB NOT NULL,
    reason TEXT NOT NULL, message TEXT NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (folder, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE archive_watch (
    number INTEGER PRIMARY KEY, folder INTEGER NOT NULL, due INTEGER NOT NULL,
    archived BLOB NOT NULL, original BLOB NOT NULL, stat BLOB NOT NULL
) STRICT;
CREATE INDEX archive_watch_due ON archive_watch (folder, due);
CREATE TABLE pinned (
    folder INTEGER NOT NULL, address TEXT NOT NULL,
    PRIMARY KEY (folder, address)
) STRICT, WITHOUT ROWID;
CREATE TABLE addresses (
    folder INTEGER NOT NULL, address TEXT NOT NULL, reached_at INTEGER NOT NULL,
    PRIMARY KEY (folder, address)
) STRICT, WITHOUT ROWID;
";

/// Version 2.
///
/// An address is kept with the device that was reached there, so that there are a few of each device
/// and a device that is connected is not dialled at another. Nobody has written the table before.
const WHOSE_ADDRESS: &str = "
DROP TABLE addresses;
CREATE TABLE addresses (
    folder INTEGER NOT NULL, address TEXT NOT NULL,
    device BLOB NOT NULL, reached_at INTEGER NOT NULL, vain INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (folder, address)
) STRICT, WITHOUT ROWID;
";

/// Version 3: what links have said of where peers are.
const LINKED: &str = "
CREATE TABLE linked (
    folder INTEGER NOT NULL, place INTEGER NOT NULL, address TEXT NOT NULL,
    PRIMARY KEY (folder, place)
) STRICT, WITHOUT ROWID;
";

/// The version of the schema that this program writes.
pub fn known_version() -> i64 {
    MIGRATIONS.len() as i64
}

/// Refuses a file that is not ours to write. Writes nothing.
pub(super) fn check(connection: &Connection) -> Result<i64> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (found, application) = (pragma("user_version")?, pragma("application_id")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let fresh = found == 0 && application == 0 && tables == 0;
    if !fresh && application != APPLICATION_ID {
        return Err(DatabaseError::Foreign);
    }
    if found > known_version() {
        return Err(DatabaseError::TooNew { found, known: known_version() });
    }
    Ok(found)
}

/// Brings the file from version `found` to the known one.
pub(super) fn migrate(connection: &mut Connection, found: i64) -> Result<()> {
    let done = usize::try_from(found).map_err(|_| DatabaseError::row("negative version"))?;
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as a program wrote it that knew the first migrations only, brought up to date.
    fn migrated_from(version: usize) -> Vec<String> {
        let mut connection = Connection::open_in_memory().expect("opens");
        for migration in &MIGRATIONS[..version] {
            connection.execute_batch(migration).expect("as it was");
        }
        migrate(&mut connection, version as i64).expect("migrates");
        let found = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
        assert_eq!(found.expect("reads"), known_version());
        let mut tables =
            connection.prepare("SELECT coalesce(sql, '') FROM sqlite_schema ORDER BY name").expect("reads");
        let tables = tables.query_map([], |row| row.get(0)).expect("reads");
        tables.collect::<rusqlite::Result<_>>().expect("reads")
    }

    #[test]
    fn a_file_of_any_earlier_version_gets_the_tables_of_a_new_one() {
        for version in 1..MIGRATIONS.len() {
            assert_eq!(migrated_from(version), migrated_from(0), "from version {version}");
        }
    }
}
