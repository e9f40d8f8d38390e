//! What the contents of a step need next: lists, preparation, chunks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::engine::{Effect, Engine, EngineError, FolderStore, Prepare, Prepared, Reason, Ticket};
use crate::entry::ContentId;
use crate::message::{ChunkWanted, Run};
use crate::scheduler::RequestId;
use crate::store::NodeId;
use crate::tree::PullError;

use super::holding::present;
use super::{Failure, PATIENCE, Progress, Staging};

impl<S: FolderStore> Engine<S> {
    /// Nobody waits for these any more, unless they are all that is left of a user's edit, or have
    /// come in part.
    pub(in crate::engine) fn forget(&mut self, mut contents: Vec<ContentId>) {
        let staging = &self.staging;
        contents.retain(|id| !staging.displaced.contains(id) && !staging.partial.contains(id));
        if !contents.is_empty() {
            self.effects.push_back(Effect::Forget(contents));
        }
    }

    /// Asks for what the contents of the step need next. Whether any of them was given up.
    pub(in crate::engine) fn advance_fetch(&mut self, now: Duration) -> bool {
        if self.is_stopped() {
            return false;
        }
        let mut any_failed = self.fetch_lists(now);
        self.prepare_waiting();
        let late = self.staging.scheduler.handle_timeout(now);
        for request in late {
            self.cancel(request);
        }
        while let Some(request) = self.staging.scheduler.poll_cancel() {
            self.cancel(request);
        }
        while let Some(assignment) = self.staging.scheduler.poll_request(now) {
            let Some(peer) = self.staging.device(assignment.peer) else { continue };
            let ticket = self.ticket();
            self.staging.requests.insert(ticket, (assignment.request, peer));
            self.effects.push_back(Effect::FetchChunks(ticket, peer, assignment.refs));
        }
        if !self.waits_for_peers() {
            for content in self.staging.scheduler.unservable(now) {
                self.staging.scheduler.forget(content);
                self.staging.keep_partial(&content);
                self.fail(&content, Failure::Nobody);
                any_failed = true;
            }
        }
        any_failed
    }

    /// What had too many chunks to be fetched beside others is prepared again once there is room.
    fn prepare_waiting(&mut self) {
        let Staging { contents, waiting, scheduler, .. } = &mut self.staging;
        let mut wishes = Vec::new();
        waiting.retain(|id| {
            let Some(content) = contents.get_mut(id) else { return false };
            let Progress::Waiting(chunks) = content.progress else { return false };
            // One at a time: what others take is known when its answer is here.
            if wishes.is_empty() && scheduler.has_room_for(chunks) {
                content.progress = Progress::Preparing;
                wishes.push(content.wish.clone());
                return false;
            }
            true
        });
        self.send_prepare(wishes);
    }

    /// Nobody waits for the rest of a request.
    fn cancel(&mut self, request: RequestId) {
        let mut known = self.staging.requests.iter();
        if let Some(ticket) = known.find(|(_, (id, _))| *id == request).map(|(ticket, _)| *ticket) {
            self.staging.requests.remove(&ticket);
            self.effects.push_back(Effect::CancelFetch(ticket));
        }
    }

    /// Without a peer, what needs no content goes on, but not through all of a first sync: a
    /// window's worth of paths without content is enough.
    pub(in crate::engine) fn waits_for_peers(&self) -> bool {
        let lacking = self.unapplied.values().filter(|why| why.reason == Reason::NoContent);
        self.peers.is_empty() && lacking.take(self.settings.window).count() == self.settings.window
    }

    /// Contents whose chunk list is here are prepared; nodes of the others are asked for.
    pub(in crate::engine) fn prepare(&mut self) -> Result<(), EngineError> {
        let mut ready = Vec::new();
        let mut spoilt = Vec::new();
        let Staging { contents, listing, .. } = &mut self.staging;
        listing.retain(|id| matches!(contents.get(id).map(|c| &c.progress), Some(Progress::List(_))));
        for id in &self.staging.listing {
            let Some(content) = self.staging.contents.get_mut(id) else { continue };
            let Progress::List(pull) = &mut content.progress else { continue };
            match pull.poll_missing(&self.store, 256, &self.staging.pushed) {
                Err(PullError::Store(error)) => return Err(error.into()),
                Err(_) => spoilt.push(*id),
                Ok(ids) => self.staging.lists.want(ids),
            }
            if pull.is_complete() {
                ready.push(*id);
            }
        }
        for id in spoilt {
            self.fail(&id, Failure::Nobody);
        }
        let mut wishes = Vec::new();
        for id in ready {
            let Some(content) = self.staging.contents.get_mut(&id) else { continue };
            if let Progress::List(pull) = std::mem::replace(&mut content.progress, Progress::Preparing)
                && let Err(PullError::Store(error)) = pull.finish(&self.store)
            {
                return Err(error.into());
            }
            wishes.push(content.wish.clone());
        }
        self.send_prepare(wishes);
        Ok(())
    }

    pub(in crate::engine) fn send_prepare(&mut self, wishes: Vec<Prepare>) {
        if !wishes.is_empty() {
            self.effects.push_back(Effect::Prepare(wishes));
        }
    }

    pub(super) fn fail(&mut self, content: &ContentId, failure: Failure) {
        if let Some(content) = self.staging.contents.get_mut(content) {
            content.progress = Progress::Failed(failure);
        }
    }

