//! Fetching the states that others vouch for, and merging them.
//!
//! A state merges whole: first the context of a head is fetched, which says whether there is
//! anything new in it at all; then every node of its entries that is not here; only then is the
//! context raised. One head is fetched at a time.

mod merging;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use keystore::DeviceId;

use super::fetch::NodeFetch;
use super::{Changes, Effect, Engine, EngineError, FolderStore, Ticket};
use crate::Entry;
use crate::context::Context;
use crate::context::ContextItem;
use crate::head::{Head, SignedHead};
use crate::store::NodeId;
use crate::tree::{ItemNodes, Pull, PullError};

/// Heads that wait to be fetched, for all peers together; beyond that the oldest is dropped (its
/// peer tells it again when it joins again, or has a newer one).
const MAX_WAITING: usize = 64;
/// A head that nobody could send all nodes of is tried again after this.
const PARKED: Duration = Duration::from_secs(5);

/// Heads on their way.
#[derive(Default)]
pub(super) struct Pulls {
    waiting: VecDeque<Wanted>,
    active: Option<Active>,
    /// Nobody could send all nodes of these.
    parked: Vec<Wanted>,
    parked_until: Option<Duration>,
}

struct Wanted {
    signed: SignedHead,
    head: Head,
    /// Who has it.
    peers: BTreeSet<DeviceId>,
    /// Nodes that came with it.
    pushed: BTreeMap<NodeId, Bytes>,
}

struct Active {
    wanted: Wanted,
    phase: Phase,
    fetch: NodeFetch,
}

enum Phase {
    Context(Pull<ItemNodes<ContextItem>>),
    Entries(Context, Pull<ItemNodes<Entry>>),
}

impl Pulls {
    pub(super) fn is_any(&self) -> bool {
        self.active.is_some() || !self.waiting.is_empty() || !self.parked.is_empty()
    }

    pub(super) fn roots(&self) -> impl Iterator<Item = NodeId> {
        let wanted =
            self.waiting.iter().chain(&self.parked).chain(self.active.as_ref().map(|active| &active.wanted));
        wanted.flat_map(|wanted| [wanted.head.context, wanted.head.entries])
    }

    /// When parked heads are tried again.
    pub(super) fn wake_at(&self) -> Option<Duration> {
        self.parked_until.filter(|_| !self.parked.is_empty())
    }

    /// Heads that only this peer has told are not fetched any more, unless one is under way.
    fn supersede(&mut self, peer: &DeviceId) {
        for wanted in self.waiting.iter_mut().chain(&mut self.parked) {
            wanted.peers.remove(peer);
        }
        self.waiting.retain(|wanted| !wanted.peers.is_empty());
        self.parked.retain(|wanted| !wanted.peers.is_empty());
    }

    pub(super) fn forget_peer(&mut self, peer: &DeviceId) {
        self.supersede(peer);
        if let Some(active) = &mut self.active {
            active.wanted.peers.remove(peer);
            active.fetch.forget_peer(peer);
            if active.wanted.peers.is_empty() {
                self.active = None;
            }
        }
    }

    /// Is to be fetched from those who are left.
    fn put_back(&mut self, wanted: Wanted) {
        if !wanted.peers.is_empty() {
            self.waiting.push_front(wanted);
        }
    }

    fn want(&mut self, wanted: Wanted) {
        let same = self.active.as_mut().map(|a| &mut a.wanted).into_iter().chain(&mut self.waiting);
        for known in same {
            if known.signed == wanted.signed {
                known.peers.extend(wanted.peers);
                known.pushed.extend(wanted.pushed);
                return;
            }
        }
        if self.waiting.len() == MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(wanted);
    }
}

