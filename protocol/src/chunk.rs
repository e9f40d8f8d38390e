//! Cutting files into chunks by their content, and naming chunks and files, in one pass.
//!
//! [`ContentHasher`] takes a file's bytes in pieces of any size and gives its [`ContentId`] and the
//! nodes of its [chunk list](crate::chunk_list); [`ChunkId`] names and verifies one chunk. Where a
//! file is cut is a **wire format**: two devices that cut differently share nothing. What a list
//! looks like is in [`crate::chunk_list`]; nothing here reads files.

mod cutter;

use bytes::Bytes;
use keystore::ContentKey;
use std::fmt;

use crate::chunk_list::ListBuilder;
use crate::entry::ContentId;
use crate::store::NodeId;
use cutter::first_cut;

/// Least length of a chunk, but for the last of a file; up to here a file is one chunk.
pub const MIN_CHUNK_BYTES: usize = 64 * 1024;
/// The length that cutting aims at. Random bytes come out at 313 KiB on average.
pub const AVERAGE_CHUNK_BYTES: usize = 256 * 1024;
/// Greatest length of a chunk. All three are even, as the cutter wants them.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;
/// How much a reader should give to [`ContentHasher::update`] at once: the longer, the less is
/// copied (at most two chunks a call), and more than this no longer stays in the caches.
pub const GOOD_PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Identity of a chunk: BLAKE3 keyed per folder, so that nobody outside can confirm what a folder
/// holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; 32]);

impl ChunkId {
    /// A chunk of zeros in a file of more than one chunk: never stored, never sent, only its length
    /// counts.
    pub const HOLE: Self = Self([0; 32]);

    /// The id of these bytes as the only chunk of a file, which is never a hole.
    pub fn of_whole_file(key: &ContentKey, bytes: &[u8]) -> Self {
        Self(*blake3::keyed_hash(key.as_bytes(), bytes).as_bytes())
    }

    /// The id of these bytes as a chunk of a longer file.
    pub fn of(key: &ContentKey, bytes: &[u8]) -> Self {
        if is_zeros(bytes) { Self::HOLE } else { Self::of_whole_file(key, bytes) }
    }

    /// Whether these bytes, which may come from anyone, are the chunk.
    pub fn verify(&self, key: &ContentKey, bytes: &[u8]) -> bool {
        if self.is_hole() { is_zeros(bytes) } else { *self == Self::of_whole_file(key, bytes) }
    }

    /// Whether the chunk is all zeros and need not be fetched.
    pub fn is_hole(&self) -> bool {
        *self == Self::HOLE
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whether all bytes are zero; by blocks, which compiles to vector instructions.
fn is_zeros(bytes: &[u8]) -> bool {
    let blocks = bytes.chunks_exact(64);
    blocks.remainder().iter().all(|byte| *byte == 0) && blocks.into_iter().all(|block| block == [0; 64])
}

/// The lengths of the chunks that `bytes` begin with, as far as they are certain; all of them if
/// the stream `is_ended` with `bytes`. For whoever hashes chunks elsewhere than where they are cut:
/// [`ContentList`] takes the ids.
pub fn cuts(mut bytes: &[u8], is_ended: bool) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let end = first_cut(bytes);
        let is_certain = end < bytes.len() || end == MAX_CHUNK_BYTES || is_ended;
        bytes = &bytes[if is_certain { end } else { bytes.len() }..];
        (is_certain && end > 0).then_some(end)
    })
}

/// Cuts a stream of bytes into chunks. Keeps less than [`MAX_CHUNK_BYTES`] between calls.
#[derive(Default)]
pub struct Chunker {
    /// What follows the last cut: too short to tell where the next one is.
    rest: Vec<u8>,
}

