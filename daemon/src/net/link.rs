//! One link, as others see it: a QUIC connection, the session on it, and who was met there.
//!
//! What drives it is its task, in `driver`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keystore::{FolderId, FolderSecret, Opening};
use parking_lot::Mutex;
use protocol::message::Message;
use protocol::session::Session;
use quinn::{Connection, VarInt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::members::LinkId;
use super::peer::Peer;
pub(super) use super::reason::Reason;

/// How long a link that is asked for a sign of life may take, at least.
pub(super) const PROBE_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether it has: whoever is connected waits for it.
const PROBE_LOOK: Duration = Duration::from_millis(5);

/// What the folders want of a link.
pub(super) enum Command {
    Offer(FolderSecret, Option<Opening>),
    Learn(FolderId, Opening),
    Withdraw(FolderId),
    Send(FolderId, Message),
    Greet(FolderId, Vec<Message>),
}

/// What others may know of a link.
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) connection: Connection,
    pub(super) address: SocketAddr,
    pub(super) is_dialed: bool,
    /// It goes through a relay.
    pub(super) is_relayed: bool,
    pub(super) since: Instant,
    /// How many introductions the peer has asked for.
    pub(super) introductions: AtomicU64,
    /// A link before this one has ended: this one may speak now.
    pub(super) speaker_changed: Notify,
    /// The peer in each folder that is joined.
    pub(super) peers: Mutex<BTreeMap<FolderId, Peer>>,
    /// Locked for moments only: by the link's task, and to see what a question is about.
    pub(super) session: Mutex<Session>,
    pub(super) commands: mpsc::Sender<Command>,
    /// Bytes that wait to be written to the control stream.
    pub(super) unwritten: AtomicU64,
    /// Whoever has closed it here has seen the peer break the protocol.
    pub(super) is_of_a_liar: AtomicBool,
}

impl Link {
    /// Hands a command to the link's task. A link whose task is so far behind that there is no room
    /// is closed: what cannot be said must not be lost silently.
    pub(super) fn command(&self, command: Command) -> bool {
        let sent = self.commands.try_send(command);
        if matches!(sent, Err(mpsc::error::TrySendError::Full(_))) {
            self.close(Reason::TooSlow);
        }
        sent.is_ok()
    }

    pub(super) fn close(&self, reason: Reason) {
        self.is_of_a_liar.fetch_or(reason == Reason::Misbehaved, Ordering::Relaxed);
        self.connection.close(VarInt::from_u32(reason as u32), b"");
    }

    /// Whether the other side still answers: something that it must acknowledge is sent, and any
    /// packet back will do.
    pub(super) async fn is_alive(&self) -> bool {
        let before = self.connection.stats().udp_rx.datagrams;
        if self.connection.send_datagram(Bytes::from_static(&[0])).is_err() {
            return false;
        }
        let answer = async {
            while self.connection.stats().udp_rx.datagrams <= before {
                tokio::time::sleep(PROBE_LOOK).await;
            }
        };
        let within = PROBE_WITHIN.max(self.connection.rtt() * 4);
        tokio::select! {
            _ = self.connection.closed() => false,
            answered = timeout(within, answer) => answered.is_ok(),
        }
    }
}
