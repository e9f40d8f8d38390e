//! Peer exchange: the peers of a folder tell each other where they are.
//!
//! Each peer is told the addresses of the others that are connected to us, a few seconds after
//! somebody has joined and then at most once a minute, what is new to it and in a while all again. An
//! address is told only when a link to or from it is up: then something answers there, at least to us.
//! (QUIC dials from the socket that it listens on, so the source of a link is where its device can be
//! reached, as far as the NATs before it allow.) What we are told are hints, for the dial book to
//! judge.
//!
//! [`Exchange`] decides, pure but for the time that it is given; the task below is its hands. The
//! same task says which addresses were reached, to be remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use keystore::{DeviceId, FolderId};
use protocol::message::Message;
use tokio::time::sleep;

use super::dial::{self, FoundBy, Target};
use super::door::canonical;
use super::hub::Hub;
use super::link::Link;
use super::peer::Peer;
use super::{Net, NetEvent};

/// Who joins is seldom alone: what comes together is told together.
const SETTLE: Duration = Duration::from_secs(3);
/// Between two messages to one peer about one folder.
const BETWEEN: Duration = Duration::from_secs(60);
/// Addresses in one message.
const MAX_TOLD: usize = 50;
/// A hint is believed for half an hour, and may have failed: it is told again before that.
const TELL_AGAIN: Duration = Duration::from_secs(1200);
/// Addresses taken from one peer for one folder within [`BETWEEN`].
const MAX_TAKEN: usize = 64;
/// An address that stays reached is reported this often: it shall not seem forgotten.
const REPORT_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// Addresses whose report is remembered; beyond that they are reported each time.
const MAX_REPORTED: usize = 4096;
/// At rest, so that nothing expires that is still true.
const AT_REST: Duration = Duration::from_secs(60);

/// A device in a folder, as far as peer exchange goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    folder: FolderId,
    device: DeviceId,
    address: SocketAddr,
}

/// What was told to whom, and what was taken from whom.
#[derive(Default)]
pub(super) struct Exchange {
    /// The folders for which nothing is told or taken.
    off: BTreeSet<FolderId>,
    /// The folders for which nothing is dialled but what a person or the settings have named.
    strict: BTreeSet<FolderId>,
    /// Addresses that a person has taken back: that somebody is reached there is not remembered.
    disowned: BTreeSet<(FolderId, SocketAddr)>,
    told: BTreeMap<(FolderId, DeviceId), Told>,
    /// Where somebody was when it was looked last.
    here: BTreeSet<(FolderId, SocketAddr)>,
    /// How often it was looked whether a listener is to be told of a member.
    #[cfg(test)]
    compared: usize,
    taken: BTreeMap<(FolderId, DeviceId), Taken>,
    /// What was said to be reached, and when.
    reported: BTreeMap<(FolderId, SocketAddr), (DeviceId, Duration)>,
}

/// What one peer knows of a folder from us.
#[derive(Default)]
struct Told {
    addresses: BTreeMap<SocketAddr, Duration>,
    last: Option<Duration>,
    /// Since when there has been something new to tell, or may have been.
    since: Option<Duration>,
}

impl Told {
    /// When it is told what may be new. Before that it is not worth looking.
    fn due(&self) -> Option<Duration> {
        Some((self.since? + SETTLE).max(self.last.map_or(Duration::ZERO, |last| last + BETWEEN)))
    }
}

struct Taken {
    since: Duration,
    count: usize,
}

/// What is to be told now, and when to look again at the latest.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    tell: Vec<(FolderId, DeviceId, Vec<SocketAddr>)>,
    wake: Duration,
}

impl Exchange {
    /// Decides what `listeners` are told of `members`, and takes it as told.
    fn poll(&mut self, members: &[Member], listeners: &[Member], now: Duration) -> Plan {
        let mut plan = Plan { tell: Vec::new(), wake: now + AT_REST };
        self.forget_where_nobody_is(members);
        let mut of_folder: BTreeMap<FolderId, Vec<Member>> = BTreeMap::new();
        for member in members {
            of_folder.entry(member.folder).or_default().push(*member);
        }
        for listener in listeners.iter().filter(|listener| !self.off.contains(&listener.folder)) {
            let told = self.told.entry((listener.folder, listener.device)).or_default();
            if let Some(due) = told.due().filter(|due| *due > now) {
                plan.wake = plan.wake.min(due);
                continue;
            }
            let members = of_folder.get(&listener.folder).map_or(&[][..], |members| members);
            #[cfg(test)]
            {
                self.compared += members.len();
            }
            let known = worth_telling(listener, members);
            told.addresses.retain(|address, _| known.contains(address));
            let is_new =
                |address: &SocketAddr| told.addresses.get(address).is_none_or(|at| *at + TELL_AGAIN <= now);
            let new: Vec<SocketAddr> = known.into_iter().filter(is_new).take(MAX_TOLD).collect();
            if new.is_empty() {
                told.since = None;
                continue;
            }
            told.since.get_or_insert(now);
            if let Some(due) = told.due().filter(|due| *due > now) {
                plan.wake = plan.wake.min(due);
                continue;
            }
            // What comes until it may be told again is not looked for before.
            (told.last, told.since) = (Some(now), Some(now));
            told.addresses.extend(new.iter().map(|address| (*address, now)));
            plan.tell.push((listener.folder, listener.device, new));
        }
        self.forget_the_gone(listeners, now);
        plan
    }

