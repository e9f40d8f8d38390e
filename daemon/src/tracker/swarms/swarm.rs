//! One swarm: who has announced the same info hash.

use std::net::SocketAddr;

use super::entry::Entry;
use super::mix::Mixer;
use super::peers::Peers;
use crate::tracker::wire::{InfoHash, Totals, encode_v4, encode_v6};

/// Bytes of an IPv4 address and port.
pub(super) const V4: usize = 6;
/// Bytes of an IPv6 address and port.
pub(super) const V6: usize = 18;

/// A swarm, in 80 bytes while it is a few devices.
#[derive(Debug)]
pub(super) struct Swarm {
    pub(super) hash: InfoHash,
    pub(super) completed: u32,
    pub(super) v4: Peers<V4, 3>,
    pub(super) v6: Peers<V6, 1>,
}

/// Where a peer is, as a list holds it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Compact {
    V4([u8; V4]),
    V6([u8; V6]),
}

impl Compact {
    pub(super) fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(encode_v4(address)),
            SocketAddr::V6(address) => Self::V6(encode_v6(address)),
        }
    }
}

impl Swarm {
    pub(super) fn new(hash: InfoHash) -> Self {
        Self { hash, completed: 0, v4: Peers::default(), v6: Peers::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.v4.entries().len() + self.v6.entries().len()
    }

    pub(super) fn totals(&self) -> Totals {
        let seeders = self.v4.seeds() + self.v6.seeds();
        // Neither list is longer than an index can hold.
        let all = u32::try_from(self.len()).unwrap_or(u32::MAX);
        Totals { seeders, completed: self.completed, leechers: all - seeders }
    }

    /// Takes out all whom `is_dead` says, and tells `gone` of each.
    pub(super) fn sweep(
        &mut self,
        mixer: &Mixer,
        is_dead: &impl Fn(Stamped) -> bool,
        gone: &mut impl FnMut(Compact),
    ) {
        sweep(&mut self.v4, mixer, is_dead, &mut |address| gone(Compact::V4(address)));
        sweep(&mut self.v6, mixer, is_dead, &mut |address| gone(Compact::V6(address)));
    }
}

/// What a sweep judges by.
pub(super) type Stamped = super::entry::Stamp;

fn sweep<const N: usize, const FEW: usize>(
    peers: &mut Peers<N, FEW>,
    mixer: &Mixer,
    is_dead: &impl Fn(Stamped) -> bool,
    gone: &mut impl FnMut([u8; N]),
) {
    let mut at = 0;
    while let Some(Entry { stamp, .. }) = peers.entries().get(at) {
        if is_dead(*stamp) {
            gone(peers.remove(at, mixer).address);
        } else {
            at += 1;
        }
    }
    peers.shrink(mixer);
}
