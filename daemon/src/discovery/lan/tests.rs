//! Beacons on loopback, and on wires between namespaces.

use std::net::SocketAddr;

use harness::wait::PATIENCE;
use harness::{Host, Lab};
use keystore::{DiscoveryId, FolderId};
use tokio::sync::mpsc;

use super::beacon::TagBook;
use super::{GROUP_V4, Lan, LanConfig, LanMode, PORT};
use crate::discovery::{Hint, Way};

/// A free port that stays reserved while the socket lives; others may share it as daemons do.
fn shared_port() -> (socket2::Socket, u16) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

fn start(port: u16, quic_port: u16) -> (Lan, mpsc::Receiver<Hint>) {
    let seed = [u8::try_from(quic_port).unwrap(); 32];
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], quic_port))];
    let (hints, receiver) = mpsc::channel(64);
    (Lan::start(LanConfig { mode: LanMode::Loopback, port, listen, seed, hints }), receiver)
}

async fn next(hints: &mut mpsc::Receiver<Hint>) -> Hint {
    tokio::time::timeout(PATIENCE, hints.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn two_daemons_on_one_machine_find_each_other_and_only_in_what_they_share() {
    let (_reserved, port) = shared_port();
    let (alice, mut alice_hears) = start(port, 11);
    let (bob, mut bob_hears) = start(port, 22);
    let (ours, private) = (FolderId([1; 16]), FolderId([2; 16]));
    alice.add_folder(private, DiscoveryId([2; 20]));
    alice.add_folder(ours, DiscoveryId([1; 20]));
    bob.add_folder(ours, DiscoveryId([1; 20]));

    let lo = [127, 0, 0, 1];
    let hint = |port| Hint { folder: ours, address: (lo, port).into(), namer: lo.into(), way: Way::Lan };
    assert_eq!(next(&mut bob_hears).await, hint(11));
    assert_eq!(next(&mut alice_hears).await, hint(22));
    assert_eq!(alice.overview().interfaces, ["lo (IPv4)"]);
    let (shared, own) = (alice.status(ours), alice.status(private));
    assert_eq!((shared.found, own.found), (1, 0));
    assert_eq!((shared.source.as_str(), shared.error), ("the local network: lo (IPv4)", None));
    assert!(shared.last_announce.is_some() && shared.next.is_some());
}

#[tokio::test]
async fn without_folders_nothing_is_said() {
    let (_reserved, port) = shared_port();
    let (alice, _alice_hears) = start(port, 11);
    let (bob, mut bob_hears) = start(port, 22);
    let folder = FolderId([1; 16]);
    bob.add_folder(folder, DiscoveryId([1; 20]));
    let (carol, mut carol_hears) = start(port, 33);
    carol.add_folder(folder, DiscoveryId([1; 20]));
    next(&mut bob_hears).await;
    next(&mut carol_hears).await;
    assert_eq!(alice.overview().sent, 0);
}

/// Beacons on a host of their own.
struct Speaker {
    runtime: tokio::runtime::Runtime,
    lan: Lan,
    hints: mpsc::Receiver<Hint>,
}

impl Speaker {
    fn start(host: &Host, listen: &[&str]) -> Self {
        host.inside(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(1).enable_all().build().unwrap();
            let (out, hints) = mpsc::channel(64);
            let listen: Vec<SocketAddr> = listen.iter().map(|address| address.parse().unwrap()).collect();
            let seed = blake3::hash(format!("{listen:?}").as_bytes()).into();
            let config = LanConfig { mode: LanMode::On, port: PORT, listen, seed, hints: out };
            let lan = runtime.block_on(async { Lan::start(config) });
            lan.add_folder(FolderId([1; 16]), DiscoveryId([1; 20]));
            Self { runtime, lan, hints }
        })
    }

    fn hears(&mut self) -> Hint {
        self.runtime.block_on(next(&mut self.hints))
    }

    fn speaks_on(&self, interfaces: &[&str]) {
        harness::eventually(&format!("it speaks on {interfaces:?}"), || {
            let overview = self.lan.overview();
            (overview.interfaces == interfaces && overview.errors.is_empty()).then_some(())
        });
    }

    fn error(&self) -> Option<String> {
        self.lan.status(FolderId([1; 16])).error
    }
}

#[test]
fn an_interface_may_go_and_come_and_a_family_may_be_missing() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.host(1);
    let speaker = Speaker::start(&host, &["[::]:4455"]);
    speaker.speaks_on(&["e0 (IPv4 and IPv6)"]);
    host.run("ip link set e0 down");
    speaker.speaks_on(&[]);
    assert_eq!(speaker.error().as_deref(), Some("no network interface to speak on; is the network up?"));
    host.run("ip link set e0 up");
    speaker.speaks_on(&["e0 (IPv4 and IPv6)"]);
    harness::eventually("no error", || speaker.error().is_none().then_some(()));
    host.set_ipv6(false);
    speaker.speaks_on(&["e0 (IPv4)"]);
    host.run("ip addr flush dev e0");
    speaker.speaks_on(&[]);
    host.set_ipv6(true);
    speaker.speaks_on(&["e0 (IPv6)"]);
}

#[test]
fn each_family_is_told_its_own_port_and_a_link_local_address_keeps_its_interface() {
    let Some(lab) = Lab::new() else { return };
    let (one, two) = (lab.host(1), lab.host(2));
    let mut anna = Speaker::start(&one, &["[::]:4455"]);
    let _ben = Speaker::start(&two, &["10.77.0.2:4001", "[::]:4002"]);
    let (mut has_v4, mut has_v6) = (false, false);
    while !(has_v4 && has_v6) {
        match anna.hears().address {
            SocketAddr::V4(v4) => {
                assert_eq!(v4, "10.77.0.2:4001".parse().unwrap());
                has_v4 = true;
            }
            SocketAddr::V6(v6) => {
                assert!(v6.ip().is_unicast_link_local() && v6.scope_id() != 0 && v6.port() == 4002, "{v6}");
                has_v6 = true;
            }
        }
    }
}

/// TR-08: a beacon from an address of the world, which somebody on the link has made up.
#[test]
fn a_beacon_whose_source_is_elsewhere_makes_nobody_dial() {
    let Some(lab) = Lab::new() else { return };
    let (one, two) = (lab.host(1), lab.host(2));
    let mut anna = Speaker::start(&one, &["[::]:4455"]);
    anna.speaks_on(&["e0 (IPv4 and IPv6)"]);
    let mut book = TagBook::default();
    book.insert(FolderId([1; 16]), &DiscoveryId([1; 20]));
    two.run("ip addr add 198.51.100.7/32 dev lo");
    two.run("ip route add 224.0.0.0/4 dev e0");
    for (nonce, source) in [([1; 8], "198.51.100.7:0"), ([2; 8], "10.77.0.2:0")] {
        let datagram = book.encode(nonce, 4455).remove(0);
        two.inside(|| {
            let socket = std::net::UdpSocket::bind(source).unwrap();
            socket.send_to(&datagram, (GROUP_V4, PORT)).unwrap();
        });
    }
    assert_eq!(anna.hears().address, "10.77.0.2:4455".parse().unwrap());
}
