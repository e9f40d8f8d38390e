//! Who is in which swarm: a million peers in well under a hundred bytes each.
//!
//! [`Swarms`] is cut into shards by a keyed hash of the info hash, so that threads rarely meet. A shard
//! has a dense list of swarms and an index on it (`index`, four bytes an element); a swarm has its
//! first few peers in itself (`peers`), and a peer is its address and two bytes (`entry`).
//!
//! A peer is an address and port, as seen: what a client calls itself changes nothing. Everything is
//! bounded: peers in all, in one swarm, and of one source. When all places are taken, those go first
//! who have announced themselves only once; if everybody has shown to stay, newcomers are refused.
//!
//! The time is an argument; nothing here knows sockets or files.

mod addresses;
mod entry;
mod export;
mod index;
mod mix;
mod peers;
mod shard;
mod swarm;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use self::addresses::Addresses;
use self::entry::{Entry, Stamp};
use self::peers::Peers;
use self::shard::Shard;
use self::swarm::{Compact, Swarm};
use super::source::Source;
use super::wire::{Announce, Event, InfoHash, Totals};

pub use self::entry::Tick;
pub use self::export::Aged;
pub use self::mix::{Dice, Mixer};

/// Parts with a lock each. The highest byte of a hash says which.
const SHARDS: usize = 256;

/// What may be remembered.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Peers in all.
    pub peers: usize,
    /// Peers in one swarm; who comes beyond is told of others, but not remembered.
    pub peers_per_swarm: usize,
    /// Places of one source, over all swarms.
    pub peers_per_source: u32,
    /// Minutes after which a client announces again.
    pub interval_minutes: u16,
}

impl Limits {
    /// Minutes of silence after which a peer is forgotten: two intervals, and a few for its jitter.
    pub fn forget_minutes(&self) -> u16 {
        self.interval_minutes * 2 + 5
    }

    /// Minutes of silence after which a peer should have announced again.
    fn overdue_minutes(&self) -> u16 {
        self.interval_minutes + self.interval_minutes / 8 + 2
    }

    /// Minutes after its first announce in which a peer cannot show that it stays.
    fn settling_minutes(&self) -> u16 {
        (self.interval_minutes / 4).max(1)
    }
}

/// Why a peer is not remembered; it is what the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody can be reached there.
    #[error("port 0 cannot be reached")]
    NoPort,
    /// Its source has as many places as it may.
    #[error("too many announces from your address")]
    SourceFull,
    /// All places are taken by those who have shown to stay.
    #[error("this tracker is full")]
    Full,
}

/// How many are to be named, by family.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// IPv4 addresses.
    pub v4: usize,
    /// IPv6 addresses.
    pub v6: usize,
}

/// Who was named: compact lists.
#[derive(Debug, Default)]
pub struct Named {
    /// Six bytes each.
    pub v4: Vec<u8>,
    /// Eighteen bytes each.
    pub v6: Vec<u8>,
}

impl Named {
    /// Forgets all names, and keeps the room.
    pub fn clear(&mut self) {
        self.v4.clear();
        self.v6.clear();
    }
}

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Population {
    /// Swarms with somebody in them.
    pub swarms: usize,
    /// Peers with IPv4 addresses.
    pub v4: usize,
    /// Peers with IPv6 addresses.
    pub v6: usize,
}

/// All swarms.
#[derive(Debug)]
pub struct Swarms {
    limits: Limits,
    mixer: Mixer,
    shards: Box<[Mutex<Shard>]>,
    addresses: Addresses,
    swarms: AtomicUsize,
    v4: AtomicUsize,
    v6: AtomicUsize,
}

impl Swarms {
    /// No swarms yet. `secret` keeps others from choosing hashes that collide.
    pub fn new(limits: Limits, secret: [u8; 16]) -> Self {
        Self {
            limits,
            mixer: Mixer::new(secret),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            addresses: Addresses::new(),
            swarms: AtomicUsize::new(0),
            v4: AtomicUsize::new(0),
            v6: AtomicUsize::new(0),
        }
    }

