//! The Mainline DHT: millions of nodes, run by strangers, that remember who has announced what.
//!
//! Each folder is announced under its discovery id with the UDP port at which the world reaches our
//! QUIC socket, and looked up; who is found becomes a [`Hint`]. We take part as a *client*: we ask,
//! and answer nobody. IPv4 only, since the nodes that we speak to are.
//!
//! What a stranger can do: see that the addresses which announce a discovery id belong together,
//! name addresses that are not peers (they are hints, and dialled within the limits for hints), or
//! keep silent about some. He learns neither names nor keys.
//!
//! A device that starts without a network sees one within 5 s of its coming ([`Dht::look_again`] is
//! quicker), and after a time in which no node has answered it tries every 30 s.
//!
//! `node` holds the crate that speaks the protocol; `entry` finds the way in and `contacts` keeps
//! it over restarts; `pace` says when a folder has its turn, `turn` is one, `answers` says what is
//! believed, and `task` connects them.

mod answers;
mod contacts;
mod entry;
mod node;
mod pace;
mod task;
mod turn;

#[cfg(test)]
mod fake_node;
#[cfg(test)]
mod interop_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use keystore::{DiscoveryId, FolderId};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use self::task::{Command, Task};
use super::{Hint, Reachable, Way, WayStatus};

/// Bootstrap nodes taken from the settings.
const MAX_BOOTSTRAP: usize = 16;

/// How to take part in the DHT.
#[derive(Debug)]
pub struct DhtConfig {
    /// Nodes to begin with, `HOST:PORT` each, the first 16 of them; empty for the well-known ones.
    pub bootstrap: Vec<String>,
    /// Where nodes that have answered are kept over restarts.
    pub state_file: PathBuf,
    /// Randomness for spreading turns and choosing among nodes.
    pub seed: [u8; 32],
    /// Where hints go; dropped when it is full, the next lookup brings them again.
    pub hints: mpsc::Sender<Hint>,
    /// The port to announce; without one over IPv4, the DHT is of no use and is not asked.
    pub reachable: watch::Receiver<Reachable>,
}

/// Why the DHT cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum DhtError {
    /// A bootstrap node is not what it should be.
    #[error("`{0}` is not the HOST:PORT of a DHT node; example: router.bittorrent.com:6881")]
    Bootstrap(String),
}

/// Our part in the DHT; it ends when it is dropped.
#[derive(Debug)]
pub struct Dht {
    commands: mpsc::UnboundedSender<Command>,
    board: Arc<Mutex<Board>>,
}

/// What `status` shows.
#[derive(Debug, Default)]
struct Board {
    folders: BTreeMap<FolderId, WayStatus>,
    /// Why we are not in the DHT at all.
    trouble: Option<String>,
}

impl Dht {
    /// Begins to take part as soon as there is a folder. Needs a tokio runtime.
    ///
    /// # Errors
    /// When a bootstrap node is malformed. That none can be reached is told by [`Self::status`].
    pub fn start(config: DhtConfig) -> Result<Self, DhtError> {
        if let Some(bad) = config.bootstrap.iter().find(|node| !is_host_and_port(node)) {
            return Err(DhtError::Bootstrap(bad.clone()));
        }
        let mut bootstrap = config.bootstrap;
        bootstrap.truncate(MAX_BOOTSTRAP);
        if bootstrap.is_empty() {
            bootstrap = node::WELL_KNOWN.map(str::to_owned).to_vec();
        }
        let (commands, commands_in) = mpsc::unbounded_channel();
        let board = Arc::new(Mutex::new(Board::default()));
        let config = DhtConfig { bootstrap, ..config };
        tokio::spawn(Task::new(config, Arc::clone(&board)).run(commands_in));
        Ok(Self { commands, board })
    }

    /// Announces and looks up a folder, at once and then every quarter of an hour.
    pub fn add_folder(&self, folder: FolderId, discovery: DiscoveryId) {
        self.board.lock().folders.entry(folder).or_insert_with(unheard);
        // The task ends only when this sender is dropped.
        let _ = self.commands.send(Command::Add(folder, discovery));
    }

    /// Asks for a folder no more. What was announced is forgotten by the nodes within the hour.
    pub fn remove_folder(&self, folder: FolderId) {
        self.board.lock().folders.remove(&folder);
        let _ = self.commands.send(Command::Remove(folder));
    }

    /// What has become of a folder.
    pub fn status(&self, folder: FolderId) -> WayStatus {
        let board = self.board.lock();
        let mut status = board.folders.get(&folder).cloned().unwrap_or_else(unheard);
        if board.trouble.is_some() {
            status.error.clone_from(&board.trouble);
        }
        status
    }

    /// The network has changed (a new address, back from sleep): looks again within seconds.
    pub fn look_again(&self) {
        let _ = self.commands.send(Command::LookAgain);
    }
}

fn unheard() -> WayStatus {
    let source = "the Mainline DHT".to_owned();
    WayStatus {
        way: Way::Dht,
        source,
        last_announce: None,
        next: None,
        found: 0,
        error: None,
        stands_by: false,
    }
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = !host.is_empty() && !host.contains([':', '/', '[', ']']) && host.len() <= 253;
    is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
}
