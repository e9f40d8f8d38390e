//! KR-11: who has no key, or sits on the path between those who have.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use harness::{Folder, Net, eventually, in_sync};
use keystore::FolderSecret;
use protocol::session::{Output, Session};
use quinn::{Connection, ConnectionError};

use super::mallory::{Mallory, UNPROVEN, address_of};
use super::tap::Tap;
use super::{keeps_secrets, net, two_with_files, unharmed};

/// Slots of a join are a tag of 16 bytes and a proof of 32.
const SLOT_BYTES: usize = 48;
const SLOTS: usize = 8;
/// A stranger is shown the door after 5 s; this is for machines that are busy.
const SHOWN_OUT_WITHIN: Duration = Duration::from_secs(120);

/// Datagrams below this carry nothing but what QUIC says to itself: that something came, and when.
const BARE_BYTES: usize = 100;
/// That also rides along with other things, and makes them so much longer by chance.
const RIDES_ALONG_BYTES: usize = 32;

/// What a stranger sees of one try: bytes on the stream, the sizes of the datagrams that carry
/// something, how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    stream: usize,
    code: u32,
    datagrams: Vec<usize>,
}

/// The hello and the join that a session begins with.
fn first_words(mut session: Session) -> (Vec<u8>, Vec<u8>) {
    let mut words = std::iter::from_fn(|| match session.poll_output() {
        Some(Output::Send(bytes)) => Some(bytes.to_vec()),
        _ => None,
    });
    (words.next().expect("a hello"), words.next().expect("a join"))
}

fn offering(mallory: &Mallory, connection: &Connection, secret: &FolderSecret) -> Session {
    let mut session = mallory.session(connection);
    session.offer(secret, None);
    session
}

/// What a stranger may come up with, `secret` being the key of the folder that is known there: he has
/// never seen it, so whatever needs it is more than he can do.
fn joins(mallory: &Mallory, connection: &Connection, secret: &FolderSecret, old: &[u8]) -> [Vec<u8>; 4] {
    let unknown = FolderSecret::new([77; 20]);
    let (hello, random) = first_words(mallory.session(connection));
    let (_, unknown) = first_words(offering(mallory, connection, &unknown));
    // The right tag, so that the folder is found, and a wrong proof, in whichever slot it is.
    let (_, mut known) = first_words(offering(mallory, connection, secret));
    let first = known.len() - SLOTS * SLOT_BYTES;
    known[first..].iter_mut().skip(SLOT_BYTES - 1).step_by(SLOT_BYTES).for_each(|byte| *byte ^= 1);
    [random, unknown, known, old.to_vec()].map(|join| [&hello[..], &join].concat())
}

/// Says the `number`th join on a fresh connection, and watches until it is closed.
async fn watch(connection: Connection, words: Vec<u8>) -> (usize, u32) {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&words).await.unwrap();
    let mut stream = 0;
    while let Ok(Some(chunk)) = receive.read_chunk(1 << 16, true).await {
        stream += chunk.bytes.len();
    }
    let closed = tokio::time::timeout(SHOWN_OUT_WITHIN, connection.closed()).await.expect("shown out");
    (stream, code_of(&closed))
}

fn code_of(closed: &ConnectionError) -> u32 {
    let ConnectionError::ApplicationClosed(closed) = closed else { panic!("closed: {closed}") };
    closed.error_code.into_inner().try_into().unwrap()
}

