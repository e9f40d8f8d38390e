//! The loop of one folder: feeds its engine, carries out what it says.
//!
//! One thread a folder owns the engine and everything that must be seen in one order. It never
//! waits for the disk or the network: both work elsewhere and answer with an [`Event`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keystore::DeviceId;
use protocol::engine::{Effect, Engine, EngineError, Event, Scan, Settings};
use tokio::runtime::Handle;

use super::hands::{Hands, RootNews};
use super::kept::Kept;
use super::upkeep::Upkeep;
use crate::net::Peer;

/// Inputs that may wait; senders on threads block beyond that, which slows them down as it should.
const WAITING_INPUTS: usize = 1_024;
/// How often the root is looked at, and what else is due.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a runner is told.
pub enum Input {
    /// For the engine.
    Event(Event),
    /// For the engine, with a receipt: a scan goes on when its part has been committed.
    Receipted(Event, SyncSender<()>),
    /// A peer has joined.
    Joined(Peer),
    /// Something to look at or to do between two events.
    Ask(Box<dyn FnOnce(&mut Runner) + Send>),
    /// The end.
    Stop,
}

/// Sends inputs to a runner; cheap to clone.
#[derive(Clone)]
pub struct Inputs(SyncSender<Input>);

impl Inputs {
    /// Sends; when the folder has ended, nobody is interested.
    pub fn send(&self, input: Input) {
        let _ = self.0.send(input);
    }

    /// Sends an event.
    pub fn event(&self, event: Event) {
        self.send(Input::Event(event));
    }

    /// Sends an event, unless too many wait: for what will be said again.
    pub fn try_event(&self, event: Event) {
        let _ = self.0.try_send(Input::Event(event));
    }

    /// Sends from a task, which must not block.
    pub async fn send_from_async(&self, input: Input) {
        // Mostly there is room, and no thread is needed.
        if let Err(TrySendError::Full(input)) = self.0.try_send(input) {
            let inputs = self.clone();
            let _ = tokio::task::spawn_blocking(move || inputs.send(input)).await;
        }
    }

    /// Sends an event and waits until it has been dealt with.
    pub fn event_and_wait(&self, event: Event) {
        let (done, wait) = sync_channel(1);
        self.send(Input::Receipted(event, done));
        let _ = wait.recv();
    }
}

/// Makes the channel of a runner.
pub fn inputs() -> (Inputs, Receiver<Input>) {
    let (sender, receiver) = sync_channel(WAITING_INPUTS);
    (Inputs(sender), receiver)
}

/// One folder at work.
pub struct Runner {
    /// The brain.
    pub engine: Engine<Kept>,
    /// What touches disk and network.
    pub hands: Arc<Hands>,
    /// Everybody who has joined.
    pub peers: BTreeMap<DeviceId, Peer>,
    /// Why the loop cannot go on, if so.
    pub failure: Option<String>,
    /// The records were lost, or older than the disk, and not everything is in its place again.
    pub rebuilding: bool,
    pub(super) upkeep: Upkeep,
    started: Instant,
    kept_up: Instant,
    inputs: Receiver<Input>,
    make: Box<MakeEngine>,
}

/// Makes an engine out of what the database has; whether its records are not to be trusted.
pub type MakeEngine = dyn FnMut(Duration, bool) -> Result<Engine<Kept>, EngineError> + Send;

impl Runner {
    /// Starts the loop on a thread of its own. The engine is made there, since its first look at the
    /// database can take a while. `fresh`: what is on the disk is as new as the database.
    pub fn start(
        name: &str,
        hands: Arc<Hands>,
        inputs: Receiver<Input>,
        fresh: bool,
        mut make: Box<MakeEngine>,
    ) -> std::io::Result<JoinHandle<()>> {
        let runtime = Handle::current();
        std::thread::Builder::new().name(format!("folder {name}").chars().take(15).collect()).spawn(
            move || {
                let _runtime = runtime.enter();
                let started = Instant::now();
                // The journal is settled before the engine looks at the records.
                let opened = hands.open_root(fresh);
                let distrust = !fresh && opened.as_ref().is_ok_and(|distrust| *distrust);
                let engine = match make(started.elapsed(), distrust) {
                    Ok(engine) => engine,
                    Err(error) => return tracing::error!(%error, "the folder cannot start"),
                };
                let upkeep = Upkeep::new(started);
                let (peers, failure) = (BTreeMap::new(), None);
                let mut runner = Self {
                    engine,
                    hands,
                    peers,
                    failure,
                    rebuilding: distrust,
                    upkeep,
                    started,
                    kept_up: started,
                    inputs,
                    make,
                };
                if let Err(hold) = opened {
                    runner.on_root(RootNews::Trouble(hold));
                }
                runner.run();
            },
        )
    }

