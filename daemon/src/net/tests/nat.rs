//! Devices at homes behind gateways, in network namespaces, with an introducer outside.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::{Internet, Nat, Place, skipped};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::*;
use crate::tracker::rendezvous::{
    Limits, RelayLimits, Rendezvous, RendezvousConfig, RendezvousSocket, RendezvousStatus,
};

const PORT: u16 = 4455;
const TRACKER_PORT: u16 = 6969;
const CHUNK: u32 = 1 << 20;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// An introducer on a public host.
struct Tracker {
    runtime: Runtime,
    rendezvous: Rendezvous,
    host: Place,
    internet: Internet,
}

impl Tracker {
    fn new(internet: Internet) -> Self {
        let host = internet.host();
        let start = || {
            let runtime = runtime();
            let relays = RelayLimits { bytes_per_second: 64 << 20, ..RelayLimits::default() };
            let socket = RendezvousSocket::Bind(SocketAddr::from(([0, 0, 0, 0], TRACKER_PORT)));
            let config = RendezvousConfig { socket, limits: Limits::default(), relays: Some(relays) };
            let rendezvous = runtime.block_on(async { Rendezvous::start(config).unwrap() });
            (runtime, rendezvous)
        };
        let (runtime, rendezvous) = host.thread(start).join().unwrap();
        Self { runtime, rendezvous, host, internet }
    }

    fn status(&self) -> RendezvousStatus {
        let _ = &self.runtime;
        self.rendezvous.status()
    }

    fn name(&self) -> String {
        format!("{}:{TRACKER_PORT}", self.host.public())
    }
}

/// A device on a host; it knows the tracker.
struct Placed {
    runtime: Runtime,
    device: Device,
    host: Place,
}

impl Placed {
    fn new(host: Place, n: u8) -> Self {
        let start = move || {
            let runtime = runtime();
            let listen = vec![SocketAddr::from(([0, 0, 0, 0], PORT))];
            let config = NetConfig { listen, backoff: Backoff::default(), ..config(n) };
            let id = config.device.id();
            let (net, events) = runtime.block_on(async { Net::start(config).unwrap() });
            (runtime, Device { net, events, id })
        };
        let (runtime, device) = host.thread(start).join().unwrap();
        let placed = Self { runtime, device, host };
        placed.device.net.add_folder(secret(1), None, shelf(&[NODE]));
        placed.device.net.set_peer_exchange(folder(), false);
        placed
    }

    /// The same, with a tracker that may introduce it and relay for it.
    fn with(host: Place, n: u8, tracker: &Tracker) -> Self {
        let placed = Self::new(host, n);
        let entered = placed.runtime.enter();
        let discovery = secret(1).discovery_id();
        placed.device.net.set_rendezvous(folder(), discovery, vec![tracker.name()], true);
        drop(entered);
        placed
    }

    fn public(&self) -> SocketAddr {
        SocketAddr::from((self.host.public(), PORT))
    }

    /// Hears from the tracker where the other is.
    fn hear_of(&self, other: &Self, tracker: &Tracker) {
        let namer = IpAddr::V4(tracker.host.public());
        self.device.net.hint(folder(), other.public(), FoundBy::Tracker, namer);
    }

    /// The next peer that joins, whatever happens before.
    fn joined(&mut self, within: Duration) -> Option<Peer> {
        let Self { runtime, device, .. } = self;
        let joined = async {
            loop {
                if let Some(NetEvent::Joined { peer, .. }) = device.events.recv().await {
                    return peer;
                }
            }
        };
        runtime.block_on(async { timeout(within, joined).await.ok() })
    }

    /// Fetches a chunk and checks it; false when the link has ended meanwhile.
    fn fetch(&self, peer: &Peer, number: u64) -> bool {
        let mut is_whole = false;
        let check = |_, answer| {
            let expected = ChunkAnswer::Here(vec![number as u8; CHUNK as usize].into());
            is_whole = answer == expected;
        };
        let fetched = self.runtime.block_on(peer.chunks(&[wanted(number, CHUNK)], check));
        assert!(is_whole || fetched.is_err(), "a chunk is whole");
        fetched.is_ok()
    }
}

