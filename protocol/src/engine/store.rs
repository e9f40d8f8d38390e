//! What the engine keeps: observations, never pending work.

use crate::entry::EntryKey;
use crate::head::SignedHead;
use crate::path::RelPath;
use crate::record::{Record, Shown};
use crate::state::Totals;
use crate::store::{NodeId, NodeStore, Records, StoreError};

/// The database of one folder, as the engine uses it.
pub trait FolderStore: NodeStore + Records {
    /// What was kept of the folder's state; `None` before the first commit or merge.
    fn saved(&self) -> Result<Option<Saved>, StoreError>;
    /// The heads that no other dominates, as they were kept.
    fn heads(&self) -> Result<Vec<SignedHead>, StoreError>;
    /// All paths that could not be applied, or that a reader changed.
    fn unapplied(&self) -> Result<Vec<(RelPath, Unapplied)>, StoreError>;
    /// Keeps all of `changes`, or nothing.
    fn keep(&self, changes: Changes) -> Result<(), StoreError>;
    /// Forgets roots, heads, records and what was not applied: the database is as good as lost.
    fn forget(&self) -> Result<(), StoreError>;
}

/// The roots of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// Root of the context's tree.
    pub context: NodeId,
    /// Root of the merged state's entries.
    pub entries: NodeId,
    /// Totals of the rendering of `entries`.
    pub totals: Totals,
    /// Root of the entries that the records stand for: `entries` as far as they have been applied.
    pub applied: NodeId,
    /// Whether the records may be trusted, or who knows which is older, the disk or the database.
    pub trusted: bool,
}

/// One transaction.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// New roots.
    pub saved: Option<Saved>,
    /// New heads, in place of all that were kept.
    pub heads: Option<Vec<SignedHead>>,
    /// Records to set or to drop.
    pub records: Vec<(RelPath, Option<Record>)>,
    /// Journal rows to add: what each path is about to show.
    pub journal: Vec<(RelPath, Option<Shown>)>,
    /// Journal rows to drop, before any are added.
    pub settle: Settle,
    /// Paths that cannot be applied, or (with `None`) are no longer so.
    pub unapplied: Vec<(RelPath, Option<Unapplied>)>,
    /// Must survive a power cut before anyone hears of it.
    pub durable: bool,
}

/// Which rows of the journal are settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Settle {
    /// None.
    #[default]
    Nothing,
    /// Those of these paths: others are still being carried out.
    Paths(Vec<RelPath>),
    /// All.
    Everything,
}

/// Why a path's record is not what the state wants there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unapplied {
    /// Which kind.
    pub reason: Reason,
    /// For people; empty where the reason says it all.
    pub message: String,
}

/// The kinds of [`Unapplied`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Something else must happen first; looked at again with every step.
    Waiting,
    /// Not wanted here; nothing is to be done until the rules change.
    Ignored,
    /// A reader's own change, until `revert`.
    LocalChange,
    /// No connected peer has the content.
    NoContent,
    /// This disk does not tell the name from another one. Tried again when a name near it has gone.
    Collision,
    /// This disk refused: a name, a permission, space.
    Problem,
    /// Found by a scan: cannot be synced from here (an unreadable file, a device, a mount).
    Unsynced,
}

/// Edits of a tree of entries.
pub(super) type Edits = Vec<(EntryKey, Option<crate::entry::Entry>)>;