/// Each of the joins, twice, at the same time and each through a tap of its own.
fn tries(mallory: &Mallory, anna: &Folder, secret: &FolderSecret, old: &[u8]) -> Vec<Vec<Seen>> {
    let daemon = address_of(anna.device());
    let begun: Vec<_> = (0..8)
        .map(|number| {
            let tap = Tap::before(daemon);
            let connection = mallory.connect(tap.address);
            let words = joins(mallory, &connection, secret, old)[number % 4].clone();
            (number % 4, tap, mallory.runtime.spawn(watch(connection, words)))
        })
        .collect();
    let mut seen: Vec<Vec<Seen>> = (0..4).map(|_| Vec::new()).collect();
    for (join, tap, task) in begun {
        let (stream, code) = mallory.runtime.block_on(task).unwrap();
        let sizes = tap.answered().into_iter().map(|packet| packet.len()).filter(|size| *size >= BARE_BYTES);
        let mut datagrams: Vec<usize> = sizes.map(|size| size / RIDES_ALONG_BYTES).collect();
        datagrams.sort_unstable();
        seen[join].push(Seen { stream, code, datagrams });
    }
    seen
}

/// KR-11, KR-12 (bytes): a folder that is known and one that is not look the same to a stranger: as
/// many bytes are said, in as many datagrams.
#[test]
fn a_stranger_sees_the_same_whether_a_folder_is_known_or_not() {
    let net = net();
    let (anna, ben) = two_with_files(&net);
    let (head, tree) = (anna.word("head"), anna.tree());
    let secret = FolderSecret::parse(anna.reader_key()).unwrap();
    let mallory = Mallory::new(1);
    // The join of another connection, as who has listened in on it would play it again.
    let other = mallory.connect(address_of(anna.device()));
    let (_, old) = first_words(offering(&mallory, &other, &secret));
    other.close(0_u32.into(), b"");
    let mut shapes: Vec<BTreeSet<Vec<usize>>> = vec![BTreeSet::new(); 4];
    let mut stream = None;
    // Under load a datagram is sent twice: what one join shows, each must show.
    for round in 0.. {
        for (shapes, seen) in shapes.iter_mut().zip(tries(&mallory, &anna, &secret, &old)) {
            for seen in seen {
                assert_eq!((seen.code, seen.stream), (UNPROVEN, *stream.get_or_insert(seen.stream)));
                shapes.insert(seen.datagrams);
            }
        }
        let common = |shape: &&Vec<usize>| shapes.iter().all(|shapes| shapes.contains(*shape));
        if shapes[0].iter().any(|shape| common(&shape)) {
            break;
        }
        assert!(round < 4, "datagrams of a folder that is known differ: {shapes:?}");
    }
    unharmed(&anna, &ben, &head, &tree);
}

/// Anna and Ben, who reach each other only where `between` says that Anna is.
fn apart_but_for(net: &Net, between: impl FnOnce(&Folder) -> String) -> (Folder, Folder, String) {
    let (first, second) = (net.device("anna"), net.device("ben"));
    for device in [&first, &second] {
        device.json(&["config", "set", "discovery.lan", "false"]);
    }
    let anna = first.share("docs");
    anna.write("very-secret-name", "very secret content");
    anna.settle();
    let ben = second.join(anna.writer_key());
    let address = between(&anna);
    second.json(&["peer", "add", ben.id(), &address]);
    (anna, ben, address)
}

/// KR-11: a certificate of his own gets a man in the middle nothing, though he passes on every byte.
#[test]
fn a_man_in_the_middle_joins_nothing() {
    let net = net();
    let mallory = Arc::new(Mallory::new(1));
    let (anna, ben, address) = apart_but_for(&net, |_| mallory.endpoint.local_addr().unwrap().to_string());
    let daemon = address_of(anna.device());
    let codes = mallory.runtime.block_on(async {
        let bens = mallory.endpoint.accept().await.unwrap().await.unwrap();
        let dial = mallory.endpoint.connect_with(mallory.credentials.client(), daemon, "syncd").unwrap();
        let annas = dial.await.unwrap();
        let (mut to_ben, mut from_ben) = bens.accept_bi().await.unwrap();
        let (mut to_anna, mut from_anna) = annas.open_bi().await.unwrap();
        let there = tokio::io::copy(&mut from_ben, &mut to_anna);
        let back = tokio::io::copy(&mut from_anna, &mut to_ben);
        let _ = tokio::time::timeout(SHOWN_OUT_WITHIN, futures_join(there, back)).await;
        (code_of(&bens.closed().await), code_of(&annas.closed().await))
    });
    assert_eq!(codes, (UNPROVEN, UNPROVEN));
    assert_eq!((anna.number("peers"), ben.number("peers")), (0, 0));
    assert!(ben.tree().is_empty());
    ben.device().json(&["peer", "remove", ben.id(), &address]);
    ben.device().json(&["peer", "add", ben.id(), &daemon.to_string()]);
    in_sync(&[&anna, &ben]);
    keeps_secrets(&[anna.device(), ben.device()], &[anna.writer_key(), anna.reader_key()]);
}