    /// Who comes back to an address is new there.
    fn forget_where_nobody_is(&mut self, members: &[Member]) {
        let here: BTreeSet<_> = members.iter().map(|member| (member.folder, member.address)).collect();
        let mut gone: BTreeMap<FolderId, Vec<SocketAddr>> = BTreeMap::new();
        for (folder, address) in self.here.difference(&here) {
            gone.entry(*folder).or_default().push(*address);
        }
        self.here = here;
        for ((folder, _), told) in self.told.iter_mut().filter(|_| !gone.is_empty()) {
            for address in gone.get(folder).into_iter().flatten() {
                told.addresses.remove(address);
            }
        }
    }

    /// Who has gone and comes back is told all again, but not sooner than others.
    fn forget_the_gone(&mut self, listeners: &[Member], now: Duration) {
        let here: BTreeSet<_> = listeners.iter().map(|member| (member.folder, member.device)).collect();
        self.told.retain(|key, told| {
            if !here.contains(key) {
                (told.addresses, told.since) = (BTreeMap::new(), None);
            }
            here.contains(key) || told.last.is_some_and(|last| now < last + BETWEEN)
        });
        self.taken.retain(|_, taken| now < taken.since + BETWEEN);
        self.reported.retain(|_, (_, at)| now < *at + REPORT_AGAIN);
    }

    /// A peer names addresses; those that are to be considered.
    fn handle_addresses(
        &mut self,
        folder: FolderId,
        from: DeviceId,
        addresses: &[String],
        now: Duration,
    ) -> Vec<SocketAddr> {
        if self.off.contains(&folder) {
            return Vec::new();
        }
        let taken = self.taken.entry((folder, from)).or_insert(Taken { since: now, count: 0 });
        if taken.since + BETWEEN <= now {
            *taken = Taken { since: now, count: 0 };
        }
        let room = MAX_TAKEN.saturating_sub(taken.count);
        taken.count = taken.count.saturating_add(addresses.len());
        // Names are not looked up for others.
        addresses.iter().take(room).filter_map(|text| text.parse().ok()).map(canonical).collect()
    }

    /// Whether it is to be said that a member was reached where it is.
    fn handle_reached(&mut self, member: &Member, now: Duration) -> bool {
        if !is_lasting(member.address.ip()) || self.disowned.contains(&(member.folder, member.address)) {
            return false;
        }
        let (key, new) = ((member.folder, member.address), (member.device, now));
        let known = self.reported.get(&key);
        let is_news = known.is_none_or(|(device, at)| *device != member.device || *at + REPORT_AGAIN <= now);
        if is_news && (self.reported.len() < MAX_REPORTED || self.reported.contains_key(&key)) {
            self.reported.insert(key, new);
        }
        is_news
    }

    /// Whether an address is dialled because a peer was reached there before.
    fn remembers(&self, folder: FolderId, address: SocketAddr) -> bool {
        !self.strict.contains(&folder) && !self.disowned.contains(&(folder, address))
    }

    /// Whether peers of a folder are believed when they say where they or others are to be dialled.
    pub(super) fn believes(&self, folder: FolderId) -> bool {
        !self.strict.contains(&folder) || !self.off.contains(&folder)
    }

    /// What is remembered of a folder, or of one address, is gone: it is news when it is reached.
    pub(super) fn forget(&mut self, folder: FolderId, address: Option<SocketAddr>) {
        self.reported.retain(|(f, at), _| *f != folder || address.is_some_and(|address| *at != address));
    }
}

/// Where the other devices of the folder are, as far as the listener may know and could dial them.
fn worth_telling(listener: &Member, members: &[Member]) -> BTreeSet<SocketAddr> {
    let others = members.iter().filter(|member| member.folder == listener.folder);
    let others = others.filter(|member| member.device != listener.device);
    let addresses = others.map(|member| member.address).filter(|address| *address != listener.address);
    addresses.filter(|address| dial::is_dialable(*address, listener.address.ip())).collect()
}

/// Whether an address will mean the same after a restart.
fn is_lasting(ip: IpAddr) -> bool {
    let is_of_this_boot = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !ip.is_loopback() && !is_of_this_boot
}

