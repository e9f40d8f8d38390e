//! What can go wrong with the database, by what has to be done about it.

use protocol::StoreError;
use rusqlite::ErrorCode;

/// Why the database could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file is no database any more, or its rows make no sense. Nothing in it may be trusted:
    /// put it aside and start with an empty one.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// A later release wrote it. It was left untouched.
    #[error("the database has version {found}, this program knows up to {known}: update syncd")]
    TooNew {
        /// The version of the file's schema.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// A database, but of another program. It was left untouched.
    #[error("the database belongs to another program")]
    Foreign,
    /// The linked SQLite can corrupt a database in WAL mode (fixed in 3.51.3).
    #[error("SQLite {0} is too old, 3.51.3 is needed")]
    OldSqlite(&'static str),
    /// The disk is full, a file could not be opened, and the like: try again later.
    #[error("SQLite failed: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The file could not be created.
    #[error("the database file could not be created: {0}")]
    File(#[from] std::io::Error),
    /// A mistake of the caller, named.
    #[error("{0}")]
    Misuse(&'static str),
}

impl DatabaseError {
    /// A row that this program cannot have written.
    pub(super) fn row(what: &str) -> Self {
        Self::Damaged(format!("a row cannot be read: {what}"))
    }

    /// Whether the file has to be put aside.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let damaged = match &error {
            E::SqliteFailure(failure, _) => {
                matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            }
            E::FromSqlConversionFailure(..) | E::InvalidColumnType(..) | E::IntegralValueOutOfRange(..) => {
                true
            }
            _ => false,
        };
        if damaged { Self::Damaged(error.to_string()) } else { Self::Sqlite(error) }
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        Self(Box::new(error))
    }
}

/// Whether a failure that came through the traits of `protocol` means that the file has to be put
/// aside.
pub fn is_damaged(error: &StoreError) -> bool {
    error.0.downcast_ref::<DatabaseError>().is_some_and(DatabaseError::is_damaged)
}

pub(super) type Result<T, E = DatabaseError> = std::result::Result<T, E>;
