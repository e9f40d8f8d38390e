//! The hands of the dial book: resolves, dials, and tells the book what came of it.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::debug;

use super::NetEvent;
use super::dial::{FoundBy, Target};
use super::driver::{self, Origin};
use super::hub::Hub;
use super::reach;

/// How many addresses of one host name are tried.
const MAX_ADDRESSES: usize = 8;
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);
/// At rest the book is looked at this often, and the task sees that the network has ended.
const AT_REST: Duration = Duration::from_secs(5);

/// Dials whatever is due, until the network ends.
pub(super) async fn run(hub: Weak<Hub>) {
    while let Some(hub) = hub.upgrade().filter(|hub| !hub.is_closed()) {
        let changed = hub.book_changed.notified();
        let now = hub.now();
        let pause = {
            let mut book = hub.book.lock();
            while let Some((target, found_by)) = book.poll(now) {
                tokio::spawn(attempt(Arc::clone(&hub), target, found_by));
            }
            book.next_due(now).map_or(AT_REST, |due| due.saturating_sub(now).min(AT_REST))
        };
        tokio::select! {
            () = changed => {}
            () = sleep(pause) => {}
        }
    }
}

async fn attempt(hub: Arc<Hub>, target: Target, found_by: FoundBy) {
    let mut proven = false;
    for address in resolve(&target).await {
        if hub.book.lock().is_barred(address, hub.now()) {
            continue;
        }
        proven = dial(&hub, address, &target, found_by).await;
        if proven {
            break;
        }
    }
    hub.book.lock().handle_ended(&target, proven, hub.now());
    hub.book_changed.notify_one();
    let poll = || hub.book.lock().poll_unreached();
    while let Some((folder, address)) = poll() {
        // It comes again when it is in vain for as long again.
        let _ = hub.events.try_send(NetEvent::Unreached { folder, address });
    }
}

async fn resolve(target: &Target) -> Vec<SocketAddr> {
    match target {
        Target::Address(address) => vec![*address],
        Target::Name(name) => match timeout(RESOLVE_WITHIN, tokio::net::lookup_host(name)).await {
            Ok(Ok(addresses)) => addresses.take(MAX_ADDRESSES).collect(),
            Ok(Err(error)) => {
                debug!(%name, %error, "cannot resolve");
                Vec::new()
            }
            Err(_) => Vec::new(),
        },
    }
}

/// Dials and stays until the link ends.
async fn dial(hub: &Arc<Hub>, address: SocketAddr, target: &Target, found_by: FoundBy) -> bool {
    let connecting = match hub.endpoints.connect(address) {
        Ok(connecting) => connecting,
        Err(error) => {
            debug!(%address, %error, "cannot dial");
            return false;
        }
    };
    let folders = hub.book.lock().folders(target);
    match reach::connect(hub, address, folders, found_by, connecting).await {
        Some(connection) => {
            driver::run(Arc::clone(hub), connection, Origin::Dialed(target.clone(), found_by)).await
        }
        None => false,
    }
}
