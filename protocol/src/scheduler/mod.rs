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
//! from the seeds, and the rest from the others as soon as they say to have it, the rarest first.
//!
//! Pure: time is a [`Duration`] since any fixed start, and no data passes through here. Not here:
//! when to tell what we have ([`News`] does that), and whom to serve first, which is decided where
//! chunks are served.
//!
//! Reading order: `want` and `peer` are what is known, `pick` chooses, `outcome` hears what became
//! of it, `holders` who has what, `endgame` the last few chunks.

mod bits;
mod endgame;
mod holders;
mod news;
mod outcome;
mod pace;
mod peer;
mod pick;
mod request;
mod share;
mod told;
mod want;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::entry::ContentId;
use crate::message::ChunkWanted;
pub use endgame::LARGE_BYTES;
pub use news::{News, neighbours};
use peer::Peer;
pub use request::{Assignment, Availability, Limits, PeerKey, Priority, RequestId};
pub use share::Share;
use want::{Place, Rank, Want};

/// A content that no connected peer could serve for this long is a problem of its paths.
const UNSERVABLE_AFTER: Duration = Duration::from_secs(10);
/// Without a seed, whether contents can be served is looked at this often, if nothing changes.
const JUDGE_EVERY: Duration = Duration::from_secs(1);

/// Decides who is asked for which chunk; see the [module](self).
pub struct Scheduler {
    limits: Limits,
    share: Share,
    peers: BTreeMap<PeerKey, Peer>,
    /// The complete ones that are not banned.
    seeds: BTreeSet<PeerKey>,
    wants: BTreeMap<ContentId, Want>,
    /// The wants that have waiting chunks, in their order.
    ready: BTreeSet<Rank>,
    /// Those of one chunk that no incomplete peer has.
    scarce_small: BTreeSet<ContentId>,
    /// Those of several chunks, some of which no incomplete peer has.
    scarce_large: BTreeSet<Place>,
    /// Of `scarce_large`, those of which our share may not be exhausted.
    own: BTreeSet<Place>,
    /// Contents that some peer has said not to have.
    doubted: BTreeSet<ContentId>,
    /// Contents that nobody can serve, and since when.
    suspects: BTreeSet<(Duration, ContentId)>,
    judge_at: Duration,
    /// Peers for which there may be something to ask for.
    askable: BTreeSet<PeerKey>,
    requests: BTreeMap<RequestId, Request>,
    deadlines: BTreeSet<(Duration, RequestId)>,
    /// Who is left alone, and until when.
    rests: BTreeSet<(Duration, PeerKey)>,
    cancelled: Vec<RequestId>,
    pace: pace::Pace,
    endgame: endgame::Endgame,
    /// Chunks that are wanted and have not arrived.
    chunks: usize,
    /// Of these, those that nobody is asked for, and their bytes that no incomplete peer has.
    waiting: usize,
    scarce_bytes: u64,
    last_request: u64,
    work: u64,
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
            peers: BTreeMap::new(),
            seeds: BTreeSet::new(),
            wants: BTreeMap::new(),
            ready: BTreeSet::new(),
            scarce_small: BTreeSet::new(),
            scarce_large: BTreeSet::new(),
            own: BTreeSet::new(),
            doubted: BTreeSet::new(),
            suspects: BTreeSet::new(),
            judge_at: Duration::ZERO,
            askable: BTreeSet::new(),
            requests: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            rests: BTreeSet::new(),
            cancelled: Vec::new(),
            pace: pace::Pace::default(),
            endgame: endgame::Endgame::default(),
            chunks: 0,
            waiting: 0,
            scarce_bytes: 0,
            last_request: 0,
            work: 0,
        }
    }

    /// A peer is connected.
    pub fn add_peer(&mut self, peer: PeerKey, availability: Availability, rtt: Duration) {
        self.remove_peer(peer);
        self.peers.insert(peer, Peer::new(availability, rtt));
        self.judge_seed(peer);
    }

    /// A peer is gone; what it was asked for is asked for elsewhere.
    pub fn remove_peer(&mut self, peer: PeerKey) {
        self.drop_requests(peer);
        if let Some(known) = self.peers.remove(&peer) {
            self.rests.remove(&(known.rest_until, peer));
            self.let_go_of_all(peer);
            for want in self.wants.values_mut() {
                want.gone.remove(&peer);
                for failed in want.failed.values_mut() {
                    failed.remove(&peer);
                }
            }
        }
        self.askable.remove(&peer);
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

    /// Which part of what is wanted is to be had from the seeds first.
    pub fn set_share(&mut self, share: Share) {
        if share != self.share {
            self.share = share;
            self.own = self.scarce_large.clone();
            self.ask_anybody();
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
        let missing: BTreeMap<u64, u32> = missing.into_iter().take(self.limits.wanted_chunks + 1).collect();
        let replaced = self.wants.get(&content).map_or(0, |want| want.open);
        if self.chunks - replaced + missing.len() > self.limits.wanted_chunks {
            return false;
        }
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
                want.hold(*key, told);
                want.hold(*key, &held);
                peer.candidates.insert(want.place());
            }
        }
        self.chunks += want.open;
        self.waiting += want.standing.waiting;
        self.scarce_bytes += want.standing.scarce_bytes;
        self.enlist(&want);
        self.wants.insert(content, want);
        self.ask_anybody();
        true
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

    /// Contents that no connected peer could serve for 10 s of calls to this: call it about once
    /// a second. Without any peer that is all of them.
    pub fn unservable(&mut self, now: Duration) -> Vec<ContentId> {
        let is_due = self.unservable_at().is_some_and(|at| at <= now);
        if self.seeds.is_empty() && now < self.judge_at && !is_due {
            return Vec::new();
        }
        self.judge_at = now + JUDGE_EVERY;
        let judged: Vec<ContentId> = if self.seeds.is_empty() {
            self.wants.keys().copied().collect()
        } else {
            self.doubted.iter().copied().chain(self.suspects.iter().map(|(_, content)| *content)).collect()
        };
        let mut found = BTreeSet::new();
        for content in judged {
            let Some(can_be_served) = self.wants.get(&content).map(|want| self.can_be_served(want)) else {
                continue;
            };
            let Some(want) = self.wants.get_mut(&content) else { continue };
            if can_be_served {
                if let Some(since) = want.unservable_since.take() {
                    self.suspects.remove(&(since, content));
                }
                continue;
            }
            let since = *want.unservable_since.get_or_insert(now);
            self.suspects.insert((since, content));
            if now.saturating_sub(since) >= UNSERVABLE_AFTER {
                found.insert(content);
            }
        }
        found.into_iter().collect()
    }

    /// When [`unservable`](Self::unservable) will answer something, if nothing else happens.
    pub fn unservable_at(&self) -> Option<Duration> {
        self.suspects.first().map(|(since, _)| *since + UNSERVABLE_AFTER)
    }

    fn can_be_served(&self, want: &Want) -> bool {
        let may_have = |(key, peer): (&PeerKey, &Peer)| match peer.availability {
            _ if peer.banned || want.gone.contains(key) => false,
            Availability::Everything => true,
            Availability::Perhaps => !want.holders.contains_key(key),
            Availability::Nothing => false,
        };
        want.standing.scarce == 0 || self.peers.iter().any(may_have)
    }

    /// Changes a want, and with it whatever depends on how much of it waits.
    fn change<T>(&mut self, content: ContentId, change: impl FnOnce(&mut Want) -> T) -> Option<T> {
        let want = self.wants.get_mut(&content)?;
        let (before, rank) = (want.standing, want.rank());
        let answer = change(want);
        let (after, new_rank) = (want.standing, want.rank());
        self.waiting = self.waiting - before.waiting + after.waiting;
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
            let place = want.place();
            self.scarce_small.remove(&content);
            self.scarce_large.remove(&place);
            self.own.remove(&place);
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

    fn remove_want(&mut self, content: ContentId) -> Option<Want> {
        let want = self.wants.remove(&content)?;
        self.ready.remove(&want.rank());
        self.scarce_small.remove(&content);
        self.scarce_large.remove(&want.place());
        self.own.remove(&want.place());
        self.doubted.remove(&content);
        if let Some(since) = want.unservable_since {
            self.suspects.remove(&(since, content));
        }
        self.chunks -= want.open;
        self.waiting -= want.standing.waiting;
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
        self.peers.values_mut().for_each(|peer| peer.is_shared = is_shared);
        self.ask_anybody();
    }

    /// Something has changed that may give anybody something to do.
    fn ask_anybody(&mut self) {
        self.judge_at = Duration::ZERO;
        if self.askable.len() < self.peers.len() {
            self.askable.extend(self.peers.keys());
        }
    }
}
