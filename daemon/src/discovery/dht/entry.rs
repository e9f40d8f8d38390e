//! The way into the DHT: by nodes that answered earlier, else by the bootstrap nodes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::contacts::is_contact;
use super::node::Node;

/// Nodes that a new node begins with: a shorter list than the table will be, see [`Node::open`].
const AT_ONCE: usize = 12;
/// Addresses taken of one name.
const PER_NAME: usize = 4;
/// Two rounds of questions: each waits 2 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why we are not in the DHT.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryError {
    /// No packet can be sent to any of the nodes.
    #[error("this device has no way to the nodes of the DHT; is the network up?")]
    NoNetwork,
    /// No name has an IPv4 address.
    #[error("no DHT node's name can be resolved ({0}); is the network up?")]
    NoNames(String),
    /// Packets go out and none comes back.
    #[error("no DHT node answers; is UDP blocked?")]
    Silent,
    /// The system grants no socket, or no thread.
    #[error("the DHT cannot be asked: {0}")]
    Socket(io::Error),
}

impl EntryError {
    /// When it is worth another try.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            // Costs nothing: not a packet is sent.
            Self::NoNetwork => Duration::from_secs(5),
            Self::NoNames(_) | Self::Silent | Self::Socket(_) => Duration::from_secs(30),
        }
    }
}

/// Enters by the first of `known`, and when none of them answers by the bootstrap nodes, which are
/// `HOST:PORT` each.
pub(super) async fn enter(known: &[SocketAddrV4], bootstrap: &[String]) -> Result<Node, EntryError> {
    let known: Vec<_> = known.iter().copied().filter(|contact| has_route(*contact)).take(AT_ONCE).collect();
    if !known.is_empty()
        && let Ok(node) = enter_by(&known).await
    {
        return Ok(node);
    }
    let (resolved, trouble) = resolve(bootstrap).await;
    if resolved.is_empty() && known.is_empty() && !has_route(ANYWHERE) {
        return Err(EntryError::NoNetwork);
    }
    let mut nodes: Vec<_> = resolved.iter().copied().filter(|node| has_route(*node)).collect();
    if nodes.is_empty() {
        return Err(match (resolved.is_empty(), known.is_empty()) {
            (true, true) => EntryError::NoNames(trouble),
            (false, true) => EntryError::NoNetwork,
            (_, false) => EntryError::Silent,
        });
    }
    nodes.truncate(AT_ONCE);
    enter_by(&nodes).await
}

/// An address of the world, to see whether there is a default route; nothing is sent there.
const ANYWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 6881);

async fn enter_by(nodes: &[SocketAddrV4]) -> Result<Node, EntryError> {
    let node = Node::open(nodes).await.map_err(EntryError::Socket)?;
    let deadline = Instant::now() + ANSWER_WITHIN;
    while Instant::now() < deadline {
        if node.contacts().await.is_ok_and(|contacts| !contacts.is_empty()) {
            return Ok(node);
        }
        sleep(LOOK_AGAIN).await;
    }
    Err(EntryError::Silent)
}

/// Whether the system knows where to send a packet for that address. Sends none.
fn has_route(to: SocketAddrV4) -> bool {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| socket.connect(to)).is_ok()
}

/// The IPv4 addresses of all names, and what kept the last one from having any.
///
/// On threads of their own: a resolver may take half a minute, and a runtime that ends waits for its
/// own blocking threads.
async fn resolve(names: &[String]) -> (Vec<SocketAddrV4>, String) {
    let (out, mut resolved) = mpsc::channel(names.len().max(1));
    for name in names {
        let (name, out) = (name.clone(), out.clone());
        let resolver = move || {
            let addresses = name.to_socket_addrs().map(|found| found.filter_map(v4).take(PER_NAME));
            let found =
                addresses.map(Iterator::collect::<Vec<_>>).map_err(|error| format!("{name}: {error}"));
            // Nobody waits any more: it took too long.
            let _ = out.blocking_send(found);
        };
        // Without a thread the name counts as one that is not resolved in time.
        let _ = std::thread::Builder::new().name("dht-names".to_owned()).spawn(resolver);
    }
    drop(out);
    let deadline = Instant::now() + RESOLVE_WITHIN;
    let (mut addresses, mut trouble) = (Vec::new(), "no answer in time".to_owned());
    while let Ok(Some(found)) = timeout_at(deadline, resolved.recv()).await {
        match found {
            Ok(found) => addresses.extend(found),
            Err(error) => trouble = error,
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    (addresses, trouble)
}

fn v4(address: SocketAddr) -> Option<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Some(address).filter(|address| is_contact(*address)),
        SocketAddr::V6(_) => None,
    }
}