impl<S: FolderStore> Engine<S> {
    pub(super) fn on_heads(
        &mut self,
        peer: DeviceId,
        heads: Vec<SignedHead>,
        nodes: Vec<Bytes>,
    ) -> Result<(), EngineError> {
        let Some(verifier) = self.identity.verifier.clone() else {
            // Told again to ourselves when a peer has told us the key.
            self.unopened.insert(peer, heads);
            return Ok(());
        };
        // Whoever tells news has nothing to add to what it told before.
        self.pulls.supersede(&peer);
        if let Some(known) = self.peers.get_mut(&peer) {
            known.heads.clear();
        }
        let pushed: BTreeMap<_, _> = nodes.into_iter().map(|bytes| (NodeId::of(&bytes), bytes)).collect();
        for signed in heads {
            let Ok(head) = signed.open(&verifier, self.identity.folder) else {
                self.effects.push_back(Effect::Drop(peer, "it sent a head that nobody with the key signed"));
                return Ok(());
            };
            let roots = (head.entries, head.context);
            if let Some(known) = self.peers.get_mut(&peer) {
                known.heads.push(roots);
            }
            if roots == (self.state.entries, self.state.context_root) && self.first_head {
                self.adopt(signed)?;
            } else {
                let peers = BTreeSet::from([peer]);
                self.pulls.want(Wanted { signed, head, peers, pushed: pushed.clone() });
            }
        }
        Ok(())
    }

    /// A reader that has several heads is told one that vouches for all of them.
    fn adopt(&mut self, signed: SignedHead) -> Result<(), EngineError> {
        if !self.is_writer() && self.heads.len() > 1 {
            self.heads = vec![signed];
            let changes = Changes { heads: Some(self.heads.clone()), ..Changes::default() };
            self.keep(changes)?;
        }
        Ok(())
    }

    pub(super) fn on_nodes(
        &mut self,
        ticket: Ticket,
        answer: Result<Vec<Option<Bytes>>, ()>,
    ) -> Result<(), EngineError> {
        let Some(active) = self.pulls.active.as_mut().filter(|active| active.fetch.has(ticket)) else {
            return self.on_list_nodes(ticket, answer);
        };
        let answer = active.fetch.answer(ticket, answer);
        for (_, bytes) in answer.arrived {
            if let Err(error) = active.phase.handle_node(&self.store, &bytes) {
                return self.refuse_pull(answer.from, error);
            }
        }
        Ok(())
    }

    /// A node did not verify: whoever sent it, or signed what names it, cannot be believed.
    fn refuse_pull(&mut self, from: Option<DeviceId>, error: PullError) -> Result<(), EngineError> {
        if let PullError::Store(error) = error {
            return Err(error.into());
        }
        let active = self.pulls.active.take();
        if let Some(peer) = from {
            if let (Some(Active { mut wanted, .. }), PullError::Unasked) = (active, error) {
                // It is his fault alone: the others who told this head do not tell it twice.
                wanted.peers.remove(&peer);
                self.pulls.put_back(wanted);
            }
            self.effects.push_back(Effect::Drop(peer, "it sent a node that does not verify"));
        }
        Ok(())
    }

    pub(super) fn advance_pulls(&mut self, now: Duration) -> Result<(), EngineError> {
        if self.pulls.wake_at().is_some_and(|at| now >= at) {
            self.pulls.waiting.extend(std::mem::take(&mut self.pulls.parked));
            self.pulls.parked_until = None;
        }
        while let Some(mut active) = self.pulls.active.take().or_else(|| self.pulls.start_next()) {
            match active.request(&self.store) {
                Err(error) => {
                    let from = active.wanted.peers.first().copied();
                    self.refuse_pull(from, error)?;
                    continue;
                }
                Ok(false) => {
                    if self.ask(now, active) {
                        return Ok(());
                    }
                    continue;
                }
                Ok(true) => {}
            }
            if let Some(next) = self.finish_phase(active)? {
                self.pulls.active = Some(next);
            }
        }
        Ok(())
    }

