//! Devices, the links between them, and the clock.
//!
//! News on a link arrive in order, everything else in any. What is under way on a link that breaks
//! is lost, and whoever waits for an answer is told so.

mod deeds;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keystore::FolderSecret;
use model::rng::Rng;
use protocol::engine::{Command, Event, Noticed, Ticket};
use protocol::message::{ChunkWanted, Message};
use protocol::{NodeId, RelPath};

use crate::device::{Device, Ignoring, Role};

/// Something that is going to happen.
enum Action {
    Deliver { from: usize, to: usize, message: Message },
    Event { to: usize, run: u64, event: Event },
    AskNodes { by: usize, of: usize, ticket: Ticket, ids: Vec<NodeId> },
    AskChunks { by: usize, of: usize, ticket: Ticket, chunks: Vec<ChunkWanted> },
    AnswerNodes { by: usize, ticket: Ticket, nodes: Result<Vec<Option<bytes::Bytes>>, ()> },
    AnswerChunks { by: usize, of: usize, ticket: Ticket, chunks: Vec<(ChunkWanted, Option<bytes::Bytes>)> },
    ScanPart { of: usize, run: u64 },
    ApplyStep { of: usize, run: u64 },
    Wake { of: usize, run: u64 },
    Connect(usize, usize),
}

/// An action on a link happens only while that link lasts.
type Queued = (Action, Option<((usize, usize), u64)>);

/// Everything.
pub struct World {
    /// The folder's secret.
    pub secret: FolderSecret,
    /// Since the start.
    pub now: Duration,
    /// Of delays and accidents.
    pub rng: Rng,
    /// By number.
    pub devices: Vec<Device>,
    /// Observations in one part of a scan.
    pub part: usize,
    /// Whether scans tell deletions last, as the real ones do; otherwise they come by path.
    pub deletions_last: bool,
    /// How often a request for nodes fails as a whole.
    pub failing: f64,
    /// No user does anything: a commit is a mistake.
    pub frozen: bool,
    /// Called before each step of an apply.
    pub between: Option<fn(&mut World, usize)>,
    queue: BTreeMap<(Duration, u64), Queued>,
    links: BTreeMap<(usize, usize), u64>,
    lanes: BTreeMap<(usize, usize), Duration>,
    open: BTreeMap<(usize, Ticket), (usize, bool)>,
    count: u64,
    last_effect: Duration,
    instant: (Duration, u64),
    /// Whether to tell what happens.
    trace: bool,
}

impl World {
    /// Devices that are not started.
    pub fn new(seed: u64, roles: &[Role]) -> Self {
        let secret = FolderSecret::new([7; 20]);
        let devices = roles.iter().enumerate().map(|(n, role)| Device::new(n, *role, &secret));
        Self {
            devices: devices.collect(),
            secret,
            now: Duration::from_secs(1),
            rng: Rng::new(seed),
            part: 3,
            deletions_last: false,
            failing: 0.0,
            frozen: false,
            between: None,
            queue: BTreeMap::new(),
            links: BTreeMap::new(),
            lanes: BTreeMap::new(),
            open: BTreeMap::new(),
            count: 0,
            last_effect: Duration::ZERO,
            instant: (Duration::ZERO, 0),
            trace: std::env::var_os("TRACE").is_some(),
        }
    }

    /// Starts all devices and links them with each other.
    pub fn started(seed: u64, roles: &[Role]) -> Self {
        let mut world = Self::new(seed, roles);
        for n in 0..roles.len() {
            world.start(n, false);
        }
        world.connect_all();
        world
    }

    /// Starts a daemon.
    pub fn start(&mut self, n: usize, distrust: bool) {
        let secret = self.secret.clone();
        self.devices[n].start(self.now, &secret, distrust);
        self.drain(n);
    }

    /// Kills a daemon.
    pub fn crash(&mut self, n: usize) {
        self.devices[n].crash();
        for other in 0..self.devices.len() {
            self.disconnect(n, other);
        }
    }

    /// Links all that run.
    pub fn connect_all(&mut self) {
        for a in 0..self.devices.len() {
            for b in 0..a {
                self.connect(b, a);
            }
        }
    }

