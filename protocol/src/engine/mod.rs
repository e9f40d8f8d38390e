//! One folder's brain: events in, effects out, nothing else.
//!
//! The engine owns the folder's state and decides everything: what a scan commits, which heads are
//! fetched and merged, what the disk shall show, which peer is asked for what. It does no I/O but
//! through its [`FolderStore`], knows no clock (`now` is an argument: time since some start) and
//! draws no randomness (the origin is given). Whoever drives it calls [`Engine::handle`], carries
//! out every effect of [`Engine::poll`], and calls again at [`Engine::wake_at`].
//!
//! Reading order: `event` is the language; `dirty` says when to look, `commits` turns scans into commits, `pulls`
//! fetches and merges the heads of others, `steps` plans changes of the disk and `staging` gathers
//! their bytes, `held` what may be here already; `swarm` is what downloaders tell each other, `fetch` asks peers for nodes, `rules` says what is not wanted here, `open` keeps what is not shown yet from being
//! forgotten, `holds` stops it all; `store` is what the database must do. Scans and applies never run at the same time; fetching goes on beside both.

mod commits;
mod dirty;
mod event;
mod fetch;
mod held;
mod holds;
mod open;
mod peers;
mod pulls;
mod rules;
mod staging;
mod status;
mod steps;
mod store;
mod swarm;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use keystore::{Capability, DeviceId, FolderId, FolderVerifier, HeadSigner};

use crate::context::{Context, Label};
use crate::entry::ContentId;
use crate::head::SignedHead;
use crate::path::RelPath;
use crate::scheduler::News;
use crate::state::State;
use crate::store::{NodeId, StoreError};
use crate::tree::{Tree, TreeError};
use crate::version::Origin;

pub use event::{
    Command, Effect, Event, Hold, Noticed, Op, Outcome, Prepare, Prepared, Scan, Settings, Source, Ticket,
};
pub use rules::{IGNORE_FILE, Rules};
use store::Edits;
pub use store::{Changes, FolderStore, Reason, Saved, Settle, Unapplied};

