//! One content that is to be fetched: which of its chunks wait, who has them, and who cannot help.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bits::Bits;
use super::{PeerKey, Priority};
use crate::entry::ContentId;
use crate::message::{ChunkWanted, Run};

/// The order of contents: urgent, then started, then small ones first.
pub(super) type Rank = (Priority, bool, u64, ContentId);
/// The same, without what changes while it is fetched.
pub(super) type Place = (Priority, u64, ContentId);

/// A chunk that was missing when the content was wanted.
pub(super) struct Chunk {
    pub(super) number: u64,
    pub(super) len: u32,
    /// How many incomplete peers say to have it.
    pub(super) holders: u16,
    /// Of these, those that can be counted on.
    sure: u16,
    /// How many peers are asked for it.
    pub(super) asks: u8,
    has_arrived: bool,
}

/// How much of a content waits: what the sets that it is in depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) waiting: usize,
    pub(super) waiting_bytes: u64,
    pub(super) scarce: usize,
    pub(super) scarce_bytes: u64,
    /// Those that wait and no incomplete peer says to have.
    pub(super) unheld: usize,
}

/// Chunks are named by their place among those that were missing.
pub(super) struct Want {
    pub(super) content: ContentId,
    pub(super) priority: Priority,
    pub(super) size: u64,
    /// By number.
    pub(super) chunks: Vec<Chunk>,
    /// How many of them have not arrived.
    pub(super) open: usize,
    /// Those that nobody is asked for.
    pub(super) waiting: Bits,
    /// Those of them that no incomplete peer surely has.
    pub(super) scarce: Bits,
    pub(super) standing: Standing,
    /// Something was asked for before.
    pub(super) started: bool,
    /// Incomplete peers that have said what they have.
    pub(super) holders: BTreeMap<PeerKey, Bits>,
    /// Peers that do not have this content.
    pub(super) gone: BTreeSet<PeerKey>,
    /// Peers that failed to deliver a chunk: others are asked first.
    pub(super) failed: BTreeMap<usize, BTreeSet<PeerKey>>,
    /// Since when nobody can serve it.
    pub(super) unservable_since: Option<Duration>,
}

impl Want {
    /// `missing`: numbers and lengths, by number.
    pub(super) fn new(content: ContentId, priority: Priority, size: u64, missing: Vec<(u64, u32)>) -> Self {
        let bytes = missing.iter().map(|(_, len)| u64::from(*len)).sum();
        let chunk = |(number, len)| Chunk { number, len, holders: 0, sure: 0, asks: 0, has_arrived: false };
        let chunks: Vec<_> = missing.into_iter().map(chunk).collect();
        let len = chunks.len();
        Self {
            content,
            priority,
            size,
            chunks,
            open: len,
            waiting: Bits::full(len),
            scarce: Bits::full(len),
            standing: Standing {
                waiting: len,
                waiting_bytes: bytes,
                scarce: len,
                scarce_bytes: bytes,
                unheld: len,
            },
            started: false,
            holders: BTreeMap::new(),
            gone: BTreeSet::new(),
            failed: BTreeMap::new(),
            unservable_since: None,
        }
    }

    pub(super) fn rank(&self) -> Rank {
        (self.priority, !self.started, self.size, self.content)
    }

    pub(super) fn place(&self) -> Place {
        (self.priority, self.size, self.content)
    }

    pub(super) fn is_single(&self) -> bool {
        self.chunks.len() == 1
    }

    /// How many chunks the content has, as far as this shows.
    pub(super) fn count(&self) -> u64 {
        self.chunks.last().map_or(0, |chunk| chunk.number + 1)
    }

    /// Which chunk has this number, if it was missing.
    pub(super) fn find(&self, number: u64) -> Option<usize> {
        self.chunks.binary_search_by_key(&number, |chunk| chunk.number).ok()
    }

