//! The loop of the beacons.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keystore::{DiscoveryId, FolderId};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::LanConfig;
use super::beacon::{self, Beacon, TagBook};
use super::board::Board;
use super::pace::{Heard, Pace};
use super::sockets::Sockets;
use crate::discovery::changes::Changes;
use crate::discovery::{Hint, Way};

/// How often the interfaces are listed where the system does not say when they change.
const LOOK_OFTEN: Duration = Duration::from_secs(3);
/// How often they are listed where it does, should word of a change be lost.
const LOOK_SELDOM: Duration = Duration::from_secs(60);
/// From word of a change to the look: changes come in swarms.
const LOOK_SOON: Duration = Duration::from_millis(200);
/// From a look that could not open everything to the next: an IPv6 address takes two seconds to be
/// ready, of which there is word, but who has the port meanwhile does not say when he goes.
const LOOK_AFTER_TROUBLE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) enum Command {
    Add(FolderId, DiscoveryId),
    Remove(FolderId),
    LookAgain,
}

pub(super) struct Task {
    random: blake3::OutputReader,
    sockets: Sockets,
    book: TagBook,
    pace: Pace,
    heard: Heard,
    hints: mpsc::Sender<Hint>,
    board: Arc<Mutex<Board>>,
    start: Instant,
    look_at: Instant,
}

impl Task {
    pub(super) fn new(config: LanConfig, board: Arc<Mutex<Board>>) -> Self {
        let now = Instant::now();
        Self {
            random: blake3::Hasher::new_keyed(&config.seed).finalize_xof(),
            sockets: Sockets::new(&config),
            book: TagBook::default(),
            pace: Pace::new(Duration::ZERO),
            heard: Heard::default(),
            hints: config.hints,
            board,
            start: now,
            look_at: now,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut changes = Changes::watch();
        let mut buffer = [0; beacon::MAX_BEACON + 1];
        loop {
            let due = self.start + self.pace.due();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                () = changes.next() => self.look_at = self.look_at.min(Instant::now() + LOOK_SOON),
                () = tokio::time::sleep_until(self.look_at) => self.on_look(changes.are_told()),
                () = tokio::time::sleep_until(due), if !self.book.is_empty() => self.on_due().await,
                (len, from) = self.sockets.receive(&mut buffer) => self.on_datagram(&buffer[..len], from),
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Add(folder, discovery) => {
                if self.book.insert(folder, &discovery) {
                    self.pace.handle_change(self.start.elapsed());
                }
            }
            Command::Remove(folder) => self.book.remove(folder),
            Command::LookAgain => {
                self.look_at = Instant::now();
                self.pace.handle_change(self.start.elapsed());
            }
        }
    }

    fn on_look(&mut self, changes_are_told: bool) {
        let look = self.sockets.look_at_interfaces();
        if look.has_new {
            self.pace.handle_change(self.start.elapsed());
        }
        let pause = match (look.errors.is_empty(), changes_are_told) {
            (false, _) => LOOK_AFTER_TROUBLE,
            (true, false) => LOOK_OFTEN,
            (true, true) => LOOK_SELDOM,
        };
        self.look_at = Instant::now() + pause;
        self.board.lock().handle_look(self.sockets.names(), self.sockets.hears(), look.errors);
    }

    async fn on_due(&mut self) {
        let mut random = [0; 9];
        self.random.fill(&mut random);
        let [nonce @ .., jitter] = random;
        let (mut datagrams, mut errors) = (0, Vec::new());
        for port in self.sockets.quic_ports() {
            for datagram in self.book.encode(nonce, port) {
                let sent = self.sockets.send(&datagram, port).await;
                datagrams += sent.datagrams;
                errors.extend(sent.errors);
            }
        }
        if !errors.is_empty() {
            // Most often the interface has just gone, and then it is no error.
            self.look_at = self.look_at.min(Instant::now() + LOOK_SOON);
        }
        self.pace.handle_sent(self.start.elapsed(), nonce, jitter);
        let next = SystemTime::now() + self.pace.due().saturating_sub(self.start.elapsed());
        let mut board = self.board.lock();
        board.handle_round(datagrams, errors, &self.book.folders());
        board.set_next(next);
    }

    fn on_datagram(&mut self, datagram: &[u8], from: SocketAddr) {
        let now = self.start.elapsed();
        let Some(beacon) = Beacon::parse(datagram) else { return };
        if self.pace.is_own(&beacon.nonce) || !self.heard.admit(from.ip(), now) {
            return;
        }
        let folders = self.book.recognise(&beacon);
        let mut board = self.board.lock();
        board.handle_beacon();
        if folders.is_empty() {
            return;
        }
        if self.heard.handle_peer(from.ip(), beacon.quic_port, now) {
            self.pace.answer(now);
        }
        // A link-local address keeps its scope: without it, it cannot be dialled.
        let mut address = from;
        address.set_port(beacon.quic_port);
        for folder in folders {
            // A full queue drops the hint: the next beacon brings it again.
            let hint = Hint { folder, address, namer: from.ip(), way: Way::Lan };
            let was_told = self.hints.try_send(hint).is_ok();
            board.handle_peer(folder, address, was_told);
        }
    }
}
