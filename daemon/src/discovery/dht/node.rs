//! Our node in the Mainline DHT: the only module that knows the crate that speaks its protocol.
//!
//! It is a *client*: it asks and announces, and answers nobody. The crate has no setting for that. It
//! turns into a server by itself, fifteen minutes after its start at the earliest, when it hears its
//! own ping to the address that others see it at, and as a server it understands no transaction id
//! but those of four bytes and so is deaf to most other programs. Two things keep it a client: a
//! filter lets no request through, so that nothing is ever answered or kept for others; and a node
//! that could soon turn is replaced ([`Node::is_worn`]) by a new one that starts from its contacts.
//!
//! The crate panics where its thread has ended, and where all nodes of an announcement answer with
//! errors that belong to other requests; a lookup lasts as long as somebody names closer nodes. So
//! each call runs in a task of its own and for a bounded time; whoever calls replaces the node
//! after [`NodeError::Gone`].

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use keystore::DiscoveryId;
use mainline::async_dht::AsyncDht;
use mainline::{Id, RequestFilter, RequestSpecific, ServerSettings};
use tokio::time::{Instant, timeout};

/// Where a node begins when nobody says otherwise.
pub(super) const WELL_KNOWN: [&str; 4] = mainline::DEFAULT_BOOTSTRAP_NODES;

/// A lookup asks some hundred nodes, twenty at a time, and waits 2 s for each.
const LOOKUP_WITHIN: Duration = Duration::from_secs(30);
/// An announcement may have to look up the nodes first that it is told to.
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(40);
/// What the crate's thread knows it says within a turn of its loop, 50 ms.
const SAY_WITHIN: Duration = Duration::from_secs(5);
/// A node turns into a server after 15 minutes at the earliest.
const REPLACE_AFTER: Duration = Duration::from_secs(12 * 60);

/// Why a question to the DHT has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeError {
    /// Nobody answers.
    Silent,
    /// Somebody answers, and refuses.
    Refused,
    /// The node itself has failed: it is to be replaced.
    Gone,
}

/// A node in the DHT. It ends when its last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Node {
    dht: AsyncDht,
    opened: Instant,
}

/// Lets no request through.
#[derive(Clone, Debug)]
struct NoRequests;

impl RequestFilter for NoRequests {
    fn allow_request(&self, _request: &RequestSpecific, _from: SocketAddrV4) -> bool {
        false
    }
}

impl Node {
    /// Opens a socket and begins to ask these nodes for more.
    ///
    /// While the table of nodes is shorter than this list, the crate asks all of it anew at each
    /// lookup: it should be short.
    pub(super) async fn open(bootstrap: &[SocketAddrV4]) -> io::Result<Self> {
        // Without a bootstrap node the crate takes anyone who asks for one.
        if bootstrap.is_empty() {
            return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
        }
        let mut builder = mainline::Dht::builder();
        let settings = ServerSettings { filter: Box::new(NoRequests), ..ServerSettings::default() };
        // Port 0: any; the crate's own choice is BitTorrent's 6881, which some networks throttle.
        builder.bootstrap(bootstrap).port(0).server_settings(settings);
        let built = tokio::task::spawn_blocking(move || builder.build()).await;
        let dht = built.map_err(|_| io::Error::other("the node ended at once"))??;
        Ok(Self { dht: dht.as_async(), opened: Instant::now() })
    }

    /// The nodes that have answered in the last quarter of an hour.
    pub(super) async fn contacts(&self) -> Result<Vec<SocketAddrV4>, NodeError> {
        let dht = self.dht.clone();
        let contacts = contained(SAY_WITHIN, async move { dht.to_bootstrap().await }).await?;
        Ok(contacts.iter().filter_map(|contact| contact.parse().ok()).collect())
    }

    /// The address that most nodes have seen us at.
    pub(super) async fn public_ip(&self) -> Result<Option<Ipv4Addr>, NodeError> {
        let dht = self.dht.clone();
        let info = contained(SAY_WITHIN, async move { dht.info().await }).await?;
        Ok(info.public_address().map(|address| *address.ip()))
    }

    /// Whether it should be replaced before it turns into a server.
    pub(super) async fn is_worn(&self) -> Result<bool, NodeError> {
        let dht = self.dht.clone();
        let info = contained(SAY_WITHIN, async move { dht.info().await }).await?;
        let is_reachable = !info.firewalled();
        Ok(info.server_mode() || (is_reachable && self.opened.elapsed() >= REPLACE_AFTER))
    }

    /// Asks who has announced itself; `on_answer` hears what each node says. That nobody says
    /// anything is no error: it cannot be told from nodes that know nobody.
    pub(super) async fn lookup(
        &self,
        discovery: DiscoveryId,
        mut on_answer: impl FnMut(Vec<SocketAddrV4>) + Send + 'static,
    ) -> Result<(), NodeError> {
        let dht = self.dht.clone();
        contained(LOOKUP_WITHIN, async move {
            let mut answers = dht.get_peers(Id::from(discovery.0));
            while let Some(answer) = std::future::poll_fn(|cx| Pin::new(&mut answers).poll_next(cx)).await {
                on_answer(answer);
            }
        })
        .await
    }

    /// Announces that we answer QUIC on this port of the address that the nodes see.
    pub(super) async fn announce(&self, discovery: DiscoveryId, port: u16) -> Result<(), NodeError> {
        use mainline::errors::PutQueryError;
        let dht = self.dht.clone();
        let announced =
            contained(
                ANNOUNCE_WITHIN,
                async move { dht.announce_peer(Id::from(discovery.0), Some(port)).await },
            );
        match announced.await? {
            Ok(_) => Ok(()),
            Err(PutQueryError::NoClosestNodes | PutQueryError::Timeout) => Err(NodeError::Silent),
            Err(PutQueryError::ErrorResponse(_)) => Err(NodeError::Refused),
        }
    }
}

/// Runs a call where its panic ends nothing else, and not for ever.
async fn contained<T: Send + 'static>(
    within: Duration,
    call: impl Future<Output = T> + Send + 'static,
) -> Result<T, NodeError> {
    match tokio::spawn(timeout(within, call)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(NodeError::Gone),
    }
}

#[cfg(test)]
impl Node {
    /// The same node, as it is seen when so much time has passed.
    pub(super) fn aged(&self, by: Duration) -> Self {
        let opened = self.opened.checked_sub(by).expect("the machine runs for a while");
        Self { dht: self.dht.clone(), opened }
    }
}
