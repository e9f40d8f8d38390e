//! Who is dialled and when. Pure: the time is an argument, the deed is the caller's.
//!
//! A target is an address or a host name. What the user named (pinned, in a link) and the source of
//! a beacon is dialled as it is, as often as the back-off allows. What others named is a *hint*:
//! filtered, at most [`HINT_DIALS`] times per address in [`HINT_SPAN`] and [`HINT_RATE`] times a
//! minute in all, so that nobody can make us knock at a stranger's door for long.
//!
//! A target whose device is connected, over whatever link, is left alone until it is not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keystore::{DeviceId, FolderId};

#[path = "dial_known.rs"]
mod known;

pub use self::known::KnownAddress;

/// How often a hint's address is dialled within [`HINT_SPAN`].
const HINT_DIALS: usize = 3;
const HINT_SPAN: Duration = Duration::from_secs(600);
/// How many hints are dialled within a minute, in all.
const HINT_RATE: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);
/// A beacon is believed this long; at rest they come every 30 s.
const BEACON_LIFE: Duration = Duration::from_secs(120);
/// A hint is believed this long, about the interval of a tracker.
const HINT_LIFE: Duration = Duration::from_secs(1800);
/// Dials under way at once.
const MAX_IN_FLIGHT: usize = 16;
/// Targets remembered; a flood of hints does not push out others.
const MAX_TARGETS: usize = 2048;
/// Addresses whose device is remembered.
const MAX_OWNERS: usize = 4096;
/// After this long it is tried anew whether an address still belongs to the device it did.
const OWNER_LIFE: Duration = Duration::from_secs(3600);

/// How a peer's address became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FoundBy {
    /// The user named it.
    Pinned,
    /// The link by which the folder was joined named it.
    Link,
    /// A beacon came from it.
    Lan,
    /// It has dialled us.
    Incoming,
    /// A tracker named it.
    Tracker,
    /// The DHT named it.
    Dht,
    /// Another peer named it.
    Exchange,
}

impl FoundBy {
    /// The word for `peers` and its JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Link => "link",
            Self::Lan => "lan",
            Self::Incoming => "incoming",
            Self::Tracker => "tracker",
            Self::Dht => "dht",
            Self::Exchange => "exchange",
        }
    }

    fn is_hint(self) -> bool {
        matches!(self, Self::Incoming | Self::Tracker | Self::Dht | Self::Exchange)
    }

    fn life(self) -> Duration {
        match self {
            Self::Pinned | Self::Link => Duration::MAX,
            Self::Lan => BEACON_LIFE,
            _ => HINT_LIFE,
        }
    }
}

/// The first and the longest pause between two dials of one target.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure; it doubles from there.
    pub first: Duration,
    /// Never longer than this.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: MINUTE }
    }
}

/// What can be dialled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Address(SocketAddr),
    /// `host:port`, resolved anew at each dial.
    Name(String),
}

impl Target {
    pub(super) fn parse(peer: String) -> Self {
        peer.parse().map_or_else(|_| Self::Name(peer), Self::Address)
    }
}