    pub(super) fn fetch_lists(&mut self, now: Duration) -> bool {
        let peers: Vec<_> = self.staging.peers.keys().copied().collect();
        let tickets = &mut self.tickets;
        while let Some((ticket, peer, ids)) = self.staging.lists.poll(&peers, || {
            *tickets += 1;
            *tickets
        }) {
            self.effects.push_back(Effect::FetchNodes(ticket, peer, ids));
        }
        if !self.staging.lists.is_stuck(&peers) || self.waits_for_peers() {
            self.staging.stuck_since = None;
            return false;
        }
        now >= *self.staging.stuck_since.get_or_insert(now) + PATIENCE && self.staging.fail_lists()
    }

    /// Nodes of chunk lists. A node can belong to several lists, so each pull is offered it.
    pub(in crate::engine) fn on_list_nodes(
        &mut self,
        ticket: Ticket,
        answer: Result<Vec<Option<Bytes>>, ()>,
    ) -> Result<(), EngineError> {
        let answer = self.staging.lists.answer(ticket, answer);
        for (id, bytes) in answer.arrived {
            let liar = NodeId::of(&bytes) != id;
            for content in &self.staging.listing {
                let Some(content) = self.staging.contents.get_mut(content) else { continue };
                let Progress::List(pull) = &mut content.progress else { continue };
                if liar || !pull.wants(&id) {
                    continue;
                }
                match pull.handle_node(&self.store, &bytes) {
                    Ok(()) => {}
                    Err(PullError::Store(error)) => return Err(error.into()),
                    Err(_) => content.progress = Progress::Failed(Failure::Nobody),
                }
            }
            if let (true, Some(peer)) = (liar, answer.from) {
                self.effects.push_back(Effect::Drop(peer, "it sent a node that does not verify"));
                self.staging.lists.want([id]);
            }
        }
        self.prepare()
    }

    pub(in crate::engine) fn on_prepared(
        &mut self,
        now: Duration,
        prepared: Vec<Prepared>,
    ) -> Result<(), EngineError> {
        let mut found = BTreeSet::new();
        for Prepared { content, missing } in prepared {
            let Some(known) = self.staging.contents.get_mut(&content) else { continue };
            known.progress = match missing {
                Err(message) => {
                    self.staging.scheduler.forget(content);
                    Progress::Failed(Failure::Disk(message))
                }
                Ok(missing) if missing.is_empty() => {
                    self.news.add_whole(&content);
                    Progress::Ready
                }
                Ok(missing) => {
                    let missing: BTreeMap<_, _> =
                        missing.iter().map(|chunk| (chunk.number, chunk.len)).collect();
                    let chunks = missing.iter().map(|(number, len)| (*number, *len));
                    // Small ones first: they are many, and each is a whole file.
                    if self.staging.scheduler.want(content, known.wish.size, chunks, known.wish.size) {
                        let here = present(&missing, known.wish.size);
                        here.into_iter().for_each(|run| self.news.add_run(&content, run));
                        found.extend(known.is_found.then_some(content));
                        Progress::Fetching(missing)
                    } else {
                        self.staging.waiting.insert(content);
                        Progress::Waiting(missing.len())
                    }
                }
            };
            self.hold_up_to(now, &content);
        }
        if found.is_empty() { Ok(()) } else { self.take_found(&found) }
    }

    pub(in crate::engine) fn on_arrived(&mut self, now: Duration, ticket: Ticket, chunks: &[ChunkWanted]) {
        // Also what comes after its request was given up is here: it must not be asked for again.
        let request = self.staging.request(ticket).unwrap_or(RequestId(0));
        for chunk in chunks {
            self.staging.scheduler.handle_arrived(now, request, *chunk);
            match (self.staging.done(chunk), u32::try_from(chunk.number)) {
                (Some(true), _) => self.news.add_whole(&chunk.content),
                (Some(false), Ok(first)) => self.news.add_run(&chunk.content, Run { first, count: 1 }),
                _ => {}
            }
        }
    }

    pub(in crate::engine) fn on_gone(&mut self, now: Duration, ticket: Ticket, chunks: &[ChunkWanted]) {
        let Some(request) = self.staging.request(ticket) else { return };
        for chunk in chunks {
            self.staging.scheduler.handle_gone(now, request, *chunk);
        }
    }

    pub(in crate::engine) fn on_bad(&mut self, now: Duration, ticket: Ticket, chunks: &[ChunkWanted]) {
        let Some((request, peer)) = self.staging.requests.get(&ticket).copied() else { return };
        for chunk in chunks {
            if self.staging.scheduler.handle_bad(now, request, *chunk) {
                self.effects.push_back(Effect::Drop(peer, "it sent chunks that do not verify"));
                return;
            }
        }
    }

    pub(in crate::engine) fn on_busy(&mut self, now: Duration, ticket: Ticket) {
        if let Some((request, _)) = self.staging.requests.remove(&ticket) {
            self.staging.scheduler.handle_busy(now, request);
        }
    }

    pub(in crate::engine) fn on_fetch_ended(&mut self, now: Duration, ticket: Ticket) {
        if let Some((request, _)) = self.staging.requests.remove(&ticket) {
            self.staging.scheduler.handle_failed(now, request);
        }
    }
}