    /// Whether two devices are linked.
    pub fn linked(&self, a: usize, b: usize) -> bool {
        self.links.contains_key(&(a.min(b), a.max(b)))
    }

    /// Links two devices.
    pub fn connect(&mut self, a: usize, b: usize) {
        let link = (a.min(b), a.max(b));
        if a == b
            || self.links.contains_key(&link)
            || [a, b].iter().any(|n| self.devices[*n].engine.is_none())
        {
            return;
        }
        self.count += 1;
        self.links.insert(link, self.count);
        for (one, other) in [(a, b), (b, a)] {
            let peer = self.devices[other].id();
            self.handle(one, Event::Joined(peer));
            if self.devices[one].role == Role::NewReader {
                let opening = self.secret.opening().expect("a writer's");
                let verifier = self.devices[one].secret.check_opening(&opening).expect("its own");
                let at = self.now + self.delay();
                let run = self.devices[one].run;
                self.push(at, Action::Event { to: one, run, event: Event::Opened(verifier) }, None);
            }
        }
        self.greet(a, b);
    }

    /// Who has dialled is told with the welcome what it would ask for first.
    fn greet(&mut self, dialler: usize, other: usize) {
        let Some(engine) = &self.devices[other].engine else { return };
        let (heads, complete) = engine.greeting();
        let (state, store) = (engine.state(), engine.store());
        let nodes = || protocol::first_nodes(store, state.context_root, state.entries);
        let told = match heads {
            [] => return,
            [head] => Message::NewHead { head: head.clone(), nodes: nodes().expect("memory does not fail") },
            heads => Message::Heads { heads: heads.to_vec() },
        };
        let complete = complete.map(|entries| Message::Complete { entries });
        let peer = self.devices[other].id();
        for message in [Some(told), complete].into_iter().flatten() {
            self.handle(dialler, Event::Message(peer, message));
        }
    }

