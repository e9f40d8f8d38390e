//! A UDP socket that gathers what quinn sends into fewer, larger system calls.
//!
//! quinn hands out at most [`BATCH`] packets at once, a constant of its own; the kernel takes up to
//! 64 KiB in one call and cuts it into packets, and each call costs more than the bytes in it. So a
//! batch that is full is held back until the next one comes, which in bulk is at once; everything
//! that is not full goes out with it immediately. What is held is sent within [`HELD_FOR`] at the
//! latest, should nothing follow. Packets of one destination stay in order.
//!
//! What is read in one call stays so little that it is still in the processor's cache when quinn copies
//! it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::Notify;

/// Packets of a full batch of quinn's.
const BATCH: usize = 10;
/// What one call can take: a UDP datagram's worth, with room for the largest headers.
const MAX_BYTES: usize = 65_535 - 48;
/// How long a batch may wait for the next one: the shortest time that timers can tell.
const HELD_FOR: Duration = Duration::from_millis(1);
/// What one call reads: messages of up to 64 KiB, many packets each where they come in bulk. quinn has
/// buffers for 32 of them.
const READ_AT_ONCE: usize = 4;
/// Peers that are sent to at once do not wait for each other's calls.
const SHARDS: usize = 8;

/// Gathers what goes to another socket, and reads little at once from it.
pub(super) struct Gathering {
    socket: Arc<dyn AsyncUdpSocket>,
    shards: [Mutex<Held>; SHARDS],
    /// Something is held, and the task that sends it late has been told.
    is_armed: AtomicBool,
    armed: Arc<Notify>,
}

/// Packets of one destination that could still be joined by more.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    head: Option<Head>,
}

/// What packets of one call have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    destination: SocketAddr,
    source: Option<IpAddr>,
    ecn: Option<u8>,
    segment: usize,
}

impl Gathering {
    /// Gathers what goes to `socket`. Needs tokio's timers, for as long as it lives.
    pub(super) fn new(socket: Arc<dyn AsyncUdpSocket>) -> Arc<Self> {
        let armed = Arc::new(Notify::new());
        let gathering = Arc::new(Self {
            socket,
            shards: Default::default(),
            is_armed: AtomicBool::new(false),
            armed: Arc::clone(&armed),
        });
        tokio::spawn(send_late(Arc::downgrade(&gathering), armed));
        gathering
    }

    fn arm(&self) {
        if !self.is_armed.swap(true, Ordering::AcqRel) {
            self.armed.notify_one();
        }
    }

    /// How many bytes one call may take in packets of this length.
    fn room(&self, segment: usize) -> usize {
        let most = self.socket.max_transmit_segments();
        (MAX_BYTES / segment).min(most) * segment
    }

    fn shard(&self, destination: SocketAddr) -> &Mutex<Held> {
        let mut hasher = DefaultHasher::new();
        destination.hash(&mut hasher);
        &self.shards[hasher.finish() as usize % SHARDS]
    }

    /// Sends what is held. If it must wait, it stays.
    fn flush(&self, held: &mut Held) -> io::Result<()> {
        let Some(head) = held.head else { return Ok(()) };
        let sent = self.socket.try_send(&Transmit {
            destination: head.destination,
            ecn: head.ecn.and_then(EcnCodepoint::from_bits),
            contents: &held.bytes,
            segment_size: Some(head.segment),
            src_ip: head.source,
        });
        if !matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            held.head = None;
            held.bytes.clear();
        }
        sent
    }

    fn flush_all(&self) {
        for shard in &self.shards {
            // What fails is lost, as packets are.
            if self.flush(&mut shard.lock()).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                self.arm();
            }
        }
    }
}

impl AsyncUdpSocket for Gathering {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut held = self.shard(transmit.destination).lock();
        let head = transmit.segment_size.map(|segment| Head {
            destination: transmit.destination,
            source: transmit.src_ip,
            ecn: transmit.ecn.map(|ecn| ecn as u8),
            segment,
        });
        let len = transmit.contents.len();
        let Some(head) = head.filter(|head| head.segment > 0) else {
            self.flush(&mut held)?;
            return self.socket.try_send(transmit);
        };
        let room = self.room(head.segment);
        // Behind a packet that is shorter than the others nothing can follow in the same call.
        let is_ended = !held.bytes.len().is_multiple_of(head.segment);
        if held.head != Some(head) || is_ended || held.bytes.len() + len > room {
            self.flush(&mut held)?;
        }
        let batch = BATCH * head.segment;
        let is_full = len == batch;
        if held.head.is_none() {
            if !is_full || 2 * batch > room {
                return self.socket.try_send(transmit);
            }
            held.head = Some(head);
        }
        held.bytes.extend_from_slice(transmit.contents);
        if is_full && held.bytes.len() + batch <= room {
            self.arm();
            return Ok(());
        }
        match self.flush(&mut held) {
            // It is ours now, and goes first when the socket can be written to.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.arm();
                Ok(())
            }
            sent => sent,
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = bufs.len().min(meta.len()).min(READ_AT_ONCE);
        self.socket.poll_recv(cx, &mut bufs[..count], &mut meta[..count])
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

impl fmt::Debug for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.flush_all();
        self.armed.notify_one();
    }
}

/// Sends what nothing has followed, until the socket is gone.
async fn send_late(gathering: Weak<Gathering>, armed: Arc<Notify>) {
    loop {
        armed.notified().await;
        tokio::time::sleep(HELD_FOR).await;
        let Some(gathering) = gathering.upgrade() else { return };
        gathering.is_armed.store(false, Ordering::Release);
        gathering.flush_all();
    }
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