/// What no relay shall be able to read.
const NODE: &[u8] = b"a-file-name-that-nobody-else-may-read";

/// Two devices at home and a tracker, all of whom know each other; none where it cannot be made.
fn two_homes(nats: [Nat; 2]) -> Option<(Tracker, Placed, Placed)> {
    let Some(internet) = Internet::new() else {
        skipped("it needs network namespaces and nft, that is, root");
        return None;
    };
    let tracker = Tracker::new(internet);
    let anna = Placed::with(tracker.internet.home(nats[0]), 1, &tracker);
    let ben = Placed::with(tracker.internet.home(nats[1]), 2, &tracker);
    eventually("both are registered", || tracker.status().registrations == 2);
    Some((tracker, anna, ben))
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::yield_now();
        thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn devices_behind_gateways_that_keep_ports_reach_each_other_directly() {
    let Some((tracker, mut anna, mut ben)) = two_homes([Nat::Preserving; 2]) else { return };
    anna.hear_of(&ben, &tracker);
    let of_ben = anna.joined(PATIENCE).expect("ben is reached");
    let of_anna = ben.joined(PATIENCE).expect("anna is there");
    assert!(of_ben.info().direct && of_anna.info().direct);
    assert_eq!((of_ben.info().address, of_anna.info().address), (ben.public(), anna.public()));
    assert_eq!(tracker.status().introductions, 1);
    let before = tracker.host.sent_bytes();
    assert!((0..8).all(|number| anna.fetch(&of_ben, number)));
    assert!(tracker.host.sent_bytes() - before < 100_000, "packets go directly");
    assert_eq!(tracker.status().relays_lent, 0);
    eventually("each is told by the other what it looks like", || {
        let observed = anna.device.net.reach_status().observed;
        observed.len() == 2 && observed.iter().all(|(_, address)| *address == anna.public())
    });
}

#[test]
fn devices_behind_gateways_that_change_ports_are_relayed_and_the_relay_can_read_nothing() {
    let Some((tracker, mut anna, mut ben)) = two_homes([Nat::Random; 2]) else { return };
    let captured = Capture::start(&tracker.host);
    anna.hear_of(&ben, &tracker);
    let of_ben = anna.joined(PATIENCE).expect("ben is reached");
    let of_anna = ben.joined(PATIENCE).expect("anna is there");
    assert!(!of_ben.info().direct && !of_anna.info().direct);
    let nodes = anna.runtime.block_on(of_ben.nodes(&[NodeId::of(NODE)])).unwrap();
    assert_eq!(nodes[0].as_deref(), Some(NODE));
    assert!((0..8).all(|number| anna.fetch(&of_ben, number)));
    assert!(tracker.status().relayed_bytes > 8 << 20);
    let bytes = captured.stop();
    assert!(bytes.len() > 8 << 20, "{} bytes were captured", bytes.len());
    for needle in [NODE, &[1; 20], &secret(1).discovery_id().0] {
        assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{needle:?} can be read");
    }
}

#[test]
fn a_relayed_link_becomes_direct_when_a_port_opens_and_the_transfer_goes_on() {
    let Some((tracker, mut anna, mut ben)) = two_homes([Nat::Random; 2]) else { return };
    anna.hear_of(&ben, &tracker);
    let mut peer = anna.joined(PATIENCE).expect("ben is reached");
    assert!(!peer.info().direct);
    let _gateway = PortMapper::start(&ben.host);
    for number in 0..20 {
        if number == 3 {
            ben.host.forward(PORT);
            let _entered = ben.runtime.enter();
            ben.device.net.set_port_mapping(true);
        }
        while !anna.fetch(&peer, number) {
            peer = anna.joined(PATIENCE).expect("there is another link");
        }
    }
    let end = Instant::now() + PATIENCE;
    while !peer.info().direct && Instant::now() < end {
        peer = anna.joined(Duration::from_secs(1)).unwrap_or(peer);
    }
    assert!(peer.info().direct, "{:?} {:?}", anna.device.net.reach_status(), ben.device.net.reach_status());
    assert_eq!(peer.info().address, ben.public());
    let status = ben.device.net.reach_status();
    assert_eq!((status.mapping.protocol, status.mapping.error), (Some("NAT-PMP"), None));
    assert_eq!(ben.device.net.reachable().borrow().v4, Some(PORT));
    let before = tracker.host.sent_bytes();
    assert!((0..8).all(|number| anna.fetch(&peer, number)));
    assert!(tracker.host.sent_bytes() - before < 100_000, "packets go directly");
    eventually("the relay is given back", || tracker.status().relays == 0);
    assert!(ben.joined(PATIENCE).is_some());
}

#[test]
fn a_peer_that_both_reach_introduces_two_that_do_not_reach_each_other() {
    let Some(internet) = Internet::new() else {
        skipped("it needs network namespaces and nft, that is, root");
        return;
    };
    let mut carl = Placed::new(internet.host(), 3);
    let mut anna = Placed::new(internet.home(Nat::Preserving), 1);
    let mut ben = Placed::new(internet.home(Nat::Preserving), 2);
    for device in [&mut anna, &mut ben] {
        device.device.net.dial(folder(), carl.public(), FoundBy::Pinned);
        device.joined(PATIENCE).expect("carl is reached");
        carl.joined(PATIENCE).expect("carl is reached");
    }
    let namer = IpAddr::V4(carl.host.public());
    anna.device.net.hint(folder(), ben.public(), FoundBy::Exchange, namer);
    let of_ben = anna.joined(PATIENCE).expect("ben is reached");
    assert_eq!((of_ben.info().device_id, of_ben.info().direct), (ben.device.id, true));
    assert!(anna.fetch(&of_ben, 7));
}

/// A gateway's NAT-PMP, which maps the port that it is asked for.
struct PortMapper {
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl PortMapper {
    fn start(host: &Place) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, inner, outer) = (Arc::clone(&is_over), host.gateway_address(), host.public());
        let serve = move || {
            let socket = UdpSocket::bind((inner, crab_nat::GATEWAY_PORT)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let mut buffer = [0; 1100];
            while !over.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                socket.send_to(&answer(&buffer[..len], outer), from).unwrap();
            }
        };
        Self { is_over, thread: Some(host.gateway_thread(serve)) }
    }
}

