//! Naming one large file on two cores: a helper cuts, whoever asks reads and hashes.
//!
//! Cutting has to go through the bytes in order and takes about as long as reading and hashing
//! together, so with one helper both cores are busy, and more would only wait. There are [`BLOCKS`]
//! buffers and no more; the reader waits for the helper to give one back.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use bytes::Bytes;
use keystore::ContentKey;
use parking_lot::Mutex;
use protocol::NodeId;
use protocol::chunk::{ChunkId, ContentList, Hashed, MAX_CHUNK_BYTES, cuts};

/// Shorter files are hashed before a thread has started.
pub(super) const LARGE_BYTES: u64 = 16 << 20;
/// What is read at once.
const BLOCK_BYTES: usize = 4 << 20;
/// One being cut, one being hashed and filled again, one between them.
const BLOCKS: usize = 3;
/// Where in a block's buffer the bytes lie that are read. Before them there is room for what the block
/// before could not cut.
const HEAD: usize = MAX_CHUNK_BYTES;

/// Held while a file is named this way. With several large files at once the cores have enough to
/// do, and the memory for one is enough.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Bytes of the file.
struct Block {
    /// As long as a block and its head, whatever of it is filled.
    bytes: Vec<u8>,
    /// What of it is filled.
    filled: Range<usize>,
    /// The file ends with it.
    is_last: bool,
    /// Lengths of the chunks that it begins with, once it is cut.
    chunks: Vec<usize>,
}

impl Block {
    fn new() -> Self {
        Self { bytes: vec![0; HEAD + BLOCK_BYTES], filled: HEAD..HEAD, is_last: false, chunks: Vec::new() }
    }
}

/// Names what `fill` reads: at an offset, any number of bytes, none at the end. `keep` gets the
/// nodes of the chunk list. `None` if another file is being named this way, or no thread can be had.
pub(super) fn name<E: From<io::Error>>(
    key: &ContentKey,
    mut fill: impl FnMut(&mut [u8], u64) -> Result<usize, E>,
    mut keep: impl FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E>,
) -> Option<Result<Hashed, E>> {
    let _only = ONE_AT_A_TIME.try_lock()?;
    thread::scope(|scope| {
        let (todo, blocks) = mpsc::channel();
        let (give_back, cut) = mpsc::channel();
        let helper = move || cut_blocks(&blocks, &give_back);
        thread::Builder::new().name("cutting".into()).spawn_scoped(scope, helper).ok()?;
        let list = ContentList::default();
        let mut reader = Reader { key, list, todo, cut, lent: 0, free: Vec::new() };
        let read = reader.read(&mut fill, &mut keep);
        Some(read.and_then(|()| reader.finish(&mut keep)))
    })
}

fn cut_blocks(blocks: &Receiver<Block>, give_back: &Sender<Block>) {
    // Behind the last cut, less than a chunk: the next block begins with it.
    let mut rest = Vec::new();
    for mut block in blocks {
        let start = HEAD - rest.len();
        block.bytes[start..HEAD].copy_from_slice(&rest);
        block.filled.start = start;
        let bytes = &block.bytes[block.filled.clone()];
        block.chunks.clear();
        block.chunks.extend(cuts(bytes, block.is_last));
        let cut: usize = block.chunks.iter().sum();
        rest.clear();
        rest.extend_from_slice(&bytes[cut..]);
        if give_back.send(block).is_err() {
            return;
        }
    }
}

struct Reader<'k> {
    key: &'k ContentKey,
    list: ContentList,
    todo: Sender<Block>,
    cut: Receiver<Block>,
    /// Blocks that the helper has.
    lent: usize,
    free: Vec<Block>,
}

