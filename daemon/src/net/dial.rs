//! Who is dialled and when. Pure: the time is an argument, the deed is the caller's.
//!
//! A target is an address or a host name. What the user named (pinned, in a link) and the source of
//! a beacon is dialled as it is, as often as the back-off allows. What others named is a *hint*:
//! filtered, at most [`HINT_DIALS`] times per IP in [`HINT_SPAN`] (per address, where a device has
//! answered at another port) and [`HINT_RATE`] times a minute in all, so that nobody can make us knock at a stranger's door for long. Ways and namers
//! take turns (`turns`), so that one that lies does not keep the others from being heard. Where a
//! device was reached before is dialled beside both (`remembered`).
//!
//! A target whose device is connected, over whatever link, is left alone until it is not.

mod assisted;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keystore::{DeviceId, FolderId};

mod entry;
mod known;
mod remembered;
mod turns;

use self::entry::Entry;
pub use self::known::KnownAddress;

/// How often a hint's address, or its IP, is dialled within [`HINT_SPAN`].
const HINT_DIALS: usize = 3;
const HINT_SPAN: Duration = Duration::from_secs(600);
/// How many hints are dialled within a minute, in all.
const HINT_RATE: usize = 20;
/// How many of them one way may use: the others are heard within the minute, however much it names.
const HINT_RATE_OF_WAY: usize = 15;
const MINUTE: Duration = Duration::from_secs(60);
/// A beacon is believed this long; at rest they come every 30 s.
const BEACON_LIFE: Duration = Duration::from_secs(120);
/// A hint is believed this long, about the interval of a tracker.
const HINT_LIFE: Duration = Duration::from_secs(1800);
/// Dials under way at once.
const MAX_IN_FLIGHT: usize = 16;
/// How many of them may be hints: with a handshake's 10 s that is more than [`HINT_RATE`] asks for.
const HINTS_IN_FLIGHT: usize = 6;
/// How many of them may be addresses of former times, most of which may be dead.
const REMEMBERED_IN_FLIGHT: usize = 8;
/// Targets remembered; a flood of hints does not push out others.
const MAX_TARGETS: usize = 2048;
/// Hints remembered of one way, so that it does not push out the others.
const MAX_HINTS_OF_WAY: usize = 512;
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
    /// A peer was reached there before.
    Remembered,
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
            Self::Remembered => "remembered",
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
            Self::Pinned | Self::Link | Self::Remembered => Duration::MAX,
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

/// Whether an address belongs to a network of its own, or to this machine.
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

