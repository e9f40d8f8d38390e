//! Real sockets, on loopback.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::tracker::counters::Count;
use crate::tracker::swarms::Limits;
use crate::tracker::wire::udp::{Answer, announce_request, connect_request};
use crate::tracker::wire::{Announce, Event, peers_v4, peers_v6};

const LIMITS: Limits =
    Limits { peers: 10_000, peers_per_swarm: 10_000, peers_per_source: 10_000, interval_minutes: 30 };

struct Running {
    desk: Arc<Desk>,
    foreign: Vec<ForeignDatagrams>,
    _udp: Udp,
}

impl Running {
    fn on(addresses: &[&str]) -> Self {
        let desk = Arc::new(Desk::new(LIMITS, 0));
        let bind = |address: &&str| Bound::bind(address.parse().unwrap(), false, 2).unwrap();
        let bound = addresses.iter().map(bind).collect();
        let (udp, foreign) = Udp::start(&desk, bound).unwrap();
        Self { desk, foreign, _udp: udp }
    }

    fn port(&self, at: usize) -> u16 {
        self.foreign[at].local.port()
    }
}

struct Client(UdpSocket);

impl Client {
    fn to(ip: &str, port: u16) -> Self {
        let tracker = SocketAddr::new(ip.parse().unwrap(), port);
        let own = if tracker.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(own).unwrap();
        // Connected, so an answer from another address would not arrive.
        socket.connect(tracker).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Self(socket)
    }

    fn ask(&self, datagram: &[u8]) -> Vec<u8> {
        self.0.send(datagram).unwrap();
        let mut answer = vec![0; 2_000];
        let len = self.0.recv(&mut answer).unwrap();
        answer.truncate(len);
        answer
    }

    fn announce(&self, port: u16) -> Vec<SocketAddr> {
        let answer = self.ask(&connect_request(1));
        let Some(Answer::Connect { connection, .. }) = Answer::parse(&answer) else { panic!("{answer:?}") };
        let announce = Announce {
            info_hash: [3; 20],
            peer_id: [4; 20],
            downloaded: 0,
            left: 1,
            uploaded: 0,
            event: Event::Started,
            key: 0,
            want: None,
            port,
        };
        let answer = self.ask(&announce_request(connection, 2, &announce));
        let Some(Answer::Announce { announced, .. }) = Answer::parse(&answer) else { panic!("{answer:?}") };
        match self.0.local_addr().unwrap().is_ipv4() {
            true => peers_v4(announced.peers).collect(),
            false => peers_v6(announced.peers).collect(),
        }
    }
}

#[test]
fn it_answers_on_single_addresses_and_on_all_of_both_families() {
    let running = Running::on(&["127.0.0.1:0", "[::1]:0", "[::]:0"]);
    assert_eq!(Client::to("127.0.0.1", running.port(0)).announce(10), []);
    assert_eq!(Client::to("::1", running.port(1)).announce(20), []);
    assert_eq!(Client::to("127.0.0.3", running.port(2)).announce(30), ["127.0.0.1:10".parse().unwrap()]);
    assert_eq!(Client::to("::1", running.port(2)).announce(40), ["[::1]:20".parse().unwrap()]);
    assert_eq!(running.desk.swarms.population().v4, 2);
}

#[test]
fn datagrams_of_quic_are_lent_out_and_answered_from_the_same_port() {
    let mut running = Running::on(&["127.0.0.1:0"]);
    let client = Client::to("127.0.0.1", running.port(0));
    let (asked, wanted) = ([0x40; 1_200], [0x41; 1_200]);
    client.0.send(&asked).unwrap();
    let foreign = &mut running.foreign[0];
    let datagram = foreign.receiver.blocking_recv().unwrap();
    assert_eq!((&datagram.bytes[..], datagram.from), (&asked[..], client.0.local_addr().unwrap()));
    let transmit = quinn::udp::Transmit {
        destination: datagram.from,
        ecn: None,
        contents: &wanted,
        segment_size: None,
        src_ip: datagram.to,
    };
    foreign.sender.try_send(&transmit).unwrap();
    let mut answer = [0; 2_000];
    assert_eq!(client.0.recv(&mut answer).unwrap(), 1_200);
    assert_eq!(client.announce(10), [], "and the tracker goes on");
}

#[test]
fn a_flood_that_nobody_takes_fills_nothing() {
    let running = Running::on(&["127.0.0.1:0"]);
    let client = Client::to("127.0.0.1", running.port(0));
    for _ in 0..3 * WAITING {
        client.0.send(&[0x40; 60]).unwrap();
    }
    assert_eq!(client.announce(10), []);
    assert_eq!(running.foreign[0].receiver.len() as u64, running.desk.counters.get(Count::Foreign));
    assert!(running.foreign[0].receiver.len() <= WAITING);
}
