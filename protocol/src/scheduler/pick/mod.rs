//! Choosing: whom to ask next, and for what.
//!
//! Peers for which nothing was found are not looked at again before something has changed, and what
//! a peer has of what waits is known without looking at the rest, so that a choice costs about the
//! same however many peers and contents there are.
//!
//! What is asked of a seed while others download too is the business of `seed`.

mod seed;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use super::bits::{Bits, turned};
use super::want::Want;
use super::{Assignment, Availability, PeerKey, Request, RequestId, Scheduler};
use crate::entry::ContentId;
use crate::message::ChunkWanted;

/// Chunks of a content among which the rarest is looked for.
const CHOICE: usize = 256;

/// What is being put together for a peer.
struct Picked {
    refs: Vec<ChunkWanted>,
    bytes: u64,
    budget: u64,
    most: usize,
}

impl Picked {
    /// Adds a chunk; the first may exceed the budget. Whether there was room.
    fn add(&mut self, chunk: ChunkWanted) -> bool {
        let len = u64::from(chunk.len);
        let fits = self.refs.is_empty() || (self.refs.len() < self.most && self.bytes + len <= self.budget);
        if fits {
            self.bytes += len;
            self.refs.push(chunk);
        }
        fits
    }
}

impl Scheduler {
    /// The next request to send; ask until there is none.
    pub fn poll_request(&mut self, now: Duration) -> Option<Assignment> {
        self.wake(now);
        if self.ready.is_empty() {
            return self.poll_twice(now);
        }
        for (key, budget) in self.able(now) {
            let refs = self.pick(now, key, budget.min(self.limits.request_bytes));
            if !refs.is_empty() {
                return Some(self.assign(now, key, refs));
            }
            if !self.is_swarm() || !self.is_far_ahead() {
                self.askable.remove(key);
            }
        }
        None
    }

    /// Who may have something for us, and how much to ask for: whoever would be done first is asked
    /// first, in a swarm the seeds before, for what nobody else has. Among equals each downloader
    /// begins elsewhere.
    fn able(&mut self, now: Duration) -> Vec<(PeerKey, u64)> {
        let is_swarm = self.is_swarm();
        // What is chosen too early is seldom the best choice when its turn comes.
        let is_far_ahead = is_swarm && self.is_far_ahead();
        if is_far_ahead && self.scarce_bytes == 0 {
            return Vec::new();
        }
        // Of whom nobody knows what it has is asked only if no seed can serve.
        let is_anybody = self.seeds.is_empty() || !self.doubted.is_empty();
        let salt = u64::from(self.share.index) << 32;
        let mut able = Vec::new();
        let mut looked_at = 0;
        let peers = &self.peers;
        // Who is busy or rests comes back by itself.
        let mut look = |of: &mut BTreeSet<PeerKey>, group: u8| {
            looked_at += of.len() as u64;
            of.retain(|key| {
                let Some(peer) = peers.get(key).filter(|peer| peer.rest_until <= now) else { return false };
                if group > 0 && !is_anybody && peer.candidates.is_empty() {
                    return false;
                }
                let budget = peer.budget_bytes();
                if budget > 0 {
                    let tie = if is_swarm { mix(key.0 ^ salt) } else { key.0 };
                    let group = if is_swarm { group } else { 0 };
                    able.push((group, peer.backlog(), tie, *key, budget));
                }
                budget > 0
            });
        };
        look(&mut self.askable.seeds, 0);
        if !is_far_ahead {
            look(&mut self.askable.others, 1);
        }
        self.work += looked_at;
        able.sort_unstable();
        able.into_iter().map(|(_, _, _, key, budget)| (key, budget)).collect()
    }

    /// Whether others may download too, and enough for it to matter that each takes another part.
    fn is_swarm(&self) -> bool {
        self.share.is_shared() && self.endgame.is_large()
    }

    /// Whether what comes next is better chosen later.
    pub(super) fn is_far_ahead(&self) -> bool {
        self.pace.is_far_ahead(self.waiting_bytes.saturating_sub(self.scarce_bytes))
    }

    /// Those whose time has come may be asked again.
    fn wake(&mut self, now: Duration) {
        while let Some((until, key)) = self.rests.first().copied().filter(|(until, _)| *until <= now) {
            self.rests.remove(&(until, key));
            self.ask(key);
        }
        if self.patience_ends().is_some_and(|at| at <= now) {
            self.ask_held_back();
        }
    }

    /// What `peer` should be asked for, within a budget; one chunk may exceed it.
    fn pick(&mut self, now: Duration, peer: PeerKey, budget: u64) -> Vec<ChunkWanted> {
        let most = self.limits.request_chunks;
        let mut picked = Picked { refs: Vec::new(), bytes: 0, budget, most };
        match self.peers.get(&peer).map(|peer| (peer.banned, peer.availability)) {
            Some((false, Availability::Everything)) if self.is_swarm() => {
                self.pick_for_swarm(now, peer, &mut picked);
            }
            Some((false, Availability::Everything)) => self.pick_ready(peer, &mut picked),
            Some((false, Availability::Perhaps)) => {
                self.pick_held(peer, &mut picked);
                if picked.refs.is_empty() {
                    self.pick_at_random(peer, &mut picked);
                }
            }
            _ => {}
        }
        picked.refs
    }

