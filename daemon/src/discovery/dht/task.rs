//! The loop of the DHT: enters it, gives folders their turns, and replaces a node that has failed.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keystore::{DiscoveryId, FolderId};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::contacts;
use super::entry::{EntryError, enter};
use super::node::{Node, NodeError};
use super::pace::Pace;
use super::turn::{Outcome, Turn};
use super::{Board, DhtConfig};
use crate::discovery::WayStatus;

/// Turns under way at once; one takes a few seconds, and a thousand folders have a quarter of an hour.
const MAX_TURNS: usize = 6;
/// How often it is looked after the node.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// How often contacts are written.
const SAVE_EVERY: Duration = Duration::from_secs(3600);
/// With nothing to do, the loop looks up this often.
const AT_REST: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) enum Command {
    Add(FolderId, DiscoveryId),
    Remove(FolderId),
    LookAgain,
}

struct Folder {
    discovery: DiscoveryId,
    pace: Pace,
    turn: Option<Id>,
}

/// What runs beside the loop, when it is done. Each names the node by its number.
enum Done {
    Entered(Result<Node, EntryError>),
    Turned(FolderId, u64, Outcome),
    Tended(u64, Result<(Vec<SocketAddrV4>, bool), NodeError>),
    Nothing,
}

pub(super) struct Task {
    config: DhtConfig,
    board: Arc<Mutex<Board>>,
    random: blake3::OutputReader,
    start: Instant,
    folders: BTreeMap<FolderId, Folder>,
    node: Option<Node>,
    /// How many nodes there were: what an earlier one did says nothing about this one.
    number: u64,
    /// Since when a way in is looked for.
    entering: Option<Duration>,
    /// The port that the last turns have announced.
    port: Option<u16>,
    enter_at: Duration,
    tend_at: Duration,
    save_at: Duration,
    contacts: Vec<SocketAddrV4>,
    work: JoinSet<Done>,
}

