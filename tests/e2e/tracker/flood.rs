//! TR-04: what comes from addresses that have shown nothing costs others nothing.

use std::net::{Ipv4Addr, UdpSocket};

use harness::eventually;
use syncd::tracker::wire::udp::{connect_request, scrape_request};

use super::handshakes::Dialer;
use super::{Client, Tracker, addresses};

/// Addresses that the flood seems to come from; a tracker cannot tell them from forged ones.
const SOURCES: u8 = 32;
/// Datagrams, unless `SYNCD_FLOOD` says otherwise.
const USUAL: u32 = 50_000;
/// Handshakes among them, each begun from every address.
const HANDSHAKES: usize = 200;
/// Memory that a flood may cost at most.
const MAX_GROWTH: u64 = 16 << 20;

/// A million of them: `SYNCD_FLOOD=1000000 cargo test --release -p syncd --test e2e flood`.
#[test]
fn a_flood_from_forged_addresses_leaves_the_tracker_answering_and_gets_back_no_more_than_it_sent() {
    let count = std::env::var("SYNCD_FLOOD").map_or(USUAL, |count| count.parse().unwrap());
    let tracker = Tracker::start(&[]);
    assert_eq!(Client::new(2, &tracker).announce(20), []);
    let dialer = Dialer::new();
    let handshakes = dialer.first_packets(HANDSHAKES);
    assert!(dialer.is_answered(tracker.address));
    let before = tracker.resident_bytes();
    let (sent_before, received_before) = (out_bytes(&tracker), in_bytes(&tracker));
    let sockets: Vec<UdpSocket> = (1..=SOURCES).map(|number| forged(number, &tracker)).collect();
    let (mut accepted, mut accepted_bytes, mut returned_bytes) = (0, 0, 0);
    for number in 0..count {
        let socket = &sockets[number as usize % sockets.len()];
        let sent = socket.send(&datagram(number, &handshakes));
        accepted += u64::from(sent.is_ok());
        accepted_bytes += sent.unwrap_or_default();
        returned_bytes += received_bytes(socket);
        if number % (count / 10) == 0 {
            let known = Client::new(3, &tracker).announce(30);
            assert_eq!(known, addresses(&["127.0.0.2:20"]), "amid the flood");
            assert!(dialer.is_answered(tracker.address), "amid the flood");
        }
    }
    assert!(accepted > u64::from(count / 2), "{accepted} of {count} could be sent");
    eventually("all that has arrived is counted", || {
        let malformed = tracker.metric("syncd_tracker_malformed_total{protocol=\"udp\"}");
        (malformed > 0 && Client::new(3, &tracker).announce(30).len() == 1).then_some(())
    });
    returned_bytes += sockets.iter().map(received_bytes).sum::<usize>();
    assert!(returned_bytes <= accepted_bytes, "{returned_bytes} bytes for {accepted_bytes}, of any protocol");
    let (sent, received) = (out_bytes(&tracker) - sent_before, in_bytes(&tracker) - received_before);
    assert!(sent <= received, "{sent} bytes for {received}");
    let growth = tracker.resident_bytes().saturating_sub(before);
    assert!(growth <= MAX_GROWTH, "{growth} bytes more");
    assert_eq!(tracker.metric("syncd_tracker_swarms"), 1);
    tracker.stop();
}

fn forged(number: u8, tracker: &Tracker) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 66, 0, number), 0)).unwrap();
    socket.connect(tracker.address).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Bytes that wait in a socket, which is empty then.
fn received_bytes(socket: &UdpSocket) -> usize {
    let mut datagram = [0; 2_048];
    std::iter::from_fn(|| socket.recv(&mut datagram).ok()).sum()
}

/// Requests with ids that were given to nobody, requests cut short, connects, QUIC of no version and of
/// no connection, handshakes that nobody goes on with, and noise.
fn datagram(number: u32, handshakes: &[Vec<u8>]) -> Vec<u8> {
    let noise = blake3::hash(&number.to_le_bytes());
    let id = u64::from_le_bytes(noise.as_bytes()[..8].try_into().unwrap()) & 0x3fff_ffff_ffff_ffff;
    let scrape = scrape_request(id, number, &[[7; 20]; 70]);
    match number % 7 {
        0 => connect_request(number).to_vec(),
        1 => scrape,
        2 => scrape[..number as usize % 40].to_vec(),
        3 => [&[0x40], &noise.as_bytes()[1..]].concat(),
        4 => [&[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8][..], noise.as_bytes(), &[0; 1_162]].concat(),
        5 => handshakes[(number / 7) as usize % handshakes.len()].clone(),
        _ => noise.as_bytes().repeat(4),
    }
}

fn out_bytes(tracker: &Tracker) -> u64 {
    tracker.metric("syncd_tracker_udp_bytes_total{direction=\"out\"}")
}

fn in_bytes(tracker: &Tracker) -> u64 {
    tracker.metric("syncd_tracker_udp_bytes_total{direction=\"in\"}")
}
