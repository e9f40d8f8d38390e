//! The introducer and relay: helps devices of one swarm to reach each other, over QUIC.
//!
//! A device keeps one connection, by which it is told its address as seen from here. It registers
//! the discovery ids of its folders; then it may be introduced to another device that is registered
//! for the same one, and be lent a *relay*, a UDP port that passes packets between the two. Whoever
//! knows a discovery id can be a member of its swarm, as with every tracker; what devices say to
//! each other is between them, end to end.
//!
//! What this cannot be used for:
//! - *against a third party*: devices are introduced only at addresses from which they are connected
//!   themselves, which QUIC has verified, and connections may not move to another address;
//! - *as an open proxy*: a relay passes packets only between the two addresses that have sent it the
//!   tokens which it was made with, and each must be the IP address of the connection that was
//!   told the token;
//! - *to fill memory*: everything is counted and bounded by [`Limits`].
//!
//! Not here: announces, and what is inside of packets.
//!
//! Reading order: `session` is one connection, `book` knows who is registered and decides, `relay`
//! is one relay; `budget` counts; `shared` is quinn's socket on the tracker's port.

mod book;
mod budget;
mod relay;
mod session;
mod shared;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, EndpointConfig, Incoming, TokioRuntime, VarInt};
use tokio::time::timeout;

pub use self::book::RendezvousStatus;
pub use self::budget::TotalRate;
use self::session::Shared;
use self::shared::SharedSocket;
use super::udp::ForeignDatagrams;

/// A handshake is one round trip; strangers are not waited for.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// From this many handshakes under way on, who comes must first prove his address.
const RETRY_FROM: usize = 32;

/// What all relays pass on together, if nothing else is said: some 270 Mbit/s, eight relays at their full
/// rate, so that what is lent to strangers does not fill the line of a common server.
pub const TOTAL_BYTES_PER_SECOND: u64 = 32 << 20;

/// Where packets come from.
#[derive(Debug)]
pub enum RendezvousSocket {
    /// A socket of its own; `[::]` serves both families.
    Bind(SocketAddr),
    /// The tracker's: the packets on it that have the bit of QUIC set.
    Shared(ForeignDatagrams),
}

/// Bounds on what others can make us keep and do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections in all; one costs some 10 KiB.
    pub connections: usize,
    /// Connections from one IP address (a /64 of IPv6): several devices may sit behind one NAT.
    pub connections_per_ip: usize,
    /// Registered discovery ids in all; each costs some 100 bytes.
    pub registrations: usize,
    /// Introductions and relays that one device may ask for in a minute, and as many at once.
    pub asks_per_minute: u32,
    /// Introductions that a device has to bear in a minute, and as many at once.
    pub introductions_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_ip: 64,
            registrations: 200_000,
            asks_per_minute: 40,
            introductions_per_minute: 60,
        }
    }
}

/// What is lent as relays.
#[derive(Clone, Debug)]
pub struct RelayLimits {
    /// The UDP ports to use; none: whichever the system gives.
    pub ports: Option<RangeInclusive<u16>>,
    /// What one relay passes on, both ways together.
    pub bytes_per_second: u64,
    /// What all of them pass on together.
    pub total: TotalRate,
    /// Relays in all; each has a socket and a task.
    pub relays: usize,
    /// Relays of one IP address.
    pub per_ip: usize,
    /// Relays between the same two IP addresses.
    pub per_pair: usize,
}

impl Default for RelayLimits {
    fn default() -> Self {
        let total = TotalRate::new(TOTAL_BYTES_PER_SECOND);
        Self { ports: None, bytes_per_second: 4 << 20, total, relays: 256, per_ip: 16, per_pair: 4 }
    }
}

/// What an introducer needs to start.
#[derive(Debug)]
pub struct RendezvousConfig {
    /// Where packets come from.
    pub socket: RendezvousSocket,
    /// Bounds.
    pub limits: Limits,
    /// Relays; none: devices are only introduced.
    pub relays: Option<RelayLimits>,
}

