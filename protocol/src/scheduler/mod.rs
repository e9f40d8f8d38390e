//! Who is asked for which chunk.
//!
//! The caller says what is wanted ([`Scheduler::want`], a window of contents, not a whole first
//! sync), who is connected and what they have, and what became of requests;
//! [`Scheduler::poll_request`] says whom to ask for what. Each peer has as many bytes under way as
//! its rate and distance pay for, so fast peers get more; small chunks travel in bundles; what fails
//! is asked for elsewhere. A chunk is asked for once at a time, but for few at the very end, and
//! nothing is asked for that has arrived.
//!
//! With several downloaders it is a swarm: each takes another [part](Share) of what nobody else has
//! from the seeds, and the rest from the others as soon as they say to have it, the rarest first. What
//! only those have that fail counts as if nobody had it, and their parts fall to others.
//!
//! Pure: time is a [`Duration`] since any fixed start, and no data passes through here. Not here:
//! when to tell what we have ([`News`] does that), and whom to serve first, which is decided where
//! chunks are served.
//!
//! Reading order: `want` and `peer` are what is known, `pick` chooses, `outcome` hears what became
//! of it, `holders` who has what, `endgame` the last few chunks, `servable` what nobody has.

mod bits;
mod endgame;
mod holders;
mod news;
mod outcome;
mod pace;
mod peer;
mod pick;
mod request;
mod servable;
mod share;
mod told;
mod want;

#[cfg(test)]
mod swarm_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::entry::ContentId;
use crate::message::ChunkWanted;
pub use endgame::LARGE_BYTES;
pub use news::{News, Telling, neighbours};
use peer::Peer;
pub use request::{Assignment, Availability, Limits, PeerKey, Priority, RequestId};
pub use share::Share;
use want::{Place, Rank, Want};

/// Decides who is asked for which chunk; see the [module](self).
pub struct Scheduler {
    limits: Limits,
    share: Share,
    /// The others among whom is shared, in the order of their parts.
    sharers: Vec<PeerKey>,
    peers: BTreeMap<PeerKey, Peer>,
    /// The complete ones that are not banned.
    seeds: BTreeSet<PeerKey>,
    /// Those that cannot be counted on now: they have failed, and not delivered since.
    failing: BTreeSet<PeerKey>,
    wants: BTreeMap<ContentId, Box<Want>>,
    /// The wants that have waiting chunks, in their order.
    ready: BTreeSet<Rank>,
    /// Those of one chunk that no incomplete peer surely has.
    scarce_small: BTreeSet<ContentId>,
    /// Those of several chunks, some of which no incomplete peer surely has.
    scarce_large: BTreeSet<Place>,
    /// Of `scarce_large`, those of which our share may not be exhausted.
    own: BTreeSet<Place>,
    /// Contents that some peer has said not to have.
    doubted: BTreeSet<ContentId>,
    /// Contents that nobody can serve, and since when.
    suspects: BTreeSet<(Duration, ContentId)>,
    judge_at: Duration,
    askable: Askable,
    /// Somebody incomplete is connected, who may want the same.
    is_shared: bool,
    requests: BTreeMap<RequestId, Request>,
    deadlines: BTreeSet<(Duration, RequestId)>,
    /// Who is left alone, and until when.
    rests: BTreeSet<(Duration, PeerKey)>,
    cancelled: Vec<RequestId>,
    pace: pace::Pace,
    endgame: endgame::Endgame,
    /// Chunks that are wanted and have not arrived.
    chunks: usize,
    /// Of these, those that nobody is asked for, their bytes, and those that no incomplete peer surely
    /// has.
    waiting: usize,
    waiting_bytes: u64,
    scarce_bytes: u64,
    last_request: u64,
    work: u64,
}

/// Peers for which there may be something to ask for.
#[derive(Default)]
struct Askable {
    seeds: BTreeSet<PeerKey>,
    others: BTreeSet<PeerKey>,
}

