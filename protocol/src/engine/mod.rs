//! One folder's brain: events in, effects out, nothing else.
//!
//! The engine owns the folder's state and decides everything: what a scan commits, which heads are
//! fetched and merged, what the disk shall show, which peer is asked for what. It does no I/O but
//! through its [`FolderStore`], knows no clock (`now` is an argument: time since some start) and
//! draws no randomness (the origin is given). Whoever drives it calls [`Engine::handle`], carries
//! out every effect of [`Engine::poll`], and calls again at [`Engine::wake_at`].
//!
//! Reading order: `event` is the language; `commits` turns scans into commits, `pulls`
//! fetches and merges the heads of others, `steps` plans changes of the disk and `staging` gathers
//! their bytes; `fetch` asks peers for nodes, `open` keeps what is not shown yet from being
//! forgotten, `holds` stops it all; `store` is what the database must do. At most one scan *or* one apply runs at any time; fetching goes on beside both.

mod commits;
mod event;
mod fetch;
mod holds;
mod open;
mod pulls;
mod staging;
mod steps;
mod store;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use keystore::{Capability, DeviceId, FolderId, FolderVerifier, HeadSigner};

use crate::context::{Context, Label};
use crate::head::SignedHead;
use crate::message::{MAX_HEADS, Message};
use crate::path::RelPath;
use crate::state::{State, Totals};
use crate::store::{NodeId, StoreError};
use crate::tree::{Tree, TreeError};
use crate::version::Origin;

pub use event::{
    Command, Effect, Event, Hold, Noticed, Op, Outcome, Prepare, Prepared, Scan, Settings, Source, Ticket,
};
use store::Edits;
pub use store::{Changes, FolderStore, Reason, Saved, Unapplied};

/// Who we are in a folder.
pub struct Identity {
    /// The folder.
    pub folder: FolderId,
    /// Our capability.
    pub capability: Capability,
    /// Signs heads; a writer's.
    pub signer: Option<HeadSigner>,
    /// Checks heads; a reader may get to know it from its first peer.
    pub verifier: Option<FolderVerifier>,
    /// Drawn for this run of the daemon.
    pub origin: Origin,
    /// Goes into the names of conflict copies.
    pub label: Label,
}

/// How the folder starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Joined by key: wait for a first head before the first commit.
    pub joined: bool,
    /// The database is lost or older than the disk: its records are not to be trusted.
    pub distrust_records: bool,
    /// Paused by a person.
    pub paused: bool,
}

/// The engine failed: the database did. The folder's loop cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Reading or writing the database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database holds something that it should not.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// What the folder is doing, in the order of `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// By a person.
    Paused,
    /// See [`Engine::hold`].
    Held,
    /// Looking at the disk, or waiting for the first head.
    Scanning,
    /// Fetching or applying.
    Syncing,
    /// In sync with all that is known.
    Idle,
}

/// A peer, as the engine sees it.
#[derive(Debug, Clone)]
struct Peer {
    /// The entries and contexts of the heads that it has told us last.
    heads: Vec<(NodeId, NodeId)>,
    /// The entries root that it has all content of.
    complete: Option<NodeId>,
    /// The head that we last told it.
    told: Option<(NodeId, NodeId)>,
    /// The entries of which we last told it that we have all content.
    told_complete: Option<NodeId>,
}

/// What runs on the disk right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Busy {
    No,
    Scanning { full: bool },
    Applying,
}

