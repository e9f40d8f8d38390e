//! What became of requests.

use std::time::Duration;

use super::bits::Bits;
use super::{Peer, PeerKey, Request, RequestId, Scheduler};
use crate::message::ChunkWanted;

impl Scheduler {
    /// A chunk has arrived and is what it should be. Whether it was still wanted.
    pub fn handle_arrived(&mut self, now: Duration, request: RequestId, chunk: ChunkWanted) -> bool {
        let bytes = u64::from(chunk.len);
        self.pace.on_arrived(now, bytes);
        let settled = self.settle(request, chunk);
        if let Some(key) = settled {
            self.judge_trust(key, |peer| peer.on_arrived(now, bytes));
            self.failing.remove(&key);
            self.extend(now, request);
        }
        // Also what comes too late, after it was asked for elsewhere, is there now.
        let answer = self.change(chunk.content, |want| {
            let at = want.find(chunk.number)?;
            let is_new = want.arrive(at);
            let others = want.chunks[at].asks > u8::from(settled.is_some());
            Some((is_new, others, want.open))
        });
        let Some(Some((true, others, open))) = answer else { return false };
        self.chunks -= 1;
        if others {
            self.take_back(chunk);
        }
        if open == 0 {
            self.remove_want(chunk.content);
        }
        true
    }

    /// The peer does not have this content (any more).
    pub fn handle_gone(&mut self, now: Duration, request: RequestId, chunk: ChunkWanted) {
        let Some(peer) = self.settle(request, chunk) else { return };
        self.extend(now, request);
        self.deny(peer, chunk.content, chunk.number);
        self.put_back(chunk, None);
    }

    /// A chunk was not what it should be. Whether the peer is banned for it: then disconnect.
    pub fn handle_bad(&mut self, now: Duration, request: RequestId, chunk: ChunkWanted) -> bool {
        let Some(key) = self.settle(request, chunk) else { return false };
        let banned = self.judge_trust(key, |peer| peer.on_bad()).unwrap_or_default();
        self.extend(now, request);
        self.put_back(chunk, Some(key));
        if banned {
            self.drop_requests(key);
            self.let_go_of_all(key);
            self.judge_seed(key);
        }
        banned
    }

    /// A request has failed: what has not arrived of it is asked for elsewhere. If it lacks only what
    /// nobody wants any more, it has arrived in vain, and the peer has not failed.
    pub fn handle_failed(&mut self, now: Duration, request: RequestId) {
        let Some(failed) = self.remove_request(request) else { return };
        let is_missed = failed.refs.iter().any(|chunk| {
            let want = self.wants.get(&chunk.content);
            want.is_some_and(|want| want.find(chunk.number).is_some_and(|at| !want.has_arrived(at)))
        });
        self.release(&failed, Some(failed.peer));
        if is_missed {
            self.rest(failed.peer, |peer| peer.on_failed(now));
        }
    }

    /// The peer has no place for us: it is asked again a little later, others before.
    pub fn handle_busy(&mut self, now: Duration, request: RequestId) {
        let Some(refused) = self.remove_request(request) else { return };
        self.release(&refused, None);
        self.rest(refused.peer, |peer| peer.on_busy(now));
    }

    /// Requests that have taken too long, to be cancelled; here they have failed.
    pub fn handle_timeout(&mut self, now: Duration) -> Vec<RequestId> {
        let late = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        let late: Vec<_> = late.map(|(_, id)| *id).collect();
        late.iter().for_each(|id| self.handle_failed(now, *id));
        late
    }

    fn rest(&mut self, key: PeerKey, rest: impl FnOnce(&mut Peer)) {
        let change = |peer: &mut Peer| {
            let before = peer.rest_until;
            rest(peer);
            (before, peer.rest_until)
        };
        let Some((before, until)) = self.judge_trust(key, change) else { return };
        self.rests.remove(&(before, key));
        self.rests.insert((until, key));
    }

    /// A chunk of a request has been answered. Whose request it was; `None` if it was not asked
    /// for, or no longer.
    fn settle(&mut self, request: RequestId, chunk: ChunkWanted) -> Option<PeerKey> {
        let open = self.requests.get_mut(&request)?;
        let key = open.peer;
        if !open.refs.remove(&chunk) {
            return None;
        }
        self.on_settled(key, u64::from(chunk.len));
        Some(key)
    }

    fn on_settled(&mut self, key: PeerKey, bytes: u64) {
        self.pace.on_settled(bytes);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.on_settled(bytes);
            if peer.budget_bytes() > 0 {
                self.ask(key);
            }
        }
    }

    /// A request has moved: it gets more time, or is done.
    fn extend(&mut self, now: Duration, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let Some(peer) = self.peers.get(&request.peer) else { return };
        if request.refs.is_empty() {
            self.remove_request(id);
            return;
        }
        self.deadlines.remove(&(request.deadline, id));
        request.deadline = now + peer.patience();
        self.deadlines.insert((request.deadline, id));
    }

    pub(super) fn remove_request(&mut self, id: RequestId) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        self.deadlines.remove(&(request.deadline, id));
        if let Some(peer) = self.peers.get_mut(&request.peer) {
            peer.requests.remove(&id);
        }
        Some(request)
    }

    /// A chunk that nobody delivers: it waits again, unless somebody else is asked for it.
    fn put_back(&mut self, chunk: ChunkWanted, failed: Option<PeerKey>) {
        let was_sure = failed.and_then(|peer| self.peers.get(&peer)).is_some_and(Peer::is_sure);
        let waits = self.change(chunk.content, |want| {
            let at = want.find(chunk.number)?;
            if let Some(peer) = failed {
                want.let_go_of(peer, at, was_sure);
                want.failed.entry(at).or_default().insert(peer);
            }
            let have_it = |(key, bits): (&PeerKey, &Bits)| bits.has(at).then_some(*key);
            let holders: Vec<_> = want.holders.iter().filter_map(have_it).collect();
            want.unask(at).then(|| (want.place(), holders))
        });
        let Some(Some((place, holders))) = waits else { return };
        self.work += holders.len() as u64;
        for holder in holders {
            if let Some(peer) = self.peers.get_mut(&holder) {
                peer.candidates.insert(place);
                self.askable.others.insert(holder);
            }
        }
        if self.seeds.is_empty() || self.doubted.contains(&chunk.content) {
            self.ask_anybody();
        } else if self.askable.seeds.len() < self.seeds.len() {
            self.askable.seeds.extend(&self.seeds);
        }
    }

    /// What is left of a request that is no more.
    fn release(&mut self, request: &Request, failed: Option<PeerKey>) {
        for chunk in &request.refs {
            self.on_settled(request.peer, u64::from(chunk.len));
            self.put_back(*chunk, failed);
        }
    }

    pub(super) fn drop_requests(&mut self, peer: PeerKey) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        for id in std::mem::take(&mut known.requests) {
            if let Some(request) = self.remove_request(id) {
                self.release(&request, None);
            }
        }
    }

    /// A chunk that others are asked for has arrived: they need not send it, and nothing at all if
    /// it was all that they were to send.
    fn take_back(&mut self, chunk: ChunkWanted) {
        let asked = self.requests.iter().filter(|(_, request)| request.refs.contains(&chunk));
        let asked: Vec<_> = asked.map(|(id, _)| *id).collect();
        for id in asked {
            self.settle(id, chunk);
            if self.requests.get(&id).is_some_and(|request| request.refs.is_empty()) {
                self.remove_request(id);
                self.cancelled.push(id);
            }
        }
    }
}
