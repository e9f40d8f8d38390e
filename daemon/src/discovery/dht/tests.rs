//! Our part of the DHT against nodes on loopback that behave well, badly, or not at all.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use keystore::{DiscoveryId, FolderId};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::fake_node::{FakeNode, Manner};
use super::node::Node;
use super::{Dht, DhtConfig, DhtError};
use crate::discovery::{Hint, Reachable, Way, WayStatus};

const PATIENCE: Duration = Duration::from_secs(120);
const FOLDER: FolderId = FolderId([1; 16]);
const DISCOVERY: DiscoveryId = DiscoveryId([1; 20]);

struct Device {
    dht: Dht,
    hints: mpsc::Receiver<Hint>,
    reachable: watch::Sender<Reachable>,
    home: TempDir,
}

impl Device {
    fn start(port: u16, bootstrap: &[&FakeNode]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), port, bootstrap)
    }

    fn start_in(home: TempDir, port: u16, bootstrap: &[&FakeNode]) -> Self {
        let (out, hints) = mpsc::channel(64);
        let (reachable, receiver) = watch::channel(Reachable { v4: Some(port), v6: None });
        let config = DhtConfig {
            bootstrap: bootstrap.iter().map(|node| node.address.to_string()).collect(),
            state_file: state_file(home.path()),
            seed: [1; 32],
            hints: out,
            reachable: receiver,
        };
        Self { dht: Dht::start(config).unwrap(), hints, reachable, home }
    }

    async fn finds(&mut self, address: &str) -> Hint {
        let address: SocketAddr = address.parse().unwrap();
        timeout(PATIENCE, async {
            loop {
                let hint = self.hints.recv().await.unwrap();
                if hint.address == address {
                    return hint;
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{address} is not found: {:?}", self.dht.status(FOLDER)))
    }

    async fn shows(&self, is_so: impl Fn(&WayStatus) -> bool) -> WayStatus {
        until(|| Some(self.dht.status(FOLDER)).filter(&is_so)).await
    }
}

fn state_file(home: &Path) -> std::path::PathBuf {
    home.join("dht")
}

async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let looked = timeout(PATIENCE, async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    looked.await.expect("it comes to be")
}

#[tokio::test]
async fn two_devices_find_each_other_through_one_node() {
    let node = FakeNode::start(Manner::Honest);
    let mut anna = Device::start(40_001, &[&node]);
    anna.dht.add_folder(FOLDER, DISCOVERY);
    let status = anna.shows(|status| status.last_announce.is_some()).await;
    assert_eq!((status.way, status.found, status.error), (Way::Dht, 0, None));
    assert!(status.next.is_some());

    let mut ben = Device::start(40_002, &[&node]);
    ben.dht.add_folder(FOLDER, DISCOVERY);
    let hint = ben.finds("127.0.0.1:40001").await;
    assert_eq!((hint.folder, hint.way, hint.namer), (FOLDER, Way::Dht, [127, 0, 0, 1].into()));
    ben.shows(|status| status.last_announce.is_some() && status.found == 1).await;
    anna.dht.look_again();
    anna.finds("127.0.0.1:40002").await;
}

#[tokio::test]
async fn a_device_enters_by_nodes_that_it_has_kept_when_the_bootstrap_node_is_gone() {
    let node = FakeNode::start(Manner::Honest);
    let anna = Device::start(40_001, &[&node]);
    anna.dht.add_folder(FOLDER, DISCOVERY);
    until(|| std::fs::read_to_string(state_file(anna.home.path())).ok()).await;
    let Device { home, dht, .. } = anna;
    drop(dht);

    let gone = FakeNode::start(Manner::Silent);
    let mut again = Device::start_in(home, 40_003, &[&gone]);
    again.dht.add_folder(FOLDER, DISCOVERY);
    again.finds("127.0.0.1:40001").await;
    assert_eq!(gone.askers(), []);
}

#[tokio::test]
async fn a_network_that_comes_later_is_found_and_until_then_the_status_says_what_is_missing() {
    let node = FakeNode::start(Manner::Silent);
    let anna = Device::start(40_001, &[&node]);
    anna.dht.add_folder(FOLDER, DISCOVERY);
    let status = anna.shows(|status| status.error.is_some()).await;
    assert_eq!(status.error.as_deref(), Some("no DHT node answers; is UDP blocked?"));
    assert_eq!(status.last_announce, None);
    node.set_manner(Manner::Honest);
    anna.dht.look_again();
    let status = anna.shows(|status| status.last_announce.is_some()).await;
    assert_eq!(status.error, None);
    assert!(!node.announced(&DISCOVERY.0).is_empty());
}

#[tokio::test]
async fn when_all_nodes_fall_silent_the_status_says_so_and_it_recovers() {
    let node = FakeNode::start(Manner::Honest);
    let anna = Device::start(40_001, &[&node]);
    anna.dht.add_folder(FOLDER, DISCOVERY);
    anna.shows(|status| status.last_announce.is_some()).await;
    node.set_manner(Manner::Silent);
    anna.dht.look_again();
    anna.shows(|status| status.error.is_some()).await;
    node.set_manner(Manner::Honest);
    anna.dht.look_again();
    anna.shows(|status| status.error.is_none()).await;
}

#[tokio::test]
async fn another_port_is_announced_soon() {
    let node = FakeNode::start(Manner::Honest);
    let anna = Device::start(40_001, &[&node]);
    anna.dht.add_folder(FOLDER, DISCOVERY);
    anna.shows(|status| status.last_announce.is_some()).await;
    anna.reachable.send(Reachable { v4: Some(40_009), v6: None }).unwrap();
    until(|| node.announced(&DISCOVERY.0).iter().any(|peer| peer.port() == 40_009).then_some(())).await;
}

#[tokio::test]
async fn a_device_that_ipv4_cannot_reach_does_not_ask() {
    let node = FakeNode::start(Manner::Honest);
    let anna = Device::start(40_001, &[&node]);
    anna.reachable.send(Reachable { v4: None, v6: Some(1) }).unwrap();
    anna.dht.add_folder(FOLDER, DISCOVERY);
    let status = anna.shows(|status| status.error.is_some()).await;
    assert!(status.error.unwrap().contains("listen on an IPv4 address"));
    anna.reachable.send(Reachable { v4: Some(40_001), v6: Some(1) }).unwrap();
    anna.shows(|status| status.last_announce.is_some() && status.error.is_none()).await;
}

#[tokio::test]
async fn nodes_that_refuse_every_announcement_end_nothing() {
    let node = FakeNode::start(Manner::Refusing);
    let anna = Device::start(40_001, &[&node]);
    anna.dht.add_folder(FOLDER, DISCOVERY);
    anna.shows(|status| status.error.is_some()).await;
    node.set_manner(Manner::Honest);
    anna.dht.look_again();
    anna.shows(|status| status.last_announce.is_some() && status.error.is_none()).await;
}

#[tokio::test]
async fn garbled_messages_end_nothing() {
    let (bad, good) = (FakeNode::start(Manner::Garbling), FakeNode::start(Manner::Honest));
    let anna = Device::start(40_001, &[&bad, &good]);
    anna.dht.add_folder(FOLDER, DISCOVERY);
    until(|| (!good.announced(&DISCOVERY.0).is_empty()).then_some(())).await;
    let status = anna.shows(|status| status.last_announce.is_some()).await;
    assert_eq!(status.error, None);
}

#[tokio::test]
async fn of_a_flood_of_peers_few_become_hints() {
    let node = FakeNode::start(Manner::Flooding);
    let anna = Device::start(40_001, &[&node]);
    anna.dht.add_folder(FOLDER, DISCOVERY);
    let status = anna.shows(|status| status.last_announce.is_some()).await;
    assert!((1..=128).contains(&status.found), "{status:?}");
}

#[tokio::test]
async fn nobody_is_answered() {
    let node = FakeNode::start(Manner::Honest);
    let anna = Device::start(40_001, &[&node]);
    anna.dht.add_folder(FOLDER, DISCOVERY);
    anna.shows(|status| status.last_announce.is_some()).await;
    for asker in node.askers() {
        node.ping(asker);
    }
    anna.dht.look_again(); // and the pings are behind us when the next announcement is here
    until(|| (node.announced(&DISCOVERY.0).len() > 1).then_some(())).await;
    assert_eq!(node.answers(), 0);
}

/// The crate would turn it into a server.
#[tokio::test]
async fn a_node_that_others_can_reach_is_replaced_in_time() {
    let bootstrap = FakeNode::start(Manner::Honest);
    let node = Node::open(&[bootstrap.address]).await.unwrap();
    assert_eq!(node.is_worn().await, Ok(false));
    let old = node.aged(Duration::from_secs(13 * 60));
    timeout(PATIENCE, async {
        while old.is_worn().await != Ok(true) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("it hears its own ping");
    assert_eq!(node.is_worn().await, Ok(false), "a young one has time");
}

#[tokio::test]
async fn a_malformed_bootstrap_node_is_named() {
    for bad in ["router", "router:", ":6881", "router:0", "http://router:80", "[::1]:6881"] {
        let (hints, _) = mpsc::channel(1);
        let (_, reachable) = watch::channel(Reachable { v4: None, v6: None });
        let bootstrap = vec!["192.0.2.1:6881".to_owned(), bad.to_owned()];
        let config = DhtConfig { bootstrap, state_file: "none".into(), seed: [0; 32], hints, reachable };
        let refused = Dht::start(config).unwrap_err();
        assert!(matches!(&refused, DhtError::Bootstrap(named) if named == bad), "{refused}");
    }
}
