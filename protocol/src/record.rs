//! Observations: what a path showed when it was last seen or applied.
//!
//! A [`Record`] is what this device last put or found at a path of its disk. The one question ever
//! asked of the disk is whether a path still shows that; if not, the path is the user's, and only a
//! scan (or, on a reader, `revert`) may touch it.

use crate::entry::{Content, EntryKey, Metadata, Timestamp};

/// What was last applied or found at one path of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the path showed.
    pub shown: Shown,
    /// How the file system described it then. `None` if it could not be trusted to prove that
    /// nothing has changed (written within the last tick of the clock): then content is compared.
    pub stat: Option<Stat>,
    /// Whether the path was ignored at the last scan.
    pub ignored: bool,
}

/// What a disk path shows, and *all* entries that it stands for: several when contents are equal,
/// a losing one for a conflict copy, none for a directory that only its children imply. Whoever
/// removes or replaces the disk path removes all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What is there.
    pub content: Content,
    /// Of the entry of highest rank; a default for an implied directory.
    pub metadata: Metadata,
    /// Sorted, without duplicates. An entry's path differs from the disk path where the disk path
    /// is a conflict copy; it always lies in the same directory.
    pub entries: Vec<EntryKey>,
}

/// What `lstat` said. Device numbers are left out: they change over reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Inode number.
    pub inode: u64,
    /// Size in bytes as reported, for any kind.
    pub size: u64,
    /// Last modification.
    pub mtime: Timestamp,
    /// Last change of the inode; users cannot set it.
    pub ctime: Timestamp,
    /// File type and permission bits as reported.
    pub mode: u32,
}

/// What a scan saw at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What is there.
    pub content: Content,
    /// Its metadata.
    pub metadata: Metadata,
    /// See [`Record::stat`].
    pub stat: Option<Stat>,
}
