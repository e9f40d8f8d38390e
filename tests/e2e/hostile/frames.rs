//! KR-02, HW-06, HW-07: a peer who has joined and then sends what is no message.

use protocol::frame::{Frame, MAX_FRAME_BYTES};
use protocol::message::{ChunkWanted, Request};
use protocol::{ContentId, NodeId};

use super::loot::Loot;
use super::mallory::{INCOMPATIBLE, MISBEHAVED, Mallory};
use super::{net, silence, two_with_files, unharmed};

/// Kinds of frames, as on the wire.
const HELLO: u16 = 1;
const JOIN: u16 = 2;
const WELCOME: u16 = 4;
const HEADS: u16 = 16;
const NEW_HEAD: u16 = 17;
const COMPLETE: u16 = 18;
const REQUEST_NODES: u16 = 32;
const REQUEST_CHUNKS: u16 = 33;

/// Bytes that a reader may put on the control stream, and the number with which she is dropped.
fn nonsense(channel: u8) -> Vec<(Vec<u8>, u32)> {
    let frame = |kind, payload: &[u8]| Frame::new(kind, payload.to_vec()).encode().to_vec();
    let header = |len: u32, kind: u16| [&len.to_be_bytes()[..], &kind.to_be_bytes(), &[0]].concat();
    vec![
        // Announced lengths that nobody will send.
        (header(u32::MAX, HEADS), MISBEHAVED),
        (header(MAX_FRAME_BYTES as u32 + 1, HEADS), MISBEHAVED),
        // No CBOR; a map without end; 2^63 fields; a list of 10^9 heads; something behind the end.
        (frame(HEADS, b"\xff\xff\xff\xff"), MISBEHAVED),
        (frame(HEADS, b"\xbf\x00\x00\xff"), MISBEHAVED),
        (frame(HEADS, b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff"), MISBEHAVED),
        (frame(HEADS, &[0xa2, 0, channel, 1, 0x9a, 0x3b, 0x9a, 0xca, 0]), MISBEHAVED),
        (frame(COMPLETE, &[0xa1, 0, channel, 0, 0]), MISBEHAVED),
        // A head of no bytes, and a hundred thousand arrays in each other.
        (frame(NEW_HEAD, &[0xa2, 0, channel, 1, 0x40]), MISBEHAVED),
        (frame(HEADS, &[&[0xa1, 0x09][..], &vec![0x81; 100_000]].concat()), MISBEHAVED),
        // A folder that was never named to her; what belongs elsewhere; a kind of the future.
        (frame(COMPLETE, &[&[0xa2, 0, 99, 1, 0x58, 32][..], &[0; 32]].concat()), MISBEHAVED),
        (frame(HELLO, &[0xa0]), MISBEHAVED),
        (frame(JOIN, &[0xa1, 0, 0x41, 0]), MISBEHAVED),
        (frame(WELCOME, &[0xa0]), MISBEHAVED),
        (frame(0x7777, b""), INCOMPATIBLE),
    ]
}

/// KR-02, HW-06, HW-07: what is no message ends the link at once, and nothing else.
#[test]
fn frames_that_are_no_messages_end_the_link_and_nothing_else() {
    let net = net();
    let (anna, ben) = two_with_files(&net);
    let (head, tree) = (anna.word("head"), anna.tree());
    let loot = Loot::fetch(anna.device(), anna.reader_key());
    let before = anna.device().resident_bytes();
    for number in 0..nonsense(0).len() {
        let mallory = Mallory::new(number as u64);
        let call = mallory.join(anna.device(), anna.reader_key(), silence());
        let channel = u8::try_from(call.channel(loot.secret.folder_id())).expect("a small number");
        let (bytes, code) = nonsense(channel).swap_remove(number);
        call.write(bytes);
        assert_eq!(call.dropped(), code, "nonsense {number}");
    }
    let grown = anna.device().resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    unharmed(&anna, &ben, &head, &tree);
}

/// Questions that may not be asked.
fn questions(channel: u32) -> Vec<Vec<u8>> {
    let frame = |kind, payload: &[u8]| Frame::new(kind, payload.to_vec()).encode().to_vec();
    let number = u8::try_from(channel).expect("a small number");
    let wanted = |len| ChunkWanted { content: ContentId([1; 32]), number: 0, len };
    let chunks = |chunks| Request::Chunks { channel, chunks };
    // The payload of a question is written by hand where the honest encoder would refuse.
    let too_long = [&[0xa2, 0, number, 1, 0x81, 0x83, 0x58, 32][..], &[1; 32], &[0, 0x1a, 0xff, 0, 0, 0]];
    vec![
        frame(REQUEST_NODES, &[0xa2, 0, number, 1, 0x80]),
        frame(REQUEST_NODES, &[0xa2, 0, number, 1, 0x9a, 0x7f, 0xff, 0xff, 0xff]),
        frame(REQUEST_NODES, &[0xa2, 0, number, 1, 0x81, 0x41, 0]),
        frame(REQUEST_CHUNKS, &too_long.concat()),
        frame(0x7777, &[0xa0]),
        chunks(vec![wanted(1000)]).encode().encode()[..20].to_vec(),
        vec![0xff; 100_000],
    ]
}

/// KR-02, HW-07: questions beyond all bounds end the link, and nothing else.
#[test]
fn questions_that_may_not_be_asked_end_the_link_and_nothing_else() {
    let net = net();
    let (anna, ben) = two_with_files(&net);
    let (head, tree) = (anna.word("head"), anna.tree());
    let folder = Loot::fetch(anna.device(), anna.reader_key()).secret.folder_id();
    for number in 0..questions(0).len() {
        let mallory = Mallory::new(number as u64);
        let call = mallory.join(anna.device(), anna.reader_key(), silence());
        let question = questions(call.channel(folder)).swap_remove(number);
        assert_eq!(call.ask(question), b"", "question {number}");
        assert_eq!(call.dropped(), MISBEHAVED, "question {number}");
    }
    // On a channel that she was not given nothing is known, and that may be an accident.
    let mallory = Mallory::new(77);
    let call = mallory.join(anna.device(), anna.reader_key(), silence());
    let elsewhere = Request::Nodes { channel: 12_345, ids: vec![NodeId([1; 32])] };
    assert_eq!(call.ask(elsewhere.encode().encode()), b"");
    assert!(call.is_connected());
    unharmed(&anna, &ben, &head, &tree);
}