    /// Asks for what is wanted; whether somebody can be asked.
    fn ask(&mut self, now: Duration, mut active: Active) -> bool {
        let peers: Vec<_> = active.wanted.peers.iter().copied().collect();
        let tickets = &mut self.tickets;
        while let Some((ticket, peer, ids)) = active.fetch.poll(&peers, || {
            *tickets += 1;
            *tickets
        }) {
            self.effects.push_back(Effect::FetchNodes(ticket, peer, ids));
        }
        if active.fetch.is_stuck(&peers) {
            // A request failed, or the head is old news: it is tried again unless newer ones come.
            let roots = (active.wanted.head.entries, active.wanted.head.context);
            let stands_by = |peer: &DeviceId| self.peers.get(peer).is_some_and(|p| p.heads.contains(&roots));
            active.wanted.peers.retain(stands_by);
            if !active.wanted.peers.is_empty() {
                self.pulls.parked.push(active.wanted);
                self.pulls.parked_until.get_or_insert(now + PARKED);
            }
            return false;
        }
        self.pulls.active = Some(active);
        true
    }

    /// All nodes of a phase are here.
    fn finish_phase(&mut self, active: Active) -> Result<Option<Active>, EngineError> {
        let Active { wanted, phase, .. } = active;
        match phase {
            Phase::Context(pull) => {
                if let Err(error) = pull.finish(&self.store) {
                    self.refuse_pull(wanted.peers.first().copied(), error)?;
                    return Ok(None);
                }
                let Ok(context) = Context::load(&self.store, wanted.head.context) else {
                    self.drop_all(&wanted.peers, "its context is malformed");
                    return Ok(None);
                };
                if self.first_head && self.state.context.dominates(&context) {
                    self.check_fork(&wanted, &context);
                    return Ok(None);
                }
                let phase = Phase::Entries(context, Pull::new(wanted.head.entries, None));
                Ok(Some(Active { wanted, phase, fetch: NodeFetch::default() }))
            }
            Phase::Entries(context, pull) => {
                if let Err(error) = pull.finish(&self.store) {
                    self.refuse_pull(wanted.peers.first().copied(), error)?;
                    return Ok(None);
                }
                self.merge_in(wanted, context)?;
                Ok(None)
            }
        }
    }

    /// Equal contexts mean equal entries; a head that breaks this was made by a liar, or by a copy
    /// of a device that went on with the same origin.
    fn check_fork(&mut self, wanted: &Wanted, context: &Context) {
        if *context == self.state.context && wanted.head.entries != self.state.entries {
            self.drop_all(&wanted.peers, "it vouches for another state under the same context");
        }
    }

    fn drop_all(&mut self, peers: &BTreeSet<DeviceId>, why: &'static str) {
        self.effects.extend(peers.iter().map(|peer| Effect::Drop(*peer, why)));
    }
}

impl Pulls {
    fn start_next(&mut self) -> Option<Active> {
        let wanted = self.waiting.pop_front()?;
        let phase = Phase::Context(Pull::new(wanted.head.context, None));
        Some(Active { wanted, phase, fetch: NodeFetch::default() })
    }
}

impl Active {
    /// Wants what is missing, takes what was pushed; whether the phase is complete.
    fn request(&mut self, store: &impl FolderStore) -> Result<bool, PullError> {
        let pushed = &self.wanted.pushed;
        let missing = match &mut self.phase {
            Phase::Context(pull) => pull.poll_missing(store, WANTED_AT_ONCE, pushed),
            Phase::Entries(_, pull) => pull.poll_missing(store, WANTED_AT_ONCE, pushed),
        };
        self.fetch.want(missing?);
        Ok(self.phase.is_complete())
    }
}

/// Ids that a pull names at once; it names the rest when some have come.
const WANTED_AT_ONCE: usize = 2_048;

impl Phase {
    fn handle_node(&mut self, store: &impl FolderStore, bytes: &Bytes) -> Result<(), PullError> {
        match self {
            Self::Context(pull) => pull.handle_node(store, bytes),
            Self::Entries(_, pull) => pull.handle_node(store, bytes),
        }
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::Context(pull) => pull.is_complete(),
            Self::Entries(_, pull) => pull.is_complete(),
        }
    }
}