impl Chunker {
    /// Takes the next bytes of the stream and gives every chunk that is now certain.
    pub fn push(&mut self, mut bytes: &[u8], mut chunk: impl FnMut(&[u8])) {
        // Chunks that begin in the rest: topped up from `bytes` to be sure of the cut.
        while !self.rest.is_empty() {
            let before = self.rest.len();
            let top_up = bytes.len().min(MAX_CHUNK_BYTES - before);
            self.rest.extend_from_slice(&bytes[..top_up]);
            if self.rest.len() < MAX_CHUNK_BYTES {
                return;
            }
            let end = first_cut(&self.rest);
            chunk(&self.rest[..end]);
            if let Some(used) = end.checked_sub(before) {
                self.rest.clear();
                bytes = &bytes[used..];
            } else {
                self.rest.truncate(before);
                self.rest.drain(..end);
            }
        }
        while bytes.len() >= MAX_CHUNK_BYTES {
            let (first, after) = bytes.split_at(first_cut(bytes));
            chunk(first);
            bytes = after;
        }
        self.rest.extend_from_slice(bytes);
    }

    /// The stream has ended: gives the remaining chunks, none if it was empty.
    pub fn finish(self, mut chunk: impl FnMut(&[u8])) {
        let mut bytes = &self.rest[..];
        while !bytes.is_empty() {
            let (first, after) = bytes.split_at(first_cut(bytes));
            chunk(first);
            bytes = after;
        }
    }
}

/// What a file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// The identity of its bytes.
    pub id: ContentId,
    /// Its length in bytes.
    pub size: u64,
    /// How many chunks it has, holes included; an empty file has one, of no bytes.
    pub chunks: u64,
    /// The nodes of its chunk list that were not taken before, children first, the root last; none
    /// if it is one chunk.
    pub nodes: Vec<(NodeId, Bytes)>,
}

/// Names a file of more than [`MIN_CHUNK_BYTES`] by the ids of its chunks, in their order.
#[derive(Default)]
pub struct ContentList {
    list: ListBuilder,
    size: u64,
}

impl ContentList {
    /// The next chunk.
    pub fn push(&mut self, id: ChunkId, len: usize) {
        self.size += len as u64;
        self.list.push(id, len);
    }

    /// The nodes of the chunk list that are complete so far, children before parents. They are
    /// garbage if the file is given up.
    pub fn take_nodes(&mut self) -> Vec<(NodeId, Bytes)> {
        self.list.take_nodes()
    }

    /// The file has ended. None if it is so short that its id is that of its bytes.
    pub fn finish(self) -> Option<Hashed> {
        let Self { list, size } = self;
        let chunks = list.chunks();
        let (root, nodes) = list.finish().filter(|_| size > MIN_CHUNK_BYTES as u64)?;
        Some(Hashed { id: ContentId(root.0), size, chunks, nodes })
    }
}

/// Names a file: cuts, hashes each chunk and builds the chunk list in one pass, in bounded memory
/// as long as [`take_nodes`](Self::take_nodes) is called now and then.
pub struct ContentHasher {
    key: ContentKey,
    chunker: Chunker,
    list: ContentList,
}

impl ContentHasher {
    /// A hasher for a file of the folder whose key this is.
    pub fn new(key: &ContentKey) -> Self {
        Self { key: key.clone(), chunker: Chunker::default(), list: ContentList::default() }
    }

    /// Takes the next bytes of the file, best [`GOOD_PIECE_BYTES`] at once.
    pub fn update(&mut self, bytes: &[u8]) {
        let Self { key, chunker, list } = self;
        chunker.push(bytes, |chunk| list.push(ChunkId::of(key, chunk), chunk.len()));
    }

    /// The nodes of the chunk list that are complete so far, children before parents. They are
    /// garbage if the file is given up.
    pub fn take_nodes(&mut self) -> Vec<(NodeId, Bytes)> {
        self.list.take_nodes()
    }

    /// The file has ended.
    pub fn finish(self) -> Hashed {
        let Self { key, chunker, mut list } = self;
        let rest = &chunker.rest;
        if list.size == 0 && rest.len() <= MIN_CHUNK_BYTES {
            // So short a stream has not been cut: the rest is all of it.
            let id = ChunkId::of_whole_file(&key, rest);
            return Hashed { id: ContentId(id.0), size: rest.len() as u64, chunks: 1, nodes: Vec::new() };
        }
        chunker.finish(|chunk| list.push(ChunkId::of(&key, chunk), chunk.len()));
        list.finish().expect("so long a file has chunks")
    }
}

#[cfg(test)]
mod tests;
