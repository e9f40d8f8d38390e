//! The peers of one swarm and one family of addresses: a dense list, found by address, named fairly.
//!
//! Most swarms are a handful of devices, so the first FEW lie in the swarm itself; more take a vector,
//! and from [`INDEX_ABOVE`] on an index besides. The order in a list means nothing.

use super::entry::{Entry, Stamp};
use super::index::Index;
use super::mix::{Dice, Mixer};

/// Shorter lists are searched from one end to the other, which is quicker than an index.
const INDEX_ABOVE: usize = 24;

/// Peers with addresses of N bytes.
#[derive(Debug)]
pub(super) enum Peers<const N: usize, const FEW: usize> {
    /// They fit into the swarm.
    Few { len: u8, list: [Entry<N>; FEW] },
    /// They do not.
    Many(Box<Many<N>>),
}

#[derive(Debug)]
pub(super) struct Many<const N: usize> {
    list: Vec<Entry<N>>,
    index: Index,
    seeds: u32,
}

impl<const N: usize, const FEW: usize> Default for Peers<N, FEW> {
    fn default() -> Self {
        Self::Few { len: 0, list: [Entry::NONE; FEW] }
    }
}

impl<const N: usize, const FEW: usize> Peers<N, FEW> {
    /// All of them.
    pub(super) fn entries(&self) -> &[Entry<N>] {
        match self {
            Self::Few { len, list } => &list[..usize::from(*len)],
            Self::Many(many) => &many.list,
        }
    }

    /// How many have everything.
    pub(super) fn seeds(&self) -> u32 {
        match self {
            Self::Few { .. } => self.entries().iter().map(|entry| u32::from(entry.stamp.is_seed())).sum(),
            Self::Many(many) => many.seeds,
        }
    }

    /// Where a peer is in the list.
    pub(super) fn find(&self, address: &[u8; N], mixer: &Mixer) -> Option<usize> {
        match self {
            Self::Many(many) if many.is_indexed() => {
                many.index.find(mixer.hash(address), |at| many.list[at].address == *address)
            }
            _ => self.entries().iter().position(|entry| entry.address == *address),
        }
    }

    /// Adds a peer that is not in the list.
    pub(super) fn push(&mut self, entry: Entry<N>, mixer: &Mixer) {
        match self {
            Self::Few { len, list } if usize::from(*len) < FEW => {
                list[usize::from(*len)] = entry;
                *len += 1;
            }
            Self::Few { list, .. } => {
                let mut many = Box::new(Many { list: Vec::new(), index: Index::default(), seeds: 0 });
                list.iter().chain([&entry]).for_each(|entry| many.push(*entry, mixer));
                *self = Self::Many(many);
            }
            Self::Many(many) => many.push(entry, mixer),
        }
    }

    /// The stamp of the peer at that place, and the way to change it.
    pub(super) fn restamp(&mut self, at: usize, stamp: Stamp) {
        match self {
            Self::Few { list, .. } => list[at].stamp = stamp,
            Self::Many(many) => {
                let before = std::mem::replace(&mut many.list[at].stamp, stamp);
                many.seeds = many.seeds + u32::from(stamp.is_seed()) - u32::from(before.is_seed());
            }
        }
    }

    /// Takes out the peer at that place; the last one takes it.
    pub(super) fn remove(&mut self, at: usize, mixer: &Mixer) -> Entry<N> {
        match self {
            Self::Few { len, list } => {
                *len -= 1;
                let removed = list[at];
                list[at] = list[usize::from(*len)];
                removed
            }
            Self::Many(many) => many.remove(at, mixer),
        }
    }

    /// Gives back room that has become too much.
    pub(super) fn shrink(&mut self, mixer: &Mixer) {
        let Self::Many(many) = self else { return };
        if many.list.len() > FEW {
            many.shrink(mixer);
            return;
        }
        let mut list = [Entry::NONE; FEW];
        list[..many.list.len()].copy_from_slice(&many.list);
        *self = Self::Few { len: u8::try_from(many.list.len()).expect("a few"), list };
    }

    /// Appends the addresses of `want` peers, or of all if there are not so many, but never that of
    /// the peer at place `except`.
    ///
    /// The list, beginning at a random place, is cut into `want` parts, and of each part one peer is
    /// drawn: every peer is named equally often, and those named together differ each time.
    pub(super) fn name(&self, want: usize, except: Option<usize>, dice: &mut Dice, named: &mut Vec<u8>) {
        let entries = self.entries();
        let others = entries.len() - usize::from(except.is_some());
        let skip = except.unwrap_or(usize::MAX);
        if others <= want {
            let wanted = entries.iter().enumerate().filter(|(at, _)| *at != skip);
            wanted.for_each(|(_, entry)| named.extend_from_slice(&entry.address));
            return;
        }
        let offset = dice.below(others);
        let mut begin = 0;
        for part in 1..=want {
            let end = others * part / want;
            let mut at = offset + begin + dice.below(end - begin);
            at -= if at >= others { others } else { 0 };
            at += usize::from(at >= skip);
            named.extend_from_slice(&entries[at].address);
            begin = end;
        }
    }
}

impl<const N: usize> Many<N> {
    fn is_indexed(&self) -> bool {
        self.list.len() > INDEX_ABOVE
    }