    /// What may be remembered.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How much is remembered.
    pub fn population(&self) -> Population {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        Population { swarms: read(&self.swarms), v4: read(&self.v4), v6: read(&self.v6) }
    }

    /// A number that is another one when somebody has announced itself since.
    pub fn changes(&self) -> u64 {
        // Counted in each shard, so that threads share no counter.
        self.shards.iter().map(|shard| shard.lock().announces()).sum()
    }

    /// Takes note of an announce from that address, and names others of the swarm.
    ///
    /// # Errors
    /// When the peer cannot be remembered; then nobody is named.
    pub fn announce(
        &self,
        now: Tick,
        from: IpAddr,
        announce: &Announce,
        wanted: Wanted,
        dice: &mut Dice,
        named: &mut Named,
    ) -> Result<Totals, Refusal> {
        if announce.port == 0 {
            return Err(Refusal::NoPort);
        }
        let address = SocketAddr::new(from.to_canonical(), announce.port);
        let hash = self.mixer.hash(&announce.info_hash);
        let mut shard = self.shard(hash).lock();
        shard.count_announce();
        if announce.event == Event::Stopped {
            return Ok(self.stop(&mut shard, hash, &announce.info_hash, address));
        }
        let mut at = shard.find(hash, &announce.info_hash);
        let mut asker = at.and_then(|at| self.renew(shard.swarm(at), now, address, announce));
        let is_swarm_full = at.is_some_and(|at| shard.swarms()[at].len() >= self.limits.peers_per_swarm);
        if asker.is_none() && !is_swarm_full {
            self.admit(&mut shard, now, address, dice)?;
            let stamp = Stamp::new(now, announce.left == 0);
            at = self.insert(&mut shard, hash, &announce.info_hash, address, stamp);
            asker = at.map(|at| list_len(&shard.swarms()[at], address) - 1);
        }
        let swarm = &shard.swarms()[at.ok_or(Refusal::Full)?];
        let (v4, v6) = if address.is_ipv4() { (asker, None) } else { (None, asker) };
        swarm.v4.name(wanted.v4, v4, dice, &mut named.v4);
        swarm.v6.name(wanted.v6, v6, dice, &mut named.v6);
        Ok(swarm.totals())
    }

    /// How many are in a swarm.
    pub fn scrape(&self, info_hash: &InfoHash) -> Totals {
        let hash = self.mixer.hash(info_hash);
        let shard = self.shard(hash).lock();
        let found = shard.find(hash, info_hash);
        found.map(|at| shard.swarms()[at].totals()).unwrap_or_default()
    }

