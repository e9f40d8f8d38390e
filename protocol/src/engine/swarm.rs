//! What downloaders tell each other, so that a seed sends each chunk once.
//!
//! Whoever fetches says so, and what it has verified, to those who are not complete either; whoever
//! joins is told all of it at once. Who takes part, and with that which part of what is wanted is
//! ours to take from the seeds, follows from who has spoken.

use std::time::Duration;

use keystore::DeviceId;

use crate::message::{ContentPrefix, HavePart, Message};
use crate::path::RelPath;
use crate::scheduler::{News, Share, Telling, neighbours};
use crate::store::NodeId;

use super::{Effect, Engine, FolderStore};

impl<S: FolderStore> Engine<S> {
    pub(super) fn on_have(
        &mut self,
        now: Duration,
        peer: DeviceId,
        whole: &[ContentPrefix],
        parts: &[HavePart],
    ) {
        self.takes_part(peer);
        self.staging.handle_have(now, &peer, whole, parts);
    }

    pub(super) fn on_have_up_to(&mut self, now: Duration, peer: DeviceId, entries: NodeId, path: RelPath) {
        self.takes_part(peer);
        if entries == self.state.entries {
            self.staging.handle_have_up_to(now, &peer, &path);
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.up_to = Some((entries, path));
        }
    }

    fn takes_part(&mut self, peer: DeviceId) {
        if let Some(known) = self.peers.get_mut(&peer) {
            self.peers_changed |= !std::mem::replace(&mut known.takes_part, true);
        }
    }

    /// Complete peers are asked first; complete is who has all content of just our state. The others
    /// share with us what they are asked for: when all begin at once, nobody has said so yet.
    pub(super) fn judge_peers(&mut self) {
        let entries = self.state.entries;
        if !std::mem::take(&mut self.peers_changed) && self.judged == Some(entries) {
            return;
        }
        self.judged = Some(entries);
        let (mut index, mut active, mut sharers) = (0, 0, Vec::new());
        self.has_audience = false;
        for (peer, known) in &self.peers {
            let is_complete = known.complete == Some(entries);
            self.staging.set_complete(*peer, is_complete);
            self.has_audience |= !is_complete;
            if !is_complete {
                sharers.push(*peer);
                index += u32::from(*peer < self.identity.device);
                active += u32::from(known.takes_part);
            }
        }
        let count = 1 + u32::try_from(sharers.len()).unwrap_or(u32::MAX - 1);
        self.staging.set_share(Share { index, count, active }, &sharers);
    }

    /// Tells the other downloaders what is new here.
    pub(super) fn advance_news(&mut self, now: Duration) {
        if !self.has_audience {
            self.news.clear();
        }
        let Telling { messages, has_begun } = self.news.poll(now);
        let entries = self.state.entries;
        let mut others = Vec::new();
        for (peer, known) in self.peers.iter_mut().filter(|(_, known)| known.complete != Some(entries)) {
            if has_begun && !std::mem::replace(&mut known.told_begun, true) {
                self.effects.push_back(Effect::Send(*peer, Telling::begun()));
            }
            others.push(*peer);
        }
        if messages.is_empty() {
            return;
        }
        for peer in neighbours(&self.identity.device, others.into_iter()) {
            self.effects.extend(messages.iter().map(|message| Effect::Send(peer, message.clone())));
        }
    }

    /// Who joins a fetch that is under way is told at once what it can take from here.
    pub(super) fn tell_have(&mut self, peer: DeviceId) {
        if !self.step.is_running() {
            return;
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.told_begun = true;
        }
        let (whole, parts) = self.staging.have();
        let up_to = self.step.up_to().map(|(entries, path)| Message::HaveUpTo { entries, path });
        let mut messages: Vec<_> = News::messages(whole, parts).into_iter().chain(up_to).collect();
        if messages.is_empty() {
            // That we fetch is news as well.
            messages.push(Telling::begun());
        }
        self.effects.extend(messages.into_iter().map(|message| Effect::Send(peer, message)));
    }

    /// Peers that hold everything up to the path of a content hold it too.
    pub(super) fn hold_up_to(&mut self, now: Duration, content: &crate::entry::ContentId) {
        for (peer, known) in &self.peers {
            if let Some((entries, path)) = &known.up_to
                && *entries == self.state.entries
            {
                self.staging.hold_up_to(now, peer, path, content);
            }
        }
    }
}
