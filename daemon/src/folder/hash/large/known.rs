//! The chunk list that a file had when it was last looked at.

use std::collections::BTreeMap;
use std::ops::Range;

use protocol::chunk::{ChunkId, MIN_CHUNK_BYTES};
use protocol::chunk_list::{ChunkList, Located};
use protocol::{ContentId, NodeStore};

/// Chunks that are found by their ids: some 5 GB of the file.
const WINDOW: u64 = 16 * 1024;

/// A list that is read as far as it is needed.
pub(super) struct Known<'s>(ChunkList<'s>);

impl<'s> Known<'s> {
    /// The list of a content, if it is here.
    pub(super) fn load(store: &'s dyn NodeStore, content: &ContentId, size: u64) -> Option<Self> {
        ChunkList::load(store, content, size).ok().map(Self)
    }

    /// The chunks from this number on, as far as they have ended because of their bytes: the last one
    /// has ended with the file, and so had any that is shorter than a chunk can be.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = Located> + '_ {
        let count = self.0.count();
        let chunks = self.0.iter_from(number).map_while(Result::ok);
        chunks.take_while(move |chunk| chunk.number + 1 < count && chunk.len as usize >= MIN_CHUNK_BYTES)
    }
}

/// Finds chunks of a list by their ids, as far as they are near to where the file is being read.
#[derive(Default)]
pub(super) struct Window {
    chunks: BTreeMap<ChunkId, Located>,
    numbers: Range<u64>,
    /// The number of the chunk that was met last.
    near: u64,
}

impl Window {
    /// A known chunk was met.
    pub(super) fn is_at(&mut self, number: u64) {
        self.near = number;
    }

    /// The chunk with this id. Of holes there are too many.
    pub(super) fn find(&mut self, known: &Known<'_>, id: &ChunkId) -> Option<Located> {
        let margin = WINDOW / 4;
        let is_far = self.near < self.numbers.start || self.near + 2 * margin > self.numbers.end;
        if self.numbers.is_empty() || is_far {
            self.fill(known, self.near.saturating_sub(margin));
        }
        let found = self.chunks.get(id).copied().filter(|_| !id.is_hole())?;
        self.is_at(found.number);
        Some(found)
    }

    fn fill(&mut self, known: &Known<'_>, number: u64) {
        self.chunks.clear();
        for chunk in known.from(number).take(WINDOW as usize) {
            self.chunks.entry(chunk.id).or_insert(chunk);
        }
        self.numbers = number..number + WINDOW;
    }
}