/// Tells and reports, until the network ends.
pub(super) async fn run(hub: Weak<Hub>) {
    while let Some(running) = hub.upgrade().filter(|hub| !hub.is_closed()) {
        let changed = Arc::clone(&running.memberships_changed);
        let pause = running.exchange_addresses();
        drop(running);
        tokio::select! {
            () = changed.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

impl Hub {
    /// Does what is due; how long until something may be.
    fn exchange_addresses(&self) -> Duration {
        let (peers, now) = (self.memberships(), self.now());
        // Through a relay nobody is reached but by us, and not for long.
        let direct = peers.iter().filter(|(peer, _)| peer.info().direct);
        let members: Vec<Member> = direct.map(|(peer, _)| Member::of(peer)).collect();
        let speaking = peers.iter().filter(|(_, speaks)| *speaks).map(|(peer, _)| (Member::of(peer), peer));
        let speaking: BTreeMap<_, _> =
            speaking.map(|(member, peer)| ((member.folder, member.device), (member, peer))).collect();
        let listeners: Vec<_> = speaking.values().map(|(member, _)| *member).collect();
        self.report_reached(&members, now);
        let plan = self.exchange.lock().poll(&members, &listeners, now);
        for (folder, device, addresses) in plan.tell {
            let addresses = addresses.iter().map(ToString::to_string).collect();
            if let Some((_, peer)) = speaking.get(&(folder, device)) {
                // Who has left meanwhile need not know.
                let _ = peer.send(Message::Peers { addresses });
            }
        }
        plan.wake.saturating_sub(now)
    }

    /// Remembers where everybody is, here and for later.
    fn report_reached(&self, members: &[Member], now: Duration) {
        for Member { folder, device, address } in members {
            let mut book = self.book.lock();
            // What is connected is known to be there, however long ago it was proven.
            book.handle_owner(None, *address, *device, now);
            if !address.ip().is_loopback() && self.exchange.lock().remembers(*folder, *address) {
                book.remember(*folder, *address, *device, now);
            }
        }
        for member in members {
            if self.exchange.lock().handle_reached(member, now) {
                let Member { folder, device, address } = *member;
                if !self.events.try_send(NetEvent::Reached { folder, device, address }) {
                    // A folder that takes nothing now hears of it later.
                    self.exchange.lock().forget(folder, Some(address));
                }
            }
        }
    }

    /// A peer names addresses of others.
    pub(super) fn handle_addresses(&self, link: &Link, folder: FolderId, addresses: &[String]) {
        let Some(peer) = link.peers.lock().get(&folder).cloned() else { return };
        let (from, now) = (peer.info().device_id, self.now());
        let namer = peer.info().address.ip();
        let addresses = self.exchange.lock().handle_addresses(folder, from, addresses, now);
        for address in addresses.into_iter().filter(|address| dial::is_dialable(*address, namer)) {
            self.add_hint(folder, Target::Address(address), FoundBy::Exchange, namer);
        }
    }
}

impl Member {
    fn of(peer: &Peer) -> Self {
        let info = peer.info();
        Self { folder: peer.folder(), device: info.device_id, address: info.address }
    }
}

impl Net {
    /// Whether peers of a folder are told of each other and believed when they tell; they are unless
    /// this says otherwise. Holds also when the folder is added later, or again.
    pub fn set_peer_exchange(&self, folder: FolderId, on: bool) {
        let mut exchange = self.hub.exchange.lock();
        if on {
            exchange.off.remove(&folder)
        } else {
            exchange.off.insert(folder)
        };
        drop(exchange);
        self.hub.memberships_changed.notify_one();
    }

    /// Whether addresses of a folder's peers are dialled that neither a person nor the settings have named:
    /// where peers were reached before, and (if there is no peer exchange either) what peers say. They
    /// are unless this says otherwise. Holds also when the folder is added later, or again.
    pub fn set_unnamed(&self, folder: FolderId, on: bool) {
        let strict = &mut self.hub.exchange.lock().strict;
        if on {
            strict.remove(&folder)
        } else {
            strict.insert(folder)
        };
    }

    /// Dials an address at which a device was reached in an earlier run, when the device is not
    /// connected.
    pub fn remember(&self, folder: FolderId, device: DeviceId, address: SocketAddr) {
        if !self.hub.exchange.lock().remembers(folder, address) {
            return;
        }
        self.hub.book.lock().remember(folder, address, device, self.hub.now());
        self.hub.book_changed.notify_one();
    }

    /// Whether a person has taken an address back: it is forgotten, and until the end of this run not
    /// remembered however often somebody is reached there.
    pub fn set_disowned(&self, folder: FolderId, address: SocketAddr, on: bool) {
        let mut exchange = self.hub.exchange.lock();
        if on && exchange.disowned.len() < MAX_REPORTED {
            exchange.disowned.insert((folder, address));
        } else if !on {
            exchange.disowned.remove(&(folder, address));
        }
        drop(exchange);
        if on {
            self.forget(folder, address);
        }
    }

    /// Does so no more.
    pub fn forget(&self, folder: FolderId, address: SocketAddr) {
        self.hub.book.lock().forget(folder, address);
        self.hub.exchange.lock().forget(folder, Some(address));
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
