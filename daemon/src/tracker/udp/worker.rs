//! The loop of one thread: wait, receive a batch, answer it, send the answers.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use quinn::udp::RecvMeta;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;

use super::answer::{Answerer, Handled};
use super::foreign::ForeignDatagram;
use super::socket::{Batch, Outbox, Port};
use crate::tracker::counters::Count;
use crate::tracker::desk::Desk;

/// Batches of one socket before another one has its turn.
const BATCHES_AT_ONCE: usize = 8;
/// Answers that wait at most; the kernel may have put many requests into one buffer.
const MAX_WAITING: usize = 128;

/// A socket of this thread, and who takes what is not the tracker's.
pub(super) struct Desked {
    pub(super) port: Arc<Port>,
    pub(super) foreign: mpsc::Sender<ForeignDatagram>,
}

/// One thread's sockets.
pub(super) struct Worker {
    pub(super) desk: Arc<Desk>,
    pub(super) answerer: Answerer,
    pub(super) ports: Vec<Desked>,
    /// Becomes readable when it is time to stop.
    pub(super) stop: Arc<OwnedFd>,
}

impl Worker {
    /// Answers until it is told to stop.
    pub(super) fn run(mut self) {
        let (mut batch, mut outbox) = (Batch::new(), Outbox::default());
        let ports = std::mem::take(&mut self.ports);
        let stop = Arc::clone(&self.stop);
        let mut wanted: Vec<PollFd<'_>> =
            ports.iter().map(|port| PollFd::new(&port.port.socket, PollFlags::IN)).collect();
        wanted.push(PollFd::new(&*stop, PollFlags::IN));
        loop {
            match poll(&mut wanted, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "a thread of the tracker cannot wait for datagrams, and ends");
                    return;
                }
            }
            let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
            if wanted.last().is_some_and(is_ready) {
                return;
            }
            for (port, _) in ports.iter().zip(&wanted).filter(|(_, fd)| is_ready(fd)) {
                self.serve(port, &mut batch, &mut outbox);
            }
            self.answerer.settle();
        }
    }

    /// Answers what waits in one socket.
    fn serve(&mut self, desked: &Desked, batch: &mut Batch, outbox: &mut Outbox) {
        for _ in 0..BATCHES_AT_ONCE {
            match batch.receive(&desked.port) {
                Ok(()) => {}
                Err(empty) if empty.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // An error of an earlier send; reading has cleared it.
                    tracing::debug!(%error, "a datagram could not be received");
                    return;
                }
            }
            let now = self.desk.now();
            for (meta, datagram) in batch.datagrams() {
                let from = meta.addr.ip().to_canonical();
                match self.answerer.handle(&now, from, datagram, outbox.bytes()) {
                    Handled::Answered => outbox.address(meta.addr, meta.dst_ip),
                    Handled::Dropped => {}
                    Handled::Foreign => self.hand_on(desked, meta, datagram),
                }
                if outbox.len() == MAX_WAITING {
                    self.send(desked, outbox);
                }
            }
            self.send(desked, outbox);
            if !batch.is_full() {
                return;
            }
        }
    }

    fn send(&mut self, desked: &Desked, outbox: &mut Outbox) {
        if outbox.len() == 0 {
            return;
        }
        let sent = outbox.send(&desked.port);
        let tally = self.answerer.tally();
        tally.add(Count::UdpSent, sent.datagrams);
        tally.add(Count::UdpSentBytes, sent.bytes);
        tally.add(Count::UdpUnsent, sent.unsent);
    }

    fn hand_on(&mut self, desked: &Desked, meta: &RecvMeta, datagram: &[u8]) {
        // Looked at first: nothing is copied for nobody.
        let is_taken = desked.foreign.try_reserve().map(|place| {
            let bytes = Bytes::copy_from_slice(datagram);
            place.send(ForeignDatagram { bytes, from: meta.addr, to: meta.dst_ip, ecn: meta.ecn });
        });
        let count = if is_taken.is_ok() { Count::Foreign } else { Count::ForeignDropped };
        self.answerer.tally().add(count, 1);
    }
}
