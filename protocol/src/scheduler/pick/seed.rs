//! What a seed is asked for while others download too.
//!
//! First our share of what no other surely has; when that is under way, what falls to us of the shares
//! of those that fail; then what others have left undone, unless they are about to do it; and what
//! others have only when there is nothing scarcer. So it sends each chunk once before twice.

use std::time::Duration;

use super::{CHOICE, Picked, mix, rarest_first};
use crate::entry::ContentId;
use crate::scheduler::bits::turned;
use crate::scheduler::{PeerKey, Scheduler};

/// What the downloaders of a swarm leave to each other at the end, in windows of a seed for each.
const LEFT_WINDOWS: u64 = 4;
/// How many times the time of a chunk may pass without news before what others seem to fetch is
/// fetched here as well …
const PATIENCE_CHUNKS: u32 = 4;
/// … and this long in any case.
const MIN_PATIENCE: Duration = Duration::from_secs(1);
const MAX_PATIENCE: Duration = Duration::from_secs(60);
/// In the place of one that fails comes another, and if that fails as well one more, so often.
const MOST_HEIRS: usize = 16;
/// A chunk of average length.
const CHUNK_BYTES: u64 = 256 << 10;
/// Small contents that are left out at a place that others may come to next.
const MOST_SKIPPED: u64 = 256;

impl Scheduler {
    /// When what others seem to fetch is no longer left to them, if they do not move on.
    pub(in crate::scheduler) fn patience_ends(&self) -> Option<Duration> {
        self.pace.held.map(|(since, patience)| since.max(self.pace.progress_at) + patience)
    }

    /// Something has changed for the seeds that were spared.
    pub(in crate::scheduler) fn ask_held_back(&mut self) {
        if self.pace.held.is_some() {
            self.askable.seeds.extend(&self.seeds);
        }
    }

    pub(super) fn pick_for_swarm(&mut self, now: Duration, peer: PeerKey, picked: &mut Picked) {
        self.pick_own(peer, picked);
        if picked.refs.is_empty() && !self.failing.is_empty() {
            self.pick_inherited(peer, picked);
        }
        if !picked.refs.is_empty() {
            self.pace.held = None;
            return;
        }
        let is_out_of_patience = self.patience_ends().is_some_and(|at| at <= now);
        if self.scarce_bytes > self.left_to_others(peer) || is_out_of_patience {
            self.pick_others(peer, picked);
        } else if self.scarce_bytes > 0 {
            let chunk = self.peers.get(&peer).map_or(Duration::ZERO, |known| known.time_for(CHUNK_BYTES));
            let patience = (chunk * PATIENCE_CHUNKS).clamp(MIN_PATIENCE, MAX_PATIENCE);
            self.pace.held.get_or_insert((now, patience));
            return;
        }
        if !is_out_of_patience {
            self.pace.held = None;
        }
        if picked.refs.is_empty() && !self.is_far_ahead() {
            self.pick_common(peer, picked);
        }
    }

    /// How much of what is scarce the others fetch before long. With as many seeds as downloaders it
    /// does not matter.
    fn left_to_others(&self, seed: PeerKey) -> u64 {
        let window = self.peers.get(&seed).map_or(0, |known| known.window_bytes());
        let failing = self.failing.iter().filter(|peer| !self.seeds.contains(peer)).count();
        // A seed more is as good as a downloader less.
        let others = (self.share.active as usize + 1).saturating_sub(self.seeds.len() + failing);
        LEFT_WINDOWS * window * others as u64
    }

    /// Our share of what no other downloader has.
    fn pick_own(&mut self, peer: PeerKey, picked: &mut Picked) {
        let (from, to) = self.share.ids();
        for content in self.scarce_small.range(from..) {
            if to.is_some_and(|to| *content >= to) {
                break;
            }
            self.work += 1;
            if let Some(want) = self.wants.get(content)
                && self.suits(want, 0, peer)
                && !picked.add(want.wanted(0))
            {
                return;
            }
        }
        let mut exhausted = Vec::new();
        for place in &self.own {
            let Some(want) = self.wants.get(&place.2) else { continue };
            let mut is_exhausted = true;
            for range in self.share.chunks(&want.content, want.count()) {
                let (from, to) = (want.find_from(range.start), want.find_from(range.end));
                for at in want.scarce.both_from(&want.waiting, from).take_while(|at| *at < to) {
                    is_exhausted = false;
                    self.work += 1;
                    if self.suits(want, at, peer) && !picked.add(want.wanted(at)) {
                        return;
                    }
                }
            }
            self.work += 1;
            if is_exhausted {
                exhausted.push(*place);
            }
        }
        for place in exhausted {
            self.own.remove(&place);
        }
    }