impl Task {
    pub(super) fn new(config: DhtConfig, board: Arc<Mutex<Board>>) -> Self {
        Self {
            random: blake3::Hasher::new_keyed(&config.seed).finalize_xof(),
            config,
            board,
            start: Instant::now(),
            folders: BTreeMap::new(),
            node: None,
            number: 0,
            entering: None,
            port: None,
            enter_at: Duration::ZERO,
            tend_at: Duration::ZERO,
            save_at: Duration::ZERO,
            contacts: Vec::new(),
            work: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let path = self.config.state_file.clone();
        self.contacts = tokio::task::spawn_blocking(move || contacts::load(&path)).await.unwrap_or_default();
        self.port = self.config.reachable.borrow().v4;
        let mut may_change = true;
        loop {
            self.advance();
            let wake = self.start + self.wake_at();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                changed = self.config.reachable.changed(), if may_change => match changed {
                    Ok(()) => self.on_reachable(),
                    Err(_) => may_change = false, // the port that we know stays
                },
                Some(done) = self.work.join_next_with_id() => self.on_done(done),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    // --- what is due

    fn advance(&mut self) {
        let now = self.now();
        let port = self.port;
        let Some(port) = port.filter(|_| !self.folders.is_empty()) else {
            self.node = None;
            let trouble =
                "peers cannot reach this device over IPv4, which the DHT is for: listen on an IPv4 address";
            self.board.lock().trouble = port.is_none().then(|| trouble.to_owned());
            return;
        };
        let Some(node) = self.node.clone() else {
            if self.enter_at <= now {
                self.enter();
            }
            return;
        };
        if self.tend_at <= now {
            self.tend_at = now + TEND_EVERY;
            self.tend(node.clone());
        }
        self.start_turns(&node, port, now);
    }

    fn start_turns(&mut self, node: &Node, port: u16, now: Duration) {
        let under_way = self.folders.values().filter(|folder| folder.turn.is_some()).count();
        let mut waiting: Vec<(Duration, FolderId)> = self
            .folders
            .iter()
            .filter(|(_, folder)| folder.turn.is_none() && folder.pace.due() <= now)
            .map(|(id, folder)| (folder.pace.due(), *id))
            .collect();
        waiting.sort_unstable();
        for (_, id) in waiting.into_iter().take(MAX_TURNS.saturating_sub(under_way)) {
            let chance = usize::from(self.draw()) << 8 | usize::from(self.draw());
            let Some(folder) = self.folders.get_mut(&id) else { continue };
            let (discovery, hints) = (folder.discovery, self.config.hints.clone());
            let turn = Turn { folder: id, discovery, port, chance, hints };
            let (node, number) = (node.clone(), self.number);
            let handle = self.work.spawn(async move { Done::Turned(id, number, turn.take(&node).await) });
            folder.turn = Some(handle.id());
        }
    }

    fn enter(&mut self) {
        if self.entering.is_some() {
            return;
        }
        self.entering = Some(self.now());
        // Others each time, so that a dead dozen does not hide the rest.
        let chance = usize::from(self.draw());
        let shift = chance.checked_rem(self.contacts.len()).unwrap_or_default();
        self.contacts.rotate_left(shift);
        let (known, bootstrap) = (self.contacts.clone(), self.config.bootstrap.clone());
        self.work.spawn(async move { Done::Entered(enter(&known, &bootstrap).await) });
    }

    fn tend(&mut self, node: Node) {
        let number = self.number;
        self.work.spawn(async move {
            let looked = async { Ok((node.contacts().await?, node.is_worn().await?)) };
            Done::Tended(number, looked.await)
        });
    }

    fn wake_at(&self) -> Duration {
        let rest = self.now() + AT_REST;
        if self.folders.is_empty() || self.port.is_none() {
            return rest;
        }
        if self.node.is_none() {
            return if self.entering.is_some() { rest } else { self.enter_at };
        }
        let waiting = self.folders.values().filter(|folder| folder.turn.is_none());
        let is_full = self.folders.values().filter(|folder| folder.turn.is_some()).count() >= MAX_TURNS;
        let turn = waiting.map(|folder| folder.pace.due()).min().filter(|_| !is_full).unwrap_or(rest);
        turn.min(self.tend_at)
    }

    // --- what has happened

    fn on_command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Add(id, discovery) => {
                let new = || Folder { discovery, pace: Pace::new(now), turn: None };
                self.folders.entry(id).or_insert_with(new).discovery = discovery;
            }
            Command::Remove(id) => {
                self.folders.remove(&id);
            }
            Command::LookAgain => self.look_again(),
        }
    }

    fn on_reachable(&mut self) {
        let port = self.config.reachable.borrow().v4;
        if std::mem::replace(&mut self.port, port) != port {
            self.look_again();
        }
    }

    fn look_again(&mut self) {
        let now = self.now();
        self.hurry(|pace, jitter| pace.handle_change(now, jitter));
        self.enter_at = now;
    }

    /// Brings turns forward, not all at once; a single folder need not wait.
    fn hurry(&mut self, forward: impl Fn(&mut Pace, u8)) {
        let mut jitters = vec![0; self.folders.len()];
        if jitters.len() > 1 {
            self.random.fill(&mut jitters);
        }
        for (folder, jitter) in self.folders.values_mut().zip(jitters) {
            forward(&mut folder.pace, jitter);
        }
    }

    fn on_done(&mut self, done: Result<(Id, Done), JoinError>) {
        match done {
            Ok((_, Done::Entered(entered))) => self.on_entered(entered),
            Ok((_, Done::Turned(folder, number, outcome))) => self.on_turned(folder, number, &outcome),
            Ok((_, Done::Tended(number, looked))) if number == self.number => self.on_tended(looked),
            Ok((_, Done::Tended(..) | Done::Nothing)) => {}
            Err(error) => self.on_failed(error.id()),
        }
    }

    fn on_entered(&mut self, entered: Result<Node, EntryError>) {
        let now = self.now();
        let began = self.entering.take().unwrap_or(now);
        match entered {
            Ok(node) => {
                self.node = Some(node);
                self.number += 1;
                self.tend_at = now + TEND_EVERY;
                let was_out = self.board.lock().trouble.take().is_some();
                self.hurry(|pace, jitter| match was_out {
                    true => pace.handle_change(now, jitter),
                    false => pace.handle_entry(now, jitter),
                });
            }
            Err(error) => {
                debug!(%error, "not in the DHT");
                // Told meanwhile to look again, it does.
                let is_stale = self.enter_at > began;
                self.enter_at = if is_stale { now } else { now + error.retry_after() };
                // A node that is to be replaced goes on while its successor finds no way in.
                if self.node.is_none() {
                    self.board.lock().trouble = Some(error.to_string());
                    self.tell_next();
                }
            }
        }
    }

    fn on_turned(&mut self, id: FolderId, number: u64, outcome: &Outcome) {
        let (now, jitter) = (self.now(), self.draw());
        let announced = outcome.announced;
        if matches!(announced, Err(NodeError::Silent | NodeError::Gone)) && number == self.number {
            self.node = None;
            self.enter_at = now;
        }
        if announced.is_ok() && self.save_at == Duration::ZERO {
            self.tend_at = now; // which writes the first contacts
        }
        let Some(folder) = self.folders.get_mut(&id) else { return };
        folder.turn = None;
        folder.pace.handle_turn(announced.is_ok(), now, jitter);
        let next = Some(SystemTime::now() + folder.pace.due().saturating_sub(now));
        self.tell(id, |status| {
            status.next = next;
            status.error = announced.err().map(|error| sentence(error).to_owned());
            if announced.is_ok() {
                status.last_announce = Some(SystemTime::now());
                status.found = outcome.found;
            }
        });
    }

    fn on_tended(&mut self, looked: Result<(Vec<SocketAddrV4>, bool), NodeError>) {
        let now = self.now();
        let Some((contacts, is_worn)) = looked.ok().filter(|(contacts, _)| !contacts.is_empty()) else {
            self.node = None;
            self.enter_at = now;
            return;
        };
        self.contacts = contacts::merge(&contacts, &self.contacts);
        if is_worn {
            self.enter();
        }
        if self.save_at <= now {
            self.save_at = now + SAVE_EVERY;
            let path = self.config.state_file.clone();
            let before = self.contacts.clone();
            self.work.spawn_blocking(move || {
                if let Err(error) = contacts::save(&path, &contacts, &before) {
                    warn!(%error, "the DHT's contacts are not kept");
                }
                Done::Nothing
            });
        }
    }

    /// Something beside the loop has panicked: our bug, which must not silence a folder for ever.
    fn on_failed(&mut self, id: Id) {
        let (now, jitter) = (self.now(), self.draw());
        match self.folders.values_mut().find(|folder| folder.turn == Some(id)) {
            Some(folder) => {
                folder.turn = None;
                folder.pace.handle_turn(false, now, jitter);
            }
            None => self.entering = None,
        }
        self.enter_at = now + TEND_EVERY;
        self.node = None;
    }

    // --- what is told

    /// While there is no node, nobody has a turn before the next way in.
    fn tell_next(&mut self) {
        let pause = self.enter_at.saturating_sub(self.now());
        let next = Some(SystemTime::now() + pause);
        self.board.lock().folders.values_mut().for_each(|status| status.next = next);
    }

    fn tell(&self, folder: FolderId, change: impl FnOnce(&mut WayStatus)) {
        // Not there: it was removed, and the command is on its way.
        if let Some(status) = self.board.lock().folders.get_mut(&folder) {
            change(status);
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn draw(&mut self) -> u8 {
        let mut byte = [0];
        self.random.fill(&mut byte);
        byte[0]
    }
}

fn sentence(error: NodeError) -> &'static str {
    match error {
        NodeError::Silent => "no DHT node answers; is UDP blocked?",
        NodeError::Refused => "the DHT nodes refuse the announcement; it is tried again soon",
        NodeError::Gone => "the DHT did not answer to the end; it is entered anew",
    }
}
