//! Who is asked for which chunk.
//!
//! The caller says what is wanted ([`Scheduler::want`], a window of contents, not a whole first
//! sync), who is connected, and what became of requests; [`Scheduler::poll_request`] says whom to
//! ask for what. Each peer has as many bytes under way as its rate and distance pay for, so fast
//! peers get more; small chunks travel in bundles; what fails is asked for elsewhere. A chunk is
//! asked for once at a time, and nothing is asked for that has arrived.
//!
//! Pure: time is a [`Duration`] since any fixed start, and no data passes through here. Not here
//! yet: which chunks an incomplete peer has (see [`Availability`]), rarest first, stealing from
//! slow peers, the endgame, and slots for serving.

mod peer;
mod request;
mod want;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::entry::ContentId;
use crate::message::ChunkWanted;
use peer::Peer;
pub use request::{Assignment, Availability, Limits, PeerKey, Priority, RequestId};
use want::{Rank, Want};

/// A content that no connected peer could serve for this long is a problem of its paths.
const UNSERVABLE_AFTER: Duration = Duration::from_secs(10);

/// Decides who is asked for which chunk; see the [module](self).
pub struct Scheduler {
    limits: Limits,
    peers: BTreeMap<PeerKey, Peer>,
    wants: BTreeMap<ContentId, Want>,
    /// The wants that have waiting chunks, in their order.
    ready: BTreeSet<Rank>,
    requests: BTreeMap<RequestId, Request>,
    chunks: usize,
    last_request: u64,
}

/// What is still to come of a request.
struct Request {
    peer: PeerKey,
    refs: BTreeSet<ChunkWanted>,
    deadline: Duration,
}