    /// The first chunk whose number is at least this.
    pub(super) fn find_from(&self, number: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.number < number)
    }

    pub(super) fn wanted(&self, at: usize) -> ChunkWanted {
        let chunk = &self.chunks[at];
        ChunkWanted { content: self.content, number: chunk.number, len: chunk.len }
    }

    pub(super) fn has_arrived(&self, at: usize) -> bool {
        self.chunks[at].has_arrived
    }

    /// A peer is asked for a chunk, beside those that are asked already.
    pub(super) fn ask(&mut self, at: usize) {
        self.started = true;
        self.chunks[at].asks += 1;
        self.set_waiting(at, false);
    }

    /// A peer is no longer asked for a chunk. Whether it waits again, which it does if it has not
    /// arrived and nobody else is asked.
    pub(super) fn unask(&mut self, at: usize) -> bool {
        let chunk = &mut self.chunks[at];
        chunk.asks = chunk.asks.saturating_sub(1);
        let waits = chunk.asks == 0 && !chunk.has_arrived;
        if waits {
            self.set_waiting(at, true);
        }
        waits
    }

    /// A chunk is here. Whether it was not before.
    pub(super) fn arrive(&mut self, at: usize) -> bool {
        let is_new = !std::mem::replace(&mut self.chunks[at].has_arrived, true);
        if is_new {
            self.open -= 1;
            self.failed.remove(&at);
            self.set_waiting(at, false);
        }
        is_new
    }

    /// An incomplete peer, which can be counted on if `is_sure`, has these chunks; `Bits` counts them
    /// once. Whether any is new and wanted.
    pub(super) fn hold(&mut self, peer: PeerKey, runs: &[Run], is_sure: bool) -> bool {
        let len = self.chunks.len();
        let mut bits = self.holders.remove(&peer).unwrap_or_else(|| Bits::empty(len));
        let mut any = false;
        for run in runs {
            let (from, to) = (self.find_from(u64::from(run.first)), self.find_from(u64::from(run.end())));
            // A run to the greatest number there is means all the rest.
            let to = if run.end() == u32::MAX { len } else { to };
            // Whoever says the same again and again costs next to nothing.
            for at in bits.missing(from, to) {
                bits.add(at);
                any |= !self.chunks[at].has_arrived;
                self.count_holder(at, true, is_sure);
            }
        }
        self.holders.insert(peer, bits);
        any
    }

    /// An incomplete peer has nothing of this after all.
    pub(super) fn let_go(&mut self, peer: PeerKey, was_sure: bool) {
        let Some(bits) = self.holders.remove(&peer) else { return };
        for at in bits.iter() {
            self.count_holder(at, false, was_sure);
        }
    }

    /// An incomplete peer does not have this chunk after all. Whether it had said so.
    pub(super) fn let_go_of(&mut self, peer: PeerKey, at: usize, was_sure: bool) -> bool {
        let had = self.holders.get_mut(&peer).is_some_and(|bits| bits.remove(at));
        if had {
            self.count_holder(at, false, was_sure);
        }
        had
    }

    /// An incomplete peer can be counted on from now on, or no more.
    pub(super) fn trust(&mut self, peer: PeerKey, is_sure: bool) {
        let Some(bits) = self.holders.remove(&peer) else { return };
        for at in bits.iter() {
            let sure = &mut self.chunks[at].sure;
            *sure = if is_sure { *sure + 1 } else { sure.saturating_sub(1) };
            self.judge(at);
        }
        self.holders.insert(peer, bits);
    }

    /// What a peer holds, as runs of numbers: to be carried over when the content is wanted anew.
    pub(super) fn held(&self, peer: PeerKey) -> Vec<Run> {
        let numbers = self.holders.get(&peer).into_iter().flat_map(Bits::iter);
        let numbers = numbers.filter_map(|at| u32::try_from(self.chunks[at].number).ok());
        numbers.map(|first| Run { first, count: 1 }).collect()
    }

    /// One more, or one less, has a chunk.
    fn count_holder(&mut self, at: usize, has: bool, is_sure: bool) {
        let is_unheld = self.is_unheld(at);
        let chunk = &mut self.chunks[at];
        if has {
            chunk.holders += 1;
            chunk.sure += u16::from(is_sure);
        } else {
            chunk.holders = chunk.holders.saturating_sub(1);
            chunk.sure = chunk.sure.saturating_sub(u16::from(is_sure));
        }
        self.count_unheld(at, is_unheld);
        self.judge(at);
    }

    fn set_waiting(&mut self, at: usize, waits: bool) {
        let is_unheld = self.is_unheld(at);
        let changed = if waits { self.waiting.add(at) } else { self.waiting.remove(at) };
        if changed {
            let (standing, len) = (&mut self.standing, u64::from(self.chunks[at].len));
            if waits {
                standing.waiting += 1;
                standing.waiting_bytes += len;
            } else {
                standing.waiting -= 1;
                standing.waiting_bytes -= len;
            }
            self.count_unheld(at, is_unheld);
            self.judge(at);
        }
    }

    fn is_unheld(&self, at: usize) -> bool {
        self.chunks[at].holders == 0 && self.waiting.has(at)
    }

    fn count_unheld(&mut self, at: usize, before: bool) {
        self.standing.unheld = self.standing.unheld - usize::from(before) + usize::from(self.is_unheld(at));
    }

    /// Keeps `scarce` what it is.
    fn judge(&mut self, at: usize) {
        let is_scarce = self.waiting.has(at) && self.chunks[at].sure == 0;
        let len = u64::from(self.chunks[at].len);
        if is_scarce && self.scarce.add(at) {
            self.standing.scarce += 1;
            self.standing.scarce_bytes += len;
        } else if !is_scarce && self.scarce.remove(at) {
            self.standing.scarce -= 1;
            self.standing.scarce_bytes -= len;
        }
    }
}