    fn push(&mut self, entry: Entry<N>, mixer: &Mixer) {
        if self.list.len() == self.list.capacity() {
            // A quarter at a time: doubling would leave a third of all memory empty.
            self.list.reserve_exact((self.list.len() / 4).max(4));
        }
        self.seeds += u32::from(entry.stamp.is_seed());
        self.list.push(entry);
        let list = &self.list;
        let hash_of = |at: usize| mixer.hash(&list[at].address);
        if list.len() == INDEX_ABOVE + 1 {
            (0..list.len()).for_each(|at| self.index.insert(hash_of(at), at, hash_of));
        } else if list.len() > INDEX_ABOVE {
            self.index.insert(hash_of(list.len() - 1), list.len() - 1, hash_of);
        }
    }

    fn remove(&mut self, at: usize, mixer: &Mixer) -> Entry<N> {
        let last = self.list.len() - 1;
        if last == INDEX_ABOVE {
            self.index = Index::default();
        } else if self.is_indexed() {
            let list = &self.list;
            let hash_of = |at: usize| mixer.hash(&list[at].address);
            self.index.remove(hash_of(at), at, hash_of);
            if at != last {
                self.index.moved(hash_of(last), last, at);
            }
        }
        let removed = self.list.swap_remove(at);
        self.seeds -= u32::from(removed.stamp.is_seed());
        removed
    }

    fn shrink(&mut self, mixer: &Mixer) {
        if self.list.capacity() > self.list.len() * 2 {
            self.list.shrink_to(self.list.len() + self.list.len() / 4);
        }
        let list = &self.list;
        self.index.shrink(|at| mixer.hash(&list[at].address));
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Tick;
    use super::*;

    type V4 = Peers<6, 3>;

    fn mixer() -> Mixer {
        Mixer::new([3; 16])
    }

    fn address(number: u32) -> [u8; 6] {
        let [a, b, c, d] = number.to_be_bytes();
        [10, a, b, c, d, 1]
    }

    fn entry(number: u32) -> Entry<6> {
        Entry { address: address(number), stamp: Stamp::new(Tick::of_minute(1), number.is_multiple_of(2)) }
    }

    fn list_of(count: u32) -> V4 {
        let mut peers = V4::default();
        (0..count).for_each(|number| peers.push(entry(number), &mixer()));
        peers
    }

    #[test]
    fn a_few_devices_lie_in_the_swarm_itself() {
        assert_eq!(size_of::<V4>(), 32);
        assert_eq!(size_of::<Peers<18, 1>>(), 24);
        assert!(matches!(list_of(3), Peers::Few { .. }));
        assert!(matches!(list_of(4), Peers::Many(_)));
    }

    #[test]
    fn peers_are_found_and_counted_at_every_size_up_and_down() {
        let mut peers = V4::default();
        for number in 0..100 {
            assert_eq!(peers.find(&address(number), &mixer()), None);
            peers.push(entry(number), &mixer());
            assert!((0..=number).all(|known| peers.find(&address(known), &mixer()).is_some()));
            assert_eq!(peers.seeds(), number / 2 + 1);
        }
        for number in 0..100 {
            let at = peers.find(&address(number), &mixer()).unwrap();
            assert_eq!(peers.remove(at, &mixer()), entry(number));
            peers.shrink(&mixer());
            assert_eq!(peers.find(&address(number), &mixer()), None);
            assert!((number + 1..100).all(|known| peers.find(&address(known), &mixer()).is_some()));
            assert_eq!(peers.seeds() as usize, (number + 1..100).filter(|left| left % 2 == 0).count());
        }
        assert!(matches!(peers, Peers::Few { len: 0, .. }));
    }

    #[test]
    fn every_other_peer_is_named_equally_often_and_the_asker_never() {
        let (peers, mut dice) = (list_of(101), Dice::new([9; 8]));
        let asker = peers.find(&address(40), &mixer());
        let mut times = [0_u32; 101];
        let rounds = 30_000;
        for _ in 0..rounds {
            let mut named = Vec::new();
            peers.name(10, asker, &mut dice, &mut named);
            let (mut named, _) = (named.as_chunks::<6>().0.to_vec(), ());
            named.sort_unstable();
            named.dedup();
            assert_eq!(named.len(), 10, "each at most once");
            for peer in named {
                times[usize::from(peer[4])] += 1;
            }
        }
        assert_eq!(times[40], 0);
        let others = times.iter().enumerate().filter(|(number, _)| *number != 40);
        // 3,000 expected; six standard deviations.
        assert!(others.clone().all(|(_, times)| (2_690..=3_310).contains(times)), "{times:?}");
    }

    #[test]
    fn all_are_named_when_there_are_not_more_than_wanted() {
        let mut named = Vec::new();
        list_of(11).name(10, Some(3), &mut Dice::new([1; 8]), &mut named);
        let mut numbers: Vec<u8> = named.as_chunks::<6>().0.iter().map(|peer| peer[4]).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]);
        named.clear();
        list_of(1).name(10, Some(0), &mut Dice::new([1; 8]), &mut named);
        list_of(30).name(0, None, &mut Dice::new([1; 8]), &mut named);
        assert!(named.is_empty());
    }
}
