//! One relay: a UDP port that passes packets between two devices, without looking inside.
//!
//! Each side shows itself by a packet with its token, from the IP address that the token was told
//! to; from then on, what has the bit of QUIC set and comes from one side's address goes to the
//! other's, and everything else is dropped. A relay ends when one side is silent for long.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use protocol::rendezvous::{Token, datagram};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::budget::{Budget, TotalRate};
use super::{RelayLimits, canonical};

/// Tokens that have not come by then will not come.
const JOIN_WITHIN: Duration = Duration::from_secs(10);
/// Devices send something every 20 s over a link that is in use.
const IDLE: Duration = Duration::from_secs(60);
/// Larger than any packet that fits a path.
const MAX_PACKET: usize = 9000;
/// What waits while the rate is kept: a fraction of a second, as on a line of that rate.
const QUEUE_BYTES: usize = 512 << 10;
/// What may pass at once before the rate is kept.
const BURST_SECONDS: f64 = 0.1;
/// How many ports of a range are tried.
const MAX_TRIES: u32 = 64;

/// One of the two devices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    /// What it shows itself by.
    pub(super) token: Token,
    /// Where the token was told to.
    pub(super) ip: IpAddr,
}

/// What others may know of a relay, and do to it.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) port: u16,
    sides: [Side; 2],
    bytes_per_second: u64,
    /// What all relays keep together.
    total: TotalRate,
    start: Instant,
    is_joined: AtomicBool,
    /// Milliseconds after the start.
    last_packet: AtomicU64,
    passed: AtomicU64,
    end: Notify,
}

impl Relay {
    /// Takes a port for a relay between two sides.
    pub(super) fn open(ip: IpAddr, sides: [Side; 2], limits: &RelayLimits) -> io::Result<(Self, UdpSocket)> {
        let socket = UdpSocket::from_std(bind_in(ip, limits.ports.as_ref())?)?;
        let relay = Self {
            port: socket.local_addr()?.port(),
            sides,
            bytes_per_second: limits.bytes_per_second.max(1),
            total: limits.total.clone(),
            start: Instant::now(),
            is_joined: AtomicBool::new(false),
            last_packet: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            end: Notify::new(),
        };
        Ok((relay, socket))
    }

    /// Bytes passed on so far.
    pub(super) fn passed_bytes(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// How long nothing has passed.
    pub(super) fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last_packet.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(last)
    }

    /// Ends it soon.
    pub(super) fn end(&self) {
        self.end.notify_one();
    }

    /// Passes packets on until it ends; `on_ready` is called when both sides have joined.
    pub(super) async fn run(&self, socket: UdpSocket, on_ready: impl Fn()) {
        let mut state = State { addresses: [None; 2], heard: [self.start; 2] };
        let rate = self.bytes_per_second as f64;
        let mut budget = Budget::new(rate * BURST_SECONDS + MAX_PACKET as f64, rate, Duration::ZERO);
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            let received = tokio::select! {
                received = socket.recv_from(&mut buffer) => received,
                () = sleep_until(self.deadline(&state)) => return,
                () = self.end.notified() => return,
            };
            // An error is about a packet that was sent before: the receiver is gone, or back soon.
            let Ok((len, from)) = received else { continue };
            let packet = &buffer[..len];
            if let Some(token) = datagram::parse_join(packet) {
                if self.on_join(&mut state, token, from) {
                    on_ready();
                }
            } else if let Some(to) = self.destination(&mut state, packet, from) {
                // What the socket's buffer does not hold is lost, as on any line.
                let _ = socket.try_send_to(packet, to);
                self.passed.fetch_add(len as u64, Ordering::Relaxed);
                let own = budget.spend(len as f64, self.start.elapsed());
                if let Some(pause) = own.max(self.total.spend(len)) {
                    sleep(pause).await;
                }
            }
        }
    }

    fn deadline(&self, state: &State) -> Instant {
        match self.is_joined.load(Ordering::Relaxed) {
            true => state.heard[0].min(state.heard[1]) + IDLE,
            false => self.start + JOIN_WITHIN,
        }
    }

    /// Whether both are there, in answer to a valid token: said again when it comes again.
    fn on_join(&self, state: &mut State, token: Token, from: SocketAddr) -> bool {
        let ip = canonical(from).ip();
        let side = self.sides.iter().position(|side| side.token == token && side.ip == ip);
        let Some(side) = side.filter(|side| state.addresses[1 - side] != Some(from)) else { return false };
        state.addresses[side] = Some(from);
        state.heard[side] = Instant::now();
        let is_joined = state.addresses.iter().all(Option::is_some);
        self.is_joined.store(is_joined, Ordering::Relaxed);
        is_joined
    }

    fn destination(&self, state: &mut State, packet: &[u8], from: SocketAddr) -> Option<SocketAddr> {
        let side = state.addresses.iter().position(|address| *address == Some(from))?;
        let to = state.addresses[1 - side].filter(|_| datagram::is_quic(packet))?;
        state.heard[side] = Instant::now();
        self.last_packet.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
        Some(to)
    }
}

/// What the task of a relay knows of each side.
struct State {
    addresses: [Option<SocketAddr>; 2],
    heard: [Instant; 2],
}

fn bind_in(ip: IpAddr, ports: Option<&RangeInclusive<u16>>) -> io::Result<std::net::UdpSocket> {
    let Some(ports) = ports else { return bind(SocketAddr::new(ip, 0)) };
    let (first, count) = (u32::from(*ports.start()), ports.len() as u32);
    let random: [u8; 4] = crate::random::bytes();
    let offset = u32::from_le_bytes(random);
    for n in 0..count.min(MAX_TRIES) {
        let port = first + (offset % count + n) % count;
        if let Ok(socket) = bind(SocketAddr::new(ip, port as u16)) {
            return Ok(socket);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port of the range for relays is free"))
}

/// A socket that tokio and quinn can take; `[::]` serves both families.
pub(super) fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Best effort.
    let _ = socket.set_recv_buffer_size(QUEUE_BYTES);
    let _ = socket.set_send_buffer_size(QUEUE_BYTES);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