    /// Breaks a link.
    pub fn disconnect(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))).is_none() {
            return;
        }
        let early = self.rng.chance(0.5);
        for (one, other) in [(a, b), (b, a)] {
            let peer = self.devices[other].id();
            if early {
                self.fail_requests(one, other);
            }
            self.handle(one, Event::Left(peer));
            self.fail_requests(one, other);
        }
    }

    fn fail_requests(&mut self, by: usize, of: usize) {
        let failed: Vec<_> = self
            .open
            .iter()
            .filter(|((n, _), (peer, _))| *n == by && *peer == of)
            .map(|(k, v)| (*k, *v))
            .collect();
        for ((_, ticket), (_, nodes)) in failed {
            self.open.remove(&(by, ticket));
            let event = if nodes { Event::Nodes(ticket, Err(())) } else { Event::FetchEnded(ticket) };
            self.handle(by, event);
        }
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(500 + self.rng.below(40_000) as u64)
    }

    fn push(&mut self, at: Duration, action: Action, link: Option<(usize, usize)>) {
        self.count += 1;
        let link = link.map(|(a, b)| (a.min(b), a.max(b)));
        let link = match link {
            None => None,
            Some(link) => match self.links.get(&link) {
                Some(epoch) => Some((link, *epoch)),
                None => return,
            },
        };
        self.queue.insert((at, self.count), (action, link));
    }

    fn soon(&mut self, action: Action, link: Option<(usize, usize)>) {
        let at = self.now + self.delay();
        self.push(at, action, link);
    }

    /// A person asks for something.
    pub fn command(&mut self, n: usize, command: Command) {
        self.handle(n, Event::Command(command));
    }

    /// Tells what happens, if somebody wants to know.
    #[expect(clippy::print_stderr, reason = "for those who look for a mistake")]
    pub fn say(&self, n: usize, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:9.3} {n}: {}", self.now.as_secs_f64(), what());
        }
    }

    /// The watcher of a device has seen something.
    pub fn notice(&mut self, n: usize, paths: Vec<RelPath>) {
        let run = self.devices[n].run;
        self.soon(Action::Event { to: n, run, event: Event::Noticed(Noticed::Paths(paths)) }, None);
    }

    /// A device ignores just these paths from now on.
    pub fn ignore(&mut self, n: usize, tops: &[&str]) {
        self.devices[n].rules = Arc::new(Ignoring(tops.iter().map(|top| crate::path(top)).collect()));
        self.handle(n, Event::Noticed(Noticed::Everything));
    }

    /// An engine takes in an event, and what it wants is begun.
    pub fn handle(&mut self, n: usize, event: Event) {
        let device = &mut self.devices[n];
        let origin = device.origin;
        let Some(engine) = &mut device.engine else { return };
        let before = engine.state().context.seq(origin);
        let text = self.trace.then(|| format!("{event:?}"));
        engine.handle(self.now, event).expect("memory does not fail");
        let after = engine.state().context.seq(origin);
        if let Some(text) = text {
            self.say(n, || text);
        }
        let device = &self.devices[n];
        assert!(before == after || device.writes(), "a reader made a commit");
        assert!(before == after || !self.frozen, "device {n} made a commit without a user");
        assert!(before == after || device.touches > 0, "device {n} made a commit before any user");
        self.drain(n);
        self.say(n, || {
            self.devices[n]
                .engine
                .as_ref()
                .map_or_else(String::new, |engine| format!("rows {:?}", engine.unapplied()))
        });
    }

    fn drain(&mut self, n: usize) {
        while let Some(effect) = self.devices[n].engine.as_mut().and_then(|engine| engine.poll()) {
            if self.instant.0 != self.now {
                self.instant = (self.now, 0);
            }
            self.instant.1 += 1;
            assert!(self.instant.1 < 20_000, "a busy loop: {effect:?}");
            self.last_effect = self.now;
            self.say(n, || format!("-> {effect:?}"));
            self.begin(n, effect);
        }
        let device = &mut self.devices[n];
        let Some(engine) = &mut device.engine else { return };
        let Some(wake) = engine.wake_at(self.now) else { return };
        if wake <= self.now {
            self.instant.1 += 1;
            assert!(self.instant.1 < 20_000, "device {n} wants to be called at once, for ever");
            return self.handle(n, Event::Tick);
        }
        if device.wake.is_none_or(|at| wake < at || at <= self.now) {
            device.wake = Some(wake);
            let run = device.run;
            self.push(wake, Action::Wake { of: n, run }, None);
        }
    }

    fn number(&self, peer: keystore::DeviceId) -> usize {
        usize::from(peer.0[0])
    }

    fn count(&mut self, n: usize, what: &'static str) {
        *self.devices[n].effects.entry(what).or_default() += 1;
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= end) {
            let ((at, _), queued) = next.remove_entry();
            self.now = self.now.max(at);
            self.happen(queued);
        }
        self.now = end;
    }

    fn happen(&mut self, (action, link): Queued) {
        let lasts = link.is_none_or(|(link, epoch)| self.links.get(&link) == Some(&epoch));
        if lasts {
            self.act(action);
        }
    }

    /// What every device is about.
    pub fn sayings(&self) -> String {
        let mut all = String::new();
        for device in &self.devices {
            let Some(engine) = &device.engine else { continue };
            all += &format!(
                "{} {:?} {:?} {:?} {:?} {:?}; ",
                device.number,
                engine.activity(),
                engine.unapplied(),
                engine.hold(),
                device.effects,
                device.touched(),
            );
        }
        all
    }

    /// Lets time pass until nothing has happened for a minute.
    pub fn run_until_quiet(&mut self) {
        let limit = self.now + Duration::from_secs(3_600);
        self.last_effect = self.now;
        let minute = Duration::from_secs(61);
        while let Some(next) = self.queue.first_entry() {
            if next.key().0 > self.last_effect + minute {
                break;
            }
            let ((at, _), queued) = next.remove_entry();
            self.now = self.now.max(at);
            assert!(self.now < limit, "does not come to rest: {}", self.sayings());
            self.happen(queued);
        }
        self.now = self.now.max(self.last_effect + minute);
    }
}