/// Whether an address that was named by `namer` may be dialled: never this machine or link, and a
/// private network only when the namer was itself reached at a private address.
pub(super) fn is_dialable(address: SocketAddr, namer: IpAddr) -> bool {
    let ip = address.ip().to_canonical();
    let is_special = match ip {
        IpAddr::V4(ip) => {
            ip.is_link_local() || ip.is_broadcast() || ip.is_documentation() || ip.octets()[0] == 0
        }
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let is_never = ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || is_special;
    // Privileged ports are somebody's mail or name server.
    !is_never && address.port() >= 1024 && (!is_private(ip) || is_private(namer.to_canonical()))
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

#[derive(Debug)]
struct Entry {
    wanted: BTreeMap<(FolderId, FoundBy), Duration>,
    due: Duration,
    failures: u32,
    in_flight: bool,
    /// In flight, and a folder in common was proven.
    is_linked: bool,
    attempts: VecDeque<Duration>,
    /// Of a name; an address's is in `owners`.
    device: Option<DeviceId>,
}

/// All targets with what has become of them.
pub(super) struct DialBook {
    backoff: Backoff,
    entries: BTreeMap<Target, Entry>,
    owners: BTreeMap<SocketAddr, (DeviceId, Duration)>,
    connected: BTreeSet<DeviceId>,
    barred: BTreeMap<SocketAddr, Duration>,
    hint_dials: VecDeque<Duration>,
    random: blake3::OutputReader,
}

impl DialBook {
    pub(super) fn new(backoff: Backoff, seed: &[u8; 32]) -> Self {
        Self {
            backoff,
            entries: BTreeMap::new(),
            owners: BTreeMap::new(),
            connected: BTreeSet::new(),
            barred: BTreeMap::new(),
            hint_dials: VecDeque::new(),
            random: blake3::Hasher::new_keyed(seed).finalize_xof(),
        }
    }

    /// Adds a target for a folder, or hears of it again.
    pub(super) fn add(&mut self, folder: FolderId, target: Target, found_by: FoundBy, now: Duration) {
        if self.entries.len() >= MAX_TARGETS && !self.entries.contains_key(&target) {
            self.entries.retain(|_, entry| entry.in_flight || entry.found_by(now).is_some());
            if self.entries.len() >= MAX_TARGETS && found_by.is_hint() {
                return;
            }
        }
        let entry = self.entries.entry(target).or_insert_with(|| Entry {
            wanted: BTreeMap::new(),
            due: now,
            failures: 0,
            in_flight: false,
            is_linked: false,
            attempts: VecDeque::new(),
            device: None,
        });
        entry.wanted.insert((folder, found_by), now);
    }

    /// Forgets a folder's targets that were found this way, or all of them.
    pub(super) fn remove(&mut self, folder: FolderId, found_by: Option<FoundBy>) {
        for entry in self.entries.values_mut() {
            entry.wanted.retain(|(f, by), _| *f != folder || found_by.is_some_and(|found| *by != found));
        }
        // What is in flight stays until its dial ends.
        self.entries.retain(|_, entry| entry.in_flight || !entry.wanted.is_empty());
    }

    /// The next target to dial now, which is then in flight until [`Self::handle_ended`].
    pub(super) fn poll(&mut self, now: Duration) -> Option<(Target, FoundBy)> {
        self.expire(now);
        if self.entries.values().filter(|entry| entry.in_flight && !entry.is_linked).count() >= MAX_IN_FLIGHT
        {
            return None;
        }
        let hints_allowed = self.hint_dials.len() < HINT_RATE;
        let (target, found_by) = self
            .entries
            .iter()
            .filter(|(target, entry)| entry.due <= now && self.is_idle(target, entry, now))
            .filter_map(|(target, entry)| Some((target, entry.found_by(now)?)))
            .filter(|(target, by)| !by.is_hint() || (hints_allowed && self.entries[*target].has_tries()))
            .min_by_key(|(target, by)| (*by, self.entries[*target].due))
            .map(|(target, by)| (target.clone(), by))?;
        if found_by.is_hint() {
            self.hint_dials.push_back(now);
        }
        if let Some(entry) = self.entries.get_mut(&target) {
            entry.in_flight = true;
            entry.attempts.push_back(now);
        }
        Some((target, found_by))
    }

    /// When [`Self::poll`] may have something, if nothing else happens.
    pub(super) fn next_due(&self, now: Duration) -> Option<Duration> {
        let due = self
            .entries
            .iter()
            .filter(|(target, entry)| self.is_idle(target, entry, now) && entry.found_by(now).is_some())
            .map(|(_, entry)| entry.due)
            .min()?;
        // What is due and yet not polled waits for a limit to ease: look again in a while.
        Some(if due <= now { now + Duration::from_secs(5) } else { due })
    }

    /// A dial has failed, or its link has ended; `proven` if a folder in common was found on it.
    pub(super) fn handle_ended(&mut self, target: &Target, proven: bool, now: Duration) {
        let mut random = [0; 1];
        self.random.fill(&mut random);
        let Some(entry) = self.entries.get_mut(target) else { return };
        (entry.in_flight, entry.is_linked) = (false, false);
        entry.failures = if proven { 1 } else { entry.failures.saturating_add(1) };
        let doubled = self.backoff.first.saturating_mul(1 << (entry.failures - 1).min(16));
        let pause = doubled.min(self.backoff.most);
        // Between three quarters and the whole, so that two devices do not keep in step.
        entry.due = now + pause - pause / 4 * u32::from(random[0]) / 255;
        self.entries.retain(|_, entry| entry.in_flight || !entry.wanted.is_empty());
    }

    /// It is now known which device answers at a target, or at the address of one that dialled us.
    pub(super) fn handle_owner(
        &mut self,
        target: Option<&Target>,
        address: SocketAddr,
        id: DeviceId,
        now: Duration,
    ) {
        if self.owners.len() < MAX_OWNERS || self.owners.contains_key(&address) {
            self.owners.insert(address, (id, now));
        }
        if let Some(entry) = target.and_then(|target| self.entries.get_mut(target)) {
            entry.device = Some(id);
            entry.is_linked = true;
        }
    }

    pub(super) fn handle_connected(&mut self, id: DeviceId) {
        self.connected.insert(id);
    }

    /// A device has no link left: what belongs to it is tried again soon.
    pub(super) fn handle_disconnected(&mut self, id: DeviceId, now: Duration) {
        self.connected.remove(&id);
        let soon = now + self.backoff.first / 2;
        for (target, entry) in &mut self.entries {
            let owner = match target {
                Target::Address(address) => self.owners.get(address).map(|(id, _)| *id),
                Target::Name(_) => entry.device,
            };
            if owner == Some(id) && !entry.in_flight {
                entry.due = soon;
            }
        }
    }

    /// Nothing from or to this address for a while.
    pub(super) fn bar(&mut self, address: SocketAddr, until: Duration) {
        if self.barred.len() < MAX_OWNERS {
            self.barred.insert(address, until);
        }
    }

    pub(super) fn is_barred(&self, address: SocketAddr, now: Duration) -> bool {
        self.barred.get(&address).is_some_and(|until| now < *until)
    }

    fn is_idle(&self, target: &Target, entry: &Entry, now: Duration) -> bool {
        let (owner, is_barred) = match target {
            Target::Address(address) => {
                (self.owners.get(address).map(|(id, _)| *id), self.is_barred(*address, now))
            }
            Target::Name(_) => (entry.device, false),
        };
        !entry.in_flight && !is_barred && owner.is_none_or(|id| !self.connected.contains(&id))
    }

    fn expire(&mut self, now: Duration) {
        while self.hint_dials.front().is_some_and(|at| *at + MINUTE <= now) {
            self.hint_dials.pop_front();
        }
        for entry in self.entries.values_mut() {
            while entry.attempts.front().is_some_and(|at| *at + HINT_SPAN <= now) {
                entry.attempts.pop_front();
            }
        }
        self.barred.retain(|_, until| now < *until);
        self.owners.retain(|_, (_, since)| now < *since + OWNER_LIFE);
        self.entries.retain(|_, entry| {
            entry.in_flight || !entry.attempts.is_empty() || entry.found_by(now).is_some()
        });
    }
}

impl Entry {
    /// The most trusted way that this was found and that is still believed.
    fn found_by(&self, now: Duration) -> Option<FoundBy> {
        let believed = |(by, heard): (FoundBy, Duration)| now < heard.saturating_add(by.life());
        let mut ways = self.wanted.iter().map(|((_, by), heard)| (*by, *heard));
        ways.by_ref().filter(|way| believed(*way)).map(|(by, _)| by).min()
    }

    fn has_tries(&self) -> bool {
        self.attempts.len() < HINT_DIALS
    }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