    /// Forgets who has been silent for too long. To be called every minute or so.
    pub fn sweep(&self, now: Tick) {
        let forget = self.limits.forget_minutes();
        let is_dead = |stamp: Stamp| now.since(stamp.tick()) >= forget;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let before = shard.swarms().len();
            shard.sweep(&self.mixer, &is_dead, &mut |gone| self.forget(gone));
            self.swarms.fetch_sub(before - shard.swarms().len(), Ordering::Relaxed);
        }
        self.addresses.shrink();
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 56) as usize]
    }

    /// Renews a peer that is known, and says where it is in its list.
    fn renew(&self, swarm: &mut Swarm, now: Tick, address: SocketAddr, announce: &Announce) -> Option<usize> {
        let settling = self.limits.settling_minutes();
        let is_seed = announce.left == 0;
        let (at, was_seed) = match Compact::of(address) {
            Compact::V4(address) => renew(&mut swarm.v4, &self.mixer, &address, now, is_seed, settling)?,
            Compact::V6(address) => renew(&mut swarm.v6, &self.mixer, &address, now, is_seed, settling)?,
        };
        let has_completed = announce.event == Event::Completed && is_seed && !was_seed;
        swarm.completed = swarm.completed.saturating_add(u32::from(has_completed));
        Some(at)
    }

    /// Finds a place for one more peer of that source, if need be by evicting another.
    fn admit(
        &self,
        shard: &mut Shard,
        now: Tick,
        address: SocketAddr,
        dice: &mut Dice,
    ) -> Result<(), Refusal> {
        let source = Source::of(address.ip());
        if !self.addresses.take(source, self.limits.peers_per_source) {
            return Err(Refusal::SourceFull);
        }
        let Population { v4, v6, .. } = self.population();
        if v4 + v6 < self.limits.peers {
            return Ok(());
        }
        let before = shard.swarms().len();
        let evicted = shard.evict(now, self.limits.overdue_minutes(), &self.mixer, dice);
        self.swarms.fetch_sub(before - shard.swarms().len(), Ordering::Relaxed);
        match evicted {
            Some(gone) => self.forget(gone),
            None => {
                self.addresses.give_back(source);
                return Err(Refusal::Full);
            }
        }
        Ok(())
    }

    /// Puts an admitted peer into its swarm, and says where the swarm is.
    fn insert(
        &self,
        shard: &mut Shard,
        hash: u64,
        info_hash: &InfoHash,
        address: SocketAddr,
        stamp: Stamp,
    ) -> Option<usize> {
        let at = shard.find(hash, info_hash).or_else(|| {
            let added = shard.add(hash, *info_hash, &self.mixer);
            self.swarms.fetch_add(usize::from(added.is_some()), Ordering::Relaxed);
            added
        });
        let Some(at) = at else {
            self.addresses.give_back(Source::of(address.ip()));
            return None;
        };
        let swarm = shard.swarm(at);
        match Compact::of(address) {
            Compact::V4(address) => swarm.v4.push(Entry { address, stamp }, &self.mixer),
            Compact::V6(address) => swarm.v6.push(Entry { address, stamp }, &self.mixer),
        }
        self.count(address).fetch_add(1, Ordering::Relaxed);
        Some(at)
    }

    /// Takes out a peer that says good-bye.
    fn stop(&self, shard: &mut Shard, hash: u64, info_hash: &InfoHash, address: SocketAddr) -> Totals {
        let Some(at) = shard.find(hash, info_hash) else { return Totals::default() };
        let (swarm, compact) = (shard.swarm(at), Compact::of(address));
        let was_there = match compact {
            Compact::V4(address) => take_out(&mut swarm.v4, &address, &self.mixer),
            Compact::V6(address) => take_out(&mut swarm.v6, &address, &self.mixer),
        };
        let totals = swarm.totals();
        if was_there {
            self.forget(compact);
        }
        if swarm.is_empty() {
            shard.remove(at, &self.mixer);
            self.swarms.fetch_sub(1, Ordering::Relaxed);
        }
        totals
    }

    /// Counts a peer out that is in no list any more.
    fn forget(&self, gone: Compact) {
        let ip = match gone {
            Compact::V4([a, b, c, d, _, _]) => IpAddr::from(Ipv4Addr::new(a, b, c, d)),
            Compact::V6(address) => {
                let (ip, _) = address.split_first_chunk::<16>().expect("16 of 18 bytes");
                IpAddr::from(Ipv6Addr::from(*ip))
            }
        };
        self.count(SocketAddr::new(ip, 0)).fetch_sub(1, Ordering::Relaxed);
        self.addresses.give_back(Source::of(ip));
    }

    fn count(&self, address: SocketAddr) -> &AtomicUsize {
        if address.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}

/// How many of the address's family are in the swarm.
fn list_len(swarm: &Swarm, address: SocketAddr) -> usize {
    if address.is_ipv4() { swarm.v4.entries().len() } else { swarm.v6.entries().len() }
}

/// Renews a peer; where it is, and whether it was a seed.
fn renew<const N: usize, const FEW: usize>(
    peers: &mut Peers<N, FEW>,
    mixer: &Mixer,
    address: &[u8; N],
    now: Tick,
    is_seed: bool,
    settling: u16,
) -> Option<(usize, bool)> {
    let at = peers.find(address, mixer)?;
    let before = peers.entries()[at].stamp;
    peers.restamp(at, before.renewed(now, is_seed, settling));
    Some((at, before.is_seed()))
}

fn take_out<const N: usize, const FEW: usize>(
    peers: &mut Peers<N, FEW>,
    address: &[u8; N],
    mixer: &Mixer,
) -> bool {
    let found = peers.find(address, mixer);
    found.map(|at| peers.remove(at, mixer)).is_some()
}
