//! The last chunks: when everything is asked for, and somebody is slow.
//!
//! What a slow peer is about to send is asked of a faster one as well. Whoever comes first wins; the
//! other's request is taken back as soon as nothing else of it is wanted. What is sent twice for it
//! is at most a fiftieth of all.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Assignment, Availability, PeerKey, Scheduler};
use crate::message::ChunkWanted;

/// Of all that is wanted, one part of so many may be asked for twice.
const TWICE_PART: u64 = 50;
/// How often it is looked for somebody slow.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A peer is slow for another if it takes so many times as long …
const SLOW: u32 = 2;
/// … and so much more.
const SLOW_BY: Duration = Duration::from_millis(300);
/// Of so many contents it is looked who has them …
const MOST_CONTENTS: usize = 64;
/// … and at so many of these peers.
const MOST_HELPERS: usize = 64;
/// With less than this to fetch it does not matter who sends it, but how soon it is here.
pub const LARGE_BYTES: u64 = 1 << 20;

/// What the end of a fetch goes by; a fetch begins when nothing was wanted before.
#[derive(Default)]
pub(super) struct Endgame {
    wanted_bytes: u64,
    twice_bytes: u64,
    look_at: Duration,
}

impl Endgame {
    pub(super) fn begin(&mut self) {
        (self.wanted_bytes, self.twice_bytes) = (0, 0);
    }

    pub(super) fn add_wanted(&mut self, bytes: u64) {
        self.wanted_bytes += bytes;
    }

    pub(super) fn is_large(&self) -> bool {
        self.wanted_bytes > LARGE_BYTES
    }

    fn left_bytes(&self) -> u64 {
        (self.wanted_bytes / TWICE_PART).saturating_sub(self.twice_bytes)
    }
}

impl Scheduler {
    /// When it is to be looked for somebody slow.
    pub(super) fn endgame_at(&self) -> Option<Duration> {
        let is_end = self.waiting == 0 && !self.requests.is_empty() && self.peers.len() > 1;
        (is_end && self.endgame.left_bytes() > 0).then_some(self.endgame.look_at)
    }

    /// A request for what others are asked for, and will not have sent for a while.
    pub(super) fn poll_twice(&mut self, now: Duration) -> Option<Assignment> {
        if self.endgame_at().is_none_or(|at| at > now) {
            return None;
        }
        for key in self.able_to_help(now) {
            let refs = self.pick_twice(now, key);
            if !refs.is_empty() {
                self.endgame.twice_bytes += refs.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>();
                return Some(self.assign(now, key, refs));
            }
        }
        self.endgame.look_at = now + LOOK_EVERY;
        None
    }

    /// Who could send at once something of what others are asked for: the quickest first.
    fn able_to_help(&mut self, now: Duration) -> Vec<PeerKey> {
        let contents: BTreeSet<_> = self
            .requests
            .values()
            .flat_map(|request| request.refs.iter().map(|chunk| chunk.content))
            .collect();
        let wants = contents.iter().take(MOST_CONTENTS).filter_map(|content| self.wants.get(content));
        let holders: BTreeSet<_> = wants.flat_map(|want| want.holders.keys()).collect();
        self.work += holders.len() as u64 + self.seeds.len() as u64;
        let known = self.seeds.iter().chain(holders).filter_map(|key| Some((key, self.peers.get(key)?)));
        let able =
            known.filter(|(_, peer)| !peer.banned && peer.rest_until <= now && peer.budget_bytes() > 0);
        let mut able: Vec<_> = able.map(|(key, peer)| (peer.backlog(), *key)).collect();
        able.sort_unstable();
        able.truncate(MOST_HELPERS);
        able.into_iter().map(|(_, key)| key).collect()
    }

    /// What of the slowest request `peer` should be asked for too: its end, which comes last.
    fn pick_twice(&self, now: Duration, peer: PeerKey) -> Vec<ChunkWanted> {
        let Some(known) = self.peers.get(&peer) else { return Vec::new() };
        let budget = known.budget_bytes().min(self.endgame.left_bytes());
        let is_slow = |other: &PeerKey, bytes: u64| {
            let backlog = self.peers.get(other).map_or(Duration::ZERO, |other| other.doubtful_backlog(now));
            (backlog > known.time_for(bytes) * SLOW + SLOW_BY).then_some(backlog)
        };
        let slow = self.requests.values().filter(|request| request.peer != peer);
        let slow = slow.filter_map(|request| {
            let last = request.refs.last()?;
            Some((is_slow(&request.peer, u64::from(last.len))?, request))
        });
        let mut slow: Vec<_> = slow.collect();
        slow.sort_by_key(|(backlog, _)| std::cmp::Reverse(*backlog));
        let mut bytes = 0;
        let mut refs = Vec::new();
        for (_, request) in slow {
            for chunk in request.refs.iter().rev().filter(|chunk| self.has_once(peer, chunk)) {
                bytes += u64::from(chunk.len);
                if bytes > budget || is_slow(&request.peer, bytes).is_none() {
                    return refs;
                }
                refs.push(*chunk);
            }
        }
        refs
    }

    /// Whether `peer` has a chunk for which only one other is asked.
    fn has_once(&self, peer: PeerKey, chunk: &ChunkWanted) -> bool {
        let Some(want) = self.wants.get(&chunk.content) else { return false };
        let Some(at) = want.find(chunk.number) else { return false };
        let is_seed = self.peers.get(&peer).is_some_and(|p| p.availability == Availability::Everything);
        let has = is_seed || want.holders.get(&peer).is_some_and(|bits| bits.has(at));
        has && want.chunks[at].asks == 1 && !want.has_arrived(at) && !want.gone.contains(&peer)
    }
}
