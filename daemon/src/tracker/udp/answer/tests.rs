use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::tracker::swarms::Limits;
use crate::tracker::wire::udp::{
    ANNOUNCE_BYTES, Answer, announce_request, connect_request, scrape_request, totals,
};
use crate::tracker::wire::{Event, peers_v4};

const LIMITS: Limits =
    Limits { peers: 1_000, peers_per_swarm: 1_000, peers_per_source: 1_000, interval_minutes: 30 };
const ALICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn answerer(per_second: u32) -> Answerer {
    Answerer::new(Arc::new(Desk::new(LIMITS, per_second)), ConnectionIds::new([1; 16]))
}

fn at(seconds: u64) -> Now {
    Now::at(Duration::from_secs(seconds))
}

fn ask(answerer: &mut Answerer, now: &Now, from: IpAddr, datagram: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let handled = answerer.handle(now, from, datagram, &mut out);
    assert_eq!(handled == Handled::Answered, !out.is_empty());
    (handled == Handled::Answered).then_some(out)
}

fn connect(answerer: &mut Answerer, now: &Now, from: IpAddr) -> u64 {
    let answer = ask(answerer, now, from, &connect_request(7)).unwrap();
    assert_eq!(answer.len(), connect_request(7).len());
    let Some(Answer::Connect { transaction: 7, connection }) = Answer::parse(&answer) else { panic!() };
    connection
}

fn announce(port: u16) -> Announce {
    let event = Event::Started;
    let (info_hash, peer_id) = ([9; 20], [8; 20]);
    Announce { info_hash, peer_id, downloaded: 0, left: 1, uploaded: 0, event, key: 0, want: None, port }
}

#[test]
fn who_connects_announces_and_scrapes_as_bep_15_says() {
    let (mut answerer, now) = (answerer(0), at(1_000));
    for (from, port, others) in [(ALICE, 1, vec![]), (BOB, 2, vec!["192.0.2.1:1".parse().unwrap()])] {
        let id = connect(&mut answerer, &now, from);
        let answer = ask(&mut answerer, &now, from, &announce_request(id, 5, &announce(port))).unwrap();
        let Some(Answer::Announce { transaction: 5, announced }) = Answer::parse(&answer) else { panic!() };
        assert!((1_620..=1_980).contains(&announced.interval), "{}", announced.interval);
        assert_eq!(peers_v4(announced.peers).collect::<Vec<_>>(), others);
    }
    let id = connect(&mut answerer, &now, ALICE);
    let answer = ask(&mut answerer, &now, ALICE, &scrape_request(id, 6, &[[9; 20], [1; 20]])).unwrap();
    let Some(Answer::Scrape { transaction: 6, totals: lists }) = Answer::parse(&answer) else { panic!() };
    assert_eq!(lists.iter().map(|list| totals(list).leechers).collect::<Vec<_>>(), [2, 0]);
}

#[test]
fn an_old_or_stolen_connection_id_tells_the_client_to_connect_again() {
    let mut answerer = answerer(0);
    let id = connect(&mut answerer, &at(1_000), ALICE);
    for (now, from) in [(at(1_000), BOB), (at(1_200), ALICE)] {
        let answer = ask(&mut answerer, &now, from, &announce_request(id, 5, &announce(1))).unwrap();
        assert_eq!(Answer::parse(&answer), Some(Answer::Error { transaction: 5, message: b"connect again" }));
    }
    assert_eq!(answerer.desk.swarms.population().swarms, 0);
}

#[test]
fn a_source_that_asks_too_much_is_not_answered() {
    let (mut answerer, now) = (answerer(1), at(1_000));
    let (alice, bob) = (connect(&mut answerer, &now, ALICE), connect(&mut answerer, &now, BOB));
    let request = announce_request(alice, 5, &announce(1));
    let answered = (0..100).filter(|_| ask(&mut answerer, &now, ALICE, &request).is_some()).count();
    assert_eq!(answered, 10, "ten seconds' worth");
    assert!(ask(&mut answerer, &now, BOB, &announce_request(bob, 5, &announce(1))).is_some());
}

#[test]
fn whatever_has_the_bit_of_quic_is_handed_on() {
    let mut answerer = answerer(0);
    for first in 0..=255_u8 {
        let datagram = [first; 1_200];
        let handled = answerer.handle(&at(1), ALICE, &datagram, &mut Vec::new());
        let wanted = if first & 0x40 != 0 { Handled::Foreign } else { Handled::Dropped };
        assert_eq!(handled, wanted, "{first:#x}");
    }
}

/// Datagrams that look like requests, and some that do not.
fn datagrams() -> impl Strategy<Value = Vec<u8>> {
    let request = (any::<u64>(), any::<u32>(), proptest::collection::vec(any::<[u8; 20]>(), 1..80))
        .prop_flat_map(|(id, transaction, hashes)| {
            prop_oneof![
                Just(connect_request(transaction).to_vec()),
                Just(announce_request(id, transaction, &announce(1)).to_vec()),
                Just(scrape_request(id, transaction, &hashes)),
            ]
        });
    let cut = (request, 0..2_000_usize).prop_map(|(mut datagram, length)| {
        datagram.resize(length.min(datagram.len() + 40), 0);
        datagram
    });
    prop_oneof![cut, proptest::collection::vec(any::<u8>(), 0..2_000)]
}

proptest! {
    /// TR-04.
    #[test]
    fn who_has_not_shown_its_address_gets_no_more_bytes_than_it_sent(datagram in datagrams()) {
        let mut out = Vec::new();
        let _ = answerer(0).handle(&at(1_000), ALICE, &datagram, &mut out);
        prop_assert!(out.len() <= datagram.len(), "{} for {}", out.len(), datagram.len());
    }
}

#[test]
fn an_answer_fits_into_any_packet_however_many_are_wanted() {
    let (mut answerer, now) = (answerer(0), at(1_000));
    let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    for from in [ALICE, v6] {
        let id = connect(&mut answerer, &now, from);
        let mut largest = 0;
        for port in 1..=300 {
            let greedy = Announce { want: Some(u32::MAX), ..announce(port) };
            let mut request = announce_request(id, 5, &greedy);
            request[ANNOUNCE_BYTES - 6..ANNOUNCE_BYTES - 2].copy_from_slice(&i32::MAX.to_be_bytes());
            largest = largest.max(ask(&mut answerer, &now, from, &request).unwrap().len());
        }
        assert!((1_200..=1_400).contains(&largest), "{largest}");
    }
}
