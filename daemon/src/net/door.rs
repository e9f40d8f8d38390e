//! The door: who knocks is admitted, asked to prove his address, or refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quinn::{Connecting, Endpoint, Incoming};
use tokio::time::timeout;

use super::driver::{self, Origin, PROVE_WITHIN};
use super::gate::{Admission, Place};
use super::hub::Hub;

/// Accepts links on an endpoint until it is closed.
pub(super) async fn accept_links(hub: Arc<Hub>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        if let Some((connecting, place)) = admit(&hub, incoming) {
            let hub = Arc::clone(&hub);
            tokio::spawn(async move {
                if let Ok(Ok(connection)) = timeout(PROVE_WITHIN, connecting).await {
                    driver::run(hub, connection, Origin::Accepted(place)).await;
                }
            });
        }
    }
}

fn admit(hub: &Hub, incoming: Incoming) -> Option<(Connecting, Place)> {
    let remote = canonical(incoming.remote_address());
    if hub.book.lock().is_barred(remote, hub.now()) {
        incoming.refuse();
        return None;
    }
    match hub.gate.knock(remote.ip(), incoming.remote_address_validated()) {
        Admission::Admit(place) => {
            let config = hub.endpoints.server_config(remote.ip());
            incoming.accept_with(config).ok().map(|connecting| (connecting, place))
        }
        Admission::Retry => {
            // Fails only for who is validated already.
            let _ = incoming.retry();
            None
        }
        Admission::Refuse => {
            incoming.refuse();
            None
        }
    }
}

/// An IPv4 address as such, also where it came in over a dual-stack socket.
pub(super) fn canonical(mut address: SocketAddr) -> SocketAddr {
    if let IpAddr::V4(ip) = address.ip().to_canonical() {
        address = SocketAddr::from((ip, address.port()));
    }
    address
}