    /// The parts of those that fail, as far as it falls to us, of some: what they get they do not pass
    /// on.
    fn pick_inherited(&mut self, peer: PeerKey, picked: &mut Picked) {
        let turn = self.turn();
        let from = id_at(turn);
        let small = self.scarce_small.range(from..).chain(self.scarce_small.range(..from)).take(CHOICE);
        for content in small {
            self.work += 1;
            if let Some(want) = self.wants.get(content)
                && self.falls_to_us(content, 0, self.share.owner_of(content))
                && self.suits(want, 0, peer)
                && !picked.add(want.wanted(0))
            {
                return;
            }
        }
        for place in self.scarce_large.iter().take(CHOICE) {
            let Some(want) = self.wants.get(&place.2) else { continue };
            let start = (turn % want.chunks.len().max(1) as u64) as usize;
            for at in turned(&want.scarce, &want.waiting, start).take(CHOICE) {
                self.work += 1;
                let number = want.chunks[at].number;
                let owner = self.share.owner_of_chunk(&place.2, want.count(), number);
                if self.falls_to_us(&place.2, number, owner)
                    && self.suits(want, at, peer)
                    && !picked.add(want.wanted(at))
                {
                    return;
                }
            }
        }
    }

    /// Whether a chunk is ours because all those fail whose it was before. Everybody draws the same
    /// lots for who comes next.
    pub(in crate::scheduler) fn falls_to_us(&self, content: &ContentId, number: u64, owner: u32) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = content.0;
        let mut lot = u64::from_be_bytes([a, b, c, d, e, f, g, h]) ^ number;
        let mut next = owner;
        for _ in 0..MOST_HEIRS {
            if next == self.share.index {
                return true;
            }
            let at = next as usize - usize::from(next > self.share.index);
            if !self.sharers.get(at).is_some_and(|key| self.failing.contains(key)) {
                return false;
            }
            lot = mix(lot);
            next = (lot % u64::from(self.share.count.max(1))) as u32;
        }
        false
    }

    /// What other downloaders were to take, and nobody has yet: from somewhere, so that those who do
    /// this at the same time seldom do the same.
    fn pick_others(&mut self, peer: PeerKey, picked: &mut Picked) {
        let turn = self.turn();
        let from = id_at(turn);
        // What comes next after a random place is what its owner comes to next: some are left out.
        let skip = (turn % (self.scarce_small.len() as u64 / 2).clamp(1, MOST_SKIPPED)) as usize;
        let small = self.scarce_small.range(from..).chain(self.scarce_small.range(..from));
        for content in small.skip(skip) {
            self.work += 1;
            if let Some(want) = self.wants.get(content)
                && self.suits(want, 0, peer)
                && !picked.add(want.wanted(0))
            {
                return;
            }
        }
        for place in &self.scarce_large {
            let Some(want) = self.wants.get(&place.2) else { continue };
            let nth = (turn % want.standing.scarce.max(1) as u64) as usize;
            let start = want.scarce.iter().nth(nth).unwrap_or_default();
            for at in turned(&want.scarce, &want.scarce, start) {
                self.work += 1;
                if self.suits(want, at, peer) && !picked.add(want.wanted(at)) {
                    return;
                }
            }
        }
    }

    /// What others have, but do not get round to sending: from somewhere, the rarest first, so that
    /// those who do this at the same time seldom do the same, and can exchange it.
    fn pick_common(&mut self, peer: PeerKey, picked: &mut Picked) {
        let turn = self.turn();
        let skip = (turn % (self.ready.len() as u64 / 2).clamp(1, MOST_SKIPPED)) as usize;
        for (_, _, _, content) in self.ready.iter().skip(skip).chain(self.ready.iter().take(skip)) {
            self.work += 1;
            let Some(want) = self.wants.get(content) else { continue };
            if want.gone.contains(&peer) {
                continue;
            }
            let nth = (turn % want.standing.waiting.max(1) as u64) as usize;
            let start = want.waiting.iter().nth(nth).unwrap_or_default();
            let found: Vec<_> = turned(&want.waiting, &want.waiting, start).take(CHOICE).collect();
            self.work += found.len() as u64;
            let mut suited = rarest_first(want, found).filter(|at| self.suits(want, *at, peer));
            if suited.any(|at| !picked.add(want.wanted(at))) {
                return;
            }
        }
    }
}

/// An id that begins with this.
fn id_at(begin: u64) -> ContentId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&begin.to_be_bytes());
    ContentId(id)
}
