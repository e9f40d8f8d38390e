//! The network side: QUIC endpoints, links to other devices, and who is dialled.
//!
//! [`Net`] is told of folders and of addresses; it keeps one *link* to each device that has proved a
//! folder that we have, and says in [`NetEvent`]s who joined which folder, what they sent, and who
//! left. A [`Peer`] is one device in one folder: to send messages to, and to ask for nodes and
//! chunks. What others may ask of us is answered through [`Serve`].
//!
//! Not here: what messages mean, which chunk is asked of whom, and finding addresses.
//!
//! Reading order: `endpoint`, `tls`, `pace` and `transport` make connections; `link` is one and `driver` its
//! task; `members` decides between two links of a device; `dial` is the dial policy and `dialer` its
//! hands; `exchange` tells peers of each other and says what was reached, `roaming` follows changes
//! of the network, `reach` is about being reached: observed addresses, introductions, relays, mapped
//! ports; `door` lets others in and `gate` bounds strangers; `peer` asks and `serve` answers.
//!
//! When messages are lost with a link, the folder hears [`NetEvent::Left`] and then
//! [`NetEvent::Joined`], never a gap in between: after each `Joined`, both sides start anew.

mod congestion;
mod dial;
mod dialer;
mod door;
mod driver;
mod endpoint;
mod events;
mod exchange;
mod gate;
mod gather;
mod hub;
mod link;
mod members;
mod pace;
mod peer;
mod places;
mod reach;
mod reason;
mod roaming;
mod serve;
mod slots;
mod tls;
mod transport;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use keystore::{DeviceId, DeviceKey, DiscoveryId, FolderId, FolderSecret, Opening};
use protocol::message::Message;
use tokio::sync::watch;

pub use self::dial::{Backoff, FoundBy, KnownAddress};
pub use self::endpoint::SOCKET_BUFFER;
pub use self::events::{Events, Underway};
pub use self::peer::{ChunkAnswer, FetchError, Peer, PeerInfo, SendError};
pub use self::reach::{IntroducerStatus, MappingStatus, NatKind, ReachStatus, Reachable};
pub use self::serve::Serve;

use self::dial::Target;
use self::hub::Hub;

/// What the network needs to start.
#[derive(Debug)]
pub struct NetConfig {
    /// The UDP addresses to listen on; port 0 takes a free one, `[::]` serves both families.
    pub listen: Vec<SocketAddr>,
    /// Who we are to peers that have proved a folder.
    pub device: DeviceKey,
    /// What peers call this device.
    pub name: String,
    /// Randomness for proofs and for spreading dials.
    pub seed: [u8; 32],
    /// The pauses between dials of one target.
    pub backoff: Backoff,
}

/// Why the network cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (UDP): {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No certificate or configuration could be made; our bug, or no randomness.
    #[error("cannot set up TLS: {0}")]
    Tls(Box<dyn std::error::Error + Send + Sync>),
}

/// What the network tells the folders.
#[derive(Debug)]
pub enum NetEvent {
    /// A device has proved a folder, and we have.
    Joined {
        /// The folder.
        folder: FolderId,
        /// The device, to send to and ask.
        peer: Peer,
    },
    /// A device has left a folder, or its link has ended.
    Left {
        /// The folder.
        folder: FolderId,
        /// The device.
        peer: DeviceId,
    },
    /// A device has sent a message.
    Message {
        /// The folder that it is about.
        folder: FolderId,
        /// The device.
        peer: DeviceId,
        /// What it says.
        message: Message,
    },
    /// A peer has told how the folder's secret opens, and it does: to be kept. It may come twice.
    Opening {
        /// The folder.
        folder: FolderId,
        /// What convinces a reader.
        opening: Opening,
    },
    /// A device of a folder was reached at an address that will mean the same after a restart: to be
    /// remembered. It comes again while that stays true, a few times a day.
    Reached {
        /// The folder.
        folder: FolderId,
        /// The device, proved.
        device: DeviceId,
        /// Where it was dialled, or where it dials from.
        address: SocketAddr,
    },
    /// An address that was remembered has been dialled in vain for hours, while others were reached.
    Unreached {
        /// The folder.
        folder: FolderId,
        /// Where nobody answers.
        address: SocketAddr,
    },
    /// Another process uses our device key: a copied home. Its link was refused.
    DuplicateDevice {
        /// Where it is.
        address: SocketAddr,
    },
}

/// The buffers that the system has granted to a UDP socket (Linux reports twice what is usable).
#[derive(Clone, Copy, Debug)]
pub struct SocketBuffers {
    /// For receiving, in bytes.
    pub receive: usize,
    /// For sending, in bytes.
    pub send: usize,
}

#[cfg(test)]
impl Net {
    /// Says what did not happen.
    pub(crate) async fn pretend(&self, event: NetEvent) {
        let _ = self.hub.events.send(event).await;
    }
}

/// The running network; all its links are closed when it is dropped.
pub struct Net {
    hub: Arc<Hub>,
}

