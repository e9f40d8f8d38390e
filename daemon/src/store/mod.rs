//! The database: everything that has to survive the end of the process, but for keys.
//!
//! One SQLite file per home, for all folders. It holds observations, never pending work: what was
//! seen and applied at each path (records), what a folder's state is, the nodes of trees and chunk
//! lists, the heads worth keeping, the journal of the step that is being applied. Content of files
//! is not in here, and no row per chunk.
//!
//! [`Store`] is the file, [`FolderStore`] one folder's part of it; both are cheap to clone, and
//! all calls block: never make them on a worker of the async runtime. One connection writes, a few
//! read; a reader never waits for a writer. Commits survive the end of the process, and a power
//! cut where [`Durability::PowerCut`] asks for it. A second process on the same file is kept out
//! by whoever owns the home, not here.
//!
//! Reading order: `schema` has the tables, [`changes`] what one transaction of a folder may
//! change, `records` and `walk` the reading of records, `nodes` and [`sweep`] the nodes, `addresses`
//! where peers were reached.

mod addresses;
mod cache;
pub mod changes;
mod codec;
mod connections;
mod error;
pub mod folders;
mod key;
mod linked;
mod nodes;
mod records;
mod schema;
mod state;
pub mod sweep;
mod walk;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

pub use addresses::KnownAddress;
pub use changes::{Changes, Displaced, KeptHead, Pending, SavedState};
pub use connections::Durability;
pub use error::{DatabaseError, is_damaged};
pub use folders::{FolderFacts, Marker};
pub use schema::known_version;
pub use state::Counts;
pub use sweep::Swept;

use cache::NodeCache;
use connections::Connections;
use error::Result;
use sweep::Sweep;

/// Bytes of nodes that are kept in memory: some thousand nodes.
const NODE_CACHE_BYTES: usize = 8 << 20;

/// The database of a home.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// One folder's part of the database.
#[derive(Clone)]
pub struct FolderStore {
    shared: Arc<Shared>,
    /// The folder's number in all tables.
    number: i64,
}

/// Locks are taken in this order: writer (inside `connections`), sweep, cache.
struct Shared {
    connections: Connections,
    sweep: Mutex<Sweep>,
    /// How often removing has begun; changes only under `sweep`.
    sweeps: AtomicU64,
    cache: Mutex<NodeCache>,
    /// Nodes that were added since the file was opened.
    added: AtomicU64,
}

impl Store {
    /// Opens the database file, creates it if it is not there, and migrates it if it is older.
    ///
    /// # Errors
    /// [`DatabaseError::Damaged`] if the file has to be put aside. That is noticed as early as a
    /// look at the tables shows it, or by any later call: nothing checks the whole file.
    pub fn open(path: &Path) -> Result<Self> {
        let connections = Connections::open(path)?;
        let cache = Mutex::new(NodeCache::new(NODE_CACHE_BYTES));
        let (sweep, sweeps) = (Mutex::new(Sweep::Idle), AtomicU64::new(0));
        let store =
            Self { shared: Arc::new(Shared { connections, sweep, sweeps, cache, added: AtomicU64::new(0) }) };
        store.finish_forgetting()?;
        Ok(store)
    }

    /// Gives up what is in memory only to be quick. What is asked for next is read anew.
    pub fn rest(&self) {
        self.shared.cache.lock().clear();
        self.shared.connections.rest();
    }

    /// Gives up to `pages` pages of unused space back to the file system and empties the
    /// write-ahead log. For quiet times. Whether there are more.
    pub fn tidy(&self, pages: u32) -> Result<bool> {
        self.shared.connections.tidy(pages)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl fmt::Debug for FolderStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FolderStore({})", self.number)
    }
}
