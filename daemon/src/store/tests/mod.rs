//! The store against models, crashes of a kind, and other people's files.

mod addresses;
mod file;
mod model;
mod nodes;
mod speed;

use protocol::{
    Content, ContentId, EntryKey, Metadata, Origin, Record, RelPath, Shown, Stat, Timestamp, Version,
};
use tempfile::TempDir;

use super::{FolderStore, Store};

const FOLDER: [u8; 16] = [7; 16];

/// A database in a directory of its own.
struct Home {
    directory: TempDir,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("db")
    }

    fn open(&self) -> Store {
        Store::open(&self.path()).expect("opens")
    }

    fn folder(&self) -> FolderStore {
        self.open().folder(&FOLDER).expect("a folder")
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a valid path")
}

fn version(seq: u64) -> Version {
    Version { seq, origin: Origin([3; 8]) }
}

/// A record of a file as most are.
fn file(at: &RelPath, number: u64) -> Record {
    let id = *blake3::hash(&number.to_be_bytes()).as_bytes();
    let mtime = Timestamp { seconds: 1_790_000_000 + number as i64, nanos: 123_456_789 };
    Record {
        shown: Shown {
            content: Content::File { id: ContentId(id), size: 5_000 + number },
            metadata: Metadata { mtime, mode: 0o644, ..Metadata::default() },
            entries: vec![EntryKey { path: at.clone(), version: version(1_000 + number / 100) }],
        },
        stat: Some(Stat {
            inode: 10_000_000 + number,
            size: 5_000 + number,
            mtime,
            ctime: Timestamp { seconds: 1_795_000_000, nanos: 987_654_321 },
            mode: 0o100_644,
        }),
        ignored: false,
    }
}
