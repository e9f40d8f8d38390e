//! What all links share: the folders, who is linked, the dial book, and the way out for events.
//!
//! Events about one membership are sent while the state is locked, by permits that were taken
//! before, so the order in which the folders hear them is the order in which they happened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keystore::{DeviceId, DeviceKey, FolderId, FolderSecret, Opening};
use parking_lot::Mutex;
use quinn::VarInt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::dial::{DialBook, FoundBy, Target};
use super::endpoint::Endpoints;
use super::events::Out;
use super::exchange::Exchange;
use super::gate::Gate;
use super::link::{Command, Link, Reason};
use super::members::{LinkId, Members};
use super::peer::Peer;
use super::reach::Reach;
use super::serve::{Reads, Serve, Source};
use super::slots::Slots;
use super::{NetConfig, NetError, NetEvent};

pub(super) struct Hub {
    pub(super) endpoints: Endpoints,
    pub(super) device: DeviceKey,
    pub(super) name: String,
    pub(super) gate: Gate,
    pub(super) book: Mutex<DialBook>,
    /// Something in the book has changed: look again what is due.
    pub(super) book_changed: Notify,
    pub(super) reach: Reach,
    pub(super) exchange: Mutex<Exchange>,
    /// Somebody has joined or left a folder.
    pub(super) memberships_changed: Arc<Notify>,
    pub(super) slots: Arc<Slots>,
    pub(super) events: Out,
    state: Mutex<State>,
    random: Mutex<blake3::OutputReader>,
    next_link: AtomicU64,
    is_closed: AtomicBool,
    start: Instant,
}

#[derive(Default)]
struct State {
    folders: BTreeMap<FolderId, Folder>,
    /// Longer than the folder, which is left and joined again: reads that hang still count.
    reads: BTreeMap<FolderId, Arc<Reads>>,
    links: BTreeMap<LinkId, Arc<Link>>,
    /// Whom each link has proved to be.
    devices: BTreeMap<LinkId, DeviceId>,
    peers: BTreeMap<(LinkId, FolderId), Peer>,
    members: Members,
}

struct Folder {
    secret: FolderSecret,
    opening: Option<Opening>,
    source: Source,
}

/// What a link is to do after it has joined a folder.
pub(super) enum Standing {
    /// Go on.
    Speak,
    /// Pass nothing on until [`Hub::speaks`].
    Wait {
        /// The link that speaks now; it may be dead.
        speaker: Arc<Link>,
        /// Ours is the lower device id.
        is_ours_to_decide: bool,
    },
}

impl Hub {
    pub(super) fn new(config: NetConfig, events: Out) -> Result<Self, NetError> {
        let mut random = blake3::Hasher::new_keyed(&config.seed).finalize_xof();
        let mut book_seed = [0; 32];
        random.fill(&mut book_seed);
        let endpoints = Endpoints::bind(&config.listen)?;
        Ok(Self {
            reach: Reach::new(&endpoints.local_addresses()),
            endpoints,
            device: config.device,
            name: config.name,
            gate: Gate::default(),
            book: Mutex::new(DialBook::new(config.backoff, &book_seed)),
            book_changed: Notify::new(),
            exchange: Mutex::default(),
            memberships_changed: Arc::default(),
            slots: Arc::default(),
            events,
            state: Mutex::default(),
            random: Mutex::new(random),
            next_link: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            start: Instant::now(),
        })
    }

