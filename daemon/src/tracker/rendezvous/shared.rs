//! QUIC on the port of the tracker: quinn's socket out of the datagrams that are not the tracker's.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use crate::tracker::udp::{ForeignDatagram, ForeignDatagrams, ForeignSender};

/// When the system takes no more, it does so again in a moment.
const FULL_FOR: Duration = Duration::from_millis(1);

/// What is lent of the tracker's socket.
#[derive(Debug)]
pub(super) struct SharedSocket {
    local: SocketAddr,
    receiver: Mutex<mpsc::Receiver<ForeignDatagram>>,
    sender: ForeignSender,
    /// The system has taken no more.
    is_full: AtomicBool,
}

impl SharedSocket {
    pub(super) fn new(datagrams: ForeignDatagrams) -> Self {
        let ForeignDatagrams { local, receiver, sender } = datagrams;
        Self { local, receiver: Mutex::new(receiver), sender, is_full: AtomicBool::new(false) }
    }
}

impl AsyncUdpSocket for SharedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Pause { socket: self, sleeping: Mutex::new(None) })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.sender.try_send(transmit);
        let is_full = matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        self.is_full.store(is_full, Ordering::Relaxed);
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut receiver = self.receiver.lock();
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let datagram = match receiver.poll_recv(cx) {
                Poll::Ready(Some(datagram)) => datagram,
                // The tracker has ended, and with it soon the endpoint: to it, that is silence.
                Poll::Ready(None) | Poll::Pending if count == 0 => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            };
            // What is longer than any QUIC packet is cut, and then none.
            let len = datagram.bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&datagram.bytes[..len]);
            *meta =
                RecvMeta { addr: datagram.from, len, stride: len, ecn: datagram.ecn, dst_ip: datagram.to };
            count += 1;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        self.sender.max_gso_segments()
    }

    fn may_fragment(&self) -> bool {
        self.sender.may_fragment()
    }
}

/// Waits a moment when the system takes no more.
struct Pause {
    socket: Arc<SharedSocket>,
    sleeping: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl UdpPoller for Pause {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.socket.is_full.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut sleeping = self.sleeping.lock();
        let pause = sleeping.get_or_insert_with(|| Box::pin(sleep(FULL_FOR)));
        ready!(pause.as_mut().poll(cx));
        *sleeping = None;
        self.socket.is_full.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pause")
    }
}
