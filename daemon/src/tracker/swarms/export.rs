//! Swarms as bytes, one shard at a time, and back.
//!
//! A record is the info hash (20 bytes), completed downloads, number of IPv4 and of IPv6 peers (4 bytes
//! each), then the peers: address (6 or 18 bytes) and stamp (2 bytes). Numbers are little-endian.

use std::net::SocketAddr;

use super::entry::{Entry, Stamp, Tick};
use super::{SHARDS, Swarms};
use crate::tracker::source::Source;
use crate::tracker::wire::{InfoHash, peers_v4, peers_v6};

/// How old the peers of a record are.
#[derive(Debug, Clone, Copy)]
pub struct Aged {
    /// The tick at which they were written.
    pub written: Tick,
    /// Minutes that have passed since.
    pub minutes: u16,
    /// The tick of now.
    pub now: Tick,
}

impl Aged {
    /// Minutes since the peer was heard of.
    fn age(&self, stamp: Stamp) -> u16 {
        self.written.since(stamp.tick()).saturating_add(self.minutes)
    }
}

impl Swarms {
    /// Parts that can be exported one after the other.
    pub const PARTS: usize = SHARDS;

    /// Appends the records of one part. Its lock is held for as long as that takes.
    pub fn export(&self, part: usize, out: &mut Vec<u8>) {
        for swarm in self.shards[part].lock().swarms() {
            let (v4, v6) = (swarm.v4.entries(), swarm.v6.entries());
            out.extend_from_slice(&swarm.hash);
            out.extend_from_slice(&swarm.completed.to_le_bytes());
            out.extend_from_slice(&(v4.len() as u32).to_le_bytes());
            out.extend_from_slice(&(v6.len() as u32).to_le_bytes());
            v4.iter().for_each(|peer| export(peer, out));
            v6.iter().for_each(|peer| export(peer, out));
        }
    }

    /// Reads records, and remembers whom they name unless they are too old. The limits hold.
    ///
    /// Returns how many peers were taken over; `None` when the bytes are no records.
    pub fn import(&self, mut bytes: &[u8], aged: Aged) -> Option<usize> {
        let mut taken = 0;
        while !bytes.is_empty() {
            let (info_hash, rest) = bytes.split_first_chunk::<20>()?;
            let (completed, rest) = number(rest)?;
            let (v4, rest) = number(rest)?;
            let (v6, rest) = number(rest)?;
            let (v4, rest) = rest.split_at_checked((v4 as usize).checked_mul(8)?)?;
            let (v6, rest) = rest.split_at_checked((v6 as usize).checked_mul(20)?)?;
            let peers = v4.as_chunks::<8>().0.iter().filter_map(|peer| import(peer, 6));
            let peers = peers.chain(v6.as_chunks::<20>().0.iter().filter_map(|peer| import(peer, 18)));
            for (address, stamp) in peers.filter(|(_, stamp)| aged.age(*stamp) < self.limits.forget_minutes())
            {
                let stamp = stamp.at(aged.now.minus(aged.age(stamp)));
                taken += usize::from(self.remember(info_hash, address, stamp, completed));
            }
            bytes = rest;
        }
        Some(taken)
    }

    /// Puts back one peer, if it is new and within the limits.
    fn remember(&self, info_hash: &InfoHash, address: SocketAddr, stamp: Stamp, completed: u32) -> bool {
        let hash = self.mixer.hash(info_hash);
        let mut shard = self.shard(hash).lock();
        let known = shard.find(hash, info_hash).is_some_and(|at| {
            let swarm = &shard.swarms()[at];
            let is_known = match super::Compact::of(address) {
                super::Compact::V4(address) => swarm.v4.find(&address, &self.mixer).is_some(),
                super::Compact::V6(address) => swarm.v6.find(&address, &self.mixer).is_some(),
            };
            is_known || swarm.len() >= self.limits.peers_per_swarm
        });
        let population = self.population();
        let is_full = population.v4 + population.v6 >= self.limits.peers;
        let source = Source::of(address.ip());
        if known || is_full || !self.addresses.take(source, self.limits.peers_per_source) {
            return false;
        }
        let Some(at) = self.insert(&mut shard, hash, info_hash, address, stamp) else { return false };
        shard.swarm(at).completed = completed;
        true
    }
}

fn export<const N: usize>(peer: &Entry<N>, out: &mut Vec<u8>) {
    out.extend_from_slice(&peer.address);
    out.extend_from_slice(&peer.stamp.to_bits().to_le_bytes());
}

/// A peer of a record; none with port 0, which no announce can have brought.
fn import(peer: &[u8], address_bytes: usize) -> Option<(SocketAddr, Stamp)> {
    let (address, stamp) = peer.split_at_checked(address_bytes)?;
    let address =
        peers_v4(address).next().filter(|_| address_bytes == 6).or_else(|| peers_v6(address).next());
    let stamp = Stamp::from_bits(u16::from_le_bytes(stamp.try_into().ok()?));
    address.filter(|address| address.port() != 0).map(|address| (address, stamp))
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}