/// One folder's brain. See the [module](self).
pub struct Engine<S> {
    store: S,
    identity: Identity,
    settings: Settings,
    state: State,
    /// The entries that the records stand for.
    applied: NodeId,
    /// False until a first scan after the records were lost.
    trusted: bool,
    heads: Vec<SignedHead>,
    /// What we tell peers that we have: entries and context of the heads above.
    told: Option<(NodeId, NodeId)>,
    /// The entries of which we have all content, and have said so.
    complete: Option<NodeId>,
    peers: BTreeMap<DeviceId, Peer>,
    busy: Busy,
    /// Until when a joined folder waits for its first head.
    first_head_by: Option<Duration>,
    /// A first head has been merged since the folder was joined.
    first_head: bool,
    /// Everything has been looked at since the start.
    scanned: bool,
    dirty: commits::Dirty,
    /// What peers have told a reader before it knew the verifying key.
    unopened: BTreeMap<DeviceId, Vec<SignedHead>>,
    pulls: pulls::Pulls,
    step: steps::Step,
    staging: staging::Staging,
    unapplied: BTreeMap<RelPath, Unapplied>,
    /// Waiting paths at which the disk was not as expected: tried again when something has changed.
    stuck: BTreeSet<RelPath>,
    /// Paths whose rendering may differ from their record, beside what `applied` and the state
    /// differ in.
    revisit: BTreeSet<RelPath>,
    /// What the running scan looks at.
    scanning: Scan,
    /// Local changes and the like that the running scan has reported.
    reported: BTreeSet<RelPath>,
    /// Deletions made here are being taken back: the next full scan drops the records of what is gone.
    reverting: bool,
    /// Local changes to give up as soon as the disk is free.
    giving_up: Vec<RelPath>,
    paused: bool,
    hold: Option<Hold>,
    guard: holds::Guard,
    effects: VecDeque<Effect>,
    tickets: Ticket,
}

impl<S: FolderStore> Engine<S> {
    /// Takes up a folder where the database left it. Whoever calls this has settled the journal.
    pub fn new(
        store: S,
        identity: Identity,
        settings: Settings,
        start: Start,
        now: Duration,
    ) -> Result<Self, EngineError> {
        let saved = store.saved()?;
        let (state, applied, trusted) = match saved {
            Some(saved) => {
                let context = Context::load(&store, saved.context)?;
                let state = State {
                    context,
                    context_root: saved.context,
                    entries: saved.entries,
                    totals: saved.totals,
                };
                (state, saved.applied, saved.trusted && !start.distrust_records)
            }
            None => {
                let state = State::empty(&store)?;
                let applied = state.entries;
                (state, applied, !start.joined && !start.distrust_records)
            }
        };
        let heads = store.heads()?;
        let unapplied: BTreeMap<_, _> = store.unapplied()?.into_iter().collect();
        let first_head = !start.joined || !heads.is_empty();
        let first_head_by = (!first_head).then(|| now + settings.first_head_wait);
        let told = (!heads.is_empty()).then_some((state.entries, state.context_root));
        let mut engine = Self {
            store,
            identity,
            settings,
            state,
            applied,
            trusted,
            heads,
            told,
            complete: None,
            peers: BTreeMap::new(),
            busy: Busy::No,
            first_head_by,
            first_head,
            scanned: false,
            dirty: commits::Dirty::everything(now),
            unopened: BTreeMap::new(),
            pulls: pulls::Pulls::default(),
            step: steps::Step::default(),
            staging: staging::Staging::default(),
            revisit: unapplied.keys().cloned().collect(),
            unapplied,
            stuck: BTreeSet::new(),
            scanning: Scan::Full,
            reported: BTreeSet::new(),
            reverting: false,
            giving_up: Vec::new(),
            paused: start.paused,
            hold: None,
            guard: holds::Guard::default(),
            effects: VecDeque::new(),
            tickets: 0,
        };
        engine.advance(now)?;
        Ok(engine)
    }

    /// Takes in one event.
    pub fn handle(&mut self, now: Duration, event: Event) -> Result<(), EngineError> {
        match event {
            Event::Noticed(noticed) => self.dirty.add(now, noticed),
            Event::Scanned { observations, unsynced } => self.on_scanned(now, observations, unsynced)?,
            Event::ScanEnded(result) => self.on_scan_ended(now, result)?,
            Event::Joined(peer) => self.on_joined(peer),
            Event::Left(peer) => self.on_left(peer),
            Event::Opened(verifier) => self.on_opened(verifier)?,
            Event::Message(peer, message) => self.on_message(peer, message)?,
            Event::Nodes(ticket, answer) => self.on_nodes(ticket, answer)?,
            Event::Prepared(prepared) => self.on_prepared(prepared)?,
            Event::Arrived(ticket, chunks) => self.on_arrived(now, ticket, &chunks),
            Event::Gone(ticket, chunks) => self.on_gone(now, ticket, &chunks),
            Event::Bad(ticket, chunks) => self.on_bad(now, ticket, &chunks),
            Event::FetchEnded(ticket) => self.on_fetch_ended(now, ticket),
            Event::Applied(outcomes) => self.on_applied(now, outcomes)?,
            Event::Reverted(paths) => self.on_reverted(&paths)?,
            Event::Edited(edits) => self.on_edited(edits)?,
            Event::Root(hold) => self.on_root(now, hold),
            Event::Command(command) => self.on_command(now, command)?,
            Event::Tick => {}
        }
        self.advance(now)
    }

