//! What a directory shows, down to the last bit that is synced.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::folder::Folder;

/// How many differences are worth reading when a story fails.
const SHOWN_DIFFERENCES: usize = 12;

/// What is at one path.
#[derive(Clone, PartialEq, Eq)]
pub enum Shown {
    /// A file: its size, content, mode and mtime in ns since 1970.
    File {
        /// Bytes.
        size: u64,
        /// Of the content.
        hash: blake3::Hash,
        /// Permission bits.
        mode: u32,
        /// Nanoseconds since 1970.
        mtime: i128,
    },
    /// A symbolic link and its text.
    Link(Vec<u8>),
    /// A directory and its mode; its mtime is not synced.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A device, socket or FIFO.
    Special,
}

/// All paths below a root but the control directory, as bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree(BTreeMap<Vec<u8>, Shown>);

impl Tree {
    /// Reads the disk. Nothing may write there meanwhile.
    ///
    /// # Panics
    /// When something cannot be read.
    pub fn read(root: &Path) -> Self {
        let mut all = BTreeMap::new();
        read_below(root, &mut Vec::new(), &mut all);
        Self(all)
    }

    /// What is at a path.
    pub fn at(&self, path: &str) -> Option<&Shown> {
        self.0.get(path.as_bytes())
    }

    /// The names of all files and links, in order.
    pub fn files(&self) -> Vec<String> {
        let files = self.0.iter().filter(|(_, shown)| !matches!(shown, Shown::Directory { .. }));
        files.map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect()
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In which paths another differs, one line each.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let paths = self.0.keys().chain(other.0.keys().filter(|path| !self.0.contains_key(*path)));
        let differing = paths.filter(|path| self.0.get(*path) != other.0.get(*path));
        differing
            .map(|path| {
                let show =
                    |tree: &Self| tree.0.get(path).map_or("nothing".to_owned(), |shown| shown.to_string());
                format!("{}: {} | {}", path.escape_ascii(), show(self), show(other))
            })
            .collect()
    }
}

/// Checks that two folders show the same.
///
/// # Panics
/// With a line for each path in which they differ.
pub fn assert_same(a: &Folder, b: &Folder) {
    let mut differences = a.tree().differences(&b.tree());
    let (a, b, count) = (a.device().name(), b.device().name(), differences.len());
    differences.truncate(SHOWN_DIFFERENCES);
    assert!(count == 0, "{count} differences, {a} | {b}:\n{}", differences.join("\n"));
}

fn read_below(directory: &Path, above: &mut Vec<u8>, all: &mut BTreeMap<Vec<u8>, Shown>) {
    let list = fs::read_dir(directory).unwrap_or_else(|cause| panic!("{}: {cause}", directory.display()));
    for found in list {
        let found = found.expect("a directory can be read to its end");
        let name = found.file_name();
        if above.is_empty() && name == ".syncd" {
            continue;
        }
        let length = above.len();
        if length > 0 {
            above.push(b'/');
        }
        above.extend_from_slice(name.as_bytes());
        let shown = read_one(&found.path());
        let is_directory = matches!(shown, Shown::Directory { .. });
        all.insert(above.clone(), shown);
        if is_directory {
            read_below(&found.path(), above, all);
        }
        above.truncate(length);
    }
}

fn read_one(path: &Path) -> Shown {
    let read = || {
        let stat = fs::symlink_metadata(path)?;
        let (kind, mode) = (stat.file_type(), stat.mode() & 0o7777);
        let mtime = i128::from(stat.mtime()) * 1_000_000_000 + i128::from(stat.mtime_nsec());
        Ok(if kind.is_dir() {
            Shown::Directory { mode }
        } else if kind.is_symlink() {
            Shown::Link(fs::read_link(path)?.into_os_string().into_vec())
        } else if kind.is_file() {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(fs::File::open(path)?)?;
            Shown::File { size: stat.len(), hash: hasher.finalize(), mode, mtime }
        } else {
            Shown::Special
        })
    };
    read().unwrap_or_else(|cause: std::io::Error| panic!("{}: {cause}", path.display()))
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { size, hash, mode, mtime } => {
                write!(f, "file {mode:04o} {size} bytes {:.8} at {mtime}", hash.to_hex())
            }
            Self::Link(target) => write!(f, "link to {}", target.escape_ascii()),
            Self::Directory { mode } => write!(f, "directory {mode:04o}"),
            Self::Special => f.write_str("neither file, link nor directory"),
        }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(path, shown)| (path.escape_ascii().to_string(), shown)))
            .finish()
    }
}
