//! What linked peers do for each other's being reached: they tell at which address they see one
//! another, introduce two that they are both linked with, and tell through a relay where they may be
//! reached directly.

use std::net::SocketAddr;
use std::sync::Arc;

use keystore::FolderId;
use protocol::message::Message;

use super::punch::punch;
use super::{handle_observed, tell_reachable};
use crate::net::dial::{FoundBy, Target, is_dialable};
use crate::net::hub::Hub;
use crate::net::link::{Command, Link};

/// Addresses taken from one message; a device has an address or two in each family.
const MAX_TAKEN: usize = 4;
/// Introductions that one link may ask for in its life, per hour of it.
const PER_HOUR: u64 = 120;

/// A link has joined its first folder.
pub(in crate::net) fn on_joined(hub: &Hub, link: &Link, folder: FolderId) {
    match link.is_relayed {
        // It is the relay that is seen.
        true => tell_reachable(link, &hub.reach.external_addresses()),
        false => {
            link.command(Command::Send(folder, Message::Observed { address: link.address }));
        }
    }
}

/// Takes a message that is about being reached; gives back any other.
pub(in crate::net) fn handle_message(
    hub: &Arc<Hub>,
    link: &Link,
    folder: FolderId,
    message: Message,
) -> Option<Message> {
    let names_addresses = matches!(message, Message::Reachable { .. } | Message::Introduced { .. });
    if names_addresses && !hub.exchange.lock().believes(folder) {
        return None;
    }
    match message {
        Message::Observed { address } if link.is_relayed => {
            let _ = address;
        }
        Message::Observed { address } => handle_observed(hub, link.address.ip(), address),
        Message::Reachable { addresses } => {
            for address in addresses.into_iter().take(MAX_TAKEN) {
                consider(hub, link, folder, address);
            }
        }
        Message::Introduce { address } => introduce(hub, link, folder, address),
        Message::Introduced { address, dial: true } => consider(hub, link, folder, address),
        Message::Introduced { address, dial: false } => {
            if is_dialable(address, link.address.ip()) {
                punch(hub, address);
            }
        }
        other => return Some(other),
    }
    None
}

/// Dials an address that a peer has named soon, within the limits for hints.
fn consider(hub: &Hub, link: &Link, folder: FolderId, address: SocketAddr) {
    if is_dialable(address, link.address.ip()) {
        let target = Target::Address(address);
        hub.add_hint(folder, target.clone(), FoundBy::Exchange, link.address.ip());
        hub.book.lock().handle_opened(&target, hub.now());
        hub.book_changed.notify_one();
    }
}

/// Introduces the peer of a link to another one of the folder, if that one is linked with us at that
/// very address.
fn introduce(hub: &Hub, link: &Link, folder: FolderId, address: SocketAddr) {
    let asked = link.introductions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    if link.is_relayed || asked >= PER_HOUR * (1 + link.since.elapsed().as_secs() / 3600) {
        return;
    }
    let found = hub.direct_links(folder).into_iter().find(|other| other.address == address);
    if let Some(other) = found.filter(|other| other.id != link.id) {
        let (here, there) = (link.address, other.address);
        other.command(Command::Send(folder, Message::Introduced { address: here, dial: false }));
        link.command(Command::Send(folder, Message::Introduced { address: there, dial: true }));
    }
}
