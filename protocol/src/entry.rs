//! What a folder holds at one path.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::path::RelPath;
use crate::version::{Rank, Version};

/// Longest text of a symbolic link, in bytes (`PATH_MAX` of Linux, less its NUL).
pub const MAX_TARGET_BYTES: usize = 4095;
/// Permission bits that are kept, setuid, setgid and sticky included; applying strips what the
/// folder does not opt into.
pub const MODE_MASK: u16 = 0o7777;

/// What a folder holds at one path: the unit of state. Its key is (path, version), and a key never
/// means two things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: RelPath,
    /// The commit that put it.
    pub version: Version,
    /// Put by the first scan of a device without trusted records: ranks below all others.
    pub found: bool,
    /// What is compared.
    pub content: Content,
    /// What is kept, and committed when it changes, but makes no conflict.
    pub metadata: Metadata,
    /// Fields that a newer version wrote and this one does not know: encoded pairs, kept so that
    /// the entry can be written into a new tree unharmed. Empty in every entry made here.
    pub extra: Vec<u8>,
}

impl Entry {
    /// The key: never means two things.
    pub fn key(&self) -> EntryKey {
        EntryKey { path: self.path.clone(), version: self.version }
    }

    /// The order of the entries at one path.
    pub fn rank(&self) -> Rank {
        Rank::new(self.found, self.version)
    }
}

/// The key of an entry, ordered by path component by component, then by version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey {
    /// Where.
    pub path: RelPath,
    /// The commit that put it.
    pub version: Version,
}

/// What two entries must share not to be in conflict: kind and content. A symbolic link never
/// equals a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// A directory that was put, not only implied by what lies below.
    Directory,
    /// A regular file.
    File {
        /// The identity of its bytes.
        id: ContentId,
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link and its text, kept as it is and never followed.
    Symlink {
        /// 1 to [`MAX_TARGET_BYTES`] bytes without NUL.
        target: Arc<[u8]>,
    },
}

impl Content {
    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory)
    }

    /// The id of a file's bytes.
    pub fn file(&self) -> Option<ContentId> {
        match self {
            Self::File { id, .. } => Some(*id),
            Self::Directory | Self::Symlink { .. } => None,
        }
    }

    /// The bytes that `status` counts for it: the length of a file, or of a link's text.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Directory => 0,
            Self::File { size, .. } => *size,
            Self::Symlink { target } => target.len() as u64,
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => write!(f, "directory"),
            Self::File { id, size } => write!(f, "file {id:?} of {size}"),
            Self::Symlink { target } => write!(f, "link to {}", target.escape_ascii()),
        }
    }
}

/// Identity of a file's bytes, keyed per folder: up to 64 KiB the id of its one chunk, above that
/// the [node id](crate::NodeId) of its chunk list.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentId(pub [u8; 32]);

/// As bytes. Ids differ at the start, so that all but the first few are seldom looked at.
impl Ord for ContentId {
    fn cmp(&self, other: &Self) -> Ordering {
        let start = |id: &Self| id.0.first_chunk().copied().map(u64::from_be_bytes);
        start(self).cmp(&start(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for ContentId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is kept beside the content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Time of last modification; kept for files and links, not for directories (zero there).
    pub mtime: Timestamp,
    /// Permission bits within [`MODE_MASK`]; zero for links.
    pub mode: u16,
    /// Numeric owner and group, where a folder opts in.
    pub owner: Option<(u32, u32)>,
    /// Extended attributes sorted by name, where a folder opts in.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A point in time as file systems keep it. Before 1970 `seconds` is negative and `nanos` still
/// counts upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}
