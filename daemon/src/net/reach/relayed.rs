//! The relays that lead to devices now: a link from or to one of their ports is not direct.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keystore::{DiscoveryId, FolderId};
use parking_lot::Mutex;
use protocol::rendezvous::{Ask, Token, datagram};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::introducer::{Answer, Session};
use crate::net::dial::{FoundBy, Target};
use crate::net::driver::{self, HANDSHAKE_WITHIN, Origin};
use crate::net::hub::Hub;

/// Relays in use; a device with more peers than that behind bad NATs wants a mapped port.
const MAX_RELAYS: usize = 64;
/// A relay knows both sides within a round trip or two.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How often the token is sent until the relay knows us.
const TOKEN_EVERY: Duration = Duration::from_millis(200);
/// How long the other side may take to dial through it.
const DIALED_WITHIN: Duration = Duration::from_secs(15);
/// How often it is looked whether a link still goes through it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A relay that was lent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent {
    /// Where the other device is, as the introducer sees it.
    pub(super) other: SocketAddr,
    pub(super) port: u16,
    pub(super) token: Token,
}

/// By the address of the relay: where the other device is, as the introducer sees it, and as it was
/// named to us.
#[derive(Default)]
pub(in crate::net) struct Relays(Mutex<BTreeMap<SocketAddr, [SocketAddr; 2]>>);

impl Relays {
    /// Where the device is to which a relay leads.
    pub(in crate::net) fn leads_to(&self, relay: SocketAddr) -> Option<[SocketAddr; 2]> {
        self.0.lock().get(&relay).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    fn leads_anywhere_to(&self, other: SocketAddr) -> bool {
        self.0.lock().values().any(|known| known.contains(&other))
    }

    fn insert(&self, relay: SocketAddr, other: [SocketAddr; 2]) -> bool {
        let mut relays = self.0.lock();
        let has_room = relays.len() < MAX_RELAYS || relays.contains_key(&relay);
        if has_room {
            relays.insert(relay, other);
        }
        has_room
    }

    fn remove(&self, relay: SocketAddr) {
        self.0.lock().remove(&relay);
    }
}

/// Whether the device at an address has a link already, direct or through a relay.
pub(super) fn is_linked(hub: &Hub, address: SocketAddr) -> bool {
    let owner = hub.book.lock().owner(address);
    hub.reach.relays.leads_anywhere_to(address) || owner.is_some_and(|device| hub.is_linked(device))
}

/// Asks the introducers of these folders, one after the other, for a relay to an address, and stays
/// until the link through it ends.
pub(super) async fn go_through_relay(
    hub: Arc<Hub>,
    folders: Vec<FolderId>,
    address: SocketAddr,
    found_by: FoundBy,
) {
    let sessions = hub.reach.sessions(&folders, true);
    for (discovery, session) in sessions.into_iter().filter(|(_, session)| session.can_name(address)) {
        if hub.is_closed() || is_linked(&hub, address) {
            return;
        }
        let ask = |number| Ask::Relay { number, discovery, address };
        match session.ask(ask).await {
            Some(Answer::Relayed(lent)) => {
                use_relay(&hub, &session, lent, Some((address, found_by))).await;
                return;
            }
            Some(Answer::Refused(why)) => debug!(%address, introducer = %session.address, %why, "no relay"),
            Some(Answer::Introduced(_)) | None => {}
        }
    }
}

/// Another device has asked for a relay to us: waits there for its dial.
pub(super) fn handle_lent(hub: &Arc<Hub>, session: &Arc<Session>, discovery: DiscoveryId, lent: Lent) {
    if hub.reach.may_relay(discovery) {
        let (hub, session) = (Arc::clone(hub), Arc::clone(session));
        tokio::spawn(async move { use_relay(&hub, &session, lent, None).await });
    }
}

/// Joins a relay, dials through it or waits for the dial, and gives it back at the end.
async fn use_relay(hub: &Arc<Hub>, session: &Session, lent: Lent, dial: Option<(SocketAddr, FoundBy)>) {
    let relay = SocketAddr::new(session.address.ip(), lent.port);
    let named = dial.map_or(lent.other, |(address, _)| address);
    if !hub.reach.relays.insert(relay, [lent.other, named]) {
        return;
    }
    if join(hub, session, relay, &lent).await {
        debug!(%relay, other = %lent.other, "a relay is ready");
        match dial {
            Some((address, found_by)) if !hub.book.lock().is_connected_at(address) => {
                dial_through(hub, relay, found_by).await;
            }
            Some(_) => {}
            None => {
                sleep(DIALED_WITHIN).await;
                while hub.has_link_at(relay) && !hub.is_closed() {
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }
    hub.reach.relays.remove(relay);
    session.tell(Ask::EndRelay { port: lent.port });
}

/// Sends the token until the introducer says that both have come.
async fn join(hub: &Hub, session: &Session, relay: SocketAddr, lent: &Lent) -> bool {
    let (ready, mut is_ready) = oneshot::channel();
    session.on_ready(lent.port, ready);
    let packet = datagram::encode_join(&lent.token);
    let sending = async {
        loop {
            hub.endpoints.send_beside(relay, &packet);
            tokio::select! {
                ready = &mut is_ready => return ready.is_ok(),
                () = sleep(TOKEN_EVERY) => {}
            }
        }
    };
    let is_ready = timeout(READY_WITHIN, sending).await.unwrap_or(false);
    session.forget_ready(lent.port);
    is_ready
}

async fn dial_through(hub: &Arc<Hub>, relay: SocketAddr, found_by: FoundBy) {
    let Ok(connecting) = hub.endpoints.connect(relay) else { return };
    match timeout(HANDSHAKE_WITHIN, connecting).await {
        Ok(Ok(connection)) => {
            let origin = Origin::Dialed(Target::Address(relay), found_by);
            driver::run(Arc::clone(hub), connection, origin).await;
        }
        Ok(Err(error)) => debug!(%relay, %error, "a dial through a relay has failed"),
        Err(_) => debug!(%relay, "a dial through a relay was not answered"),
    }
}