impl Scheduler {
    /// Nothing wanted, nobody there.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            peers: BTreeMap::new(),
            wants: BTreeMap::new(),
            ready: BTreeSet::new(),
            requests: BTreeMap::new(),
            chunks: 0,
            last_request: 0,
        }
    }

    /// A peer is connected.
    pub fn add_peer(&mut self, peer: PeerKey, availability: Availability, rtt: Duration) {
        self.remove_peer(peer);
        self.peers.insert(peer, Peer::new(availability, rtt));
    }

    /// A peer is gone; what it was asked for is asked for elsewhere.
    pub fn remove_peer(&mut self, peer: PeerKey) {
        self.drop_requests(peer);
        self.peers.remove(&peer);
        for want in self.wants.values_mut() {
            want.gone.remove(&peer);
            for failed in want.failed.values_mut() {
                failed.remove(&peer);
            }
        }
    }

    /// What a peer can serve has changed; what it said to be gone may be back.
    pub fn set_availability(&mut self, peer: PeerKey, availability: Availability) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.availability = availability;
            for want in self.wants.values_mut() {
                want.gone.remove(&peer);
            }
        }
    }

    /// The connection has measured its round trip.
    pub fn set_rtt(&mut self, peer: PeerKey, rtt: Duration) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.set_rtt(rtt);
        }
    }

    /// Fetch these chunks (number and length) of a content, in place of what was wanted of it
    /// before. Whether there was room; if not, nothing is changed.
    pub fn want(
        &mut self,
        content: ContentId,
        size: u64,
        missing: impl IntoIterator<Item = (u64, u32)>,
        priority: Priority,
    ) -> bool {
        let missing = missing.into_iter().take(self.limits.wanted_chunks + 1);
        let waiting: BTreeMap<u64, u32> = missing.collect();
        let replaced = self.wants.get(&content).map_or(0, |want| want.waiting.len() + want.asked.len());
        if self.chunks - replaced + waiting.len() > self.limits.wanted_chunks {
            return false;
        }
        self.forget(content);
        if waiting.is_empty() {
            return true;
        }
        self.chunks += waiting.len();
        let want = Want {
            priority,
            size,
            waiting,
            asked: BTreeMap::new(),
            started: false,
            gone: BTreeSet::new(),
            failed: BTreeMap::new(),
            unservable_since: None,
        };
        self.ready.insert(want.rank(content));
        self.wants.insert(content, want);
        true
    }

    /// A content is no longer wanted. What is under way of it is ignored when it arrives.
    pub fn forget(&mut self, content: ContentId) {
        if let Some(want) = self.wants.remove(&content) {
            self.ready.remove(&want.rank(content));
            self.chunks -= want.waiting.len() + want.asked.len();
        }
    }

    /// Whether nothing is wanted.
    pub fn is_idle(&self) -> bool {
        self.wants.is_empty()
    }

    /// The next request to send; ask until there is none.
    pub fn poll_request(&mut self, now: Duration) -> Option<Assignment> {
        if self.ready.is_empty() {
            return None;
        }
        // Whoever would be done first is asked first.
        let mut peers: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.banned && peer.rest_until <= now && peer.budget_bytes() > 0)
            .map(|(key, peer)| (peer.backlog(), *key, peer.budget_bytes()))
            .collect();
        peers.sort_unstable();
        for (_, peer, budget) in peers {
            let refs = self.pick(peer, budget.min(self.limits.request_bytes));
            if !refs.is_empty() {
                return Some(self.assign(now, peer, refs));
            }
        }
        None
    }

    /// A chunk has arrived and is what it should be. Whether it was still wanted.
    pub fn handle_arrived(&mut self, now: Duration, request: RequestId, chunk: ChunkWanted) -> bool {
        if let Some(peer) = self.settle(request, chunk) {
            let bytes = u64::from(chunk.len);
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.on_arrived(now, bytes);
                peer.on_settled(bytes);
            }
            self.extend(now, request);
        }
        // Also what comes too late, after it was asked for elsewhere, is there now.
        let Some(want) = self.wants.get_mut(&chunk.content) else { return false };
        let rank = want.rank(chunk.content);
        let known = want.asked.remove(&chunk.number).or_else(|| want.waiting.remove(&chunk.number));
        want.failed.remove(&chunk.number);
        if known.is_none() {
            return false;
        }
        self.chunks -= 1;
        if want.waiting.is_empty() {
            self.ready.remove(&rank);
            if want.asked.is_empty() {
                self.wants.remove(&chunk.content);
            }
        }
        true
    }

    /// The peer does not have this content (any more).
    pub fn handle_gone(&mut self, now: Duration, request: RequestId, chunk: ChunkWanted) {
        let Some(peer) = self.settle(request, chunk) else { return };
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.on_settled(u64::from(chunk.len));
        }
        self.extend(now, request);
        self.content_gone(peer, chunk.content);
        self.put_back(chunk, None);
    }

    /// The peer says, unasked, that it no longer has this content.
    pub fn content_gone(&mut self, peer: PeerKey, content: ContentId) {
        if self.peers.contains_key(&peer)
            && let Some(want) = self.wants.get_mut(&content)
        {
            want.gone.insert(peer);
        }
    }

    /// A chunk was not what it should be. Whether the peer is banned for it: then disconnect.
    pub fn handle_bad(&mut self, now: Duration, request: RequestId, chunk: ChunkWanted) -> bool {
        let Some(key) = self.settle(request, chunk) else { return false };
        let banned = self.peers.get_mut(&key).is_some_and(|peer| {
            peer.on_settled(u64::from(chunk.len));
            peer.on_bad()
        });
        self.extend(now, request);
        self.put_back(chunk, Some(key));
        if banned {
            self.drop_requests(key);
        }
        banned
    }

    /// A request has failed: what has not arrived of it is asked for elsewhere. If it lacks only what
    /// nobody wants any more, it has arrived in vain, and the peer has not failed.
    pub fn handle_failed(&mut self, now: Duration, request: RequestId) {
        let Some(failed) = self.requests.remove(&request) else { return };
        let is_missed = failed.refs.iter().any(|chunk| {
            self.wants.get(&chunk.content).is_some_and(|want| want.asked.contains_key(&chunk.number))
        });
        self.release(&failed, request, Some(failed.peer));
        if let (Some(peer), true) = (self.peers.get_mut(&failed.peer), is_missed) {
            peer.on_failed(now);
        }
    }

    /// Requests that have taken too long, to be cancelled; here they have failed.
    pub fn handle_timeout(&mut self, now: Duration) -> Vec<RequestId> {
        let late = self.requests.iter().filter(|(_, request)| request.deadline <= now);
        let late: Vec<_> = late.map(|(id, _)| *id).collect();
        late.iter().for_each(|id| self.handle_failed(now, *id));
        late
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) or
    /// [`poll_request`](Self::poll_request) again, if nothing else happens.
    pub fn poll_timeout(&self, now: Duration) -> Option<Duration> {
        let deadlines = self.requests.values().map(|request| request.deadline);
        let rests = self.peers.values().map(|peer| peer.rest_until).filter(|until| *until > now);
        deadlines.chain(rests).min()
    }

    /// Contents that no connected peer could serve for 10 s of calls to this: call it about once
    /// a second. Without any peer that is all of them.
    pub fn unservable(&mut self, now: Duration) -> Vec<ContentId> {
        let peers: Vec<_> =
            self.peers.iter().filter(|(_, peer)| is_server(peer)).map(|peer| *peer.0).collect();
        let mut found = Vec::new();
        for (content, want) in &mut self.wants {
            if peers.iter().any(|peer| !want.gone.contains(peer)) {
                want.unservable_since = None;
            } else if now.saturating_sub(*want.unservable_since.get_or_insert(now)) >= UNSERVABLE_AFTER {
                found.push(*content);
            }
        }
        found
    }

    /// When [`unservable`](Self::unservable) will answer something, if nothing else happens.
    pub fn unservable_at(&self) -> Option<Duration> {
        let since = self.wants.values().filter_map(|want| want.unservable_since).min();
        since.map(|since| since + UNSERVABLE_AFTER)
    }

    /// What `peer` should be asked for, within a budget; one chunk may exceed it.
    fn pick(&self, peer: PeerKey, budget: u64) -> Vec<ChunkWanted> {
        let (mut refs, mut bytes) = (Vec::new(), 0);
        for (_, _, _, content) in &self.ready {
            let Some(want) = self.wants.get(content) else { continue };
            let servers = self.servers(want);
            if !servers.contains(&peer) {
                continue;
            }
            for (number, len) in &want.waiting {
                if refs.len() >= self.limits.request_chunks
                    || (!refs.is_empty() && bytes + u64::from(*len) > budget)
                {
                    return refs;
                }
                if want.suits(*number, peer, &servers) {
                    bytes += u64::from(*len);
                    refs.push(ChunkWanted { content: *content, number: *number, len: *len });
                }
            }
        }
        refs
    }

    /// Who is to be asked for a content: complete peers, or else those that may have it.
    fn servers(&self, want: &Want) -> BTreeSet<PeerKey> {
        let able = |wanted: Availability| -> BTreeSet<PeerKey> {
            let able = self.peers.iter().filter(|(key, peer)| {
                is_server(peer) && peer.availability == wanted && !want.gone.contains(key)
            });
            able.map(|(key, _)| *key).collect()
        };
        let complete = able(Availability::Everything);
        if complete.is_empty() { able(Availability::Perhaps) } else { complete }
    }

    fn assign(&mut self, now: Duration, peer: PeerKey, refs: Vec<ChunkWanted>) -> Assignment {
        self.last_request += 1;
        let request = RequestId(self.last_request);
        for chunk in &refs {
            let Some(want) = self.wants.get_mut(&chunk.content) else { continue };
            self.ready.remove(&want.rank(chunk.content));
            want.started = true;
            want.waiting.remove(&chunk.number);
            want.asked.insert(chunk.number, chunk.len);
            if !want.waiting.is_empty() {
                self.ready.insert(want.rank(chunk.content));
            }
        }
        let bytes = refs.iter().map(|chunk| u64::from(chunk.len)).sum();
        let mut deadline = now;
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.on_asked(now, request, bytes);
            deadline += peer.patience();
        }
        let pending = refs.iter().copied().collect();
        self.requests.insert(request, Request { peer, refs: pending, deadline });
        Assignment { peer, request, refs }
    }

    /// A chunk of a request has been answered. Whose request it was; `None` if it was not asked
    /// for, or no longer.
    fn settle(&mut self, request: RequestId, chunk: ChunkWanted) -> Option<PeerKey> {
        let open = self.requests.get_mut(&request)?;
        open.refs.remove(&chunk).then_some(open.peer)
    }

    /// A request has moved: it gets more time, or is done.
    fn extend(&mut self, now: Duration, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let Some(peer) = self.peers.get_mut(&request.peer) else { return };
        request.deadline = now + peer.patience();
        if request.refs.is_empty() {
            peer.requests.remove(&id);
            self.requests.remove(&id);
        }
    }

    fn put_back(&mut self, chunk: ChunkWanted, failed: Option<PeerKey>) {
        if let Some(want) = self.wants.get_mut(&chunk.content) {
            want.put_back(chunk.number, failed);
            if !want.waiting.is_empty() {
                self.ready.insert(want.rank(chunk.content));
            }
        }
    }

    fn release(&mut self, request: &Request, id: RequestId, failed: Option<PeerKey>) {
        for chunk in &request.refs {
            self.put_back(*chunk, failed);
        }
        if let Some(peer) = self.peers.get_mut(&request.peer) {
            peer.requests.remove(&id);
            peer.on_settled(request.refs.iter().map(|chunk| u64::from(chunk.len)).sum());
        }
    }

    fn drop_requests(&mut self, peer: PeerKey) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        for id in std::mem::take(&mut known.requests) {
            if let Some(request) = self.requests.remove(&id) {
                self.release(&request, id, None);
            }
        }
    }
}

fn is_server(peer: &Peer) -> bool {
    !peer.banned && peer.availability != Availability::Nothing
}
