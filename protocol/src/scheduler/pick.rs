//! Choosing: whom to ask next, and for what.
//!
//! Peers for which nothing was found are not looked at again before something has changed, and what
//! a peer has of what waits is known without looking at the rest, so that a choice costs about the
//! same however many peers and contents there are.
//!
//! A seed is asked, while others download too, for our share of what no other has; when that is
//! under way, for what others have left undone, unless they are about to do it; and for what others
//! have only when there is nothing scarcer, so that it sends each chunk once before twice.

use std::time::Duration;

use super::bits::{Bits, turned};
use super::want::Want;
use super::{Assignment, Availability, PeerKey, Request, RequestId, Scheduler};
use crate::entry::ContentId;
use crate::message::ChunkWanted;

/// Chunks of a content among which the rarest is looked for.
const CHOICE: usize = 256;
/// What the downloaders of a swarm leave to each other at the end, in windows of a seed for each.
const LEFT_WINDOWS: u64 = 4;
/// How many times the time of a chunk may pass without news before what others seem to fetch is
/// fetched here as well …
const PATIENCE_CHUNKS: u32 = 4;
/// … and this long in any case.
const MIN_PATIENCE: Duration = Duration::from_secs(1);
const MAX_PATIENCE: Duration = Duration::from_secs(60);
/// A chunk of average length.
const CHUNK_BYTES: u64 = 256 << 10;
/// Small contents that are left out at a place that others may come to next.
const MOST_SKIPPED: u64 = 256;

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
            if !self.is_swarm() || !self.pace.is_far_ahead() {
                self.askable.remove(&key);
            }
        }
        None
    }

    /// Who may have something for us, and how much to ask for: whoever would be done first is asked
    /// first, in a swarm the seeds before, for what nobody else has. Among equals each downloader
    /// begins elsewhere.
    fn able(&mut self, now: Duration) -> Vec<(PeerKey, u64)> {
        self.work += self.askable.len() as u64;
        let peers = &self.peers;
        // Who is busy or rests comes back by itself.
        self.askable.retain(|key| {
            peers.get(key).is_some_and(|peer| peer.rest_until <= now && peer.budget_bytes() > 0)
        });
        let able = self.askable.iter().filter_map(|key| Some((*key, self.peers.get(key)?)));
        let salt = u64::from(self.share.index) << 32;
        let mut able: Vec<_> = able
            .map(|(key, peer)| (!self.seeds.contains(&key), peer.backlog(), mix(key.0 ^ salt), key))
            .collect();
        if self.is_swarm() {
            able.sort_unstable();
        } else {
            able.sort_unstable_by_key(|(_, backlog, _, key)| (*backlog, *key));
        }
        let budget = |key| self.peers.get(key).map_or(0, super::Peer::budget_bytes);
        able.iter().map(|(_, _, _, key)| (*key, budget(key))).collect()
    }

    /// Whether others download too, and enough for it to matter that each takes another part.
    fn is_swarm(&self) -> bool {
        self.share.is_shared() && self.endgame.is_large()
    }

    /// Those whose time has come may be asked again.
    fn wake(&mut self, now: Duration) {
        while let Some((until, key)) = self.rests.first().copied().filter(|(until, _)| *until <= now) {
            self.rests.remove(&(until, key));
            self.askable.insert(key);
        }
        if self.patience_ends().is_some_and(|at| at <= now) {
            self.ask_held_back();
        }
    }

    /// When what others seem to fetch is no longer left to them, if they do not move on.
    pub(super) fn patience_ends(&self) -> Option<Duration> {
        self.pace.held.map(|(since, patience)| since.max(self.pace.progress_at) + patience)
    }

    /// Something has changed for the seeds that were spared.
    pub(super) fn ask_held_back(&mut self) {
        if self.pace.held.is_some() {
            self.askable.extend(&self.seeds);
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
            // What is chosen too early is seldom the best choice when its turn comes.
            Some(_) if self.is_swarm() && self.pace.is_far_ahead() => {}
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

    /// Of a seed, while others download as well.
    fn pick_for_swarm(&mut self, now: Duration, peer: PeerKey, picked: &mut Picked) {
        self.pick_own(peer, picked);
        if !picked.refs.is_empty() {
            self.pace.held = None;
            return;
        }
        let (window, chunk) = self
            .peers
            .get(&peer)
            .map_or((0, Duration::ZERO), |known| (known.window_bytes(), known.time_for(CHUNK_BYTES)));
        let left_to_others = LEFT_WINDOWS * u64::from(self.share.count) * window;
        let is_out_of_patience = self.patience_ends().is_some_and(|at| at <= now);
        if self.scarce_bytes > left_to_others || is_out_of_patience {
            self.pick_others(peer, picked);
        } else if self.scarce_bytes > 0 {
            let patience = (chunk * PATIENCE_CHUNKS).clamp(MIN_PATIENCE, MAX_PATIENCE);
            self.pace.held.get_or_insert((now, patience));
            return;
        }
        if !is_out_of_patience {
            self.pace.held = None;
        }
        if picked.refs.is_empty() && !self.pace.is_far_ahead() {
            self.pick_common(peer, picked);
        }
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

    /// What other downloaders were to take, and nobody has yet: from somewhere, so that those who do
    /// this at the same time seldom do the same.
    fn pick_others(&mut self, peer: PeerKey, picked: &mut Picked) {
        let turn = self.turn();
        let mut from = [0; 32];
        from[..8].copy_from_slice(&turn.to_be_bytes());
        let from = ContentId(from);
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
            let mut found: Vec<_> = turned(&want.waiting, &want.waiting, start).take(CHOICE).collect();
            self.work += found.len() as u64;
            found.sort_by_key(|at| want.chunks[*at].holders);
            let mut suited = found.into_iter().filter(|at| self.suits(want, *at, peer));
            if suited.any(|at| !picked.add(want.wanted(at))) {
                return;
            }
        }
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
            let found = turned(bits, &want.waiting, want.find_from(own.start));
            let mut found: Vec<_> = found.take(CHOICE).collect();
            self.work += 1 + found.len() as u64;
            if found.is_empty() {
                stale.push(*place);
                continue;
            }
            found.sort_by_key(|at| want.chunks[*at].holders);
            let mut suited = found.into_iter().filter(|at| self.suits(want, *at, peer));
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
            for at in want.scarce.iter() {
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

/// Numbers that look random (splitmix64).
fn mix(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
