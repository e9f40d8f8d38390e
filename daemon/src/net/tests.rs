//! Stories of a few devices on loopback.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use harness::wait::PATIENCE;
use protocol::message::ChunkWanted;
use protocol::{ContentId, NodeId};
use tokio::time::timeout;

use super::*;

mod damaged;
mod hanging;
mod nat;
mod stalling;

/// Serves nodes by address, and for each chunk bytes that follow from its number.
struct Shelf(HashMap<NodeId, Bytes>);

impl Serve for Shelf {
    fn nodes(&self, ids: &[NodeId]) -> Vec<Option<Bytes>> {
        ids.iter().map(|id| self.0.get(id).cloned()).collect()
    }

    fn greeting(&self) -> Vec<Message> {
        Vec::new()
    }

    fn chunks(&self, wanted: &[ChunkWanted]) -> Vec<Option<Bytes>> {
        let chunk = |wanted: &ChunkWanted| {
            (wanted.number < 100).then(|| vec![wanted.number as u8; wanted.len as usize].into())
        };
        wanted.iter().map(chunk).collect()
    }
}

fn shelf(nodes: &[&'static [u8]]) -> Arc<dyn Serve> {
    Arc::new(Shelf(nodes.iter().map(|bytes| (NodeId::of(bytes), Bytes::from_static(bytes))).collect()))
}

struct Device {
    net: Net,
    events: Events,
    id: DeviceId,
}

fn secret(n: u8) -> FolderSecret {
    FolderSecret::new([n; 20])
}

fn folder() -> FolderId {
    secret(1).folder_id()
}

fn config(n: u8) -> NetConfig {
    NetConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        device: DeviceKey::from_seed([n; 32]),
        name: format!("device {n}"),
        seed: [n; 32],
        backoff: Backoff { first: Duration::from_millis(20), most: Duration::from_millis(100) },
    }
}

/// A device that has the folder of this number.
fn device(n: u8, folder: u8) -> Device {
    start(config(n), folder)
}

fn start(config: NetConfig, folder: u8) -> Device {
    let id = config.device.id();
    let (net, events) = Net::start(config).unwrap();
    net.add_folder(secret(folder), None, shelf(&[b"one", b"two"]));
    Device { net, events, id }
}

impl Device {
    fn address(&self) -> SocketAddr {
        self.net.local_addresses()[0]
    }

    fn dial(&self, other: &Device) {
        self.net.dial(folder(), other.address(), FoundBy::Lan);
    }

    async fn next(&mut self) -> NetEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event comes").unwrap()
    }

    async fn joined(&mut self) -> Peer {
        match self.next().await {
            NetEvent::Joined { peer, .. } => peer,
            other => panic!("somebody joins, not {other:?}"),
        }
    }

    /// The next event that is neither an opening nor anything of a link.
    async fn message(&mut self) -> Message {
        loop {
            if let NetEvent::Message { message, .. } = self.next().await {
                return message;
            }
        }
    }

    async fn left(&mut self) -> DeviceId {
        loop {
            if let NetEvent::Left { peer, .. } = self.next().await {
                return peer;
            }
        }
    }

    /// Nothing happens for a while that is long on loopback.
    async fn nothing(&mut self) {
        let event = timeout(Duration::from_millis(300), self.events.recv()).await;
        assert!(event.is_err(), "{event:?}");
    }
}

/// Two devices of one folder, the first of which has dialled.
async fn pair() -> (Device, Peer, Device, Peer) {
    let (mut alice, mut bob) = (device(1, 1), device(2, 1));
    alice.dial(&bob);
    let (of_bob, of_alice) = (alice.joined().await, bob.joined().await);
    (alice, of_bob, bob, of_alice)
}

fn wanted(number: u64, len: u32) -> ChunkWanted {
    ChunkWanted { content: ContentId([1; 32]), number, len }
}

fn gone(n: u8) -> Message {
    Message::Gone { content: ContentId([n; 32]) }
}

#[tokio::test]
async fn two_devices_meet_in_a_folder_and_know_each_other() {
    let (alice, of_bob, bob, of_alice) = pair().await;
    assert_eq!((of_bob.info().device_id, of_alice.info().device_id), (bob.id, alice.id));
    assert_eq!((of_bob.info().address, of_alice.info().address), (bob.address(), alice.address()));
    assert_eq!(of_bob.info().name, "device 2");
    assert_eq!((of_bob.info().found_by, of_alice.info().found_by), (FoundBy::Lan, FoundBy::Incoming));
}

#[tokio::test]
async fn messages_arrive_in_order_both_ways() {
    let (mut alice, of_bob, mut bob, of_alice) = pair().await;
    for n in 0..100 {
        of_bob.send(gone(n)).unwrap();
        of_alice.send(gone(n + 100)).unwrap();
    }
    for n in 0..100 {
        assert_eq!(bob.message().await, gone(n));
        assert_eq!(alice.message().await, gone(n + 100));
    }
}