    /// Starts whatever can be started now. The order is the order of importance: what users did
    /// comes before what others did.
    fn advance(&mut self, now: Duration) -> Result<(), EngineError> {
        self.advance_scan(now)?;
        self.advance_revert();
        self.advance_pulls(now)?;
        self.judge_peers();
        self.advance_step(now)?;
        if self.advance_fetch(now) {
            // Something was given up, which may have been all that the step waited for.
            self.advance_step(now)?;
        }
        Ok(())
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`handle`](Self::handle) with [`Event::Tick`] at the latest; `None`: not before
    /// something happens.
    pub fn wake_at(&self, now: Duration) -> Option<Duration> {
        let is_free = self.busy == Busy::No && !self.is_stopped() && self.first_head_by.is_none();
        [
            self.first_head_by,
            self.dirty.due().filter(|_| is_free),
            self.step.retry_at().filter(|_| is_free && self.scanned),
            self.pulls.wake_at(),
            self.staging.wake_at(now, !self.waits_for_peers()).filter(|_| !self.is_stopped()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn tree(&self, root: NodeId) -> Tree<'_, crate::entry::Entry> {
        Tree::new(&self.store, root)
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    fn is_writer(&self) -> bool {
        self.identity.capability == Capability::Write
    }

    fn saved(&self) -> Saved {
        Saved {
            context: self.state.context_root,
            entries: self.state.entries,
            totals: self.state.totals,
            applied: self.applied,
            trusted: self.trusted,
        }
    }
}

/// What `status` shows.
impl<S: FolderStore> Engine<S> {
    /// What the folder is doing.
    pub fn activity(&self) -> Activity {
        if self.paused {
            Activity::Paused
        } else if self.hold.is_some() {
            Activity::Held
        } else if self.first_head_by.is_some()
            || (!self.first_head && self.told.is_none())
            || !self.scanned
            || self.dirty.is_any()
            || matches!(self.busy, Busy::Scanning { .. })
        {
            Activity::Scanning
        } else if self.busy == Busy::Applying || self.is_behind() {
            Activity::Syncing
        } else {
            Activity::Idle
        }
    }

    /// Whether something that is known has not been applied, other than what cannot be.
    fn is_behind(&self) -> bool {
        self.applied != self.state.entries
            || self.step.is_running()
            || self.pulls.is_any()
            || !self.revisit.is_empty()
            || self.unapplied.values().any(|u| u.reason == Reason::NoContent)
    }

    /// The hold, if there is one.
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// Files and bytes of the rendering.
    pub fn totals(&self) -> Totals {
        self.state.totals
    }

    /// The entries root of the merged state, once there is one.
    pub fn head(&self) -> Option<NodeId> {
        self.told.map(|(entries, _)| entries)
    }

    /// The merged state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether a folder that was joined by key has merged a first head.
    pub fn has_first_head(&self) -> bool {
        self.first_head
    }

    /// Files and bytes that are still to come or to go in the running step.
    pub fn need(&self) -> (u64, u64) {
        self.step.need(&self.staging)
    }

    /// Paths that are not what the state wants, and why.
    pub fn unapplied(&self) -> &BTreeMap<RelPath, Unapplied> {
        &self.unapplied
    }

    /// Peers that have all content of our head, and all peers.
    pub fn seeds(&self) -> (usize, usize) {
        let complete = self.peers.keys().filter(|peer| self.is_complete(peer)).count();
        (complete, self.peers.len())
    }

    /// Whether a peer has all content of our head.
    pub fn is_complete(&self, peer: &DeviceId) -> bool {
        self.peers.get(peer).is_some_and(|p| p.complete.is_some_and(|c| c == self.state.entries))
    }

    /// Changes the settings.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The database of the folder.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The roots of all trees and chunk lists that are in use or on their way here, but for those
    /// that a running scan or apply has made and not told of yet.
    pub fn roots(&self) -> Vec<NodeId> {
        let mut roots = vec![self.state.context_root, self.state.entries, self.applied];
        roots.extend(self.told.into_iter().flat_map(|(entries, context)| [entries, context]));
        if let Some(verifier) = &self.identity.verifier {
            let heads = self.heads.iter().filter_map(|head| head.open(verifier, self.identity.folder).ok());
            roots.extend(heads.flat_map(|head| [head.entries, head.context]));
        }
        roots.extend(self.step.roots().into_iter().flatten());
        roots.extend(self.pulls.roots());
        roots.extend(self.staging.roots());
        roots
    }

    /// Whether a scan or an apply is running.
    pub fn is_busy(&self) -> bool {
        self.busy != Busy::No
    }

    /// Whether nothing is staged, or about to be, for the disk.
    pub fn wants_nothing_staged(&self) -> bool {
        self.busy == Busy::No && !self.step.is_running() && self.staging.is_empty()
    }

    /// Whether paths wait to be looked at, or are being looked at.
    pub fn is_scan_due(&self) -> bool {
        !self.scanned || self.dirty.is_any() || matches!(self.busy, Busy::Scanning { .. })
    }
}

/// Peers.
impl<S: FolderStore> Engine<S> {
    fn on_joined(&mut self, peer: DeviceId) {
        // A link in the place of another: both sides start anew.
        self.on_left(peer);
        self.peers.insert(peer, Peer { heads: Vec::new(), complete: None, told: None, told_complete: None });
        self.staging.add_peer(peer);
        self.tell(peer, &[]);
        if self.complete == Some(self.state.entries) {
            self.tell_complete();
        }
        self.retry_without_content();
    }

    /// Somebody may have what nobody had.
    fn retry_without_content(&mut self) {
        self.retry(Reason::NoContent);
    }

    /// Paths that are not applied for this reason are looked at again.
    fn retry(&mut self, reason: Reason) {
        let such =
            self.unapplied.iter().filter(|(path, why)| why.reason == reason && !self.stuck.contains(*path));
        self.revisit.extend(such.map(|(path, _)| path.clone()));
    }

    fn on_left(&mut self, peer: DeviceId) {
        self.peers.remove(&peer);
        self.unopened.remove(&peer);
        self.pulls.forget_peer(&peer);
        self.staging.remove_peer(&peer);
    }

    fn on_opened(&mut self, verifier: FolderVerifier) -> Result<(), EngineError> {
        if self.identity.verifier.is_none() {
            self.identity.verifier = Some(verifier);
        }
        for (peer, heads) in std::mem::take(&mut self.unopened) {
            self.on_heads(peer, heads, Vec::new())?;
        }
        Ok(())
    }

    /// Complete peers are asked first; complete is who has all content of just our state.
    fn judge_peers(&mut self) {
        let entries = self.state.entries;
        for (peer, known) in &self.peers {
            self.staging.set_complete(*peer, known.complete == Some(entries));
        }
    }

    fn on_message(&mut self, peer: DeviceId, message: Message) -> Result<(), EngineError> {
        if !self.peers.contains_key(&peer) {
            return Ok(());
        }
        match message {
            Message::Heads { heads } => self.on_heads(peer, heads, Vec::new())?,
            Message::NewHead { head, nodes } => self.on_heads(peer, vec![head], nodes)?,
            Message::Complete { entries } => {
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.complete = Some(entries);
                }
                self.retry_without_content();
            }
            Message::Gone { content } => self.staging.forget_source(&peer, &content),
            Message::Peers { .. } => {}
        }
        Ok(())
    }

    /// Tells a peer our heads, unless it knows them; `nodes` are what it lacks if it knows the head
    /// before.
    fn tell(&mut self, peer: DeviceId, nodes: &[bytes::Bytes]) {
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
    fn tell_complete(&mut self) {
        let entries = self.state.entries;
        // What could not be applied is not here either, or nobody knows.
        let lacks = self.unapplied.values().any(|why| why.reason != Reason::Unsynced);
        if self.told.is_none() || lacks {
            return;
        }
        self.complete = Some(entries);
        for (peer, known) in &mut self.peers {
            if known.told_complete != Some(entries) {
                known.told_complete = Some(entries);
                self.effects.push_back(Effect::Send(*peer, Message::Complete { entries }));
            }
        }
    }
}
