//! LAN beacons: small datagrams that say on which port this daemon answers, and, only to those who
//! know the folders, which folders it has.
//!
//! One group and port for everyone, so that nothing has to be configured: UDP port [`PORT`], sent
//! to the IPv4 group [`GROUP_V4`], to the broadcast address 255.255.255.255 and to the link-local
//! IPv6 group [`GROUP_V6`], on every interface. Several daemons on one machine share the port.
//! Nothing here leaves the local link.
//!
//! Not here: dialling. A beacon's source address becomes a [`Hint`] and that is all; a forged one
//! costs a dial that fails.
//!
//! `beacon` holds the bytes, `pace` says when, `sockets` sends and receives, and the loop below
//! connects them.

mod beacon;
mod pace;
mod sockets;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use keystore::{DiscoveryId, FolderId};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::beacon::{Beacon, TagBook};
use self::pace::{Heard, Pace};
use self::sockets::Sockets;
use super::{Hint, Way};

/// The UDP port of beacons.
pub const PORT: u16 = 4454;
/// The IPv4 group of beacons, of the organisation-local scope; never forwarded (TTL 1).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 192, 152, 144);
/// The IPv6 group of beacons, link-local: `ff12::` and the letters `syncd`.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0x73, 0x796e, 0x6364);

/// How often the interfaces are listed anew: one system call.
const LOOK_AT_INTERFACES: Duration = Duration::from_secs(3);
/// Hints that nobody has taken yet; beyond, they are dropped, and the next beacon brings them again.
const HINTS: usize = 256;

/// Where beacons go. (Off is not to start them.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LanMode {
    /// On every interface but loopback.
    On,
    /// On loopback alone, for several daemons on one machine.
    Loopback,
}

/// How to run the beacons.
#[derive(Clone, Debug)]
pub struct LanConfig {
    /// Where beacons go.
    pub mode: LanMode,
    /// The UDP port of beacons: [`PORT`], except in tests.
    pub port: u16,
    /// Where this daemon answers QUIC.
    pub quic_port: u16,
    /// Randomness for nonces.
    pub seed: [u8; 32],
}

/// What `status` and `doctor` show of the beacons.
#[derive(Clone, Debug, Default)]
pub struct LanStatus {
    /// The interfaces that beacons go out on.
    pub interfaces: Vec<String>,
    /// Datagrams sent.
    pub sent: u64,
    /// Foreign beacons that were read.
    pub heard: u64,
    /// Hints that came of them.
    pub found: u64,
    /// What failed last, if anything has.
    pub error: Option<String>,
}

enum Command {
    Add(FolderId, DiscoveryId),
    Remove(FolderId),
}

/// The running beacons; they stop when it is dropped.
#[derive(Debug)]
pub struct Lan {
    commands: mpsc::UnboundedSender<Command>,
    status: Arc<Mutex<LanStatus>>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

impl Lan {
    /// Opens the sockets and starts to send and listen.
    ///
    /// # Errors
    /// When the port cannot be listened on, over IPv4 or IPv6.
    pub fn start(config: LanConfig) -> std::io::Result<(Self, mpsc::Receiver<Hint>)> {
        let sockets = Sockets::open(config.mode, config.port)?;
        let (commands, commands_in) = mpsc::unbounded_channel();
        let (hints_out, hints) = mpsc::channel(HINTS);
        let status = Arc::new(Mutex::new(LanStatus::default()));
        let start = Instant::now();
        let task = Task {
            quic_port: config.quic_port,
            random: blake3::Hasher::new_keyed(&config.seed).finalize_xof(),
            sockets,
            book: TagBook::default(),
            pace: Pace::new(Duration::ZERO),
            heard: Heard::default(),
            hints: hints_out,
            status: Arc::clone(&status),
            start,
        };
        tokio::spawn(task.run(commands_in));
        Ok((Self { commands, status }, hints))
    }

    /// Lets the beacons speak of a folder too.
    pub fn add_folder(&self, folder: FolderId, discovery: DiscoveryId) {
        // The task ends only when this sender is dropped.
        let _ = self.commands.send(Command::Add(folder, discovery));
    }

    /// Speaks of a folder no more.
    pub fn remove_folder(&self, folder: FolderId) {
        let _ = self.commands.send(Command::Remove(folder));
    }