#[tokio::test]
async fn nodes_come_in_the_order_of_the_question_and_missing_ones_are_said_to_be() {
    let (_alice, of_bob, _bob, _) = pair().await;
    let ids = [NodeId::of(b"two"), NodeId::of(b"three"), NodeId::of(b"one")];
    let nodes = of_bob.nodes(&ids).await.unwrap();
    assert_eq!(nodes, [Some(Bytes::from_static(b"two")), None, Some(Bytes::from_static(b"one"))]);
    let many: Vec<NodeId> = std::iter::repeat_n(NodeId::of(b"one"), 3000).collect();
    assert_eq!(of_bob.nodes(&many).await.unwrap().iter().flatten().count(), 3000);
}

#[tokio::test]
async fn chunks_stream_in_order_and_are_counted() {
    let (_alice, of_bob, _bob, of_alice) = pair().await;
    let question = [wanted(3, 1 << 20), wanted(200, 5), wanted(4, 0), wanted(5, 1 << 20), wanted(6, 9)];
    let mut answers = Vec::new();
    of_bob.chunks(&question, |number, answer| answers.push((number, answer))).await.unwrap();
    let here = |n: u8, len: usize| ChunkAnswer::Here(vec![n; len].into());
    let expected = [here(3, 1 << 20), ChunkAnswer::Gone, here(4, 0), here(5, 1 << 20), here(6, 9)];
    assert_eq!(answers, expected.into_iter().enumerate().collect::<Vec<_>>());
    assert_eq!(of_bob.bytes_down(), (2 << 20) + 9);
    assert!(of_alice.bytes_up() > 2 << 20);
}

#[tokio::test]
async fn a_stranger_learns_nothing_and_is_dropped() {
    let (mut alice, mut mallory) = (device(1, 1), device(3, 9));
    mallory.net.dial(secret(9).folder_id(), alice.address(), FoundBy::Pinned);
    mallory.nothing().await;
    alice.nothing().await;
}

/// Until it is decided which one stays, others may come and go.
async fn one_link(alice: &Device, bob: &Device) {
    let links = async || {
        while alice.net.hub.link_count() + bob.net.hub.link_count() != 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, links()).await.expect("one link on each side");
}

#[tokio::test]
async fn of_three_links_one_stays_the_same_on_both_sides() {
    let listening = |n| NetConfig { listen: vec!["127.0.0.1:0".parse().unwrap(); 3], ..config(n) };
    let mut devices = [start(listening(1), 1), start(listening(2), 1)];
    devices.sort_by_key(|device| device.id);
    let [mut decides, mut obeys] = devices;
    let [first, second, _] = decides.net.local_addresses()[..] else { panic!("three addresses") };
    obeys.net.dial(folder(), first, FoundBy::Lan);
    decides.joined().await;
    obeys.joined().await;
    obeys.net.dial(folder(), second, FoundBy::Lan);
    let two = async || {
        while decides.net.hub.peer_count() != 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, two()).await.expect("a second link, which waits");
    for address in obeys.net.local_addresses() {
        decides.net.dial(folder(), address, FoundBy::Lan);
    }
    one_link(&decides, &obeys).await;
}

#[tokio::test]
async fn devices_that_dial_each_other_at_once_end_with_one_link() {
    let (mut alice, mut bob) = (device(1, 1), device(2, 1));
    alice.dial(&bob);
    bob.dial(&alice);
    alice.joined().await;
    bob.joined().await;
    one_link(&alice, &bob).await;
    let latest = |device: &mut Device| {
        std::iter::from_fn(|| device.events.try_recv())
            .filter_map(|event| if let NetEvent::Joined { peer, .. } = event { Some(peer) } else { None })
            .last()
    };
    let _ = (latest(&mut alice), latest(&mut bob));
    assert_eq!(alice.net.hub.peer_count(), 1);
    assert_eq!(bob.net.hub.peer_count(), 1);
}

#[tokio::test]
async fn a_peer_that_vanishes_is_reported() {
    let (mut alice, of_bob, bob, _) = pair().await;
    let id = bob.id;
    bob.net.close().await;
    assert_eq!(alice.left().await, id);
    assert_eq!(of_bob.send(gone(1)), Err(SendError));
    assert!(of_bob.nodes(&[NodeId::of(b"one")]).await.is_err());
}

