//! One UDP socket of one thread: batches in, batches out.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;

use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};

/// What is asked of the system for each socket; it may grant less.
const SOCKET_BUFFER: usize = 8 << 20;
/// The kernel may put several datagrams of one sender together, up to this.
const RECEIVE_BYTES: usize = 64 << 10;
/// Between the beginnings of two buffers; a power of two would let all of them share cache lines.
const STRIDE: usize = RECEIVE_BYTES + 192;
/// How long a full socket may hold up the answers of one batch before they are dropped.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// A socket, and what it takes to use it well.
pub(super) struct Port {
    pub(super) socket: UdpSocket,
    pub(super) state: UdpSocketState,
    pub(super) local: SocketAddr,
}

impl Port {
    /// Binds a socket that shares its address with those of the other threads.
    pub(super) fn bind(address: SocketAddr, only_v6: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
        // Best effort: a smaller buffer drops more in a burst.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        let local = socket.local_addr()?;
        Ok(Self { state: UdpSocketState::new((&socket).into())?, socket, local })
    }
}

/// Datagrams as they were received, to be used again and again.
pub(super) struct Batch {
    memory: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
    filled: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { memory: vec![0; STRIDE * BATCH_SIZE], meta: [RecvMeta::default(); BATCH_SIZE], filled: 0 }
    }

    /// Receives what is there, without waiting.
    pub(super) fn receive(&mut self, port: &Port) -> io::Result<()> {
        self.filled = 0;
        let mut rooms = self.memory.chunks_exact_mut(STRIDE);
        let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| {
            let room = rooms.next().expect("memory for a whole batch");
            IoSliceMut::new(&mut room[..RECEIVE_BYTES])
        });
        self.filled = port.state.recv((&port.socket).into(), &mut buffers, &mut self.meta)?;
        Ok(())
    }

    /// Whether more may be waiting.
    pub(super) fn is_full(&self) -> bool {
        self.filled == BATCH_SIZE
    }

    /// The datagrams, each with who has sent it and where to.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&RecvMeta, &[u8])> {
        self.memory.chunks_exact(STRIDE).zip(&self.meta).take(self.filled).flat_map(|(room, meta)| {
            let bytes = &room[..meta.len.min(RECEIVE_BYTES)];
            bytes.chunks(meta.stride.max(1)).map(move |datagram| (meta, datagram))
        })
    }
}

/// Answers that wait to be sent together.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    letters: Vec<Letter>,
}

struct Letter {
    to: SocketAddr,
    from: Option<IpAddr>,
    range: Range<usize>,
}

/// What became of the letters of an outbox.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) datagrams: usize,
    pub(super) bytes: usize,
    pub(super) unsent: usize,
}

impl Outbox {
    /// Where the next answer is to be appended.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Says for whom all that was appended since the last call is, and which of our addresses it
    /// must come from.
    pub(super) fn address(&mut self, to: SocketAddr, from: Option<IpAddr>) {
        let begin = self.letters.last().map_or(0, |letter| letter.range.end);
        self.letters.push(Letter { to, from, range: begin..self.bytes.len() });
    }

    /// Letters that wait.
    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Sends all letters. What the system does not take is dropped: clients ask again.
    pub(super) fn send(&mut self, port: &Port) -> Sent {
        // A socket that is bound to all addresses has to be told which one the client knows; that
        // takes a call for each answer.
        let sent = if port.local.ip().is_unspecified() { self.send_each(port) } else { self.send_all(port) };
        self.bytes.clear();
        self.letters.clear();
        sent
    }

    fn send_each(&self, port: &Port) -> Sent {
        let mut sent = Sent::default();
        for letter in &self.letters {
            let contents = &self.bytes[letter.range.clone()];
            let (destination, src_ip) = (letter.to, letter.from);
            let transmit = Transmit { destination, ecn: None, contents, segment_size: None, src_ip };
            let send = || port.state.try_send((&port.socket).into(), &transmit);
            let result = match send() {
                Err(full) if full.kind() == io::ErrorKind::WouldBlock && is_soon_writable(port) => send(),
                other => other,
            };
            sent.count(result.is_ok(), contents.len());
        }
        sent
    }

    fn send_all(&self, port: &Port) -> Sent {
        let contents = self.letters.iter().map(|letter| &self.bytes[letter.range.clone()]);
        let slices: Vec<[IoSlice<'_>; 1]> = contents.map(|bytes| [IoSlice::new(bytes)]).collect();
        let addresses: Vec<_> = self.letters.iter().map(|letter| letter.to.as_any()).collect();
        let mut controls: Vec<_> = self.letters.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let messages = addresses.iter().zip(&slices).zip(&mut controls);
        let mut messages: Vec<_> =
            messages.map(|((to, slice), control)| MMsgHdr::new_with_addr(to, slice, control)).collect();
        let (mut sent, mut done, mut has_waited) = (Sent::default(), 0, false);
        while done < messages.len() {
            match sendmmsg(&port.socket, &mut messages[done..], SendFlags::empty()) {
                Ok(taken) if taken > 0 => {
                    let taken = done..done + taken;
                    taken.clone().for_each(|at| sent.count(true, slices[at][0].len()));
                    done = taken.end;
                }
                Err(rustix::io::Errno::AGAIN) if !has_waited && is_soon_writable(port) => has_waited = true,
                // It cannot be sent there; the next one perhaps can.
                _ => {
                    sent.count(false, 0);
                    done += 1;
                }
            }
        }
        sent
    }
}

impl Sent {
    fn count(&mut self, is_sent: bool, bytes: usize) {
        self.datagrams += usize::from(is_sent);
        self.bytes += if is_sent { bytes } else { 0 };
        self.unsent += usize::from(!is_sent);
    }
}

fn is_soon_writable(port: &Port) -> bool {
    let mut wanted = [PollFd::new(&port.socket, PollFlags::OUT)];
    poll(&mut wanted, Some(&PATIENCE)).is_ok_and(|ready| ready > 0)
}
