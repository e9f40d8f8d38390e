#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;
use crate::frame::{FrameDecoder, MAX_FRAME_BYTES};
use crate::store::NodeId;

fn head(number: u8) -> SignedHead {
    SignedHead { bytes: vec![number; 100].into(), signature: [number; 64] }
}

fn wanted(number: u64, len: u32) -> ChunkWanted {
    ChunkWanted { content: ContentId([3; 32]), number, len }
}

fn over_the_wire(frame: &Frame) -> Frame {
    let mut decoder = FrameDecoder::new(MAX_FRAME_BYTES);
    decoder.push(&frame.encode());
    decoder.next_frame().unwrap().unwrap()
}

#[test]
fn every_message_arrives_as_it_was_sent() {
    let addresses = vec!["192.0.2.7:4711".to_owned(), "[2001:db8::1]:4711".to_owned()];
    for message in [
        Message::Heads { heads: vec![] },
        Message::Heads { heads: vec![head(1), head(2)] },
        Message::NewHead { head: head(3), nodes: vec![] },
        Message::NewHead { head: head(3), nodes: vec![Bytes::from_static(b"node"), Bytes::new()] },
        Message::Complete { entries: NodeId([5; 32]) },
        Message::Gone { content: ContentId([6; 32]) },
        Message::Peers { addresses },
        Message::Observed { address: "192.0.2.7:4711".parse().unwrap() },
        Message::Reachable { addresses: vec![] },
        Message::Reachable { addresses: vec!["[2001:db8::1]:4711".parse().unwrap(); 64] },
        Message::Introduce { address: "[2001:db8::1]:1".parse().unwrap() },
        Message::Introduced { address: "192.0.2.7:65535".parse().unwrap(), dial: true },
        Message::Introduced { address: "192.0.2.7:65535".parse().unwrap(), dial: false },
    ] {
        let frame = over_the_wire(&message.encode(70_000));
        assert_eq!(Message::parse(&frame), Ok(Some((70_000, message))));
    }
}

#[test]
fn every_request_arrives_as_it_was_sent() {
    for request in [
        Request::Nodes { channel: 1, ids: vec![NodeId([1; 32]), NodeId([2; 32])] },
        Request::Chunks { channel: u32::MAX, chunks: vec![wanted(0, 0), wanted(u64::MAX, 1 << 20)] },
    ] {
        assert_eq!(Request::parse(&over_the_wire(&request.encode())), Ok(request));
    }
}

#[test]
fn the_greatest_requests_fit_their_limit() {
    let ids = vec![NodeId([255; 32]); MAX_REQUEST_NODES];
    let nodes = Request::Nodes { channel: u32::MAX, ids };
    let chunks = vec![wanted(u64::MAX, 4096); MAX_REQUEST_CHUNKS];
    let chunks = Request::Chunks { channel: u32::MAX, chunks };
    for request in [nodes, chunks] {
        assert!(request.encode().payload.len() <= MAX_REQUEST_BYTES);
        assert_eq!(Request::parse(&request.encode()), Ok(request));
    }
}

#[test]
fn answers_arrive_as_they_were_sent() {
    for reply in [NodeReply::Node(Bytes::from_static(b"bytes")), NodeReply::Gone] {
        assert_eq!(NodeReply::parse(&over_the_wire(&reply.encode())), Ok(reply));
    }
    for header in [ChunkHeader::Here { len: 4096 }, ChunkHeader::Gone] {
        assert_eq!(ChunkHeader::parse(&header.encode(), &wanted(0, 4096)), Ok(header));
    }
    for bytes in [[0, 0, 0, 0, 1], [0, 0xff, 0xff, 0xff, 0xff], [1, 0, 0, 0, 1], [2, 0, 0, 0, 0]] {
        assert!(ChunkHeader::parse(&bytes, &wanted(0, 4096)).is_err(), "{bytes:?}");
    }
}

#[test]
fn fields_and_kinds_of_later_versions_are_skipped() {
    let payload = write_map(4, |e| {
        e.u32(1000)?.map(1)?.str("later")?.array(2)?.u8(1)?.bytes(b"x")?;
        e.u8(0)?.u32(9)?.u8(1)?.bytes(&[5; 32])?;
        e.u8(77)?.bool(true).map(|_| ())
    });
    let message = Message::Complete { entries: NodeId([5; 32]) };
    assert_eq!(Message::parse(&Frame::new(kind::COMPLETE, payload.clone())), Ok(Some((9, message))));
    assert_eq!(Message::parse(&Frame::ignorable(999, payload.clone())), Ok(None));
    assert_eq!(Message::parse(&Frame::new(999, payload.clone())), Err(MessageError::UnknownKind(999)));
    assert!(Request::parse(&Frame::ignorable(999, payload)).is_err(), "who asks wants an answer");
}

