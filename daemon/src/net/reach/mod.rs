//! Being reached: what the world sees of us, and help for two devices that cannot reach each other.
//!
//! - Trackers and peers tell at which address they see us (`observed`); a gateway may map a port
//!   (`mapping`). What follows is told in [`Reachable`], to be announced.
//! - An `introducer` is a tracker to which a QUIC connection is kept, from the port of the links.
//!   `peers` are introducers as well, for those whom they are linked with.
//! - A dial that is not answered is helped along by `assist`: both sides are told of each other, one
//!   dials and the other `punch`es, and when that does not help either, packets go through a relay
//!   (`relayed`), until a direct link comes up.
//!
//! Not here: what is announced where, and which address is dialled when.

mod assist;
mod introducer;
mod mapping;
mod observed;
mod peers;
mod punch;
mod relayed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use keystore::{DiscoveryId, FolderId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::debug;

pub(super) use self::assist::connect;
use self::introducer::{Introducer, Session};
pub use self::observed::NatKind;
use self::observed::Observations;
pub(super) use self::peers::{handle_message, on_joined};
use self::punch::Punches;
use self::relayed::Relays;
use super::hub::Hub;
use super::link::{Command, Link};
use protocol::message::Message;

/// How long what somebody has seen is believed.
const OBSERVATION_LIFE: Duration = Duration::from_secs(3600);
/// How long the gateway may take to forget our port when the network ends.
const UNMAP_WITHIN: Duration = Duration::from_secs(3);

/// Under which UDP ports the world reaches our QUIC sockets, as far as we know: a mapped port, else
/// one that others see us at, else the one that we listen on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reachable {
    /// Over IPv4; `None` when we do not listen there.
    pub v4: Option<u16>,
    /// Over IPv6; `None` when we do not listen there.
    pub v6: Option<u16>,
}

/// What is known of being reached, for a person.
#[derive(Clone, Debug)]
pub struct ReachStatus {
    /// What is announced.
    pub reachable: Reachable,
    /// Who sees us at which address.
    pub observed: Vec<(IpAddr, SocketAddr)>,
    /// What is between us and them.
    pub nat: NatKind,
    /// Port mapping.
    pub mapping: MappingStatus,
    /// Trackers as introducers.
    pub introducers: Vec<IntroducerStatus>,
    /// Links that go through relays.
    pub relayed: usize,
}

/// What has become of mapping our port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingStatus {
    /// Whether it is tried.
    pub is_on: bool,
    /// By which protocol it was made: `PCP`, `NAT-PMP` or `UPnP`.
    pub protocol: Option<&'static str>,
    /// Where the gateway lets the world reach us; the IP may be unknown.
    pub external: Option<(Option<IpAddr>, u16)>,
    /// Why there is none, as a sentence.
    pub error: Option<String>,
}

/// One tracker as introducer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntroducerStatus {
    /// `host:port`.
    pub tracker: String,
    /// The addresses at which it is connected.
    pub connected: Vec<SocketAddr>,
    /// Why it is not, as a sentence.
    pub error: Option<String>,
}

/// What is wanted for a folder.
struct Wanted {
    discovery: DiscoveryId,
    trackers: BTreeSet<String>,
    relay: bool,
}

/// Everything about being reached that links and dials share.
pub(super) struct Reach {
    state: Mutex<State>,
    reachable: watch::Sender<Reachable>,
    pub(super) relays: Relays,
    pub(super) punches: Punches,
    /// The network has changed: who waits to try again tries now.
    network_changed: Arc<Notify>,
}

struct State {
    listen: Reachable,
    folders: BTreeMap<FolderId, Wanted>,
    introducers: BTreeMap<String, (Arc<Introducer>, JoinHandle<()>)>,
    observations: Observations,
    mapping: MappingStatus,
    mapper: Option<Mapper>,
    is_closed: bool,
}

