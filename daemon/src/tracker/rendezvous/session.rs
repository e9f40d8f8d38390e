//! One device's connection, and what all of them share.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keystore::DiscoveryId;
use parking_lot::Mutex;
use protocol::frame::FrameDecoder;
use protocol::rendezvous::{Ask, MAX_RENDEZVOUS_BYTES, Refusal, Tell, Token};
use quinn::{Connection, SendStream, VarInt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::book::{Book, DeviceNumber, RendezvousStatus};
use super::relay::{Relay, Side};
use super::{Limits, RelayLimits, household};

/// What waits to be told to one device.
const TELLS: usize = 64;
/// A device that has connected speaks at once.
const SPEAK_WITHIN: Duration = Duration::from_secs(10);
/// A device that does not read for this long is gone.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// A relay over which nothing has passed for this long makes room for a new one: over a link that
/// is in use something passes every 20 s.
const STALE: Duration = Duration::from_secs(25);

/// What all connections share.
pub(super) struct Shared {
    relays: Option<RelayLimits>,
    ip: IpAddr,
    start: Instant,
    handshakes: Arc<AtomicUsize>,
    state: Mutex<State>,
}

struct State {
    book: Book,
    tells: HashMap<DeviceNumber, mpsc::Sender<Tell>>,
    relays: BTreeMap<u16, Lent>,
    totals: RendezvousStatus,
    is_closed: bool,
}

/// A relay, and whom it was lent to.
struct Lent {
    relay: Arc<Relay>,
    devices: [DeviceNumber; 2],
    ips: [IpAddr; 2],
}

/// A place among the connections; it is free again when this is dropped.
pub(super) struct Place {
    shared: Arc<Shared>,
    number: DeviceNumber,
    address: SocketAddr,
}

/// A handshake under way; it counts until this is dropped.
pub(super) struct Handshake(Arc<AtomicUsize>);

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.book.leave(self.number);
        state.tells.remove(&self.number);
    }
}

impl Shared {
    pub(super) fn new(limits: Limits, relays: Option<RelayLimits>, ip: IpAddr) -> Self {
        let state = State {
            book: Book::new(limits),
            tells: HashMap::new(),
            relays: BTreeMap::new(),
            totals: RendezvousStatus::default(),
            is_closed: false,
        };
        let (start, handshakes) = (Instant::now(), Arc::default());
        Self { relays, ip, start, handshakes, state: Mutex::new(state) }
    }

    pub(super) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    pub(super) fn handshake(&self) -> Handshake {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        Handshake(Arc::clone(&self.handshakes))
    }

    /// A place for a connection from there, if there is one.
    pub(super) fn knock(self: &Arc<Self>, address: SocketAddr) -> Option<Place> {
        let number = self.state.lock().book.enter(address, self.start.elapsed())?;
        Some(Place { shared: Arc::clone(self), number, address })
    }

    pub(super) fn status(&self) -> RendezvousStatus {
        let state = self.state.lock();
        let passed: u64 = state.relays.values().map(|lent| lent.relay.passed_bytes()).sum();
        RendezvousStatus {
            connections: state.book.connections(),
            registrations: state.book.registrations(),
            relays: state.relays.len(),
            relayed_bytes: state.totals.relayed_bytes + passed,
            ..state.totals
        }
    }

    /// Ends all relays, and lends no more.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        for lent in state.relays.values() {
            lent.relay.end();
        }
    }

    fn on_ask(self: &Arc<Self>, asker: DeviceNumber, ask: Ask) {
        let answered = match ask {
            Ask::Register { discoveries } => {
                self.state.lock().book.register(asker, discoveries);
                return;
            }
            Ask::EndRelay { port } => {
                let state = self.state.lock();
                if let Some(lent) = state.relays.get(&port).filter(|lent| lent.devices.contains(&asker)) {
                    lent.relay.end();
                }
                return;
            }
            Ask::Introduce { number, discovery, address } => {
                (number, self.introduce(asker, number, discovery, address))
            }
            Ask::Relay { number, discovery, address } => {
                (number, self.lend(asker, number, discovery, address))
            }
        };
        if let (number, Err(why)) = answered {
            let mut state = self.state.lock();
            state.totals.refusals += 1;
            state.tell(asker, Tell::Refused { number, why });
        }
    }

    fn introduce(
        &self,
        asker: DeviceNumber,
        number: u64,
        discovery: DiscoveryId,
        address: SocketAddr,
    ) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        let found = state.book.find(asker, discovery, address, self.start.elapsed())?;
        let [here, there] = state.addresses([asker, found])?;
        let number = Some(number);
        state.tell(found, Tell::Introduced { number: None, discovery, address: here, dial: false });
        state.tell(asker, Tell::Introduced { number, discovery, address: there, dial: true });
        state.totals.introductions += 1;
        Ok(())
    }

    fn lend(
        self: &Arc<Self>,
        asker: DeviceNumber,
        number: u64,
        discovery: DiscoveryId,
        address: SocketAddr,
    ) -> Result<(), Refusal> {
        let limits = self.relays.as_ref().ok_or(Refusal::NoRelay)?;
        let mut state = self.state.lock();
        let found = state.book.find(asker, discovery, address, self.start.elapsed())?;
        let devices = [asker, found];
        let addresses = state.addresses(devices)?;
        let ips = addresses.map(|address| household(address.ip()));
        state.check_room(limits, devices, ips)?;
        let token = || Token(crate::random::bytes());
        let sides = addresses.map(|address| Side { token: token(), ip: address.ip() });
        let opened = Relay::open(self.ip, sides, limits);
        let (relay, socket) = opened.map_err(|error| {
            debug!(%error, "no port for a relay");
            Refusal::NoRelay
        })?;
        let port = relay.port;
        let relay = Arc::new(relay);
        state.relays.insert(port, Lent { relay: Arc::clone(&relay), devices, ips });
        state.totals.relays_lent += 1;
        for (side, number) in [(0, Some(number)), (1, None)] {
            let (address, token) = (addresses[1 - side], sides[side].token);
            let dial = side == 0;
            state.tell(devices[side], Tell::Relayed { number, discovery, address, port, token, dial });
        }
        drop(state);
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            relay.run(socket, || shared.on_ready(port, devices)).await;
            let mut state = shared.state.lock();
            state.totals.relayed_bytes += relay.passed_bytes();
            state.relays.remove(&port);
        });
        Ok(())
    }

    fn on_ready(&self, port: u16, devices: [DeviceNumber; 2]) {
        let mut state = self.state.lock();
        for device in devices {
            state.tell(device, Tell::RelayReady { port });
        }
    }
}