/// Both to their ends, as far as they come.
async fn futures_join(
    a: impl Future<Output = std::io::Result<u64>>,
    b: impl Future<Output = std::io::Result<u64>>,
) {
    let _ = tokio::join!(a, b);
}

/// KR-11: who has recorded every datagram of a session has nothing in hand, neither names nor a way in.
#[test]
fn a_recorded_session_names_nothing_and_cannot_be_played_again() {
    let net = net();
    let mut tap = None;
    let (anna, ben, _) =
        apart_but_for(&net, |anna| tap.insert(Tap::before(address_of(anna.device()))).address.to_string());
    let tap = tap.unwrap();
    in_sync(&[&anna, &ben]);
    let secret = FolderSecret::parse(anna.reader_key()).unwrap();
    let device_id = anna.device().json(&["status"])["device_id"].as_str().unwrap().to_owned();
    let (folder, meeting) = (secret.folder_id(), secret.discovery_id());
    let names: [&[u8]; 8] = [
        &folder.0,
        &meeting.0,
        anna.id().as_bytes(),
        device_id.as_bytes(),
        b"anna",
        b"docs",
        b"very-secret-name",
        b"very secret content",
    ];
    let captured = [tap.asked(), tap.answered()].concat();
    assert!(captured.iter().map(Vec::len).sum::<usize>() > 4_000, "the session went through here");
    for name in names {
        let tells = |packet: &Vec<u8>| packet.windows(name.len()).any(|part| part == name);
        assert!(!captured.iter().any(tells), "{} in clear", name.escape_ascii());
    }
    ben.device().stop();
    eventually("ben is gone", || (anna.number("peers") == 0).then_some(()));
    let head = anna.word("head");
    let again = UdpSocket::bind("127.0.0.1:0").unwrap();
    for packet in tap.asked() {
        again.send_to(&packet, address_of(anna.device())).unwrap();
    }
    again.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    assert!(again.recv(&mut [0; 65_536]).is_ok(), "the first flight is answered, as anybody's is");
    assert_eq!((anna.number("peers"), anna.word("head")), (0, head));
    ben.device().start();
    ben.write("afterwards", "by ben");
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.number("peers"), 1);
}

/// KR-11: there is no early data that could be played again: no ticket is ever given.
#[test]
fn no_early_data_is_taken() {
    let net = net();
    let anna = net.device("anna").share("docs");
    let mallory = Mallory::new(1);
    let config = mallory.credentials.client();
    let address = address_of(anna.device());
    for time in 0..3 {
        let dial = || mallory.endpoint.connect_with(config.clone(), address, "syncd").unwrap();
        let _inside = mallory.runtime.enter();
        let Err(dial) = dial().into_0rtt() else { panic!("a ticket to send early data with") };
        let connection = mallory.runtime.block_on(dial).unwrap_or_else(|error| panic!("{time}: {error}"));
        // A ticket would come right after the handshake, before what is answered on a stream.
        let (hello, join) = first_words(mallory.session(&connection));
        let heard = mallory.runtime.block_on(async {
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            send.write_all(&[hello, join].concat()).await.unwrap();
            receive.read_chunk(1 << 16, true).await.unwrap().is_some()
        });
        assert!(heard);
        connection.close(0_u32.into(), b"");
    }
    assert_eq!(anna.number("peers"), 0);
}
