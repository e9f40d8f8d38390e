//! Finding peers: who says that a folder is at which address.
//!
//! Each way of finding emits [`Hint`]s and knows nothing of connections; whether and when a hint is
//! dialled is decided by the network side.
//!
//! - [`lan`]: beacons on the local network.

pub mod lan;

use std::net::SocketAddr;

use keystore::FolderId;

/// An address at which a device that has this folder is said to answer QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hint {
    /// The folder that is said to be there.
    pub folder: FolderId,
    /// Where to dial; a link-local address carries its scope.
    pub address: SocketAddr,
}
