//! LAN beacons: small datagrams that say on which port this daemon answers, and, only to those who
//! know the folders, which folders it has.
//!
//! One group and port for everyone, so that nothing has to be configured: UDP port [`PORT`], sent
//! to the IPv4 group [`GROUP_V4`], to the broadcast address 255.255.255.255 and to the link-local
//! IPv6 group [`GROUP_V6`], on every interface. Several daemons on one machine share the port.
//! Nothing here leaves the local link.
//!
//! Not here: dialling. A beacon's source address becomes a [`Hint`] and that is all; a forged one
//! costs a dial that fails, and one whose source is on no link of ours not even that.
//!
//! A machine needs neither both families nor any network at its start: interfaces and addresses may
//! come and go, and what cannot be opened is tried again.
//!
//! `beacon` holds the bytes, `pace` says when, `interfaces` from where, `sockets` sends and
//! receives, `board` remembers what to show, and `task` connects them.

mod beacon;
mod board;
mod interfaces;
mod pace;
mod sockets;
mod task;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use keystore::{DiscoveryId, FolderId};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use self::board::Board;
use self::task::{Command, Task};
use super::{Hint, WayStatus};

/// The UDP port of beacons.
pub const PORT: u16 = 4454;
/// The IPv4 group of beacons, of the organisation-local scope; never forwarded (TTL 1).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 192, 152, 144);
/// The IPv6 group of beacons, link-local: `ff12::` and the letters `syncd`.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0x73, 0x796e, 0x6364);

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
    /// Where this daemon answers QUIC: a beacon names the port that is right for the address that it
    /// comes from, and none comes from an address where nobody answers.
    pub listen: Vec<SocketAddr>,
    /// Randomness for nonces.
    pub seed: [u8; 32],
    /// Where hints go; dropped when it is full, the next beacon brings them again.
    pub hints: mpsc::Sender<Hint>,
}

/// What the beacons do for all folders together.
#[derive(Clone, Debug, Default)]
pub struct LanOverview {
    /// The interfaces that beacons go out on, with their families: `eth0 (IPv4 and IPv6)`.
    pub interfaces: Vec<String>,
    /// Datagrams sent.
    pub sent: u64,
    /// Foreign beacons that were read.
    pub heard: u64,
    /// Hints that came of them.
    pub found: u64,
    /// What does not work now, though the rest may, as sentences.
    pub errors: Vec<String>,
}

/// The running beacons; they stop when it is dropped.
#[derive(Debug)]
pub struct Lan {
    commands: mpsc::UnboundedSender<Command>,
    board: Arc<Mutex<Board>>,
}

impl Lan {
    /// Starts to send and listen. Needs a tokio runtime.
    pub fn start(config: LanConfig) -> Self {
        let (commands, commands_in) = mpsc::unbounded_channel();
        let board = Arc::new(Mutex::new(Board::default()));
        tokio::spawn(Task::new(config, Arc::clone(&board)).run(commands_in));
        Self { commands, board }
    }

    /// Lets the beacons speak of a folder too.
    pub fn add_folder(&self, folder: FolderId, discovery: DiscoveryId) {
        self.board.lock().add(folder);
        // The task ends only when this sender is dropped.
        let _ = self.commands.send(Command::Add(folder, discovery));
    }

    /// Speaks of a folder no more.
    pub fn remove_folder(&self, folder: FolderId) {
        self.board.lock().remove(folder);
        let _ = self.commands.send(Command::Remove(folder));
    }

    /// What has become of a folder.
    pub fn status(&self, folder: FolderId) -> WayStatus {
        self.board.lock().status(folder)
    }

    /// What was sent and heard so far, and what does not work.
    pub fn overview(&self) -> LanOverview {
        self.board.lock().overview()
    }

    /// The network has changed, or the machine is back from sleep: speaks at once and quickly for a
    /// while. New interfaces are noticed without it.
    pub fn look_again(&self) {
        let _ = self.commands.send(Command::LookAgain);
    }
}
