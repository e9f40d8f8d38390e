//! Scanning: what the disk shows that the records do not say.
//!
//! [`scan`] walks directory by directory, compares `lstat` with the records and hashes what is not
//! known to be the same. It decides nothing: what differs is handed on in [`Part`]s as
//! observations. An unchanged path costs one `lstat`.
//!
//! What keeps a disk in trouble from looking like a deletion:
//! - gone is only what `lstat` says is not there in a directory that is there, on the root's file
//!   system, and asked again just before it is told;
//! - what cannot be read, is of a kind that is not synced, or lies on another file system is a
//!   problem of that path, and nothing recorded below it is gone;
//! - a file that answers to a path, but is listed under another spelling, is not at that path;
//! - deletions come last, after the root has been looked at again.
//!
//! Reading order: this page; `walk` (which paths), `compare` (one path), `moved`, `gone`, `parts`,
//! `unrest`.

mod compare;
mod gone;
mod moved;
mod parts;
#[cfg(test)]
pub(crate) mod tests;
mod unrest;
mod walk;

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use protocol::commit::Observation;
use protocol::engine::Scan;
use protocol::{NodeStore, Record, Records, RelPath, StoreError};

use super::hash::{HashContext, Pool};
use super::ignored::Ignored;
use super::spelling::Spelling;
use crate::disk::{DiskStat, Kind, Place};
use moved::Origins;
use parts::Parts;

pub use unrest::Unrest;

/// Everything that a scan needs.
pub struct ScanContext<'a> {
    /// The disk, the clock, what keys hashes, and how to stop.
    pub files: HashContext,
    /// What was last applied or found.
    pub records: Arc<dyn Records + Send + Sync>,
    /// Takes the nodes of chunk lists.
    pub nodes: &'a dyn NodeStore,
    /// What is not wanted here.
    pub ignored: Arc<Ignored>,
    /// How many files are hashed at once.
    pub threads: usize,
    /// Files that do not hold still; kept from scan to scan.
    pub unrest: Arc<Unrest>,
    /// That there is nothing at all is no surprise: [`ScanError::RootEmptied`] is not answered.
    pub may_be_empty: bool,
}

/// A part of what a scan has found, to be committed as one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// What does not show its record, or shows it with another stat, in no order. A path comes once.
    pub observations: Vec<Observation>,
    /// What cannot be synced from here, and why.
    pub unsynced: Vec<(RelPath, String)>,
    /// What changed while it was looked at: to be noticed again, not before this time has passed.
    pub unstable: Vec<(RelPath, Duration)>,
    /// What was written within the last tick of the clock: to be noticed again some seconds later.
    pub racy: Vec<RelPath>,
}

/// Why a scan came to nothing. Parts that were handed on before are as good as they were.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The root is another directory than before, or was removed.
    #[error("the folder's directory is not the one that it was")]
    RootChanged,
    /// The root cannot be listed.
    #[error("the folder's directory cannot be read: {0}")]
    RootUnreadable(#[source] io::Error),
    /// The root is empty although there are records. The caller knows whether that can be.
    #[error("the folder's directory is empty")]
    RootEmptied,
    /// The system gives no thread to hash with.
    #[error("no thread can be started: {0}")]
    NoThread(#[source] io::Error),
    /// Told to stop, by the sink or the flag.
    #[error("the scan was stopped")]
    Stopped,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Looks at `what` and hands on what differs. The sink is called from this thread; if it breaks,
/// the scan ends with [`ScanError::Stopped`]. Unless it is too much for one part, all comes at once:
/// a renamed directory is so one commit. Otherwise deletions come last.
pub fn scan(
    cx: &ScanContext<'_>,
    what: &Scan,
    sink: &mut dyn FnMut(Part) -> ControlFlow<()>,
) -> Result<(), ScanError> {
    let root = root_stat(cx)?;
    std::thread::scope(|scope| {
        let mut scanner = Scanner {
            cx,
            pool: Pool::start(scope, &cx.files, cx.threads).map_err(ScanError::NoThread)?,
            parts: Parts::new(cx, sink),
            root,
            gone: Vec::new(),
            origins: Origins::default(),
            spelling: Spelling::new(cx.files.disk.as_ref()),
        };
        match what {
            Scan::Full => scanner.look_at_everything(),
            Scan::Paths(paths) => scanner.look_at_paths(paths),
        }?;
        scanner.finish()
    })
}

fn root_stat(cx: &ScanContext<'_>) -> Result<DiskStat, ScanError> {
    let root = cx.files.disk.stat(&Place::Root).map_err(ScanError::RootUnreadable)?;
    // A removed directory that is still open has no name any more.
    root.filter(|root| root.kind == Kind::Directory && root.links > 0).ok_or(ScanError::RootChanged)
}

/// A file that is being hashed.
struct Task {
    path: RelPath,
    record: Option<Record>,
}

/// What has gone: a path and all below it, or only what was below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Gone {
    path: RelPath,
    only_below: bool,
}

/// One running scan.
struct Scanner<'a, 's> {
    cx: &'s ScanContext<'a>,
    pool: Pool<Task>,
    parts: Parts<'s>,
    root: DiskStat,
    gone: Vec<Gone>,
    origins: Origins,
    spelling: Spelling<'s>,
}

impl Scanner<'_, '_> {
    fn finish(mut self) -> Result<(), ScanError> {
        self.take_answers(0)?;
        self.check_root()?;
        self.tell_gone()?;
        self.check_root()?;
        self.parts.flush()
    }

    fn check_root(&self) -> Result<(), ScanError> {
        let now = root_stat(self.cx)?;
        let same = now.stat.inode == self.root.stat.inode && now.device == self.root.device;
        if same { Ok(()) } else { Err(ScanError::RootChanged) }
    }

    fn check_stop(&self) -> Result<(), ScanError> {
        if self.cx.files.stop.load(Ordering::Relaxed) { Err(ScanError::Stopped) } else { Ok(()) }
    }
}

/// A sentence about a path that cannot be read.
fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "cannot be read: permission denied".into(),
        io::ErrorKind::CrossesDevices => OTHER_FILE_SYSTEM.into(),
        _ => format!("cannot be read: {error}"),
    }
}

/// What to say of a path where another file system begins.
const OTHER_FILE_SYSTEM: &str = "is on another file system and is not synced";