impl Net {
    /// Who we are.
    pub fn device_id(&self) -> DeviceId {
        self.hub.device.id()
    }

    /// Listens on all addresses and starts to accept links. Needs a tokio runtime.
    ///
    /// # Errors
    /// When an address cannot be listened on; the error names it.
    pub fn start(config: NetConfig) -> Result<(Self, Events), NetError> {
        let (events_out, events) = events::Out::new();
        let hub = Arc::new(Hub::new(config, events_out)?);
        for endpoint in hub.endpoints.endpoints() {
            tokio::spawn(door::accept_links(Arc::clone(&hub), endpoint.clone()));
        }
        tokio::spawn(dialer::run(Arc::downgrade(&hub)));
        tokio::spawn(exchange::run(Arc::downgrade(&hub)));
        Ok((Self { hub }, events))
    }

    /// The addresses that are listened on, with the ports that were taken.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.hub.endpoints.local_addresses()
    }

    /// The buffers that were granted, for each of the addresses.
    pub fn socket_buffers(&self) -> Vec<SocketBuffers> {
        self.hub.endpoints.buffers()
    }

    /// Looks for peers of a folder on all links, and answers them from `server`. `opening` is what a
    /// reader was told before. A folder that is already there gets the new secret and server for
    /// links to come; those that have joined it stay as they are.
    pub fn add_folder(&self, secret: FolderSecret, opening: Option<Opening>, server: Arc<dyn Serve>) {
        self.hub.add_folder(secret, opening, server);
    }

    /// Leaves a folder on all links and joins it again, with this secret, opening and server. Where its
    /// peers are, and who introduces us to them, stays known.
    pub fn rejoin_folder(&self, secret: FolderSecret, opening: Option<Opening>, server: Arc<dyn Serve>) {
        self.hub.withdraw_folder(secret.folder_id());
        self.hub.add_folder(secret, opening, server);
    }

    /// Leaves a folder on all links and forgets its addresses.
    pub fn remove_folder(&self, folder: FolderId) {
        self.hub.remove_folder(folder);
        reach::remove_folder(&self.hub, folder);
    }

    /// Under which ports the world reaches us, to be announced; changes when more becomes known.
    pub fn reachable(&self) -> watch::Receiver<Reachable> {
        self.hub.reach.reachable()
    }

    /// Replaces the trackers (`host:port`) that may introduce us to peers of a folder, and says
    /// whether they may relay. A tracker that is no introducer does no harm.
    pub fn set_rendezvous(
        &self,
        folder: FolderId,
        discovery: DiscoveryId,
        trackers: Vec<String>,
        relay: bool,
    ) {
        reach::set_folder(&self.hub, folder, discovery, trackers, relay);
    }

    /// Has the gateway map our UDP port, or ends that. Off at first.
    pub fn set_port_mapping(&self, on: bool) {
        reach::set_port_mapping(&self.hub, on);
    }

    /// What is known of being reached, for a person.
    pub fn reach_status(&self) -> ReachStatus {
        self.hub.reach.status()
    }

    /// Dials an address for a folder, as it is: the user named it, or a beacon came from it.
    /// Repeating it is free.
    pub fn dial(&self, folder: FolderId, address: SocketAddr, found_by: FoundBy) {
        self.hub.add_target(folder, Target::Address(address), found_by);
    }

    /// The same for `host:port`, as a link names it; a host name is resolved at each dial.
    pub fn dial_named(&self, folder: FolderId, peer: String, found_by: FoundBy) {
        self.hub.add_target(folder, Target::parse(peer), found_by);
    }

    /// Forgets what was found this way; links stay.
    pub fn forget_found(&self, folder: FolderId, found_by: FoundBy) {
        self.hub.book.lock().remove(folder, Some(found_by));
    }

    /// Where peers of a folder are looked for, and whether they were found there.
    pub fn known(&self, folder: FolderId) -> Vec<KnownAddress> {
        self.hub.book.lock().known(folder, self.hub.now())
    }

    /// Considers an address that `namer` has named: it is dialled if it may be, within the limits
    /// for hints.
    pub fn hint(&self, folder: FolderId, address: SocketAddr, found_by: FoundBy, namer: IpAddr) {
        if dial::is_dialable(address, namer) {
            self.hub.add_hint(folder, Target::Address(address), found_by, namer);
        }
    }

    /// Replaces the pinned peers (`host:port`) of a folder. They are dialled until connected, names
    /// are resolved each time.
    pub fn set_pinned(&self, folder: FolderId, peers: Vec<String>) {
        let peers: BTreeSet<String> = peers.into_iter().collect();
        self.hub.set_pinned(folder, peers);
    }

    /// Closes all links in order and waits until the other sides could hear of it.
    pub async fn close(&self) {
        self.hub.reach.unmap().await;
        self.hub.close();
        for endpoint in self.hub.endpoints.endpoints() {
            endpoint.wait_idle().await;
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.hub.close();
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").field("listen", &self.local_addresses()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