    /// The time since the start, the clock of the book.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn draw_seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.random.lock().fill(&mut seed);
        seed
    }

    pub(super) fn next_link_id(&self) -> LinkId {
        self.next_link.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.reach.close();
        for endpoint in self.endpoints.endpoints() {
            endpoint.close(VarInt::from_u32(Reason::ShuttingDown as u32), b"shutting down");
        }
        self.book_changed.notify_one();
        self.memberships_changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed) || self.events.is_closed()
    }

    // --- folders and targets

    pub(super) fn add_folder(&self, secret: FolderSecret, opening: Option<Opening>, server: Arc<dyn Serve>) {
        let folder = secret.folder_id();
        let opening = secret.opening().or(opening);
        let mut state = self.state.lock();
        for link in state.links.values() {
            link.command(Command::Offer(secret.clone(), opening.clone()));
            // Where it is offered already, the key may have become a stronger one.
            if let Some(opening) = &opening {
                link.command(Command::Learn(folder, opening.clone()));
            }
        }
        let reads = Arc::clone(state.reads.entry(folder).or_default());
        state.folders.insert(folder, Folder { secret, opening, source: Source { server, reads } });
    }

    /// A peer has told how a folder's secret opens, and the session has checked it: for all links.
    pub(super) fn handle_opening(&self, folder: FolderId, opening: &Opening) {
        let mut state = self.state.lock();
        let State { folders, links, .. } = &mut *state;
        let Some(known) = folders.get_mut(&folder).filter(|known| known.opening.is_none()) else { return };
        known.opening = Some(opening.clone());
        for link in links.values() {
            link.command(Command::Learn(folder, opening.clone()));
        }
    }

    /// Leaves a folder on all links, and knows where its peers are.
    pub(super) fn withdraw_folder(&self, folder: FolderId) {
        let mut state = self.state.lock();
        if state.folders.remove(&folder).is_some() {
            for link in state.links.values() {
                link.command(Command::Withdraw(folder));
            }
        }
    }

    pub(super) fn remove_folder(&self, folder: FolderId) {
        self.withdraw_folder(folder);
        self.state.lock().reads.remove(&folder);
        self.events.forget(folder);
        self.book.lock().remove(folder, None);
        self.exchange.lock().forget(folder, None);
    }

    pub(super) fn add_target(&self, folder: FolderId, target: Target, found_by: FoundBy) {
        self.book.lock().add(folder, target, found_by, self.now());
        self.book_changed.notify_one();
    }

    /// Adds what somebody has named, and may be dialled.
    pub(super) fn add_hint(&self, folder: FolderId, target: Target, found_by: FoundBy, namer: IpAddr) {
        self.book.lock().add_named(folder, target, found_by, Some(namer), self.now());
        self.book_changed.notify_one();
    }

    pub(super) fn set_pinned(&self, folder: FolderId, peers: BTreeSet<String>) {
        let mut book = self.book.lock();
        book.remove(folder, Some(FoundBy::Pinned));
        for peer in peers {
            book.add(folder, Target::parse(peer), FoundBy::Pinned, self.now());
        }
        drop(book);
        self.book_changed.notify_one();
    }

    pub(super) fn source(&self, folder: FolderId) -> Option<Source> {
        self.state.lock().folders.get(&folder).map(|folder| folder.source.clone())
    }

    // --- links

    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.state.lock().links.values().cloned().collect()
    }

    /// Every device in every folder by each of its links, with whether it is this one that speaks.
    pub(super) fn memberships(&self) -> Vec<(Peer, bool)> {
        let state = self.state.lock();
        let speaks = |peer: &Peer| state.members.speaks(peer.info().device_id, peer.folder(), peer.link().id);
        state.peers.values().map(|peer| (peer.clone(), speaks(peer))).collect()
    }

    /// Registers a link and gives the folders to offer on it. Under one lock, so that a folder
    /// added meanwhile is either among them or comes as a command.
    pub(super) fn handle_link(&self, link: &Arc<Link>) -> Vec<(FolderSecret, Option<Opening>)> {
        let mut state = self.state.lock();
        state.links.insert(link.id, Arc::clone(link));
        state.folders.values().map(|folder| (folder.secret.clone(), folder.opening.clone())).collect()
    }

    /// A link has proved which device it leads to.
    pub(super) fn handle_proven(&self, link: &Link, device: DeviceId, target: Option<&Target>) {
        self.state.lock().devices.insert(link.id, device);
        let mut book = self.book.lock();
        if link.is_relayed {
            // A direct link is still to be found.
            for other in self.reach.relays.leads_to(link.address).into_iter().flatten() {
                book.handle_owner(None, other, device, self.now());
            }
            return;
        }
        book.handle_owner(target, link.address, device, self.now());
        book.handle_connected(device);
    }

    /// A link has joined a folder.
    pub(super) async fn handle_joined(&self, peer: Peer) -> Standing {
        let (folder, device, link) = (peer.folder(), peer.info().device_id, Arc::clone(peer.link()));
        let Ok(mut reserved) = self.events.reserve_two(folder).await else { return Standing::Speak };
        let mut state = self.state.lock();
        state.peers.insert((link.id, folder), peer.clone());
        self.memberships_changed.notify_one();
        let speaker = state.members.join(device, folder, link.id);
        let mut send = |event| reserved.send(event);
        let Some(other) = state.links.get(&speaker).filter(|_| speaker != link.id).cloned() else {
            send(NetEvent::Joined { folder, peer });
            return Standing::Speak;
        };
        let is_ours_to_decide = self.device.id() < device;
        // Of two that crossed, the one that the lower id has dialled stays: both sides know that, and
        // neither begins to fetch on the one that the other is about to close.
        let is_of_lower = |link: &Link| link.is_dialed == is_ours_to_decide;
        let is_better = match (link.is_relayed, other.is_relayed) {
            (false, true) => true,
            (true, false) => false,
            _ => is_of_lower(&link) && !is_of_lower(&other),
        };
        if is_better {
            state.members.prefer(device, folder, link.id);
            send(NetEvent::Left { folder, peer: device });
            send(NetEvent::Joined { folder, peer });
            state.tell_of_speaker(device, folder);
            drop(state);
            other.close(Reason::Duplicate);
            return Standing::Speak;
        }
        Standing::Wait { speaker: other, is_ours_to_decide }
    }

    /// The link that speaks for a device in a folder.
    pub(super) fn speaker(&self, device: DeviceId, folder: FolderId) -> Option<Arc<Link>> {
        let state = self.state.lock();
        let speaker = state.members.of(device, folder).first()?;
        state.links.get(speaker).cloned()
    }

    /// A link has left a folder.
    pub(super) async fn handle_left(&self, link: LinkId, device: DeviceId, folder: FolderId) {
        let reserved = self.events.reserve_two(folder).await;
        let mut state = self.state.lock();
        state.peers.remove(&(link, folder));
        self.memberships_changed.notify_one();
        let departure = state.members.leave(device, folder, link);
        let Ok(mut reserved) = reserved else { return };
        if departure.was_speaker {
            reserved.send(NetEvent::Left { folder, peer: device });
            let peer = departure.successor.and_then(|next| state.peers.get(&(next, folder)));
            if let Some(peer) = peer {
                reserved.send(NetEvent::Joined { folder, peer: peer.clone() });
            }
            state.tell_of_speaker(device, folder);
        }
    }

    /// A link has ended, and has left all its folders.
    pub(super) fn handle_ended(&self, link: &Link) {
        let mut state = self.state.lock();
        state.links.remove(&link.id);
        let device = state.devices.remove(&link.id);
        let is_last = device.is_none_or(|device| !state.is_directly_linked(device));
        drop(state);
        if let (Some(device), true) = (device, is_last) {
            self.book.lock().handle_disconnected(device, self.now());
        }
        self.book_changed.notify_one();
    }
}