impl Drop for PortMapper {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn answer(ask: &[u8], outer: Ipv4Addr) -> Vec<u8> {
    match ask {
        [0, 0] => [&[0, 128, 0, 0, 0, 0, 0, 9][..], &outer.octets()].concat(),
        [0, 1, _, _, internal @ ..] if internal.len() == 8 => {
            [&[0, 129, 0, 0, 0, 0, 0, 9], &internal[..2], &internal[..2], &internal[4..8]].concat()
        }
        // Version 2 is not spoken.
        _ => vec![0, ask[1] | 128, 0, 1, 0, 0, 0, 9],
    }
}

/// All packets that a host sees.
struct Capture {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<u8>>,
}

impl Capture {
    fn start(host: &Place) -> Self {
        const EVERY_PROTOCOL: u16 = 0x0003;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let protocol = Protocol::from(i32::from(EVERY_PROTOCOL.to_be()));
        let capture = move || {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let _ = socket.set_recv_buffer_size(64 << 20);
            let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 17]);
            let mut socket = socket;
            while !over.load(Ordering::Relaxed) {
                let len = io::Read::read(&mut socket, &mut buffer).unwrap_or(0);
                all.extend_from_slice(&buffer[..len]);
            }
            all
        };
        Self { is_over, thread: host.thread(capture) }
    }

    fn stop(self) -> Vec<u8> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