/// Who we are in a folder.
pub struct Identity {
    /// The folder.
    pub folder: FolderId,
    /// This device: its place among those who fetch the same.
    pub device: DeviceId,
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
#[derive(Debug, Clone, Default)]
struct Peer {
    /// The entries and contexts of the heads that it has told us last.
    heads: Vec<(NodeId, NodeId)>,
    /// The entries root that it has all content of.
    complete: Option<NodeId>,
    /// The head that we last told it.
    told: Option<(NodeId, NodeId)>,
    /// The entries of which we last told it that we have all content.
    told_complete: Option<NodeId>,
    /// It knows that we have been fetching since we were complete last.
    told_begun: bool,
    /// It has said to be fetching, and not to be complete since.
    takes_part: bool,
    /// Up to which path it has the contents of a state.
    up_to: Option<(NodeId, RelPath)>,
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
    /// What is not wanted here.
    rules: Arc<dyn Rules>,
    state: State,
    /// The entries that the records stand for.
    applied: NodeId,
    /// False until a first scan after the records were lost.
    trusted: bool,
    /// What has been recorded, if that began with nothing.
    held: Option<held::Held>,
    heads: Vec<SignedHead>,
    /// What we tell peers that we have: entries and context of the heads above.
    told: Option<(NodeId, NodeId)>,
    /// The entries of which we have all content, and have said so.
    complete: Option<NodeId>,
    peers: BTreeMap<DeviceId, Peer>,
    /// Something that [`judge_peers`](Self::judge_peers) goes by has changed …
    peers_changed: bool,
    /// … since it judged them by these entries.
    judged: Option<NodeId>,
    /// Somebody may want what we fetch.
    has_audience: bool,
    /// What is to be told to other downloaders.
    news: News,
    busy: Busy,
    /// Until when a joined folder waits for its first head.
    first_head_by: Option<Duration>,
    /// A first head has been merged since the folder was joined.
    first_head: bool,
    /// Everything has been looked at since the start.
    scanned: bool,
    dirty: dirty::Dirty,
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
        let (state, applied, is_trusted) = left_off(&store, start)?;
        // To ask for the records alone might list a large directory.
        let is_new =
            Tree::<crate::Entry>::new(&store, applied).count()? == 0 && store.children(None)?.is_empty();
        let heads = store.heads()?;
        let unapplied: BTreeMap<_, _> = store.unapplied()?.into_iter().collect();
        let first_head = !start.joined || !heads.is_empty();
        let first_head_by = (!first_head).then(|| now + settings.first_head_wait);
        let told = (!heads.is_empty()).then_some((state.entries, state.context_root));
        let staging = staging::Staging::new(settings.wanted_chunks);
        let mut engine = Self {
            store,
            identity,
            settings,
            rules: Arc::new(rules::Everything),
            state,
            applied,
            trusted: is_trusted && !start.distrust_records,
            held: is_new.then(held::Held::default),
            heads,
            told,
            complete: None,
            peers: BTreeMap::new(),
            peers_changed: false,
            judged: None,
            has_audience: false,
            news: News::default(),
            busy: Busy::No,
            first_head_by,
            first_head,
            scanned: false,
            dirty: dirty::Dirty::everything(now),
            unopened: BTreeMap::new(),
            pulls: pulls::Pulls::default(),
            step: steps::Step::default(),
            staging,
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
        self.gather_ahead()?;
        match event {
            Event::Noticed(noticed) => self.dirty.add(now, noticed, |path| self.step.has_made(path)),
            Event::Scanned { observations, unsynced } => self.on_scanned(now, observations, unsynced)?,
            Event::ScanEnded(result) => self.on_scan_ended(now, result)?,
            Event::Joined(peer) => self.on_joined(peer),
            Event::Left(peer) => self.on_left(peer),
            Event::RoundTrip(peer, rtt) => self.staging.set_rtt(&peer, rtt),
            Event::Opened(verifier) => self.on_opened(verifier)?,
            Event::Message(peer, message) => self.on_message(now, peer, message)?,
            Event::Nodes(ticket, answer) => self.on_nodes(ticket, answer)?,
            Event::Prepared(prepared) => self.on_prepared(now, prepared)?,
            Event::Arrived(ticket, chunks) => self.on_arrived(now, ticket, &chunks),
            Event::Gone(ticket, chunks) => self.on_gone(now, ticket, &chunks),
            Event::Bad(ticket, chunks) => self.on_bad(now, ticket, &chunks),
            Event::Busy(ticket) => self.on_busy(now, ticket),
            Event::FetchEnded(ticket) => self.on_fetch_ended(now, ticket),
            Event::Applied(outcomes) => self.on_applied(now, outcomes)?,
            Event::Reverted(paths) => self.on_reverted(&paths)?,
            Event::Edited(edits) => self.on_edited(edits)?,
            Event::Rules(rules) => self.on_rules(rules),
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
        self.advance_news(now);
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
            self.step.goes_on().then_some(now),
            self.look_at().filter(|_| is_free),
            self.step.retry_at().filter(|_| is_free && self.scanned),
            self.pulls.wake_at(),
            self.news.poll_timeout(),
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

    /// Paths that hold a content, as far as is worth knowing.
    fn with_content(&self, id: &ContentId, limit: usize) -> Result<Vec<RelPath>, StoreError> {
        match &self.held {
            Some(held) if !held.may_have(id) => Ok(Vec::new()),
            _ => self.store.with_content(id, limit),
        }
    }

    /// Keeps changes, all or none.
    fn keep(&mut self, changes: Changes) -> Result<(), StoreError> {
        if let Some(held) = &mut self.held {
            held.add(&changes.records);
        }
        self.store.keep(changes)
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

/// Where the database has left a folder: its state, what was applied of it, and whether the records are
/// to be trusted.
fn left_off(store: &impl FolderStore, start: Start) -> Result<(State, NodeId, bool), EngineError> {
    let Some(saved) = store.saved()? else {
        let state = State::empty(store)?;
        let applied = state.entries;
        return Ok((state, applied, !start.joined));
    };
    let context = Context::load(store, saved.context)?;
    let (context_root, entries, totals) = (saved.context, saved.entries, saved.totals);
    Ok((State { context, context_root, entries, totals }, saved.applied, saved.trusted))
}
