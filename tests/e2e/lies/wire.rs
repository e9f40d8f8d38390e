//! What a host sends and receives over UDP and IPv4, packet by packet.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::Device;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};

/// Frames of every protocol, with those that go out among them.
const EVERY_PROTOCOL: u16 = 0x0003;
/// How soon the thread sees that it is over.
const LOOK_UP: Duration = Duration::from_millis(50);

/// One datagram.
struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    /// Which dial it is the first packet of: the random number that QUIC begins with.
    dial: Option<Vec<u8>>,
}

/// All interfaces of one host, loopback too; what passes is written down until this is dropped.
pub(super) struct Wire {
    own: Ipv4Addr,
    packets: Arc<Mutex<Vec<Packet>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// `own` is the host's address.
    pub(super) fn of(device: &Device, own: Ipv4Addr) -> Self {
        let protocol = Protocol::from(i32::from(EVERY_PROTOCOL.to_be()));
        let mut socket = device.inside(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)).unwrap());
        socket.set_read_timeout(Some(LOOK_UP)).unwrap();
        let _ = socket.set_recv_buffer_size(16 << 20);
        let (packets, is_over) = (Arc::<Mutex<Vec<Packet>>>::default(), Arc::<AtomicBool>::default());
        let (seen, over) = (Arc::clone(&packets), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while !over.load(Ordering::Relaxed) {
                let len = socket.read(&mut buffer).unwrap_or(0);
                seen.lock().extend(parse(&buffer[..len]));
            }
        });
        Self { own, packets, is_over, thread: Some(thread) }
    }

    /// Where the host itself has sent something.
    pub(super) fn destinations(&self) -> BTreeSet<SocketAddr> {
        let packets = self.packets.lock();
        packets.iter().filter(|packet| self.is_own(packet.from.ip())).map(|packet| packet.to).collect()
    }

    /// How often it has dialled whom.
    pub(super) fn dials(&self) -> BTreeMap<SocketAddr, usize> {
        self.count(|packet| self.is_own(packet.from.ip()).then_some(packet.to))
    }

    /// How often others have dialled it, at any port.
    pub(super) fn dials_of_others(&self) -> BTreeMap<IpAddr, usize> {
        self.count(|packet| (packet.to.ip() == self.own).then_some(packet.from.ip()))
    }

    fn count<T: Ord>(&self, of: impl Fn(&Packet) -> Option<T>) -> BTreeMap<T, usize> {
        let packets = self.packets.lock();
        let mut dials: BTreeMap<T, BTreeSet<&[u8]>> = BTreeMap::new();
        for packet in packets.iter() {
            if let (Some(who), Some(dial)) = (of(packet), &packet.dial) {
                dials.entry(who).or_default().insert(dial);
            }
        }
        dials.into_iter().map(|(who, dials)| (who, dials.len())).collect()
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        ip == self.own || ip.is_loopback()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A packet of IPv4 that carries UDP.
fn parse(packet: &[u8]) -> Option<Packet> {
    let [first, ..] = packet else { return None };
    let (head, udp) = packet.split_at_checked(usize::from(first & 0xf) * 4)?;
    if first >> 4 != 4 || head.len() < 20 || head[9] != 17 || udp.len() < 8 {
        return None;
    }
    let address = |at: usize, port: usize| {
        let ip: [u8; 4] = head[at..at + 4].try_into().ok()?;
        Some(SocketAddr::from((ip, u16::from_be_bytes([udp[port], udp[port + 1]]))))
    };
    Some(Packet { from: address(12, 0)?, to: address(16, 2)?, dial: dial(&udp[8..]) })
}

/// The destination id of an initial packet, which is the same when it is sent again.
fn dial(payload: &[u8]) -> Option<Vec<u8>> {
    let (head, rest) = payload.split_first_chunk::<6>()?;
    let is_initial = head[0] & 0xf0 == 0xc0 && head[1..5] == [0, 0, 0, 1];
    let id = rest.get(..usize::from(head[5]))?;
    is_initial.then(|| id.to_vec())
}
