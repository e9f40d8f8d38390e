//! KR-02: true heads, and answers that are not what was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Folder, Net, eventually, in_sync};
use protocol::frame::HEADER_BYTES;
use protocol::message::{CHUNK_HEADER_BYTES, Message, Request};

use super::loot::{Loot, ask_chunks};
use super::mallory::{Call, MISBEHAVED, Mallory};
use super::{keeps_secrets, net, silence, two_with_files};

/// How an answer is spoilt.
type Lie = fn(&Request, &mut Vec<u8>);

/// Tells the true head of the loot to a newcomer, and answers by the lie.
fn lie_to(carl: &Folder, key: &str, seed: u64, loot: &Arc<Loot>, lie: Lie) -> (Mallory, Call) {
    let mallory = Mallory::new(seed);
    let truly = Arc::clone(loot);
    let answer = move |request: &Request| {
        let mut bytes = truly.answer(request);
        lie(request, &mut bytes);
        bytes
    };
    let call = mallory.join(carl.device(), key, Arc::new(answer));
    let folder = loot.secret.folder_id();
    call.tell(folder, &Message::Heads { heads: loot.heads.clone() });
    call.tell(folder, &Message::Complete { entries: loot.head.entries });
    (mallory, call)
}

/// Anna and Ben are away; Carl is new, and mallory has all that he lacks.
fn newcomer(net: &Net) -> (Folder, Folder, Folder, Arc<Loot>) {
    let (anna, ben) = two_with_files(net);
    let loot = Arc::new(Loot::fetch(anna.device(), anna.reader_key()));
    anna.device().stop();
    ben.device().stop();
    let carl = net.device("carl").join(anna.writer_key());
    (anna, ben, carl, loot)
}

/// Each lie ends a link and nothing else; the truth is believed afterwards.
fn each_is_dropped(lies: &[Lie]) {
    let net = net();
    let (anna, ben, carl, loot) = newcomer(&net);
    for (number, lie) in lies.iter().enumerate() {
        let (_mallory, call) = lie_to(&carl, anna.reader_key(), number as u64, &loot, *lie);
        assert_eq!(call.dropped(), MISBEHAVED, "lie {number}");
        eventually("she has gone", || (carl.number("peers") == 0).then_some(()));
    }
    anna.device().start();
    ben.device().start();
    in_sync(&[&anna, &ben, &carl]);
    let archived = carl.device().json(&["archive", "list", carl.id()]);
    assert_eq!(archived.as_array().map(Vec::len), Some(0), "nothing false was ever shown: {archived}");
    keeps_secrets(&[carl.device()], &[anna.writer_key(), anna.reader_key()]);
}

fn of_nodes(request: &Request, lie: impl FnOnce()) {
    if matches!(request, Request::Nodes { .. }) {
        lie();
    }
}

fn of_chunks(request: &Request, lie: impl FnOnce()) {
    if matches!(request, Request::Chunks { .. }) {
        lie();
    }
}

/// KR-02: nodes changed by a bit, of another place, empty, longer than they may be, or no frames.
#[test]
fn nodes_that_do_not_verify_end_the_link_and_nothing_else() {
    each_is_dropped(&[
        |ask, bytes| of_nodes(ask, || *bytes.last_mut().unwrap() ^= 1),
        |ask, bytes| of_nodes(ask, || bytes[HEADER_BYTES + 4] ^= 0x20),
        |ask, bytes| of_nodes(ask, || *bytes = [0, 0, 0, 0, 0, 40, 0].repeat(300)),
        |ask, bytes| of_nodes(ask, || bytes[..4].copy_from_slice(&[0xff; 4])),
        |ask, bytes| of_nodes(ask, || bytes[5] = 77),
        |ask, bytes| of_nodes(ask, || *bytes = vec![0x80; 70_000]),
        |ask, bytes| {
            of_nodes(ask, || {
                let long = vec![0; 4 << 20];
                *bytes = [&[0, 0x40, 0, 0, 0, 40, 0][..], &long].concat();
            });
        },
    ]);
}

/// KR-02: chunks changed by a bit, longer or shorter than was asked for, of a status nobody knows.
#[test]
fn chunks_that_do_not_verify_end_the_link_and_nothing_else() {
    each_is_dropped(&[
        |ask, bytes| of_chunks(ask, || bytes.iter_mut().skip(CHUNK_HEADER_BYTES).step_by(7).for_each(flip)),
        |ask, bytes| of_chunks(ask, || bytes[1..5].copy_from_slice(&[0xff; 4])),
        |ask, bytes| of_chunks(ask, || bytes[4] ^= 1),
        |ask, bytes| of_chunks(ask, || bytes[0] = 7),
    ]);
}

fn flip(byte: &mut u8) {
    *byte ^= 1;
}

/// KR-02: a liar who is asked first does not keep a newcomer from what an honest peer tells as well.
#[test]
fn a_liar_beside_an_honest_peer_holds_nothing_up() {
    let net = net();
    let (anna, ben, carl, loot) = newcomer(&net);
    let may_answer = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&may_answer);
    let mallory = Mallory::new(1);
    let answer = move |_: &Request| {
        tokio::task::block_in_place(|| {
            eventually("the honest one is there", || gate.load(Ordering::Relaxed).then_some(()));
        });
        b"\0\0\0\x04\0\x28\0lies".to_vec()
    };
    let call = mallory.join(carl.device(), anna.reader_key(), Arc::new(answer));
    call.tell(loot.secret.folder_id(), &Message::Heads { heads: loot.heads.clone() });
    anna.device().start();
    eventually("the honest one has told all", || {
        let peers = carl.device().json(&["peers", carl.id()]);
        let honest = |peer: &serde_json::Value| peer["name"] == "anna";
        peers.as_array().is_some_and(|peers| peers.iter().any(honest)).then_some(())
    });
    anna.settle();
    may_answer.store(true, Ordering::Relaxed);
    assert_eq!(call.dropped(), MISBEHAVED);
    in_sync(&[&anna, &carl]);
    ben.device().start();
    in_sync(&[&anna, &ben, &carl]);
}

/// KR-02: the key of one folder opens nothing of another on the same device.
#[test]
fn who_has_the_key_of_one_folder_gets_no_content_of_another() {
    let net = net();
    let (anna, _ben) = two_with_files(&net);
    let private = anna.device().share("private");
    private.write("diary", "nobody's business");
    private.settle();
    let secret = Loot::fetch(anna.device(), private.reader_key());
    let own = Loot::fetch(anna.device(), anna.reader_key());
    let mallory = Mallory::new(1);
    let call = mallory.join(anna.device(), anna.reader_key(), silence());
    let of_both = secret.chunks.values().chain(own.chunks.values());
    let wanted: Vec<_> = of_both.map(|(wanted, _)| *wanted).collect();
    let answers = ask_chunks(&call, own.secret.folder_id(), &wanted);
    let (foreign, own) = answers.split_at(secret.chunks.len());
    assert!(!foreign.is_empty() && foreign.iter().all(Option::is_none), "{foreign:?}");
    assert!(own.iter().all(Option::is_some));
    assert!(call.is_connected());
}