impl Reader<'_> {
    fn read<E: From<io::Error>>(
        &mut self,
        fill: &mut impl FnMut(&mut [u8], u64) -> Result<usize, E>,
        keep: &mut impl FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut offset = 0;
        loop {
            let mut block = self.block(keep)?;
            let read = read_up_to(fill, &mut block.bytes[HEAD..], offset)?;
            offset += read as u64;
            let is_last = read == 0;
            (block.filled, block.is_last) = (HEAD..HEAD + read, is_last);
            self.todo.send(block).map_err(|_| gone())?;
            self.lent += 1;
            if is_last {
                return Ok(());
            }
        }
    }

    /// A block to fill. If the helper has them all, the next one that is cut is hashed first.
    fn block<E: From<io::Error>>(
        &mut self,
        keep: &mut impl FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E>,
    ) -> Result<Block, E> {
        if self.lent == BLOCKS {
            self.hash_next(keep)?;
        }
        Ok(self.free.pop().unwrap_or_else(Block::new))
    }

    fn hash_next<E: From<io::Error>>(
        &mut self,
        keep: &mut impl FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E>,
    ) -> Result<(), E> {
        let block = self.cut.recv().map_err(|_| gone())?;
        self.lent -= 1;
        let mut rest = &block.bytes[block.filled.clone()];
        for len in &block.chunks {
            let (chunk, after) = rest.split_at(*len);
            self.list.push(ChunkId::of(self.key, chunk), *len);
            rest = after;
        }
        self.free.push(block);
        let nodes = self.list.take_nodes();
        if nodes.is_empty() { Ok(()) } else { keep(nodes) }
    }

    fn finish<E: From<io::Error>>(
        mut self,
        keep: &mut impl FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E>,
    ) -> Result<Hashed, E> {
        while self.lent > 0 {
            self.hash_next(keep)?;
        }
        self.list.finish().ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }
}

/// Fills the buffer as far as the file goes.
fn read_up_to<E>(
    fill: &mut impl FnMut(&mut [u8], u64) -> Result<usize, E>,
    buffer: &mut [u8],
    offset: u64,
) -> Result<usize, E> {
    let mut filled = 0;
    while filled < buffer.len() {
        match fill(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn gone() -> io::Error {
    io::Error::other("the thread that cuts has ended")
}

#[cfg(test)]
mod tests {
    use keystore::FolderSecret;
    use protocol::chunk::ContentHasher;

    use super::*;

    fn random(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn name_all(key: &ContentKey, bytes: &[u8], piece: usize) -> Hashed {
        let mut nodes = Vec::new();
        let fill = |buffer: &mut [u8], offset: u64| {
            let rest = &bytes[bytes.len().min(offset as usize)..];
            let len = rest.len().min(buffer.len()).min(piece);
            buffer[..len].copy_from_slice(&rest[..len]);
            Ok::<_, io::Error>(len)
        };
        let keep = |more| {
            nodes.extend(more);
            Ok(())
        };
        // Other tests may hold the lock.
        let mut fill = fill;
        let mut keep = keep;
        let hashed = loop {
            if let Some(hashed) = name(key, &mut fill, &mut keep) {
                break hashed;
            }
            thread::yield_now();
        };
        let mut hashed = hashed.expect("readable");
        nodes.append(&mut hashed.nodes);
        Hashed { nodes, ..hashed }
    }

    #[test]
    fn a_large_file_is_named_as_in_one_pass() {
        let key = FolderSecret::new([7; 20]).content_key();
        let mut bytes = random(20_000_003);
        bytes[3_000_000..9_000_000].fill(0);
        for len in [bytes.len(), 16 << 20, MAX_CHUNK_BYTES, 100_000] {
            let mut hasher = ContentHasher::new(&key);
            hasher.update(&bytes[..len]);
            let expected = hasher.finish();
            for piece in [usize::MAX, 1_234_567] {
                assert_eq!(name_all(&key, &bytes[..len], piece), expected);
            }
        }
    }

    #[test]
    fn an_error_of_the_reader_ends_it() {
        let key = FolderSecret::new([7; 20]).content_key();
        let fill = |buffer: &mut [u8], offset: u64| {
            if offset > 30_000_000 { Err(io::Error::other("torn out")) } else { Ok(buffer.len()) }
        };
        let failed = loop {
            if let Some(failed) = name(&key, fill, |_| Ok(())) {
                break failed;
            }
            thread::yield_now();
        };
        assert_eq!(failed.expect_err("torn out").to_string(), "torn out");
    }
}
