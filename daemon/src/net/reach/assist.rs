//! A dial that is not answered, helped along.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keystore::FolderId;
use protocol::message::Message;
use protocol::rendezvous::Ask;
use quinn::{Connecting, Connection};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::introducer::Answer;
use super::relayed;
use crate::net::dial::FoundBy;
use crate::net::driver::HANDSHAKE_WITHIN;
use crate::net::hub::Hub;
use crate::net::link::Command;

/// Who is there and open answers within a round trip or two.
const INTRODUCE_AFTER: Duration = Duration::from_millis(700);
/// Introduced devices that can reach each other do so within three packets.
const RELAY_AFTER: Duration = Duration::from_secs(4);
/// Whom to ask at once for one dial.
const MAX_ASKED: usize = 4;

/// Connects to an address; when it does not answer, has the two introduced to each other, and at
/// last relayed. A link through a relay is none of the dial's: it runs on its own.
pub(in crate::net) async fn connect(
    hub: &Arc<Hub>,
    address: SocketAddr,
    folders: Vec<FolderId>,
    found_by: FoundBy,
    connecting: Connecting,
) -> Option<Connection> {
    tokio::pin!(connecting);
    match timeout(INTRODUCE_AFTER, &mut connecting).await {
        Ok(connected) => return connected.map_err(|error| log(address, &error)).ok(),
        Err(_) if !is_helped(address, found_by) => {}
        Err(_) => {
            let help = help(hub, &folders, address, found_by);
            let helped = async {
                tokio::select! {
                    connected = &mut connecting => connected.map_err(|error| log(address, &error)).ok(),
                    connection = help => Some(connection),
                }
            };
            return timeout(HANDSHAKE_WITHIN, helped).await.ok().flatten();
        }
    }
    let rest = HANDSHAKE_WITHIN - INTRODUCE_AFTER;
    let connected = timeout(rest, connecting).await.ok()?;
    connected.map_err(|error| log(address, &error)).ok()
}

fn log(address: SocketAddr, error: &quinn::ConnectionError) {
    debug!(%address, %error, "a dial has failed");
}

/// Whether others can be between us and there.
fn is_helped(address: SocketAddr, found_by: FoundBy) -> bool {
    found_by != FoundBy::Lan && !address.ip().is_loopback()
}

/// Has us introduced, and after a while relayed; ends only with a connection to another address
/// than the one that is being dialled.
async fn help(hub: &Arc<Hub>, folders: &[FolderId], address: SocketAddr, found_by: FoundBy) -> Connection {
    let elsewhere = async {
        if let Some(found) = introduce(hub, folders, address).await.filter(|found| *found != address)
            && let Some(connection) = connect_elsewhere(hub, found).await
        {
            return connection;
        }
        std::future::pending().await
    };
    let relay = async {
        sleep(RELAY_AFTER - INTRODUCE_AFTER).await;
        let relayed = relayed::go_through_relay(Arc::clone(hub), folders.to_vec(), address, found_by);
        tokio::spawn(relayed);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        connection = elsewhere => connection,
        () = relay => std::future::pending().await,
    }
}

/// Asks peers and introducers to tell the other side; returns where an introducer sees it.
async fn introduce(hub: &Arc<Hub>, folders: &[FolderId], address: SocketAddr) -> Option<SocketAddr> {
    for folder in folders {
        for link in hub.direct_links(*folder).into_iter().take(MAX_ASKED) {
            link.command(Command::Send(*folder, Message::Introduce { address }));
        }
    }
    let mut found = None;
    let sessions = hub.reach.sessions(folders, false);
    for (discovery, session) in
        sessions.into_iter().filter(|(_, session)| session.can_name(address)).take(MAX_ASKED)
    {
        match session.ask(|number| Ask::Introduce { number, discovery, address }).await {
            Some(Answer::Introduced(there)) => {
                debug!(%address, %there, introducer = %session.address, "introduced");
                found = Some(there);
                if there == address {
                    break;
                }
            }
            Some(Answer::Refused(why)) => {
                debug!(%address, introducer = %session.address, %why, "not introduced");
            }
            Some(Answer::Relayed(_)) | None => {}
        }
    }
    found
}

async fn connect_elsewhere(hub: &Hub, address: SocketAddr) -> Option<Connection> {
    if hub.book.lock().is_connected_at(address) {
        return None;
    }
    let connecting = hub.endpoints.connect(address).ok()?;
    connecting.await.map_err(|error| log(address, &error)).ok()
}