/// What being reached asks of the links.
impl Hub {
    /// The direct links on which a folder is joined.
    pub(super) fn direct_links(&self, folder: FolderId) -> Vec<Arc<Link>> {
        let state = self.state.lock();
        let links = state.peers.iter().filter(|((_, of), _)| *of == folder).map(|(_, peer)| peer.link());
        links.filter(|link| !link.is_relayed).cloned().collect()
    }

    /// The links that go through relays.
    pub(super) fn relayed_links(&self) -> Vec<Arc<Link>> {
        self.state.lock().links.values().filter(|link| link.is_relayed).cloned().collect()
    }

    /// Whether a link leads to an address.
    pub(super) fn has_link_at(&self, address: SocketAddr) -> bool {
        self.state.lock().links.values().any(|link| link.address == address)
    }

    /// Whether a device has a link, direct or through a relay.
    pub(super) fn is_linked(&self, device: DeviceId) -> bool {
        self.state.lock().devices.values().any(|other| *other == device)
    }
}

impl State {
    /// Lets the links that wait see who speaks now.
    fn tell_of_speaker(&self, device: DeviceId, folder: FolderId) {
        for link in self.members.of(device, folder).iter().filter_map(|link| self.links.get(link)) {
            link.speaker_changed.notify_one();
        }
    }

    fn is_directly_linked(&self, device: DeviceId) -> bool {
        let links = self.devices.iter().filter(|(_, other)| **other == device);
        links.filter_map(|(link, _)| self.links.get(link)).any(|link| !link.is_relayed)
    }
}

#[cfg(test)]
impl Hub {
    pub(super) fn link_count(&self) -> usize {
        self.state.lock().links.len()
    }

    pub(super) fn peer_count(&self) -> usize {
        self.state.lock().peers.len()
    }
}
