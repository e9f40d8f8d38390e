//! Peers that answer too slowly to be waited for.

use std::sync::atomic::{AtomicBool, AtomicU64};

use keystore::Capability;
use parking_lot::Mutex;
use protocol::frame::Frame;
use protocol::message::{MAX_REQUEST_NODES, NodeReply};
use protocol::session::{Binding, Session};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, interval};

use super::super::endpoint::Endpoints;
use super::super::link::Link;
use super::super::peer::Deadlines;
use super::super::transport;
use super::*;

const SOON: Deadlines = Deadlines { progress: Duration::from_millis(200), whole: Duration::from_secs(1) };

/// Two ends of a connection on which nothing has been said.
struct Raw {
    connection: Connection,
    peer: Peer,
    _endpoints: [Endpoints; 2],
}

impl Raw {
    async fn new() -> Self {
        let bind = || Endpoints::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let (ours, theirs) = (bind(), bind());
        let to = theirs.local_addresses()[0];
        let dial = async { ours.connect(to).unwrap().await.unwrap() };
        let accept = async { theirs.endpoints().next().unwrap().accept().await.unwrap().await.unwrap() };
        let (dialed, connection) = tokio::join!(dial, accept);
        connection.set_max_concurrent_bi_streams(100_u32.into());
        transport::open_up(&dialed);
        let info = PeerInfo {
            device_id: DeviceId([2; 32]),
            name: "slow".to_owned(),
            capability: Capability::Read,
            address: to,
            found_by: FoundBy::Lan,
            direct: true,
        };
        let peer = Peer::new(Arc::new(link(dialed)), folder(), 0, info);
        Self { connection, peer, _endpoints: [ours, theirs] }
    }

    /// Answers the next question like this, as long as somebody reads.
    fn answer(&self, bytes: impl Fn() -> Bytes + Send + 'static) {
        let connection = self.connection.clone();
        tokio::spawn(async move {
            let (mut send, _ask): (SendStream, RecvStream) = connection.accept_bi().await.unwrap();
            let mut pace = interval(Duration::from_millis(5));
            while send.write_chunk(bytes()).await.is_ok() {
                pace.tick().await;
            }
        });
    }

    async fn ask(&self, count: usize) -> Result<Vec<Option<Bytes>>, FetchError> {
        let ids = vec![NodeId([1; 32]); count];
        timeout(PATIENCE, self.peer.nodes_within(&ids, SOON)).await.expect("it does not wait for ever")
    }
}

fn link(connection: Connection) -> Link {
    let binding = Binding { exporter: [0; 32], dialer: [1; 32], acceptor: [2; 32], we_dialed: true };
    Link {
        id: 1,
        address: connection.remote_address(),
        connection,
        is_dialed: true,
        is_relayed: false,
        since: Instant::now(),
        introductions: AtomicU64::new(0),
        speaker_changed: Notify::new(),
        peers: Mutex::default(),
        session: Mutex::new(Session::new(binding, DeviceKey::from_seed([1; 32]), "us", &[1; 32])),
        commands: mpsc::channel(1).0,
        unwritten: AtomicU64::new(0),
        is_of_a_liar: AtomicBool::new(false),
    }
}

#[tokio::test]
async fn a_peer_that_answers_byte_by_byte_is_not_waited_for() {
    let raw = Raw::new().await;
    // The length of a payload, and what it might be of.
    let (frame, at) = (Frame::new(0, vec![0; 1 << 16]).encode(), AtomicU64::new(0));
    raw.answer(move || {
        let at = at.fetch_add(1, std::sync::atomic::Ordering::Relaxed) as usize;
        frame.slice(at..at + 1)
    });
    let start = Instant::now();
    assert!(matches!(raw.ask(1).await, Err(FetchError::Stalled)));
    assert!(start.elapsed() < SOON.whole, "no node has come");
}

#[tokio::test]
async fn a_peer_whose_nodes_come_one_by_one_is_waited_for_but_not_for_ever() {
    let raw = Raw::new().await;
    raw.answer(|| NodeReply::Gone.encode().encode());
    assert_eq!(raw.ask(100).await.unwrap(), vec![None; 100], "that took longer than one node may");
    raw.answer(|| NodeReply::Gone.encode().encode());
    assert!(matches!(raw.ask(MAX_REQUEST_NODES).await, Err(FetchError::Stalled)));
}

#[tokio::test]
async fn a_peer_that_reads_no_question_is_not_waited_for() {
    let raw = Raw::new().await;
    // What may be under way is less than three questions.
    for _ in 0..3 {
        assert!(matches!(raw.ask(MAX_REQUEST_NODES).await, Err(FetchError::Stalled)));
    }
}
