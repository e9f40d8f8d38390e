//! Peers: who is there, what they say, and what they are told.

use std::time::Duration;

use keystore::{DeviceId, FolderVerifier};

use crate::message::{MAX_HEADS, Message};

use super::{Effect, Engine, EngineError, FolderStore, Peer, Reason};

impl<S: FolderStore> Engine<S> {
    pub(super) fn on_joined(&mut self, peer: DeviceId) {
        // A link in the place of another: both sides start anew.
        self.on_left(peer);
        self.peers.insert(peer, Peer::default());
        self.peers_changed = true;
        self.staging.add_peer(peer);
        self.tell(peer, &[]);
        if self.complete == Some(self.state.entries) {
            self.tell_complete();
        }
        self.tell_have(peer);
        self.retry_without_content();
    }

    /// Somebody may have what nobody had.
    pub(super) fn retry_without_content(&mut self) {
        self.retry(Reason::NoContent);
    }

    /// Paths that are not applied for this reason are looked at again.
    pub(super) fn retry(&mut self, reason: Reason) {
        let such =
            self.unapplied.iter().filter(|(path, why)| why.reason == reason && !self.stuck.contains(*path));
        self.revisit.extend(such.map(|(path, _)| path.clone()));
    }

    pub(super) fn on_left(&mut self, peer: DeviceId) {
        self.peers_changed |= self.peers.remove(&peer).is_some();
        self.unopened.remove(&peer);
        self.pulls.forget_peer(&peer);
        self.staging.remove_peer(&peer);
    }

    pub(super) fn on_opened(&mut self, verifier: FolderVerifier) -> Result<(), EngineError> {
        if self.identity.verifier.is_none() {
            self.identity.verifier = Some(verifier);
        }
        for (peer, heads) in std::mem::take(&mut self.unopened) {
            self.on_heads(peer, heads, Vec::new())?;
        }
        Ok(())
    }

    pub(super) fn on_message(
        &mut self,
        now: Duration,
        peer: DeviceId,
        message: Message,
    ) -> Result<(), EngineError> {
        if !self.peers.contains_key(&peer) {
            return Ok(());
        }
        match message {
            Message::Heads { heads } => self.on_heads(peer, heads, Vec::new())?,
            Message::NewHead { head, nodes } => self.on_heads(peer, vec![head], nodes)?,
            Message::Complete { entries } => {
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.complete = Some(entries);
                    known.takes_part = false;
                    self.peers_changed = true;
                }
                self.retry_without_content();
            }
            Message::Gone { content } => self.staging.forget_source(&peer, &content),
            Message::Have { whole, parts } => self.on_have(now, peer, &whole, &parts),
            Message::HaveUpTo { entries, path } => self.on_have_up_to(now, peer, entries, path),
            // How peers reach each other is not the folder's concern.
            Message::Peers { .. }
            | Message::Observed { .. }
            | Message::Reachable { .. }
            | Message::Introduce { .. }
            | Message::Introduced { .. } => {}
        }
        Ok(())
    }

    /// Tells a peer our heads, unless it knows them; `nodes` are what it lacks if it knows the head
    /// before.
    pub(super) fn tell(&mut self, peer: DeviceId, nodes: &[bytes::Bytes]) {
        let (Some(told), Some(known)) = (self.told, self.peers.get_mut(&peer)) else { return };
        if known.told == Some(told) || (known.heads.contains(&told) && self.heads.len() == 1) {
            return;
        }
        known.told = Some(told);
        let message = match (&self.heads[..], nodes.is_empty()) {
            ([head], false) => Message::NewHead { head: head.clone(), nodes: nodes.to_vec() },
            (heads, _) => Message::Heads { heads: heads.iter().take(MAX_HEADS).cloned().collect() },
        };
        self.effects.push_back(Effect::Send(peer, message));
    }

    /// Tells all peers, once we have everything that our head shows.
    pub(super) fn tell_complete(&mut self) {
        let entries = self.state.entries;
        // What could not be applied is not here either, or nobody knows.
        let lacks =
            self.unapplied.values().any(|why| !matches!(why.reason, Reason::Unsynced | Reason::Ignored));
        if self.told.is_none() || lacks {
            return;
        }
        self.complete = Some(entries);
        for (peer, known) in &mut self.peers {
            known.told_begun = false;
            if known.told_complete != Some(entries) {
                known.told_complete = Some(entries);
                self.effects.push_back(Effect::Send(*peer, Message::Complete { entries }));
            }
        }
    }
}