/// The task that keeps a port mapped.
struct Mapper {
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Reach {
    pub(super) fn new(local: &[SocketAddr]) -> Self {
        let listen = listening(local);
        let state = State {
            listen,
            folders: BTreeMap::new(),
            introducers: BTreeMap::new(),
            observations: Observations::default(),
            mapping: MappingStatus::default(),
            mapper: None,
            is_closed: false,
        };
        Self {
            state: Mutex::new(state),
            reachable: watch::Sender::new(listen),
            relays: Relays::default(),
            punches: Punches::default(),
            network_changed: Arc::default(),
        }
    }

    pub(super) fn reachable(&self) -> watch::Receiver<Reachable> {
        self.reachable.subscribe()
    }

    /// Ends all tasks.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        for (_, task) in std::mem::take(&mut state.introducers).into_values() {
            task.abort();
        }
        if let Some(mapper) = state.mapper.take() {
            mapper.stop.notify_one();
        }
    }

    /// Has the gateway forget our port, and waits for it a moment.
    pub(super) async fn unmap(&self) {
        let mapper = self.state.lock().mapper.take();
        if let Some(Mapper { stop, task }) = mapper {
            stop.notify_one();
            let _ = timeout(UNMAP_WITHIN, task).await;
        }
    }

    pub(super) fn status(&self) -> ReachStatus {
        let state = self.state.lock();
        ReachStatus {
            reachable: *self.reachable.borrow(),
            observed: state.observations.list(),
            nat: state.observations.nat(&own_ips()),
            mapping: state.mapping.clone(),
            introducers: state.introducers.values().map(|(introducer, _)| introducer.status()).collect(),
            relayed: self.relays.len(),
        }
    }

    /// Addresses have come or gone, or the machine was asleep: introducers are tried at once.
    pub(super) fn handle_network_changed(&self) {
        self.state.lock().observations.clear();
        self.network_changed.notify_waiters();
    }

    /// The connections to introducers of these folders; with `relay`, of those that may be relayed.
    fn sessions(&self, folders: &[FolderId], relay: bool) -> Vec<(DiscoveryId, Arc<Session>)> {
        let state = self.state.lock();
        let wanted = folders.iter().filter_map(|folder| state.folders.get(folder));
        let mut sessions = Vec::new();
        for wanted in wanted.filter(|wanted| wanted.relay || !relay) {
            for tracker in &wanted.trackers {
                let Some((introducer, _)) = state.introducers.get(tracker) else { continue };
                sessions.extend(introducer.sessions().into_iter().map(|session| (wanted.discovery, session)));
            }
        }
        sessions
    }

    /// Whether packets of a folder with this discovery id may go through a relay.
    fn may_relay(&self, discovery: DiscoveryId) -> bool {
        let state = self.state.lock();
        state.folders.values().any(|wanted| wanted.relay && wanted.discovery == discovery)
    }

    /// Addresses at which others may reach us, to be told to a peer.
    fn external_addresses(&self) -> Vec<SocketAddr> {
        let state = self.state.lock();
        let reachable = *self.reachable.borrow();
        let mut addresses = state.observations.most_seen();
        let mapped = state.mapping.external;
        let ip = |is_v4: bool| addresses.iter().map(SocketAddr::ip).find(|ip| ip.is_ipv4() == is_v4);
        let announced = [(ip(true), reachable.v4), (ip(false), reachable.v6)];
        let announced: Vec<_> = announced
            .into_iter()
            .chain(mapped.map(|(ip, port)| (ip, Some(port))))
            .filter_map(|(ip, port)| Some(SocketAddr::new(ip?, port?)))
            .collect();
        addresses.extend(announced);
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// Replaces what is wanted for a folder.
pub(super) fn set_folder(
    hub: &Arc<Hub>,
    folder: FolderId,
    discovery: DiscoveryId,
    trackers: Vec<String>,
    relay: bool,
) {
    let wanted = Wanted { discovery, trackers: trackers.into_iter().collect(), relay };
    let mut state = hub.reach.state.lock();
    state.folders.insert(folder, wanted);
    state.follow(hub);
}

/// Forgets a folder.
pub(super) fn remove_folder(hub: &Arc<Hub>, folder: FolderId) {
    let mut state = hub.reach.state.lock();
    if state.folders.remove(&folder).is_some() {
        state.follow(hub);
    }
}

/// Starts or ends having our port mapped by the gateway.
pub(super) fn set_port_mapping(hub: &Arc<Hub>, on: bool) {
    let mut state = hub.reach.state.lock();
    if on == state.mapper.is_some() || state.is_closed {
        return;
    }
    if let Some(mapper) = state.mapper.take() {
        mapper.stop.notify_one();
        state.mapping = MappingStatus::default();
        drop(state);
        update(hub);
        return;
    }
    let Some(port) = state.listen.v4.and_then(NonZeroU16::new) else { return };
    state.mapping = MappingStatus { is_on: true, ..MappingStatus::default() };
    let stop = Arc::new(Notify::new());
    let task = tokio::spawn(mapping::run(Arc::downgrade(hub), port, Arc::clone(&stop)));
    state.mapper = Some(Mapper { stop, task });
}

/// Somebody sees us at an address.
fn handle_observed(hub: &Hub, namer: IpAddr, address: SocketAddr) {
    hub.reach.state.lock().observations.insert(namer, address, hub.now());
    update(hub);
}

/// Works out anew where we are reached; when that has changed, peers that we could not reach
/// directly are told, and all is dialled that was in vain.
fn update(hub: &Hub) {
    let reach = &hub.reach;
    let state = reach.state.lock();
    let before = *reach.reachable.borrow();
    let mapped = state.mapping.external.map(|(_, port)| port);
    let observed = |is_v4: bool, current: Option<u16>| state.observations.port(is_v4, current);
    let of = |listen: Option<u16>, is_v4: bool, current| {
        let listen = listen?;
        Some(mapped.filter(|_| is_v4).or_else(|| observed(is_v4, current)).unwrap_or(listen))
    };
    let now =
        Reachable { v4: of(state.listen.v4, true, before.v4), v6: of(state.listen.v6, false, before.v6) };
    drop(state);
    if !reach.reachable.send_if_modified(|value| std::mem::replace(value, now) != now) {
        return;
    }
    debug!(?before, ?now, "the world reaches us elsewhere");
    let addresses = reach.external_addresses();
    for link in hub.relayed_links() {
        tell_reachable(&link, &addresses);
    }
    hub.book.lock().handle_network_changed(hub.now());
    hub.book_changed.notify_one();
}

/// Tells the device behind a relay where it may reach us.
fn tell_reachable(link: &Link, addresses: &[SocketAddr]) {
    let folder = link.peers.lock().keys().next().copied();
    if let Some(folder) = folder.filter(|_| !addresses.is_empty()) {
        link.command(Command::Send(folder, Message::Reachable { addresses: addresses.to_vec() }));
    }
}

impl State {
    /// Starts and ends introducers, and tells them what to register.
    fn follow(&mut self, hub: &Arc<Hub>) {
        let mut wanted: BTreeMap<String, BTreeSet<DiscoveryId>> = BTreeMap::new();
        for folder in self.folders.values() {
            for tracker in &folder.trackers {
                wanted.entry(tracker.clone()).or_default().insert(folder.discovery);
            }
        }
        self.introducers.retain(|tracker, (_, task)| {
            let stays = wanted.contains_key(tracker);
            if !stays {
                task.abort();
            }
            stays
        });
        if self.is_closed {
            return;
        }
        for (tracker, discoveries) in wanted {
            let (introducer, _) = self.introducers.entry(tracker.clone()).or_insert_with(|| {
                let changed = Arc::clone(&hub.reach.network_changed);
                let introducer = Arc::new(Introducer::new(tracker));
                let task = introducer::run(Arc::downgrade(hub), Arc::clone(&introducer), changed);
                (introducer, tokio::spawn(task))
            });
            introducer.register(discoveries);
        }
    }
}

/// The ports that are listened on.
fn listening(local: &[SocketAddr]) -> Reachable {
    let serves_v4 = |address: &&SocketAddr| address.is_ipv4() || address.ip().is_unspecified();
    let v4 = local.iter().find(|address| address.is_ipv4()).or_else(|| local.iter().find(serves_v4));
    let v6 = local.iter().find(|address| address.is_ipv6());
    Reachable { v4: v4.map(SocketAddr::port), v6: v6.map(SocketAddr::port) }
}

/// The addresses of our interfaces.
fn own_ips() -> BTreeSet<IpAddr> {
    if_addrs::get_if_addrs().map_or_else(|_| BTreeSet::new(), |list| list.iter().map(|i| i.ip()).collect())
}
