//! Naming one large file on two cores: one reads and cuts, another hashes.
//!
//! Cutting has to go through the bytes in order, hashing has not. Reading and cutting together take
//! about twice as long as hashing, so one helper keeps up, and more would only wait. There are
//! [`BLOCKS`] buffers and no more; the reader waits for the helper to give one back.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use bytes::Bytes;
use keystore::ContentKey;
use parking_lot::Mutex;
use protocol::NodeId;
use protocol::chunk::{ChunkId, ContentList, Hashed, MAX_CHUNK_BYTES, cuts};

/// Shorter files are hashed before a thread has started.
pub(super) const LARGE_BYTES: u64 = 16 << 20;
/// What is read at once. Behind it less than a chunk is copied to the next block.
const BLOCK_BYTES: usize = 4 << 20;
/// One being filled, one being hashed, one between them.
const BLOCKS: usize = 3;

/// Held while a file is named this way. With several large files at once the cores have enough to
/// do, and the memory for one is enough.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Bytes of the file, cut as far as is certain.
struct Block {
    /// As long as a block, whatever of it is filled.
    bytes: Vec<u8>,
    /// Lengths of the chunks that it begins with.
    chunks: Vec<usize>,
}

/// What a block turned out to hold.
type Named = (Block, Vec<ChunkId>);

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
        let (give_back, named) = mpsc::channel();
        let helper = move || hash_blocks(key, &blocks, &give_back);
        thread::Builder::new().name("hashing".into()).spawn_scoped(scope, helper).ok()?;
        let mut reader = Reader { list: ContentList::default(), todo, named, lent: 0, free: Vec::new() };
        let read = reader.read(&mut fill, &mut keep);
        Some(read.and_then(|()| reader.finish(&mut keep)))
    })
}

fn hash_blocks(key: &ContentKey, blocks: &Receiver<Block>, give_back: &Sender<Named>) {
    for block in blocks {
        let mut rest = &block.bytes[..];
        let ids = block.chunks.iter().map(|len| {
            let (chunk, after) = rest.split_at(*len);
            rest = after;
            ChunkId::of(key, chunk)
        });
        let ids = ids.collect();
        if give_back.send((block, ids)).is_err() {
            return;
        }
    }
}

struct Reader {
    list: ContentList,
    todo: Sender<Block>,
    named: Receiver<Named>,
    /// Blocks that the helper has.
    lent: usize,
    free: Vec<Block>,
}

impl Reader {
    fn read<E: From<io::Error>>(
        &mut self,
        fill: &mut impl FnMut(&mut [u8], u64) -> Result<usize, E>,
        keep: &mut impl FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut offset = 0;
        let mut block = self.block(keep)?;
        let mut filled = 0;
        loop {
            let read = read_up_to(fill, &mut block.bytes[filled..], offset)?;
            offset += read as u64;
            filled += read;
            block.chunks.clear();
            block.chunks.extend(cuts(&block.bytes[..filled], read == 0));
            let cut: usize = block.chunks.iter().sum();
            let mut next = self.block(keep)?;
            next.bytes[..filled - cut].copy_from_slice(&block.bytes[cut..filled]);
            filled -= cut;
            self.todo.send(std::mem::replace(&mut block, next)).map_err(|_| gone())?;
            self.lent += 1;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// A block to fill: what is hashed meanwhile is taken back.
    fn block<E: From<io::Error>>(
        &mut self,
        keep: &mut impl FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E>,
    ) -> Result<Block, E> {
        while let Ok(named) = self.named.try_recv() {
            self.take_back(named, keep)?;
        }
        if let Some(block) = self.free.pop() {
            return Ok(block);
        }
        // The reader holds one more.
        if self.lent + 1 < BLOCKS {
            return Ok(Block { bytes: vec![0; MAX_CHUNK_BYTES + BLOCK_BYTES], chunks: Vec::new() });
        }
        let named = self.named.recv().map_err(|_| gone())?;
        self.take_back(named, keep)?;
        Ok(self.free.pop().ok_or_else(gone)?)
    }

    fn take_back<E>(
        &mut self,
        (block, ids): Named,
        keep: &mut impl FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.lent -= 1;
        block.chunks.iter().zip(ids).for_each(|(len, id)| self.list.push(id, *len));
        self.free.push(block);
        let nodes = self.list.take_nodes();
        if nodes.is_empty() { Ok(()) } else { keep(nodes) }
    }

    fn finish<E: From<io::Error>>(
        mut self,
        keep: &mut impl FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E>,
    ) -> Result<Hashed, E> {
        while self.lent > 0 {
            let named = self.named.recv().map_err(|_| gone())?;
            self.take_back(named, keep)?;
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
    io::Error::other("the thread that hashes has ended")
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
