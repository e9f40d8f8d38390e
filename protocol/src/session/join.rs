//! The join: naming folders to those who know them, and becoming peers.

use keystore::{FolderId, Opening};

use super::member::{Member, Stage};
use super::proof::PROOF_BYTES;
use super::wire::{self, SLOT_STEP, Slot, Welcome};
use super::{MAX_FRAME_BYTES, MAX_SLOTS, Output, PeerInfo, Session, SessionError};
use crate::message::kind;

/// A join that we have begun.
pub(super) struct Asked {
    /// How many slots it has.
    slots: usize,
    /// What is ours in them: where, which folder, and what its answer must be.
    folders: Vec<(usize, FolderId, blake3::Hash)>,
}

impl Session {
    /// Begins a join of all folders that are due, if none is under way.
    pub(super) fn begin_join(&mut self) {
        let nothing = self.due.is_empty() && !self.first_join_due;
        if self.closed || !self.may_join || self.asked.is_some() || nothing {
            return;
        }
        self.first_join_due = false;
        let side = self.binding.our_side();
        let mut slots = Vec::new();
        while slots.len() < MAX_SLOTS {
            let Some(folder) = self.due.pop_first() else { break };
            let Some(member) = self.folders.get_mut(&folder) else { continue };
            member.asked = true;
            let key = member.proof.key.as_bytes();
            let proof = *self.binding.initiator_proof(key, side).as_bytes();
            let expected = self.binding.responder_proof(key, side);
            slots.push((Slot { tag: member.proof.our_tag, proof }, Some((folder, expected))));
        }
        while slots.is_empty() || !slots.len().is_multiple_of(SLOT_STEP) {
            slots.push((Slot { tag: self.random.bytes(), proof: self.random.bytes() }, None));
        }
        // In the order of tags, which are as good as random: where a folder is tells nothing about
        // how many others there are.
        slots.sort_by_key(|(slot, _)| slot.tag);
        let folders = slots.iter().enumerate();
        let folders =
            folders.filter_map(|(i, (_, ours))| ours.map(|(folder, hash)| (i, folder, hash))).collect();
        self.asked = Some(Asked { slots: slots.len(), folders });
        let slots: Vec<Slot> = slots.into_iter().map(|(slot, _)| slot).collect();
        self.push_frame(&wire::encode_join(&slots));
    }

    /// Answers a join: one value per slot, whatever we know.
    pub(super) fn on_join(&mut self, slots: &[Slot]) {
        let mut proven = Vec::new();
        let answers: Vec<_> = slots.iter().map(|slot| self.answer(slot, &mut proven)).collect();
        self.push_frame(&wire::encode_answer(&answers));
        // From here on, folders that we add are named to the peer: it cannot know that we have them.
        self.may_join = true;
        for folder in proven {
            self.on_proven(&folder);
        }
    }

    /// The same work for folders that we know and for those that we do not: two MACs, one of them
    /// compared in constant time, and fresh random bytes.
    fn answer(&mut self, slot: &Slot, proven: &mut Vec<FolderId>) -> [u8; PROOF_BYTES] {
        let decoy: [u8; PROOF_BYTES] = self.random.bytes();
        let folder = self.tags.get(&slot.tag).copied();
        let member = folder.and_then(|folder| self.folders.get(&folder));
        let key = member.map_or(&decoy, |member| member.proof.key.as_bytes());
        let side = self.binding.peer_side();
        let holds = self.binding.initiator_proof(key, side) == slot.proof;
        let answer = self.binding.responder_proof(key, side);
        match folder {
            Some(folder) if holds => {
                proven.push(folder);
                *answer.as_bytes()
            }
            _ => decoy,
        }
    }

    /// Looks at the answers to our join.
    pub(super) fn on_answer(&mut self, answers: &[[u8; PROOF_BYTES]]) -> Result<(), SessionError> {
        let asked = self.asked.take().filter(|asked| asked.slots == answers.len());
        let asked = asked.ok_or(SessionError::Unexpected(kind::ANSWER))?;
        for (slot, folder, expected) in asked.folders {
            let Some(member) = self.folders.get_mut(&folder) else { continue };
            member.asked = false;
            if answers.get(slot).is_some_and(|answer| expected == *answer) {
                self.on_proven(&folder);
            } else if member.leaving && member.stage == Stage::Offered {
                self.forget(&folder);
            }
        }
        Ok(())
    }

