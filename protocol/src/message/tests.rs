#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;
use crate::frame::{FrameDecoder, MAX_FRAME_BYTES};
use crate::path::RelPath;
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
        Message::Have { whole: vec![], parts: vec![] },
        have(vec![7, 8], &[(9, &[(0, 1), (2, 5), (4000, u32::MAX - 4000)]), (10, &[(3, 1)])]),
        Message::HaveUpTo { entries: NodeId([5; 32]), path: RelPath::parse(b"a/b").unwrap() },
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

fn have(whole: Vec<u8>, parts: &[(u8, &[(u32, u32)])]) -> Message {
    let part = |(content, runs): &(u8, &[(u32, u32)])| HavePart {
        content: ContentPrefix([*content; 8]),
        runs: runs.iter().map(|(first, count)| Run { first: *first, count: *count }).collect(),
    };
    Message::Have {
        whole: whole.into_iter().map(|n| ContentPrefix([n; 8])).collect(),
        parts: parts.iter().map(part).collect(),
    }
}

#[test]
fn what_a_peer_has_is_told_in_few_bytes_and_always_the_same() {
    let frame = have(vec![7], &[(9, &[(0, 1), (20, 3)])]).encode(1);
    let hex: String = frame.payload.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "a30001014807070707070707070281854809090909090909090001\
        1303"
            .replace(char::is_whitespace, "")
    );
    let path = RelPath::parse(b"a/b").unwrap();
    let up_to = Message::HaveUpTo { entries: NodeId([5; 32]), path }.encode(1);
    assert_eq!(up_to.payload.len(), 3 + 1 + 34 + 1 + 4);
    assert!(frame.ignorable && up_to.ignorable, "older versions skip them");
}

#[test]
fn a_have_that_is_damaged_or_claims_too_much_is_refused() {
    let frame = |write: &dyn Fn(&mut Writer) -> Written| {
        let payload = write_map(2, |e| {
            e.u8(0)?.u8(1)?;
            write(e)
        });
        Message::parse(&Frame::ignorable(kind::HAVE, payload))
    };
    let runs = |numbers: &[u32]| {
        frame(&|e| {
            e.u8(2)?.array(1)?.array(1 + numbers.len() as u64)?.bytes(&[1; 8])?;
            numbers.iter().try_for_each(|n| e.u32(*n).map(|_| ()))
        })
    };
    assert!(runs(&[0, 1]).is_ok());
    for damaged in [&[0, 0][..], &[0, 1, 0, 1], &[1], &[u32::MAX, 1], &[5, u32::MAX]] {
        assert_eq!(runs(damaged), Err(MessageError::Malformed), "{damaged:?}");
    }
    assert_eq!(frame(&|e| e.u8(1)?.bytes(&[1; 9]).map(|_| ())), Err(MessageError::Malformed));
    let whole = vec![1; 8 * (MAX_HAVE_WHOLE + 1)];
    assert_eq!(frame(&|e| e.u8(1)?.bytes(&whole).map(|_| ())), Err(MessageError::TooMany));
    let claimed = |length: u64| frame(&|e| e.u8(2)?.array(1)?.array(length)?.bytes(&[1; 8]).map(|_| ()));
    assert_eq!(claimed(2 * MAX_HAVE_RUNS as u64 + 3), Err(MessageError::TooMany));
    assert_eq!(claimed(u64::MAX), Err(MessageError::TooMany));
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