/// All targets with what has become of them.
pub(super) struct DialBook {
    backoff: Backoff,
    entries: BTreeMap<Target, Entry>,
    owners: BTreeMap<SocketAddr, (DeviceId, Duration)>,
    connected: BTreeSet<DeviceId>,
    barred: BTreeMap<SocketAddr, Duration>,
    /// Dials of hints in the last minute, with who had the turn.
    hint_dials: VecDeque<(Duration, FoundBy, Option<IpAddr>)>,
    /// Their IPs, for as long as they count.
    hint_ips: VecDeque<(Duration, IpAddr)>,
    /// Who had no room last.
    refused: Option<turns::Refused>,
    /// Remembered addresses that are dialled in vain, to be told.
    unreached: VecDeque<(FolderId, SocketAddr)>,
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
            hint_ips: VecDeque::new(),
            refused: None,
            unreached: VecDeque::new(),
            random: blake3::Hasher::new_keyed(seed).finalize_xof(),
        }
    }

    /// Adds a target for a folder, or hears of it again.
    pub(super) fn add(&mut self, folder: FolderId, target: Target, found_by: FoundBy, now: Duration) {
        self.add_named(folder, target, found_by, None, now);
    }

    /// The same for what `namer` has named.
    pub(super) fn add_named(
        &mut self,
        folder: FolderId,
        target: Target,
        found_by: FoundBy,
        namer: Option<IpAddr>,
        now: Duration,
    ) {
        if !self.entries.contains_key(&target) && !self.make_room(found_by, namer, now) {
            return;
        }
        let entry = self.entries.entry(target).or_insert_with(|| Entry::new(found_by, now));
        entry.hear(folder, found_by, namer, now);
    }

    /// Forgets a folder's targets that were found this way, or all of them.
    pub(super) fn remove(&mut self, folder: FolderId, found_by: Option<FoundBy>) {
        for entry in self.entries.values_mut() {
            entry.wanted.retain(|(f, by), _| *f != folder || found_by.is_some_and(|found| *by != found));
        }
        self.drop_unwanted();
    }

    /// The next target to dial now, which is then in flight until [`Self::handle_ended`].
    pub(super) fn poll(&mut self, now: Duration) -> Option<(Target, FoundBy)> {
        self.expire(now);
        let limits = self.limits();
        let ((_, found_by, namer), target) = self
            .entries
            .iter()
            .filter(|(target, entry)| entry.due <= now && self.is_idle(target, entry, now))
            .filter_map(|(target, entry)| Some((self.turn(target, entry, &limits, now)?, entry.due, target)))
            .min_by_key(|((turn, ..), due, _)| (*turn, *due))
            .map(|(turn, _, target)| (turn, target.clone()))?;
        if found_by.is_hint() {
            self.hint_dials.push_back((now, found_by, namer));
            self.hint_ips.extend(target.ip().map(|ip| (now, ip)));
        }
        if let Some(entry) = self.entries.get_mut(&target) {
            entry.in_flight = true;
            entry.dialed_as = found_by;
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
        let is_online = !self.connected.is_empty();
        let Some(entry) = self.entries.get_mut(target) else { return };
        (entry.in_flight, entry.is_linked) = (false, false);
        entry.failures = if proven { 1 } else { entry.failures.saturating_add(1) };
        let doubled = self.backoff.first.saturating_mul(1 << (entry.failures - 1).min(16));
        let pause = doubled.min(entry.longest_pause(&self.backoff, now));
        // Between three quarters and the whole, so that two devices do not keep in step.
        entry.due = now + pause - pause / 4 * u32::from(random[0]) / 255;
        if let Target::Address(address) = target {
            let given_up = entry.count_vain(proven, is_online);
            self.unreached.extend(given_up.into_iter().map(|folder| (folder, *address)));
        }
        self.drop_unwanted();
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
            if owner(&self.owners, target, entry, now) == Some(id) && !entry.in_flight {
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

    /// The network has changed: everything is dialled at once, within the limits for hints.
    pub(super) fn handle_network_changed(&mut self, now: Duration) {
        for entry in self.entries.values_mut().filter(|entry| !entry.in_flight) {
            (entry.failures, entry.due) = (0, now);
        }
    }

    fn is_idle(&self, target: &Target, entry: &Entry, now: Duration) -> bool {
        let owner = owner(&self.owners, target, entry, now);
        let is_barred = matches!(target, Target::Address(address) if self.is_barred(*address, now));
        !entry.in_flight && !is_barred && owner.is_none_or(|id| !self.connected.contains(&id))
    }

    fn expire(&mut self, now: Duration) {
        while self.hint_dials.front().is_some_and(|(at, ..)| *at + MINUTE <= now) {
            self.hint_dials.pop_front();
        }
        while self.hint_ips.front().is_some_and(|(at, _)| *at + HINT_SPAN <= now) {
            self.hint_ips.pop_front();
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

    /// What is in flight stays until its dial ends; what was dialled, as long as that counts.
    fn drop_unwanted(&mut self) {
        let is_kept =
            |entry: &Entry| entry.in_flight || !entry.wanted.is_empty() || !entry.attempts.is_empty();
        self.entries.retain(|_, entry| is_kept(entry));
    }
}

/// The device that is believed to answer at a target.
fn owner(
    owners: &BTreeMap<SocketAddr, (DeviceId, Duration)>,
    target: &Target,
    entry: &Entry,
    now: Duration,
) -> Option<DeviceId> {
    match target {
        Target::Address(address) => match owners.get(address) {
            Some((id, _)) => Some(*id),
            // Whoever names it as well may know of another device there.
            None => entry.device.filter(|_| entry.is_only_remembered(now)),
        },
        Target::Name(_) => entry.device,
    }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