/// Starts bob, as soon as the port is free again.
async fn start_at(address: SocketAddr) -> (Net, Events) {
    loop {
        match Net::start(NetConfig { listen: vec![address], ..config(2) }) {
            Ok(started) => return started,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn a_pinned_peer_is_dialled_until_it_is_there_and_again_when_it_is_back() {
    let reserved = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    let mut alice = device(1, 1);
    alice.net.set_pinned(folder(), vec![format!("localhost:{}", address.port()), address.to_string()]);
    alice.nothing().await;
    drop(reserved);
    for _ in 0..2 {
        let (net, _events) = start_at(address).await;
        net.add_folder(secret(1), None, shelf(&[]));
        assert_eq!(alice.joined().await.info().device_id, DeviceKey::from_seed([2; 32]).id());
        net.close().await;
        alice.left().await;
    }
}

#[tokio::test]
async fn a_folder_that_is_added_later_is_joined_on_the_same_link() {
    let (mut alice, _, mut bob, _) = pair().await;
    for device in [&alice, &bob] {
        device.net.add_folder(secret(2), None, shelf(&[b"three"]));
    }
    let (peer, _) = (alice.joined().await, bob.joined().await);
    assert_eq!(peer.folder(), secret(2).folder_id());
    assert_eq!(alice.net.hub.link_count(), 1);
    assert!(peer.nodes(&[NodeId::of(b"three")]).await.unwrap()[0].is_some());
    alice.net.remove_folder(folder());
    assert_eq!(bob.left().await, alice.id);
    assert!(peer.nodes(&[NodeId::of(b"three")]).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn a_folder_that_is_joined_again_still_knows_where_its_peers_are() {
    let (alice, _, mut bob, _) = pair().await;
    // It cannot be reached from a socket on loopback, so no packet goes out.
    let linked: SocketAddr = "10.255.0.1:4455".parse().unwrap();
    alice.net.dial(folder(), linked, FoundBy::Link);
    alice.net.rejoin_folder(secret(1), None, shelf(&[]));
    assert_eq!(bob.left().await, alice.id);
    assert_eq!(bob.joined().await.info().device_id, alice.id);
    let known = alice.net.hub.book.lock().targets_found_by(FoundBy::Link);
    assert_eq!(known, [Target::Address(linked)]);
}

#[tokio::test]
async fn a_link_to_ourselves_is_closed_and_a_copy_of_our_home_is_reported() {
    let mut alice = device(1, 1);
    alice.net.dial(folder(), alice.address(), FoundBy::Pinned);
    alice.nothing().await;
    let copy = device(1, 1);
    alice.dial(&copy);
    match alice.next().await {
        NetEvent::DuplicateDevice { address } => assert_eq!(address, copy.address()),
        other => panic!("the copy is reported, not {other:?}"),
    }
}

#[tokio::test]
async fn a_question_for_a_folder_that_was_left_is_not_answered() {
    let (alice, of_bob, bob, _) = pair().await;
    bob.net.remove_folder(folder());
    assert!(of_bob.nodes(&[NodeId::of(b"one")]).await.is_err());
    drop(alice);
}

#[tokio::test]
async fn both_families_share_a_port_and_an_address_is_shown_as_what_it_is() {
    let mut alice = device(1, 1);
    let listen = vec!["[::]:0".parse().unwrap()];
    let (net, events) = Net::start(NetConfig { listen, ..config(2) }).unwrap();
    net.add_folder(secret(1), None, shelf(&[]));
    let mut bob = Device { net, events, id: DeviceKey::from_seed([2; 32]).id() };
    let address = SocketAddr::from(([127, 0, 0, 1], bob.address().port()));
    alice.net.dial(folder(), address, FoundBy::Lan);
    assert_eq!(alice.joined().await.info().address, address);
    assert_eq!(bob.joined().await.info().address, alice.address());
    assert!(bob.net.socket_buffers()[0].receive > 0);
}

/// Addresses of others are for the network to judge; no folder hears of them.
#[tokio::test]
async fn what_a_peer_names_becomes_hints_as_far_as_it_may_and_goes_no_further() {
    let (mut alice, _, _bob, of_alice) = pair().await;
    // None of them can be reached from a socket on loopback, so no packet goes out.
    let named = ["10.255.0.1:4455", "9.9.9.9:53", "127.0.0.1:4455", "host.example:4455"];
    of_alice.send(Message::Peers { addresses: named.map(str::to_owned).to_vec() }).unwrap();
    of_alice.send(gone(1)).unwrap();
    assert_eq!(alice.message().await, gone(1));
    let hints = alice.net.hub.book.lock().targets_found_by(FoundBy::Exchange);
    assert_eq!(hints, [Target::Address("10.255.0.1:4455".parse().unwrap())]);
}

#[tokio::test]
async fn a_folder_without_peer_exchange_believes_nobody() {
    let (mut alice, _, _bob, of_alice) = pair().await;
    alice.net.set_peer_exchange(folder(), false);
    of_alice.send(Message::Peers { addresses: vec!["10.255.0.1:4455".to_owned()] }).unwrap();
    of_alice.send(gone(1)).unwrap();
    assert_eq!(alice.message().await, gone(1));
    assert_eq!(alice.net.hub.book.lock().targets_found_by(FoundBy::Exchange), []);
}

#[tokio::test]
async fn a_change_of_the_network_leaves_a_link_alone_that_still_answers() {
    let (mut alice, of_bob, mut bob, _) = pair().await;
    for device in [&alice, &bob] {
        device.net.network_changed();
    }
    alice.nothing().await;
    bob.nothing().await;
    of_bob.send(gone(1)).unwrap();
    assert_eq!(bob.message().await, gone(1));
}