    /// Throws the engine away and begins where the database left off, as at a start.
    pub(super) fn begin_anew(&mut self, distrust_records: bool) {
        let now = self.now();
        match (self.make)(now, distrust_records) {
            Ok(engine) => {
                tracing::info!(distrust_records, "the folder begins anew");
                self.engine = engine;
                self.failure = None;
                self.rebuilding = distrust_records;
                self.upkeep.failed = None;
                // What peers have told is forgotten: they tell it again when they join.
                self.hands.rejoin();
            }
            Err(error) => {
                tracing::error!(%error, "the folder's loop stops");
                self.failure = Some(error.to_string());
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn run(&mut self) {
        self.carry_out();
        loop {
            let now = self.now();
            let wake = self.engine.wake_at(now).filter(|_| self.failure.is_none());
            let wake = wake.map_or(UPKEEP, |at| at.saturating_sub(now));
            match self.inputs.recv_timeout(wake.min(UPKEEP)) {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => self.handle(Event::Tick),
            }
            if self.kept_up.elapsed() >= UPKEEP {
                self.kept_up = Instant::now();
                self.keep_up();
                self.tell_round_trips();
                self.hands.rates.measure(&self.peers);
            }
            self.carry_out();
        }
        // Nobody waits for this loop any more: those who do now are told so.
        self.inputs = inputs().1;
        self.hands.stop();
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.handle(event),
            Input::Receipted(event, done) => {
                self.handle(event);
                let _ = done.send(());
            }
            Input::Joined(peer) => {
                let (id, rtt) = (peer.info().device_id, peer.rtt());
                self.peers.insert(id, peer);
                self.handle(Event::Joined(id));
                self.handle(Event::RoundTrip(id, rtt));
            }
            Input::Ask(ask) => ask(self),
            Input::Stop => {}
        }
    }

    /// Lets the engine know how far its peers are: who asks a far one has more under way.
    fn tell_round_trips(&mut self) {
        let measured: Vec<_> = self.peers.iter().map(|(id, peer)| (*id, peer.rtt())).collect();
        for (id, rtt) in measured {
            self.handle(Event::RoundTrip(id, rtt));
        }
    }

    /// Gives the engine an event.
    pub fn handle(&mut self, event: Event) {
        if self.failure.is_some() {
            return;
        }
        if let Event::Left(peer) = &event {
            self.peers.remove(peer);
        }
        let now = self.now();
        if let Err(error) = self.engine.handle(now, event) {
            tracing::error!(%error, "the folder's loop stops");
            self.failure = Some(error.to_string());
        }
    }

    /// Changes settings, and lets the engine act on them.
    pub fn set_settings(&mut self, settings: Settings) {
        self.engine.set_settings(settings);
        self.handle(Event::Tick);
    }

    fn carry_out(&mut self) {
        if self.failure.is_none() {
            let (heads, complete) = self.engine.greeting();
            self.hands.set_greeting(heads, complete);
        }
        while let Some(effect) = self.engine.poll() {
            match effect {
                Effect::Send(peer, message) => {
                    if let Some(peer) = self.peers.get(&peer) {
                        // A peer that is too far behind is dropped by the network.
                        let _ = peer.send(message);
                    }
                }
                Effect::Drop(peer, why) => {
                    if let Some(peer) = self.peers.get(&peer) {
                        tracing::warn!(peer = %peer.info().device_id.short(), why, "a peer is dropped");
                        peer.drop_liar();
                    }
                }
                Effect::Scan(what) => {
                    if what == Scan::Full {
                        self.upkeep.full_scan(Instant::now());
                    }
                    self.hands.scan(what);
                }
                Effect::FetchNodes(ticket, peer, ids) => match self.peers.get(&peer) {
                    Some(peer) => self.hands.fetch_nodes(ticket, peer.clone(), ids),
                    None => self.handle(Event::Nodes(ticket, Err(()))),
                },
                Effect::FetchChunks(ticket, peer, refs) => match self.peers.get(&peer) {
                    Some(peer) => self.hands.fetch_chunks(ticket, peer.clone(), refs),
                    None => self.handle(Event::FetchEnded(ticket)),
                },
                Effect::CancelFetch(ticket) => self.hands.cancel_fetch(ticket),
                Effect::Prepare(wishes) => self.hands.prepare(wishes),
                Effect::Forget(contents) => self.hands.forget(contents),
                Effect::Apply(ops) => self.hands.apply(ops),
                Effect::Revert(paths) => self.hands.revert(paths),
                Effect::Rejoin => self.hands.rejoin(),
            }
        }
    }
}
