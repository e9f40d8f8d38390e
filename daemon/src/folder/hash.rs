//! Hashing files: what a file holds at one moment, or that it does not hold still.
//!
//! A file's content counts only if nothing about it changed from before its first byte was read
//! until after its last. [`hash_file`] reads one file; a pool reads several at once, with a
//! bounded number of threads and one buffer each. Nothing here knows records or rules.

mod large;
mod pool;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use keystore::ContentKey;
use protocol::chunk::{ContentHasher, Hashed, MIN_CHUNK_BYTES};
use protocol::{Content, ContentId, NodeId, NodeStore, RelPath, Timestamp};
use rustix::io::Errno;

use crate::disk::{Disk, DiskStat, Place, ReadFile};
pub(super) use pool::{Answer, Pool};

/// One read. More no longer makes it faster, and each thread has a buffer of it.
const PIECE_BYTES: usize = 1024 * 1024;

/// A file of up to so many bytes is read with one call: it is one chunk.
const AT_ONCE_BYTES: u64 = MIN_CHUNK_BYTES as u64;

/// What scans have done so far, for `status`.
#[derive(Debug, Default)]
pub struct Progress {
    /// Paths that were looked at.
    pub looked_at: AtomicU64,
    /// Bytes that were read and hashed.
    pub hashed_bytes: AtomicU64,
}

/// A file's content at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedFile {
    /// What it holds.
    pub content: Content,
    /// What `lstat` said, the same before and after.
    pub stat: DiskStat,
    /// The clock just before that, to tell whether the stat may be trusted.
    pub looked_at: Timestamp,
}

/// Why a file was not hashed.
#[derive(Debug)]
pub enum HashError {
    /// It changed meanwhile, has gone or is another kind of thing: look again later.
    Unstable,
    /// It cannot be read, or the nodes of its list cannot be saved.
    Io(io::Error),
    /// Told to stop.
    Stopped,
}