/// Why an introducer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RendezvousError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} (UDP): {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The socket that was given cannot be used.
    #[error("cannot use the tracker's UDP socket for QUIC: {0}")]
    Socket(io::Error),
    /// No certificate or configuration could be made; our bug, or no randomness.
    #[error("cannot set up TLS: {0}")]
    Tls(Box<dyn std::error::Error + Send + Sync>),
}

/// A running introducer; it ends when it is dropped.
#[derive(Debug)]
pub struct Rendezvous {
    endpoint: Endpoint,
    local: SocketAddr,
    shared: Arc<Shared>,
}

impl Rendezvous {
    /// Starts to serve. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on; the error names it.
    pub fn start(config: RendezvousConfig) -> Result<Self, RendezvousError> {
        let server = tls::server_config(config.limits.connections)?;
        let mut endpoint_config = EndpointConfig::default();
        // So that a QUIC packet can be told from others by its first byte.
        endpoint_config.grease_quic_bit(false);
        let runtime = Arc::new(TokioRuntime);
        let endpoint = match config.socket {
            RendezvousSocket::Bind(address) => {
                let failed = |source| RendezvousError::Listen { address, source };
                let socket = relay::bind(address).map_err(failed)?;
                Endpoint::new(endpoint_config, Some(server), socket, runtime).map_err(failed)?
            }
            RendezvousSocket::Shared(datagrams) => {
                let socket = Arc::new(SharedSocket::new(datagrams));
                Endpoint::new_with_abstract_socket(endpoint_config, Some(server), socket, runtime)
                    .map_err(RendezvousError::Socket)?
            }
        };
        let local = endpoint.local_addr().map_err(RendezvousError::Socket)?;
        let shared = Arc::new(Shared::new(config.limits, config.relays, local.ip()));
        tokio::spawn(accept(endpoint.clone(), Arc::clone(&shared)));
        Ok(Self { endpoint, local, shared })
    }

    /// The address that is listened on.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Figures for a person and for graphs.
    pub fn status(&self) -> RendezvousStatus {
        self.shared.status()
    }

    /// Its figures, also for later.
    pub fn gauge(&self) -> RendezvousGauge {
        RendezvousGauge(Arc::clone(&self.shared))
    }

    /// Ends all connections and waits until the other sides could hear of it.
    pub async fn close(&self) {
        self.shared.close();
        self.endpoint.close(VarInt::from_u32(0), b"shutting down");
        // Best effort: who does not acknowledge finds out by himself.
        let _ = timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

/// Shows the figures of an introducer.
#[derive(Debug)]
pub struct RendezvousGauge(Arc<Shared>);

impl RendezvousGauge {
    /// The figures as they are now.
    pub fn read(&self) -> RendezvousStatus {
        self.0.status()
    }
}

impl Drop for Rendezvous {
    fn drop(&mut self) {
        self.shared.close();
        self.endpoint.close(VarInt::from_u32(0), b"shutting down");
    }
}

async fn accept(endpoint: Endpoint, shared: Arc<Shared>) {
    while let Some(incoming) = endpoint.accept().await {
        admit(&shared, incoming);
    }
}

fn admit(shared: &Arc<Shared>, incoming: Incoming) {
    let address = canonical(incoming.remote_address());
    if !incoming.remote_address_validated() && shared.handshakes() >= RETRY_FROM {
        // Fails only for who is validated already.
        let _ = incoming.retry();
        return;
    }
    let Some(place) = shared.knock(address) else {
        incoming.refuse();
        return;
    };
    let Ok(connecting) = incoming.accept() else { return };
    let handshake = shared.handshake();
    tokio::spawn(async move {
        if let Ok(Ok(connection)) = timeout(HANDSHAKE_WITHIN, connecting).await {
            drop(handshake);
            session::run(place, connection).await;
        }
    });
}

/// An IPv4 address as such, also where it came in over a dual-stack socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whom an address is counted for: of IPv6 the /64, which is what a household has.
fn household(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests;