    /// Whatever waits, in its order, of a seed.
    fn pick_ready(&mut self, peer: PeerKey, picked: &mut Picked) {
        for (_, _, _, content) in &self.ready {
            self.work += 1;
            let Some(want) = self.wants.get(content) else { continue };
            if want.gone.contains(&peer) {
                continue;
            }
            for at in want.waiting.iter() {
                self.work += 1;
                if self.suits(want, at, peer) && !picked.add(want.wanted(at)) {
                    return;
                }
            }
        }
    }

    /// What an incomplete peer says to have, of each content the rarest first, from our share on.
    fn pick_held(&mut self, peer: PeerKey, picked: &mut Picked) {
        let Some(known) = self.peers.get(&peer) else { return };
        let mut stale = Vec::new();
        for place in &known.candidates {
            let want = self.wants.get(&place.2);
            let Some((want, bits)) = want.and_then(|want| Some((want, want.holders.get(&peer)?))) else {
                stale.push(*place);
                continue;
            };
            let [own, _] = self.share.chunks(&want.content, want.count());
            let found: Vec<_> = turned(bits, &want.waiting, want.find_from(own.start)).take(CHOICE).collect();
            self.work += 1 + found.len() as u64;
            if found.is_empty() {
                stale.push(*place);
                continue;
            }
            let mut suited = rarest_first(want, found).filter(|at| self.suits(want, *at, peer));
            if suited.any(|at| !picked.add(want.wanted(at))) {
                break;
            }
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            for place in stale {
                known.candidates.remove(&place);
            }
        }
    }

    /// What no seed and no other peer can serve, of one of which nobody knows what it has.
    fn pick_at_random(&mut self, peer: PeerKey, picked: &mut Picked) {
        let contents: Box<dyn Iterator<Item = &ContentId>> = if self.seeds.is_empty() {
            Box::new(self.ready.iter().map(|(_, _, _, content)| content))
        } else {
            Box::new(self.doubted.iter())
        };
        for content in contents {
            self.work += 1;
            let Some(want) = self.wants.get(content) else { continue };
            let may_have = !want.gone.contains(&peer) && !want.holders.contains_key(&peer);
            if !may_have || self.seeds.iter().any(|seed| !want.gone.contains(seed)) {
                continue;
            }
            for at in want.scarce.iter().filter(|at| want.chunks[*at].holders == 0) {
                self.work += 1;
                if self.suits(want, at, peer) && !picked.add(want.wanted(at)) {
                    return;
                }
            }
        }
    }

    /// Whether `peer` should be asked for a chunk, if it may have it: it has not failed, or all that
    /// could serve it have.
    fn suits(&self, want: &Want, at: usize, peer: PeerKey) -> bool {
        if want.gone.contains(&peer) {
            return false;
        }
        let Some(failed) = want.failed.get(&at).filter(|failed| failed.contains(&peer)) else { return true };
        let has = |(key, bits): (&PeerKey, &Bits)| bits.has(at) && !failed.contains(key);
        let others_may = want.holders.iter().any(has)
            || self.seeds.iter().any(|seed| !want.gone.contains(seed) && !failed.contains(seed));
        if others_may || !self.seeds.is_empty() {
            return !others_may;
        }
        let may_have = |(key, peer): (&PeerKey, &super::Peer)| {
            let is_open = peer.availability == Availability::Perhaps && !peer.banned;
            is_open && !want.gone.contains(key) && !failed.contains(key) && !want.holders.contains_key(key)
        };
        !self.peers.iter().any(may_have)
    }

    pub(super) fn assign(&mut self, now: Duration, peer: PeerKey, refs: Vec<ChunkWanted>) -> Assignment {
        self.last_request += 1;
        let request = RequestId(self.last_request);
        for chunk in &refs {
            self.change(chunk.content, |want| {
                if let Some(at) = want.find(chunk.number) {
                    want.ask(at);
                }
            });
        }
        let bytes = refs.iter().map(|chunk| u64::from(chunk.len)).sum();
        self.pace.on_asked(bytes);
        let mut deadline = now;
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.on_asked(now, request, bytes);
            deadline += peer.patience();
        }
        self.deadlines.insert((deadline, request));
        let pending = refs.iter().copied().collect();
        self.requests.insert(request, Request { peer, refs: pending, deadline });
        Assignment { peer, request, refs }
    }

    /// A number that is another for each downloader and each time.
    fn turn(&self) -> u64 {
        mix(u64::from(self.share.index) << 32 ^ self.last_request)
    }
}

/// These chunks, those that fewest have first, else as they come.
fn rarest_first(want: &Want, found: Vec<usize>) -> impl Iterator<Item = usize> {
    let rarity = |(order, at): (usize, usize)| Reverse((want.chunks[at].holders, order, at));
    let mut heap: BinaryHeap<_> = found.into_iter().enumerate().map(rarity).collect();
    std::iter::from_fn(move || heap.pop().map(|Reverse((_, _, at))| at))
}

/// Numbers that look random (splitmix64).
fn mix(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
