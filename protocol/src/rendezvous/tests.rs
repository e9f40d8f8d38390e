#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;
use crate::frame::{FrameDecoder, HEADER_BYTES};

const SWARM: DiscoveryId = DiscoveryId([7; 20]);
const TOKEN: Token = Token([9; 16]);

fn address() -> SocketAddr {
    "[2001:db8::1]:4455".parse().unwrap()
}

fn over_the_wire(frame: &Frame) -> Frame {
    let mut decoder = FrameDecoder::new(MAX_RENDEZVOUS_BYTES);
    decoder.push(&frame.encode());
    decoder.next_frame().unwrap().unwrap()
}

#[test]
fn every_question_arrives_as_it_was_sent() {
    for ask in [
        Ask::Register { discoveries: vec![] },
        Ask::Register { discoveries: vec![DiscoveryId([255; 20]); MAX_REGISTERED] },
        Ask::Introduce { number: u64::MAX, discovery: SWARM, address: address() },
        Ask::Relay { number: 0, discovery: SWARM, address: "192.0.2.1:1".parse().unwrap() },
        Ask::EndRelay { port: 65_535 },
    ] {
        assert_eq!(Ask::parse(&over_the_wire(&ask.encode())), Ok(Some(ask)));
    }
}

#[test]
fn every_answer_arrives_as_it_was_sent() {
    let refusals = [Refusal::NotThere, Refusal::TooOften, Refusal::NoRelay, Refusal::AlreadyRelayed];
    let refused = refusals.into_iter().chain([Refusal::Other(200)]);
    let refused = refused.map(|why| Tell::Refused { number: 3, why });
    let (discovery, address) = (SWARM, address());
    let told = [
        Tell::Observed { address },
        Tell::Introduced { number: Some(4), discovery, address, dial: true },
        Tell::Introduced { number: None, discovery, address, dial: false },
        Tell::Relayed { number: Some(5), discovery, address, port: 9, token: TOKEN, dial: true },
        Tell::Relayed { number: None, discovery, address, port: 9, token: TOKEN, dial: false },
        Tell::RelayReady { port: 9 },
    ];
    for tell in told.into_iter().chain(refused) {
        assert_eq!(Tell::parse(&over_the_wire(&tell.encode())), Ok(Some(tell)));
    }
}

#[test]
fn a_kind_of_a_later_version_is_skipped_only_if_it_says_so() {
    let (skipped, needed) = (Frame::ignorable(99, vec![]), Frame::new(99, vec![]));
    assert_eq!((Ask::parse(&skipped), Tell::parse(&skipped)), (Ok(None), Ok(None)));
    assert_eq!(Ask::parse(&needed), Err(MessageError::UnknownKind(99)));
    assert_eq!(Tell::parse(&needed), Err(MessageError::UnknownKind(99)));
}

#[test]
fn more_swarms_than_allowed_are_refused() {
    let payload = write_map(1, |e| {
        e.u8(0)?.array(MAX_REGISTERED as u64 + 1)?;
        (0..=MAX_REGISTERED).try_for_each(|_| e.bytes(&[1; 20]).map(|_| ()))
    });
    assert_eq!(Ask::parse(&Frame::new(kind::REGISTER, payload)), Err(MessageError::TooMany));
}

#[test]
fn a_message_without_what_it_is_about_is_refused() {
    for kind in 0..32 {
        let frame = Frame::new(kind, vec![0xa0]);
        assert!(Ask::parse(&frame).is_err() && Tell::parse(&frame).is_err(), "{kind}");
    }
}

#[test]
fn the_packet_that_joins_a_relay_is_told_from_all_others() {
    let packet = datagram::encode_join(&TOKEN);
    assert_eq!(datagram::parse_join(&packet), Some(TOKEN));
    assert_eq!(datagram::parse_join(&packet[..16]), None);
    assert_eq!(datagram::parse_join(&[&packet[..], &[0]].concat()), None);
    assert_eq!(datagram::parse_join(&datagram::PUNCH_PACKET), None);
    assert_eq!(datagram::parse_join(&[]), None);
    for packet in [&packet[..], &datagram::PUNCH_PACKET, &[]] {
        assert!(!datagram::is_quic(packet));
    }
    assert!(datagram::is_quic(&[0xc0]) && datagram::is_quic(&[0x40]));
}

#[test]
fn a_token_is_not_shown() {
    assert!(!format!("{TOKEN:?}").contains('9'));
}

proptest::proptest! {
    #[test]
    fn garbage_is_never_a_panic(kind in 0_u16..32, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let frame = Frame::new(kind, bytes.clone());
        let _ = (Ask::parse(&frame), Tell::parse(&frame), datagram::parse_join(&bytes));
        proptest::prop_assert!(bytes.len() < HEADER_BYTES + MAX_RENDEZVOUS_BYTES);
    }
}