impl Askable {
    fn remove(&mut self, peer: PeerKey) {
        self.seeds.remove(&peer);
        self.others.remove(&peer);
    }
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
            share: Share::ALONE,
            sharers: Vec::new(),
            peers: BTreeMap::new(),
            seeds: BTreeSet::new(),
            failing: BTreeSet::new(),
            wants: BTreeMap::new(),
            ready: BTreeSet::new(),
            scarce_small: BTreeSet::new(),
            scarce_large: BTreeSet::new(),
            own: BTreeSet::new(),
            doubted: BTreeSet::new(),
            suspects: BTreeSet::new(),
            judge_at: Duration::ZERO,
            askable: Askable::default(),
            is_shared: false,
            requests: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            rests: BTreeSet::new(),
            cancelled: Vec::new(),
            pace: pace::Pace::default(),
            endgame: endgame::Endgame::default(),
            chunks: 0,
            waiting: 0,
            waiting_bytes: 0,
            scarce_bytes: 0,
            last_request: 0,
            work: 0,
        }
    }

    /// A peer is connected.
    pub fn add_peer(&mut self, peer: PeerKey, availability: Availability, rtt: Duration) {
        self.remove_peer(peer);
        self.peers.insert(peer, Peer::new(availability, rtt, self.is_shared));
        self.judge_seed(peer);
    }

    /// A peer is gone; what it was asked for is asked for elsewhere.
    pub fn remove_peer(&mut self, peer: PeerKey) {
        self.drop_requests(peer);
        self.let_go_of_all(peer);
        let Some(known) = self.peers.remove(&peer) else { return };
        self.rests.remove(&(known.rest_until, peer));
        self.failing.remove(&peer);
        for want in self.wants.values_mut() {
            want.gone.remove(&peer);
            for failed in want.failed.values_mut() {
                failed.remove(&peer);
            }
        }
        self.judge_seed(peer);
        self.ask_anybody();
    }

    /// What a peer can serve has changed; what it said to be gone may be back.
    pub fn set_availability(&mut self, peer: PeerKey, availability: Availability) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.availability = availability;
        if availability == Availability::Everything {
            // It counts among the seeds now.
            self.let_go_of_all(peer);
        }
        for want in self.wants.values_mut() {
            want.gone.remove(&peer);
        }
        self.judge_seed(peer);
    }

    /// Which part of what is wanted is to be had from the seeds first; the other parts are those of
    /// `sharers`, in this order.
    pub fn set_share(&mut self, share: Share, sharers: Vec<PeerKey>) {
        self.sharers = sharers;
        if share != self.share {
            self.share = share;
            self.own = self.scarce_large.clone();
            self.askable.seeds.extend(&self.seeds);
        }
    }

    /// The connection has measured its round trip.
    pub fn set_rtt(&mut self, peer: PeerKey, rtt: Duration) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.set_rtt(rtt);
        }
    }

    /// Fetch these chunks (number and length) of a content, in place of what was wanted of it
    /// before. Whether there was [room](Self::has_room_for); if not, nothing is changed.
    pub fn want(
        &mut self,
        content: ContentId,
        size: u64,
        missing: impl IntoIterator<Item = (u64, u32)>,
        priority: Priority,
    ) -> bool {
        let replaced = self.wants.get(&content).map_or(0, |want| want.open);
        let others = self.chunks - replaced;
        let most = if others == 0 { usize::MAX } else { self.limits.wanted_chunks.saturating_sub(others) };
        let mut missing: Vec<_> = missing.into_iter().take(most.saturating_add(1)).collect();
        if missing.len() > most {
            return false;
        }
        missing.sort_unstable();
        missing.dedup_by_key(|(number, _)| *number);
        let before = self.remove_want(content);
        if missing.is_empty() {
            return true;
        }
        if self.wants.is_empty() {
            self.endgame.begin();
        }
        let mut want = Want::new(content, priority, size, missing);
        self.endgame.add_wanted(want.standing.scarce_bytes);
        for (key, peer) in &mut self.peers {
            let held = before.as_ref().map(|before| before.held(*key)).unwrap_or_default();
            let told = peer.told.of(&content);
            if !told.is_empty() || !held.is_empty() {
                want.hold(*key, told, peer.is_sure());
                want.hold(*key, &held, peer.is_sure());
                peer.candidates.insert(want.place());
            }
        }
        self.chunks += want.open;
        self.waiting += want.standing.waiting;
        self.waiting_bytes += want.standing.waiting_bytes;
        self.scarce_bytes += want.standing.scarce_bytes;
        self.enlist(&want);
        self.wants.insert(content, Box::new(want));
        self.ask_anybody();
        true
    }

    /// Whether a content of so many missing chunks can be wanted beside what is. One alone always can:
    /// how long a file is must not depend on how many are fetched at once.
    pub fn has_room_for(&self, chunks: usize) -> bool {
        self.chunks == 0 || self.chunks.saturating_add(chunks) <= self.limits.wanted_chunks
    }

    /// A content is no longer wanted. What is under way of it is ignored when it arrives.
    pub fn forget(&mut self, content: ContentId) {
        self.remove_want(content);
    }

    /// Whether nothing is wanted.
    pub fn is_idle(&self) -> bool {
        self.wants.is_empty()
    }

    /// How many things have been looked at so far: what must not grow with the swarm.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// A request that need not be answered any more, since all of it has come from elsewhere.
    pub fn poll_cancel(&mut self) -> Option<RequestId> {
        self.cancelled.pop()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) or
    /// [`poll_request`](Self::poll_request) again, if nothing else happens.
    pub fn poll_timeout(&self, now: Duration) -> Option<Duration> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        let rest = self.rests.first().map(|(until, _)| *until);
        let patience = self.patience_ends().filter(|_| !self.wants.is_empty());
        let endgame = self.endgame_at();
        let soonest = [deadline, rest.filter(|until| *until > now), patience.filter(|at| *at > now), endgame];
        soonest.into_iter().flatten().min()
    }

    /// Changes a want, and with it whatever depends on how much of it waits.
    fn change<T>(&mut self, content: ContentId, change: impl FnOnce(&mut Want) -> T) -> Option<T> {
        let want = self.wants.get_mut(&content)?;
        let (before, rank) = (want.standing, want.rank());
        let answer = change(want);
        let (after, new_rank) = (want.standing, want.rank());
        self.waiting = self.waiting - before.waiting + after.waiting;
        self.waiting_bytes = self.waiting_bytes - before.waiting_bytes + after.waiting_bytes;
        self.scarce_bytes = self.scarce_bytes - before.scarce_bytes + after.scarce_bytes;
        if (before.waiting > 0, rank) != (after.waiting > 0, new_rank) {
            self.ready.remove(&rank);
            if after.waiting > 0 {
                self.ready.insert(new_rank);
            }
        }
        if after.scarce > before.scarce {
            let (is_single, place) = (want.is_single(), want.place());
            self.enlist_scarce(content, is_single, place);
        } else if after.scarce == 0 && before.scarce > 0 {
            let (is_single, place) = (want.is_single(), want.place());
            self.unlist_scarce(content, is_single, place);
        }
        Some(answer)
    }

    fn enlist(&mut self, want: &Want) {
        if want.standing.waiting > 0 {
            self.ready.insert(want.rank());
        }
        if want.standing.scarce > 0 {
            self.enlist_scarce(want.content, want.is_single(), want.place());
        }
    }

    fn enlist_scarce(&mut self, content: ContentId, is_single: bool, place: Place) {
        if is_single {
            self.scarce_small.insert(content);
        } else {
            self.scarce_large.insert(place);
            self.own.insert(place);
        }
    }

    fn unlist_scarce(&mut self, content: ContentId, is_single: bool, place: Place) {
        if is_single {
            self.scarce_small.remove(&content);
        } else {
            self.scarce_large.remove(&place);
            self.own.remove(&place);
        }
    }

    fn remove_want(&mut self, content: ContentId) -> Option<Box<Want>> {
        let want = self.wants.remove(&content)?;
        if want.standing.waiting > 0 {
            self.ready.remove(&want.rank());
        }
        if want.standing.scarce > 0 {
            self.unlist_scarce(content, want.is_single(), want.place());
        }
        self.doubted.remove(&content);
        if let Some(since) = want.unservable_since {
            self.suspects.remove(&(since, content));
        }
        self.chunks -= want.open;
        self.waiting -= want.standing.waiting;
        self.waiting_bytes -= want.standing.waiting_bytes;
        self.scarce_bytes -= want.standing.scarce_bytes;
        Some(want)
    }

    /// Whether a peer is a seed may have changed.
    fn judge_seed(&mut self, peer: PeerKey) {
        let is_seed = self
            .peers
            .get(&peer)
            .is_some_and(|peer| !peer.banned && peer.availability == Availability::Everything);
        if is_seed {
            self.seeds.insert(peer)
        } else {
            self.seeds.remove(&peer)
        };
        let is_shared = self.seeds.len() < self.peers.len();
        if is_shared != self.is_shared {
            self.is_shared = is_shared;
            self.peers.values_mut().for_each(|peer| peer.is_shared = is_shared);
        }
        self.askable.remove(peer);
        self.ask(peer);
        self.judge_at = Duration::ZERO;
        if self.seeds.is_empty() {
            self.ask_anybody();
        }
    }

    /// There may be something to ask a peer for.
    fn ask(&mut self, peer: PeerKey) {
        if self.seeds.contains(&peer) {
            self.askable.seeds.insert(peer);
        } else if self.peers.contains_key(&peer) {
            self.askable.others.insert(peer);
        }
    }

    /// Something has changed that may give anybody something to do.
    fn ask_anybody(&mut self) {
        self.judge_at = Duration::ZERO;
        if self.askable.seeds.len() + self.askable.others.len() < self.peers.len() {
            self.askable.seeds.extend(&self.seeds);
            self.askable.others.extend(self.peers.keys().filter(|key| !self.seeds.contains(key)));
        }
    }
}
