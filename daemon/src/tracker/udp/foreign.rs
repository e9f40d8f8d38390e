//! Datagrams of another protocol on the tracker's port: QUIC's, which have 0x40 set in their first
//! byte. Whoever takes [`ForeignDatagrams`] receives them and can send from the same port.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use quinn::udp::{EcnCodepoint, Transmit};
use tokio::sync::mpsc;

use super::socket::Port;

/// Datagrams that wait to be taken; beyond, they are dropped, as a full socket would.
pub(super) const WAITING: usize = 4_096;

/// A datagram that is not for the tracker.
#[derive(Debug, Clone)]
pub struct ForeignDatagram {
    /// What it holds.
    pub bytes: Bytes,
    /// Who has sent it, as the socket has it: on a dual-stack socket IPv4 is mapped into IPv6.
    pub from: SocketAddr,
    /// Which of our addresses it came to, if the system says so.
    pub to: Option<IpAddr>,
    /// Congestion that a router has marked.
    pub ecn: Option<EcnCodepoint>,
}

/// The datagrams of one listening address that are not the tracker's. When it is dropped, they are too.
#[derive(Debug)]
pub struct ForeignDatagrams {
    /// The address that is listened on.
    pub local: SocketAddr,
    /// What comes.
    pub receiver: mpsc::Receiver<ForeignDatagram>,
    /// What goes.
    pub sender: ForeignSender,
}

/// Sends from the tracker's port.
#[derive(Clone)]
pub struct ForeignSender(pub(super) Arc<Port>);

impl ForeignSender {
    /// Sends one datagram, or several of one size.
    ///
    /// # Errors
    /// `WouldBlock` when the system takes no more at the moment. No runtime knows the socket, so
    /// nothing will say when it does again; a millisecond later is a good time.
    pub fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.state.try_send((&self.0.socket).into(), transmit)
    }

    /// Datagrams that one call can send.
    pub fn max_gso_segments(&self) -> usize {
        self.0.state.max_gso_segments()
    }

    /// Whether routers may cut what is sent.
    pub fn may_fragment(&self) -> bool {
        self.0.state.may_fragment()
    }
}

impl fmt::Debug for ForeignSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForeignSender").field(&self.0.local).finish()
    }
}
