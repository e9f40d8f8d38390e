//! Cutting where nothing is known: a helper cuts, whoever asks reads and hashes.
//!
//! Cutting has to go through the bytes in order, but takes less time than reading and hashing: while
//! nothing waits to be cut, the helper hashes as well. So with one helper both cores are busy, and more
//! would only wait. There are [`BLOCKS`] buffers and no more; the reader waits for the helper to give
//! one back.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use keystore::ContentKey;
use protocol::chunk::{ChunkId, MAX_CHUNK_BYTES, cuts};

use super::known::{Known, Window};
use super::{Naming, Next, gone};

/// What is read at once.
const BLOCK_BYTES: usize = 4 << 20;
/// One being cut, one being hashed and filled again, one between them.
const BLOCKS: usize = 3;
/// Where in a block's buffer the bytes lie that are read. Before them there is room for what the block
/// before could not cut.
const HEAD: usize = MAX_CHUNK_BYTES;

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
    /// The ids of the first of them, as far as the helper had the time.
    ids: Vec<ChunkId>,
}

impl Block {
    fn new() -> Self {
        let (chunks, ids) = (Vec::new(), Vec::new());
        Self { bytes: vec![0; HEAD + BLOCK_BYTES], filled: HEAD..HEAD, is_last: false, chunks, ids }
    }

    /// `rest` is what the block before could not cut; what this one cannot is left there.
    fn cut(&mut self, rest: &mut Vec<u8>) {
        let start = HEAD - rest.len();
        self.bytes[start..HEAD].copy_from_slice(rest);
        self.filled.start = start;
        let bytes = &self.bytes[self.filled.clone()];
        self.ids.clear();
        self.chunks.clear();
        self.chunks.extend(cuts(bytes, self.is_last));
        let cut: usize = self.chunks.iter().sum();
        rest.clear();
        rest.extend_from_slice(&bytes[cut..]);
    }

    /// Hashes until there is something else to do. Answers what that is.
    fn hash_until<T>(&mut self, key: &ContentKey, other: impl Fn() -> Option<T>) -> Option<T> {
        let mut rest = &self.bytes[self.filled.clone()];
        for len in &self.chunks {
            if let Some(other) = other() {
                return Some(other);
            }
            let (chunk, after) = rest.split_at(*len);
            self.ids.push(ChunkId::of(key, chunk));
            rest = after;
        }
        None
    }
}

/// What to look for among the chunks: a list that the file had, and how many chunks of it must come one
/// after the other to be believed.
pub(super) struct Sought<'k, 's> {
    pub(super) known: &'k Known<'s>,
    pub(super) window: &'k mut Window,
    pub(super) patience: usize,
}

/// Cuts and hashes from an offset on, where a chunk begins, to the end of the file or until what is
/// sought is found. `None` if no thread can be had.
pub(super) fn cut<E: From<io::Error>>(
    naming: &mut Naming<'_, E>,
    offset: u64,
    sought: Option<Sought<'_, '_>>,
) -> Option<Result<Next, E>> {
    thread::scope(|scope| {
        let (todo, blocks) = mpsc::channel();
        let (give_back, cut) = mpsc::channel();
        let key = naming.key;
        let helper = move || cut_blocks(key, &blocks, &give_back);
        thread::Builder::new().name("cutting".into()).spawn_scoped(scope, helper).ok()?;
        let free = Vec::new();
        let mut reader =
            Reader { naming, sought, todo, cut, lent: 0, free, at: offset, streak: 0, found: None };
        Some(reader.read(offset))
    })
}

fn cut_blocks(key: &ContentKey, blocks: &Receiver<Block>, give_back: &Sender<Block>) {
    // Behind the last cut, less than a chunk: the next block begins with it.
    let mut rest = Vec::new();
    let mut next = None;
    while let Some(mut block) = next.or_else(|| blocks.recv().ok()) {
        block.cut(&mut rest);
        next = block.hash_until(key, || blocks.try_recv().ok());
        if give_back.send(block).is_err() {
            return;
        }
    }
}

struct Reader<'r, 'n, 'k, 's, E> {
    naming: &'r mut Naming<'n, E>,
    sought: Option<Sought<'k, 's>>,
    todo: Sender<Block>,
    cut: Receiver<Block>,
    /// Blocks that the helper has.
    lent: usize,
    free: Vec<Block>,
    /// Where the next chunk begins.
    at: u64,
    /// So many chunks of what is sought have come one after the other.
    streak: usize,
    /// What is sought goes on with this one.
    found: Option<u64>,
}

impl<E: From<io::Error>> Reader<'_, '_, '_, '_, E> {
    fn read(&mut self, mut offset: u64) -> Result<Next, E> {
        loop {
            let mut block = match self.block()? {
                Some(block) => block,
                None => break,
            };
            let read = self.naming.read(&mut block.bytes[HEAD..], offset)?;
            offset += read as u64;
            let is_last = read == 0;
            (block.filled, block.is_last) = (HEAD..HEAD + read, is_last);
            self.todo.send(block).map_err(|_| gone())?;
            self.lent += 1;
            if is_last {
                break;
            }
        }
        while self.lent > 0 && self.found.is_none() {
            self.hash_next()?;
        }
        Ok(self.found.map_or(Next::Done, |number| Next::Guess { number, offset: self.at }))
    }

    /// A block to fill. If the helper has them all, the next one that is cut is hashed first. `None` if
    /// what is sought is found.
    fn block(&mut self) -> Result<Option<Block>, E> {
        if self.lent == BLOCKS {
            self.hash_next()?;
        }
        Ok(self.found.is_none().then(|| self.free.pop().unwrap_or_else(Block::new)))
    }

    fn hash_next(&mut self) -> Result<(), E> {
        let block = self.cut.recv().map_err(|_| gone())?;
        self.lent -= 1;
        let mut rest = &block.bytes[block.filled.clone()];
        for (number, len) in block.chunks.iter().enumerate() {
            let (chunk, after) = rest.split_at(*len);
            let id = block.ids.get(number).copied().unwrap_or_else(|| ChunkId::of(self.naming.key, chunk));
            self.naming.list.push(id, *len);
            self.at += *len as u64;
            self.look_for(&id);
            if self.found.is_some() {
                break;
            }
            rest = after;
        }
        self.free.push(block);
        self.naming.keep_nodes()
    }

    fn look_for(&mut self, id: &ChunkId) {
        let Some(sought) = &mut self.sought else { return };
        let found = sought.window.find(sought.known, id);
        self.streak = if found.is_some() { self.streak + 1 } else { 0 };
        if self.streak >= sought.patience {
            self.found = found.map(|chunk| chunk.number + 1);
        }
    }
}