impl From<io::Error> for HashError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Everything that hashing needs, shared by all threads.
#[derive(Clone)]
pub struct HashContext {
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// Keys the ids.
    pub content_key: ContentKey,
    /// Knows the chunk lists of what files held before.
    pub lists: Arc<dyn NodeStore + Send + Sync>,
    /// What `status` shows.
    pub progress: Arc<Progress>,
    /// Set to give up soon.
    pub stop: Arc<AtomicBool>,
    /// The wall clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Reads and names the file at `path`; what it held `before` makes that quicker if it is long. `keep`
/// gets the nodes of its chunk list as they close, children before parents; they are garbage if the
/// answer is an error.
pub fn hash_file(
    cx: &HashContext,
    path: &RelPath,
    before: Option<&Content>,
    buffer: &mut Vec<u8>,
    keep: &mut dyn FnMut(Vec<(NodeId, Bytes)>) -> io::Result<()>,
) -> Result<HashedFile, HashError> {
    let known = match before {
        Some(Content::File { id, size }) => Some((&*cx.lists as &dyn NodeStore, *id, *size)),
        _ => None,
    };
    let at = Place::Folder(path.clone());
    let looked_at = (cx.now)();
    let file = cx.disk.open(&at).map_err(classify)?;
    let before = file.stat().map_err(classify)?;
    let read = |piece: &mut [u8], offset: u64| {
        if cx.stop.load(Ordering::Relaxed) {
            return Err(HashError::Stopped);
        }
        let rest = usize::try_from(before.stat.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = rest.min(PIECE_BYTES).min(piece.len());
        let piece = &mut piece[..most];
        let read = if piece.is_empty() { 0 } else { file.read_at(piece, offset).map_err(classify)? };
        if read == 0 && !piece.is_empty() {
            return Err(HashError::Unstable);
        }
        cx.progress.hashed_bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    };
    let mut keep = |nodes| keep(nodes).map_err(HashError::Io);
    let hashed = name(&cx.content_key, (before.stat.size, known), buffer, read, &mut keep)?;
    let after = file.stat().map_err(classify)?;
    let named = cx.disk.stat(&at).map_err(classify)?;
    if hashed.size != before.stat.size
        || !is_same(&after, &before)
        || !named.is_some_and(|n| is_same(&n, &before))
    {
        return Err(HashError::Unstable);
    }
    if !hashed.nodes.is_empty() {
        keep(hashed.nodes)?;
    }
    let content = Content::File { id: hashed.id, size: hashed.size };
    Ok(HashedFile { content, stat: before, looked_at })
}

/// The same for a file of which `lstat` has just said what was `found`: one that is read at once need
/// be looked at but once more. `None` if it is longer, or not what was found.
fn hash_found(
    cx: &HashContext,
    path: &RelPath,
    found: &DiskStat,
    buffer: &mut Vec<u8>,
) -> Result<Option<HashedFile>, HashError> {
    let size = found.stat.size;
    if size > AT_ONCE_BYTES {
        return Ok(None);
    }
    let looked_at = (cx.now)();
    let file = cx.disk.open(&Place::Folder(path.clone())).map_err(classify)?;
    buffer.clear();
    let read = file.append_at(buffer, size as usize, 0).map_err(classify)?;
    let after = file.stat().map_err(classify)?;
    // Who renames another file to its name, or removes it, leaves a mark in its stat.
    if read as u64 != size || !is_same(&after, found) {
        return Ok(None);
    }
    cx.progress.hashed_bytes.fetch_add(size, Ordering::Relaxed);
    let mut hasher = ContentHasher::new(&cx.content_key);
    hasher.update(buffer);
    let content = Content::File { id: hasher.finish().id, size };
    Ok(Some(HashedFile { content, stat: after, looked_at }))
}

/// Names what an open file holds, which nobody else writes to: its content id and length.
pub fn hash_open(
    cx: &HashContext,
    file: &dyn ReadFile,
    keep: &mut dyn FnMut(Vec<(NodeId, Bytes)>) -> io::Result<()>,
) -> io::Result<(ContentId, u64)> {
    let size = file.stat()?.stat.size;
    let read = |piece: &mut [u8], offset: u64| file.read_at(piece, offset);
    let hashed = name(&cx.content_key, (size, None), &mut Vec::new(), read, &mut *keep)?;
    keep(hashed.nodes)?;
    Ok((hashed.id, hashed.size))
}

/// Names what `read` gives: at an offset, any number of bytes, none at the end. `size` is what to
/// expect, `before` what was there before. Hands all nodes but the last to `keep`.
fn name<E: From<io::Error>>(
    key: &ContentKey,
    (size, before): (u64, Option<large::Before<'_>>),
    buffer: &mut Vec<u8>,
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize, E>,
    mut keep: impl FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E>,
) -> Result<Hashed, E> {
    if size >= large::LARGE_BYTES
        && let Some(hashed) = large::name(key, before, &mut read, &mut keep)
    {
        return hashed;
    }
    buffer.resize(PIECE_BYTES, 0);
    let mut hasher = ContentHasher::new(key);
    let mut offset = 0;
    loop {
        let length = read(buffer, offset)?;
        if length == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..length]);
        offset += length as u64;
        let nodes = hasher.take_nodes();
        if !nodes.is_empty() {
            keep(nodes)?;
        }
    }
}

/// Whether a file is the same, untouched. The number of links and the allocation may change.
fn is_same(one: &DiskStat, other: &DiskStat) -> bool {
    one.kind == other.kind && one.stat == other.stat && one.device == other.device
}

/// A file that has gone, or become a link or a FIFO, is looked at again; everything else is told.
fn classify(error: io::Error) -> HashError {
    let other_kind = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => {
            HashError::Unstable
        }
        _ if other_kind => HashError::Unstable,
        _ => HashError::Io(error),
    }
}