    /// What was sent and heard so far.
    pub fn status(&self) -> LanStatus {
        self.status.lock().clone()
    }
}

struct Task {
    quic_port: u16,
    random: blake3::OutputReader,
    sockets: Sockets,
    book: TagBook,
    pace: Pace,
    heard: Heard,
    hints: mpsc::Sender<Hint>,
    status: Arc<Mutex<LanStatus>>,
    start: Instant,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut look = tokio::time::interval(LOOK_AT_INTERFACES);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut buffer = [0; beacon::MAX_BEACON + 1];
        loop {
            let due = self.start + self.pace.due();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                _ = look.tick() => self.on_interfaces(),
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
        }
    }

    fn on_interfaces(&mut self) {
        let look = self.sockets.look_at_interfaces();
        if look.has_new {
            self.pace.handle_change(self.start.elapsed());
        }
        let mut status = self.status.lock();
        status.interfaces = self.sockets.names();
        if let Some(error) = look.error {
            status.error = Some(error);
        }
    }

    async fn on_due(&mut self) {
        let mut random = [0; 9];
        self.random.fill(&mut random);
        let [nonce @ .., jitter] = random;
        for datagram in self.book.encode(nonce, self.quic_port) {
            let sent = self.sockets.send(&datagram).await;
            let mut status = self.status.lock();
            status.sent += sent.datagrams;
            if let Some(error) = sent.error {
                status.error = Some(error);
            }
        }
        self.pace.handle_sent(self.start.elapsed(), nonce, jitter);
    }

    fn on_datagram(&mut self, datagram: &[u8], from: SocketAddr) {
        let now = self.start.elapsed();
        let Some(beacon) = Beacon::parse(datagram) else { return };
        if self.pace.is_own(&beacon.nonce) || !self.heard.admit(from.ip(), now) {
            return;
        }
        let folders = self.book.recognise(&beacon);
        let mut status = self.status.lock();
        status.heard += 1;
        if folders.is_empty() {
            return;
        }
        if self.heard.handle_peer(from.ip(), beacon.quic_port, now) {
            self.pace.answer(now);
        }
        let mut address = from;
        address.set_port(beacon.quic_port);
        for folder in folders {
            // A full queue drops the hint: the next beacon brings it again.
            let hint = Hint { folder, address, namer: from.ip(), way: Way::Lan };
            status.found += u64::from(self.hints.try_send(hint).is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A free port that stays reserved while the socket lives; others may share it as daemons do.
    fn shared_port() -> (socket2::Socket, u16) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        (socket, port)
    }

    fn start(port: u16, quic_port: u16) -> (Lan, mpsc::Receiver<Hint>) {
        let seed = [u8::try_from(quic_port).unwrap(); 32];
        Lan::start(LanConfig { mode: LanMode::Loopback, port, quic_port, seed }).unwrap()
    }

    async fn next(hints: &mut mpsc::Receiver<Hint>) -> Hint {
        tokio::time::timeout(Duration::from_secs(10), hints.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn two_daemons_on_one_machine_find_each_other_and_only_in_what_they_share() {
        let (_reserved, port) = shared_port();
        let (alice, mut alice_hears) = start(port, 11);
        let (bob, mut bob_hears) = start(port, 22);
        let (ours, private) = (FolderId([1; 16]), FolderId([2; 16]));
        alice.add_folder(private, DiscoveryId([2; 20]));
        alice.add_folder(ours, DiscoveryId([1; 20]));
        bob.add_folder(ours, DiscoveryId([1; 20]));

        let lo = [127, 0, 0, 1];
        let hint = |port| Hint { folder: ours, address: (lo, port).into(), namer: lo.into(), way: Way::Lan };
        assert_eq!(next(&mut bob_hears).await, hint(11));
        assert_eq!(next(&mut alice_hears).await, hint(22));
        assert_eq!(alice.status().interfaces, ["lo"]);
    }

    #[tokio::test]
    async fn without_folders_nothing_is_said() {
        let (_reserved, port) = shared_port();
        let (alice, _alice_hears) = start(port, 11);
        let (bob, mut bob_hears) = start(port, 22);
        let folder = FolderId([1; 16]);
        bob.add_folder(folder, DiscoveryId([1; 20]));
        let (carol, mut carol_hears) = start(port, 33);
        carol.add_folder(folder, DiscoveryId([1; 20]));
        next(&mut bob_hears).await;
        next(&mut carol_hears).await;
        assert_eq!(alice.status().sent, 0);
    }
}
