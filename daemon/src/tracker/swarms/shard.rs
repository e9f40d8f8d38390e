//! The swarms whose hashes fall into one part of all: a dense list, and an index on it.

use super::entry::{Stamp, Tick};
use super::index::{Index, MAX_ELEMENTS};
use super::mix::{Dice, Mixer};
use super::peers::Peers;
use super::swarm::{Compact, Swarm};
use crate::tracker::wire::InfoHash;

/// Swarms that are looked at for somebody to make room.
const LOOKED_AT: usize = 16;

/// A part of all swarms.
#[derive(Debug, Default)]
pub(super) struct Shard {
    swarms: Vec<Swarm>,
    index: Index,
    announces: u64,
}

impl Shard {
    /// Announces so far.
    pub(super) fn announces(&self) -> u64 {
        self.announces
    }

    /// Counts one more.
    pub(super) fn count_announce(&mut self) {
        self.announces += 1;
    }

    /// All swarms of this part.
    pub(super) fn swarms(&self) -> &[Swarm] {
        &self.swarms
    }

    /// The swarm with this info hash, which hashes to `hash`.
    pub(super) fn find(&self, hash: u64, info_hash: &InfoHash) -> Option<usize> {
        self.index.find(hash, |at| self.swarms[at].hash == *info_hash)
    }

    pub(super) fn swarm(&mut self, at: usize) -> &mut Swarm {
        &mut self.swarms[at]
    }

    /// Adds a swarm that is not there; `None` when there are as many as an index can hold.
    pub(super) fn add(&mut self, hash: u64, info_hash: InfoHash, mixer: &Mixer) -> Option<usize> {
        let at = self.swarms.len();
        if at >= MAX_ELEMENTS {
            return None;
        }
        if at == self.swarms.capacity() {
            // An eighth at a time: doubling would leave a third of all memory empty.
            self.swarms.reserve_exact((at / 8).max(4));
        }
        self.swarms.push(Swarm::new(info_hash));
        let swarms = &self.swarms;
        self.index.insert(hash, at, |at| mixer.hash(&swarms[at].hash));
        Some(at)
    }

    /// Takes out a swarm in which nobody is left; the last one takes its place.
    pub(super) fn remove(&mut self, at: usize, mixer: &Mixer) {
        let last = self.swarms.len() - 1;
        let swarms = &self.swarms;
        let hash_of = |at: usize| mixer.hash(&swarms[at].hash);
        self.index.remove(hash_of(at), at, hash_of);
        if at != last {
            self.index.moved(hash_of(last), last, at);
        }
        self.swarms.swap_remove(at);
    }

    /// Takes out all peers whom `is_dead` says, and the swarms that are empty then.
    pub(super) fn sweep(
        &mut self,
        mixer: &Mixer,
        is_dead: &impl Fn(Stamp) -> bool,
        gone: &mut impl FnMut(Compact),
    ) {
        let mut at = 0;
        while at < self.swarms.len() {
            self.swarms[at].sweep(mixer, is_dead, gone);
            if self.swarms[at].is_empty() {
                self.remove(at, mixer);
            } else {
                at += 1;
            }
        }
        if self.swarms.capacity() > self.swarms.len() * 2 {
            self.swarms.shrink_to(self.swarms.len() + self.swarms.len() / 8);
        }
        let swarms = &self.swarms;
        self.index.shrink(|at| mixer.hash(&swarms[at].hash));
    }

    /// Takes out one peer to make room: of a few looked at, the oldest of those that have not shown
    /// to stay, else the oldest of those that are `overdue` minutes silent. `None` if there is none.
    pub(super) fn evict(
        &mut self,
        now: Tick,
        overdue: u16,
        mixer: &Mixer,
        dice: &mut Dice,
    ) -> Option<Compact> {
        let count = self.swarms.len();
        let first = dice.below(count);
        let mut worst: Option<(u32, usize, Place)> = None;
        for step in 0..count.min(LOOKED_AT) {
            let at = (first + step) % count;
            for (place, stamp) in candidates(&self.swarms[at], dice) {
                let age = now.since(stamp.tick());
                let dispensable = match stamp.is_confirmed() {
                    false => Some(u32::from(age) + u32::from(u16::MAX)),
                    true => (age > overdue).then_some(u32::from(age)),
                };
                if let Some(rank) = dispensable
                    && worst.is_none_or(|(known, ..)| rank > known)
                {
                    worst = Some((rank, at, place));
                }
            }
        }
        let (_, at, place) = worst?;
        let swarm = &mut self.swarms[at];
        let gone = match place {
            Place::V4(peer) => Compact::V4(swarm.v4.remove(peer, mixer).address),
            Place::V6(peer) => Compact::V6(swarm.v6.remove(peer, mixer).address),
        };
        if swarm.is_empty() {
            self.remove(at, mixer);
        }
        Some(gone)
    }
}

/// A place in one of a swarm's lists.
#[derive(Clone, Copy)]
enum Place {
    V4(usize),
    V6(usize),
}

/// A random peer of each family.
fn candidates(swarm: &Swarm, dice: &mut Dice) -> impl Iterator<Item = (Place, Stamp)> {
    let v4 = draw(&swarm.v4, dice).map(|(at, stamp)| (Place::V4(at), stamp));
    let v6 = draw(&swarm.v6, dice).map(|(at, stamp)| (Place::V6(at), stamp));
    v4.into_iter().chain(v6)
}

fn draw<const N: usize, const FEW: usize>(peers: &Peers<N, FEW>, dice: &mut Dice) -> Option<(usize, Stamp)> {
    let at = dice.below(peers.entries().len());
    peers.entries().get(at).map(|entry| (at, entry.stamp))
}