impl State {
    fn addresses(&self, devices: [DeviceNumber; 2]) -> Result<[SocketAddr; 2], Refusal> {
        let [here, there] = devices.map(|device| self.book.address(device));
        Ok([here.ok_or(Refusal::NotThere)?, there.ok_or(Refusal::NotThere)?])
    }

    /// Whether the two may have a relay; one of theirs over which nothing passes is ended.
    fn check_room(
        &self,
        limits: &RelayLimits,
        devices: [DeviceNumber; 2],
        ips: [IpAddr; 2],
    ) -> Result<(), Refusal> {
        let is_theirs = |lent: &&Lent| devices.iter().all(|device| lent.devices.contains(device));
        for lent in self.relays.values().filter(is_theirs) {
            if lent.relay.silence() < STALE {
                return Err(Refusal::AlreadyRelayed);
            }
            lent.relay.end();
        }
        let is_between = |lent: &&Lent| lent.ips == ips || lent.ips == [ips[1], ips[0]];
        let of_pair = self.relays.values().filter(is_between).count();
        let of_ip = |ip: &IpAddr| self.relays.values().filter(|lent| lent.ips.contains(ip)).count();
        let is_full = self.is_closed
            || self.relays.len() >= limits.relays
            || of_pair >= limits.per_pair
            || ips.iter().any(|ip| of_ip(ip) >= limits.per_ip);
        if is_full { Err(Refusal::NoRelay) } else { Ok(()) }
    }

    /// A device that does not read its messages is dropped with the sender.
    fn tell(&mut self, device: DeviceNumber, tell: Tell) {
        let sent = self.tells.get(&device).map(|tells| tells.try_send(tell));
        if matches!(sent, Some(Err(_))) {
            self.tells.remove(&device);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Serves one device until it leaves.
pub(super) async fn run(place: Place, connection: Connection) {
    let (tells, tells_in) = mpsc::channel(TELLS);
    {
        let mut state = place.shared.state.lock();
        state.book.handle_verified(place.number);
        state.tells.insert(place.number, tells);
        state.tell(place.number, Tell::Observed { address: place.address });
    }
    let Ok(Ok((send, receive))) = timeout(SPEAK_WITHIN, connection.accept_bi()).await else {
        connection.close(VarInt::from_u32(1), b"nothing was asked");
        return;
    };
    let ended = tokio::select! {
        ended = write(send, tells_in) => ended,
        ended = read(&place, receive) => ended,
    };
    connection.close(VarInt::from_u32(2), ended.as_bytes());
}

async fn read(place: &Place, mut receive: quinn::RecvStream) -> &'static str {
    let mut decoder = FrameDecoder::new(MAX_RENDEZVOUS_BYTES);
    while let Ok(Some(chunk)) = receive.read_chunk(MAX_RENDEZVOUS_BYTES, true).await {
        decoder.push(&chunk.bytes);
        loop {
            let Ok(frame) = decoder.next_frame() else { return "a message was too long" };
            let Some(frame) = frame else { break };
            match Ask::parse(&frame) {
                Ok(Some(ask)) => place.shared.on_ask(place.number, ask),
                Ok(None) => {}
                Err(_) => return "a message was malformed",
            }
        }
    }
    "bye"
}

async fn write(mut send: SendStream, mut tells: mpsc::Receiver<Tell>) -> &'static str {
    while let Some(tell) = tells.recv().await {
        let written = timeout(READ_WITHIN, send.write_chunk(tell.encode().encode())).await;
        if !matches!(written, Ok(Ok(()))) {
            break;
        }
    }
    "what was told was not read"
}