    /// The peer has proved a folder, by its join or by its answer to ours: the first of the two
    /// counts.
    fn on_proven(&mut self, folder: &FolderId) {
        let Some(member) = self.folders.get_mut(folder) else { return };
        if member.stage != Stage::Offered {
            return;
        }
        let channel = self.next_channel;
        self.next_channel += 1;
        self.channels.insert(channel, *folder);
        member.stage = Stage::Proven { channel };
        self.due.remove(folder);
        self.proven = true;
        self.decoder.set_limit(MAX_FRAME_BYTES);
        if member.leaving {
            return;
        }
        member.opening_shared = member.opening.is_some();
        let welcome = Welcome {
            folder: *folder,
            channel,
            device: self.device.id(),
            signature: self.device.sign(&self.binding.device_statement(self.binding.our_side())),
            name: self.name.clone(),
            capability: member.secret.capability(),
            opening: member.opening.clone(),
        };
        self.push_frame(&welcome.encode());
        self.outputs.push_back(Output::Proven { folder: *folder });
    }

    /// The peer says who it is. A folder that we do not have and one that it has not proved look
    /// the same to it.
    pub(super) fn on_welcome(&mut self, welcome: Welcome) -> Result<(), SessionError> {
        let unexpected = SessionError::Unexpected(kind::WELCOME);
        let folder = welcome.folder;
        let Some(Member { stage: Stage::Proven { channel }, leaving, .. }) = self.folders.get(&folder) else {
            return Err(unexpected);
        };
        let (channel, leaving) = (*channel, *leaving);
        self.check_device(&welcome)?;
        let peer_channel = welcome.channel;
        if leaving {
            self.push_frame(&wire::encode_leave(peer_channel));
            self.forget(&folder);
            return Ok(());
        }
        if let Some(member) = self.folders.get_mut(&folder) {
            member.stage = Stage::Joined { channel, peer_channel };
        }
        let Welcome { device, name, capability, opening, .. } = welcome;
        let peer = PeerInfo { device_id: device, name, capability };
        if let Some(opening) = opening {
            self.on_opening(&folder, &opening)?;
        }
        self.outputs.push_back(Output::Joined { folder, peer });
        self.tell_opening(&folder);
        Ok(())
    }

    fn check_device(&mut self, welcome: &Welcome) -> Result<(), SessionError> {
        let shown = (welcome.device, welcome.signature);
        match &self.peer {
            Some(known) if *known == shown => return Ok(()),
            Some((device, _)) if *device != welcome.device => return Err(SessionError::OtherDevice),
            _ => {}
        }
        let statement = self.binding.device_statement(self.binding.peer_side());
        if !welcome.device.verify(&statement, &welcome.signature) {
            return Err(SessionError::WrongSignature);
        }
        if welcome.device == self.device.id() {
            return Err(SessionError::Ourselves);
        }
        self.peer = Some(shown);
        Ok(())
    }

    /// The peer told who the folder's writers are.
    pub(super) fn on_opening(&mut self, folder: &FolderId, opening: &Opening) -> Result<(), SessionError> {
        let Some(member) = self.folders.get_mut(folder) else { return Ok(()) };
        member.opening_shared = true;
        if member.opening.as_ref() == Some(opening) {
            return Ok(());
        }
        if member.secret.check_opening(opening).is_err() {
            return Err(SessionError::WrongOpening);
        }
        if member.opening.is_none() {
            member.opening = Some(opening.clone());
            self.outputs.push_back(Output::Opening { folder: *folder, opening: opening.clone() });
        }
        Ok(())
    }

    /// Tells the opening to a peer that may not know it.
    pub(super) fn tell_opening(&mut self, folder: &FolderId) {
        let Some(member) = self.folders.get_mut(folder) else { return };
        let (Some(channel), Some(opening)) = (member.peer_channel(), &member.opening) else { return };
        if member.opening_shared {
            return;
        }
        let frame = wire::encode_opening(channel, opening);
        member.opening_shared = true;
        self.push_frame(&frame);
    }

    /// The peer leaves a folder, or will not enter.
    pub(super) fn on_leave(&mut self, channel: u32) -> Result<(), SessionError> {
        let Some(folder) = self.known_channel(channel)? else { return Ok(()) };
        self.channels.remove(&channel);
        let Some(member) = self.folders.get_mut(&folder) else { return Ok(()) };
        if matches!(member.stage, Stage::Joined { .. }) {
            self.outputs.push_back(Output::Left { folder });
        }
        member.stage = Stage::Offered;
        member.opening_shared = false;
        if member.leaving && !member.asked {
            self.forget(&folder);
        }
        Ok(())
    }

    /// Drops a folder, and offers it anew if that was asked for meanwhile.
    pub(super) fn forget(&mut self, folder: &FolderId) {
        let Some(member) = self.folders.remove(folder) else { return };
        if let Some(channel) = member.channel() {
            self.channels.remove(&channel);
        }
        self.tags.remove(&member.proof.peer_tag);
        self.due.remove(folder);
        if let Some((secret, opening)) = member.again {
            self.offer(&secret, opening);
        }
    }
}