#[test]
fn what_is_missing_trailing_or_of_no_declared_length_is_refused() {
    let good = Message::Complete { entries: NodeId([5; 32]) }.encode(9).payload;
    let trailing = [&good[..], &[0]].concat();
    let indefinite = [&[0xbf][..], &good[1..], &[0xff]].concat();
    let short_id = write_map(2, |e| e.u8(0)?.u8(9)?.u8(1)?.bytes(&[5; 31]).map(|_| ())).to_vec();
    let no_channel = write_map(1, |e| e.u8(1)?.bytes(&[5; 32]).map(|_| ())).to_vec();
    let text_key = write_map(1, |e| e.str("0")?.u8(1).map(|_| ())).to_vec();
    let many_fields = [&[0xbb][..], &[0xff; 8]].concat();
    for payload in [trailing, indefinite, short_id, no_channel, text_key, many_fields, vec![]] {
        let shown = payload.escape_ascii().to_string();
        assert!(Message::parse(&Frame::new(kind::COMPLETE, payload)).is_err(), "{shown}");
    }
}

#[test]
fn more_than_the_limits_is_refused_however_short_it_is_written() {
    let list = |kind: u16, count: u64| {
        let payload = write_map(2, |e| {
            e.u8(0)?.u8(1)?.u8(1)?.array(count)?;
            (0..count.min(5_000)).try_for_each(|_| e.bytes(&[]).map(|_| ()))
        });
        Frame::new(kind, payload)
    };
    for kind in [kind::HEADS, kind::PEERS] {
        assert_eq!(Message::parse(&list(kind, 5_000)), Err(MessageError::TooMany));
        assert_eq!(Message::parse(&list(kind, u64::MAX)), Err(MessageError::TooMany));
    }
    for kind in [kind::REQUEST_NODES, kind::REQUEST_CHUNKS] {
        assert_eq!(Request::parse(&list(kind, 5_000)), Err(MessageError::TooMany));
        assert!(Request::parse(&list(kind, 0)).is_err(), "a question asks for something");
    }
    let greedy = Frame::new(
        kind::REQUEST_CHUNKS,
        write_map(2, |e| {
            e.u8(0)?.u8(1)?.u8(1)?.array(5)?;
            (0..5).try_for_each(|_| e.array(3)?.bytes(&[1; 32])?.u8(0)?.u32(1 << 20).map(|_| ()))
        }),
    );
    assert_eq!(Request::parse(&greedy), Err(MessageError::TooMany));
}

#[test]
fn nodes_are_pushed_only_as_far_as_they_fit() {
    let nodes = vec![Bytes::from(vec![0; 100_000]); 5];
    let message = Message::NewHead { head: head(1), nodes: nodes.clone() };
    let expected = Message::NewHead { head: head(1), nodes: nodes[..2].to_vec() };
    assert_eq!(Message::parse(&message.encode(1)), Ok(Some((1, expected))));
}

proptest::proptest! {
    #[test]
    fn garbage_of_every_kind_is_never_a_panic(
        number in 0u16..50,
        payload in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        let frame = Frame::new(number, payload);
        let _ = (Message::parse(&frame), Request::parse(&frame), NodeReply::parse(&frame));
    }

    #[test]
    fn a_damaged_message_is_never_a_panic(at: proptest::sample::Index, byte: u8) {
        let message = Message::NewHead { head: head(3), nodes: vec![Bytes::from_static(b"node")] };
        let mut payload = message.encode(3).payload.to_vec();
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = Message::parse(&Frame::new(kind::NEW_HEAD, payload));
    }
}

#[test]
fn news_of_reachability_may_be_skipped_by_who_does_not_know_them() {
    let address = "192.0.2.7:4711".parse().unwrap();
    for message in [
        Message::Observed { address },
        Message::Reachable { addresses: vec![address] },
        Message::Introduce { address },
        Message::Introduced { address, dial: true },
    ] {
        assert!(message.encode(1).ignorable);
    }
}

#[test]
fn an_address_of_a_wrong_length_is_refused_and_one_mapped_into_ipv6_is_told_as_what_it_is() {
    let observed = |address: &[u8]| {
        let payload = write_map(2, |e| e.u8(0)?.u8(1)?.u8(1)?.bytes(address).map(|_| ()));
        Message::parse(&Frame::ignorable(kind::OBSERVED, payload))
    };
    for length in [0, 1, 2, 5, 7, 17, 19] {
        assert_eq!(observed(&vec![1; length]), Err(MessageError::Malformed), "{length} bytes");
    }
    let mut mapped = [0; 18];
    mapped[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 7, 0, 80]);
    let address = "192.0.2.7:80".parse().unwrap();
    assert_eq!(observed(&mapped), Ok(Some((1, Message::Observed { address }))));
}

#[test]
fn more_addresses_than_allowed_are_refused() {
    let payload = write_map(2, |e| {
        e.u8(0)?.u8(1)?.u8(1)?.array(65)?;
        (0..65).try_for_each(|_| e.bytes(&[1; 6]).map(|_| ()))
    });
    assert_eq!(Message::parse(&Frame::ignorable(kind::REACHABLE, payload)), Err(MessageError::TooMany));
}
