//! Who has what: the have-messages of incomplete peers, and what they turn out to be worth.

use std::collections::BTreeSet;
use std::time::Duration;

use super::told::WHOLE;
use super::{Availability, Peer, PeerKey, Scheduler};
use crate::entry::ContentId;
use crate::message::{ContentPrefix, HavePart, Run};

impl Scheduler {
    /// An incomplete peer says what it has. It is remembered, also if it is not wanted yet.
    pub fn handle_have(&mut self, now: Duration, peer: PeerKey, whole: &[ContentPrefix], parts: &[HavePart]) {
        // To say a thing often costs no more than to say it once.
        for content in whole.iter().collect::<BTreeSet<_>>() {
            self.take_have(now, peer, *content, &[WHOLE]);
        }
        for part in parts {
            self.take_have(now, peer, part.content, &part.runs);
        }
    }

    /// An incomplete peer has this content, as far as is known.
    pub fn handle_have_whole(&mut self, now: Duration, peer: PeerKey, content: ContentId) {
        let is_listened_to = self.peers.get(&peer).is_some_and(|known| {
            known.availability == Availability::Perhaps && !known.banned && known.is_believed()
        });
        if is_listened_to {
            self.hold(now, peer, content, &[WHOLE]);
        }
    }

    fn take_have(&mut self, now: Duration, peer: PeerKey, prefix: ContentPrefix, runs: &[Run]) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if known.availability != Availability::Perhaps || known.banned || !known.is_believed() {
            return;
        }
        self.work += runs.len() as u64;
        let wanted = self.wants.range(prefix.first()..).map(|(content, _)| *content);
        let wanted: Vec<_> = wanted.take_while(|content| ContentPrefix::of(content) == prefix).collect();
        if wanted.is_empty() {
            known.told.note(prefix, runs);
        }
        for content in wanted {
            self.hold(now, peer, content, runs);
        }
    }

    fn hold(&mut self, now: Duration, peer: PeerKey, content: ContentId, runs: &[Run]) {
        let before = self.scarce_bytes;
        let is_sure = self.peers.get(&peer).is_some_and(Peer::is_sure);
        let held = self.change(content, |want| {
            let is_back = want.gone.remove(&peer);
            let is_new = want.hold(peer, runs, is_sure);
            (is_new || is_back, want.place(), want.unservable_since.take())
        });
        let Some((is_new, place, since)) = held else { return };
        if let Some(since) = since {
            self.suspects.remove(&(since, content));
        }
        if self.scarce_bytes < before {
            self.pace.on_progress(now);
        }
        if is_new && let Some(known) = self.peers.get_mut(&peer) {
            known.candidates.insert(place);
            self.askable.others.insert(peer);
            self.ask_held_back();
        }
    }

    /// The peer says, unasked, that it no longer has this content.
    pub fn content_gone(&mut self, peer: PeerKey, content: ContentId) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.told.forget(&content);
        let was_sure = known.is_sure();
        let changed = self.change(content, |want| {
            want.gone.insert(peer);
            want.let_go(peer, was_sure);
        });
        if changed.is_some() {
            self.doubted.insert(content);
            self.ask_anybody();
        }
    }

    /// Nothing that a peer has said to have counts.
    pub(super) fn let_go_of_all(&mut self, peer: PeerKey) {
        let was_sure = self.peers.get(&peer).is_some_and(Peer::is_sure);
        for content in self.held_by(peer) {
            self.change(content, |want| want.let_go(peer, was_sure));
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.candidates.clear();
            known.told = Default::default();
        }
    }

    /// Changes a peer, and with it what it counts for if it can be counted on from now on, or no more.
    pub(super) fn judge_trust<T>(&mut self, peer: PeerKey, change: impl FnOnce(&mut Peer) -> T) -> Option<T> {
        let known = self.peers.get_mut(&peer)?;
        let before = known.is_sure();
        let answer = change(known);
        let is_sure = known.is_sure();
        if is_sure != before {
            if is_sure {
                self.failing.remove(&peer)
            } else {
                self.failing.insert(peer)
            };
            for content in self.held_by(peer) {
                self.change(content, |want| want.trust(peer, is_sure));
            }
        }
        Some(answer)
    }

    /// Contents of which an incomplete peer has said to have something.
    fn held_by(&mut self, peer: PeerKey) -> Vec<ContentId> {
        self.work += self.wants.len() as u64;
        let held = self.wants.values().filter(|want| want.holders.contains_key(&peer));
        held.map(|want| want.content).collect()
    }

    /// A peer does not have a chunk that it was asked for.
    pub(super) fn deny(&mut self, peer: PeerKey, content: ContentId, number: u64) {
        let Some(known) = self.peers.get(&peer) else { return };
        let is_partial = known.availability == Availability::Perhaps;
        let claims = self.wants.get(&content).and_then(|want| {
            let bits = want.holders.get(&peer)?;
            Some(want.find(number).is_some_and(|at| bits.has(at)))
        });
        if is_partial && claims == Some(false) {
            // It was asked at random, and has meanwhile said what it has: that counts.
            return;
        }
        self.content_gone(peer, content);
        if is_partial && claims == Some(true) {
            // What else it says to have still counts: to look at all of it for each lie would cost more
            // than to ask.
            self.failing.insert(peer);
            let is_believed = self.peers.get_mut(&peer).is_some_and(|known| {
                known.on_lie();
                known.is_believed()
            });
            if !is_believed {
                self.let_go_of_all(peer);
            }
        }
    }
}
