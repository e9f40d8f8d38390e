//! Finding peers: who says that a folder is at which address.
//!
//! Each way of finding emits [`Hint`]s and knows nothing of connections; whether and when a hint is
//! dialled is decided by the network side. What a way last did is told in [`WayStatus`].
//!
//! - [`lan`]: beacons on the local network;
//! - [`tracker`]: trackers over UDP and HTTP;
//! - [`dht`]: the Mainline DHT.
//!
//! [`changes`] says when the network of this machine has changed, so that all may look again.

pub mod changes;
pub mod dht;
pub mod lan;
pub mod tracker;

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use keystore::FolderId;

/// A way of finding peers that asks or tells somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Beacons in the local network.
    Lan,
    /// A tracker.
    Tracker,
    /// The Mainline DHT.
    Dht,
}

/// An address at which a device that has this folder is said to answer QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hint {
    /// The folder that is said to be there.
    pub folder: FolderId,
    /// Where to dial; a link-local address carries its scope.
    pub address: SocketAddr,
    /// Who says so: the tracker or DHT node that was asked, or the source of the beacon.
    pub namer: IpAddr,
    /// How it was found.
    pub way: Way,
}

/// What a way last did for a folder, and what it will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayStatus {
    /// Which way.
    pub way: Way,
    /// Whom it asks: a tracker's URL, or what a person calls the rest.
    pub source: String,
    /// When it last told of us with success.
    pub last_announce: Option<SystemTime>,
    /// When it will do so again.
    pub next: Option<SystemTime>,
    /// Addresses that its last answer named, without our own.
    pub found: usize,
    /// Why the last attempt failed, as a sentence; `None` after a success.
    pub error: Option<String>,
    /// It is an alternative to one that answers, and not asked meanwhile.
    pub stands_by: bool,
}

/// Under which UDP ports the world reaches our QUIC sockets, as far as we know: a mapped port, else
/// one that others see us at, else the one that we listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// Over IPv4; `None` when we do not listen there.
    pub v4: Option<u16>,
    /// Over IPv6; `None` when we do not listen there.
    pub v6: Option<u16>,
}
