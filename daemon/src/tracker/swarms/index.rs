//! Finds an element of a dense list by its hash: a table of four bytes an element.
//!
//! The table knows positions only; the list lies with the caller, who says how its elements hash and
//! compare. Eight more bits of the hash lie beside each position, so that a look-up goes to the
//! list for little but what it wants.

/// Elements that one list can have: positions take 24 bits, and one value means «nothing».
pub(super) const MAX_ELEMENTS: usize = (1 << 24) - 1;

/// A slot without an element.
const FREE: u32 = 0;
const POSITION_BITS: u32 = 24;
const FIRST_SLOTS: usize = 8;

/// Open addressing with linear probing; never fuller than three quarters.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: Box<[u32]>,
    used: usize,
}

impl Index {
    /// The position of the element with this hash that `is_it` knows.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let slot = self.probe(hash, is_it)?;
        Some(position(self.slots[slot]))
    }

    /// Adds an element that is not in it. `hash_of` is asked of those that are.
    pub(super) fn insert(&mut self, hash: u64, position: usize, hash_of: impl Fn(usize) -> u64) {
        debug_assert!(position < MAX_ELEMENTS);
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 3 / 2).max(FIRST_SLOTS), hash_of);
        }
        place(&mut self.slots, hash, position);
        self.used += 1;
    }

    /// Takes out the element at that position. Those behind it in its run move up.
    pub(super) fn remove(&mut self, hash: u64, at: usize, hash_of: impl Fn(usize) -> u64) {
        let Some(mut hole) = self.probe(hash, |position| position == at) else { return };
        let mut slot = hole;
        loop {
            slot = self.next(slot);
            if self.slots[slot] == FREE {
                break;
            }
            let home = self.home(hash_of(position(self.slots[slot])));
            // It may move into the hole unless its home lies behind the hole.
            if self.distance(home, slot) >= self.distance(hole, slot) {
                self.slots[hole] = self.slots[slot];
                hole = slot;
            }
        }
        self.slots[hole] = FREE;
        self.used -= 1;
    }

    /// The element at position `from` is now at `to`.
    pub(super) fn moved(&mut self, hash: u64, from: usize, to: usize) {
        if let Some(slot) = self.probe(hash, |position| position == from) {
            self.slots[slot] = entry(hash, to);
        }
    }

    /// Gives back room, if there is much more than needed.
    pub(super) fn shrink(&mut self, hash_of: impl Fn(usize) -> u64) {
        let wanted = (self.used * 2).max(FIRST_SLOTS);
        if wanted * 2 < self.slots.len() {
            self.resize(wanted, hash_of);
        }
    }

    fn resize(&mut self, slots: usize, hash_of: impl Fn(usize) -> u64) {
        let mut wider = vec![FREE; slots].into_boxed_slice();
        for entry in self.slots.iter().filter(|entry| **entry != FREE) {
            let position = position(*entry);
            place(&mut wider, hash_of(position), position);
        }
        self.slots = wider;
    }

    /// The slot with this hash whose position `is_it` knows.
    fn probe(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = self.home(hash);
        loop {
            let found = self.slots[slot];
            if found == FREE {
                return None;
            }
            if found >> POSITION_BITS == tag(hash) && is_it(position(found)) {
                return Some(slot);
            }
            slot = self.next(slot);
        }
    }

    fn home(&self, hash: u64) -> usize {
        home(self.slots.len(), hash)
    }

    fn next(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }

    /// Steps from one slot on to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }
}

/// Puts an entry into the first free slot from its home on; there must be one.
fn place(slots: &mut [u32], hash: u64, position: usize) {
    let mut slot = home(slots.len(), hash);
    while slots[slot] != FREE {
        slot = if slot + 1 == slots.len() { 0 } else { slot + 1 };
    }
    slots[slot] = entry(hash, position);
}

/// The low half of the hash, scaled to the number of slots.
fn home(slots: usize, hash: u64) -> usize {
    ((hash & 0xffff_ffff) as usize * slots) >> 32
}

/// Bits of the hash that [`home`] does not use, nor those who choose a shard by the highest byte.
fn tag(hash: u64) -> u32 {
    (hash >> 48) as u32 & 0xff
}

fn entry(hash: u64, position: usize) -> u32 {
    tag(hash) << POSITION_BITS | (position as u32 + 1)
}

fn position(entry: u32) -> usize {
    (entry & ((1 << POSITION_BITS) - 1)) as usize - 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few different hashes, so that runs are long and wrap around.
    fn crowded(key: u16) -> u64 {
        u64::from(key % 7).wrapping_mul(0x2f00_0000_2492_4925)
    }

    proptest! {
        #[test]
        fn it_finds_what_a_map_finds(steps in proptest::collection::vec((any::<bool>(), 0..40_u16), 1..300)) {
            let (mut list, mut index) = (Vec::<u16>::new(), Index::default());
            let mut model = BTreeMap::new();
            for (adds, key) in steps {
                let found = index.find(crowded(key), |at| list[at] == key);
                prop_assert_eq!(found.is_some(), model.contains_key(&key));
                match (adds, found) {
                    (true, None) => {
                        list.push(key);
                        index.insert(crowded(key), list.len() - 1, |at| crowded(list[at]));
                        model.insert(key, ());
                    }
                    (false, Some(at)) => {
                        index.remove(crowded(key), at, |at| crowded(list[at]));
                        let last = list.len() - 1;
                        if at != last {
                            index.moved(crowded(list[last]), last, at);
                        }
                        list.swap_remove(at);
                        index.shrink(|at| crowded(list[at]));
                        model.remove(&key);
                    }
                    _ => {}
                }
            }
            for key in 0..40 {
                let found = index.find(crowded(key), |at| list[at] == key);
                prop_assert_eq!(found.is_some(), model.contains_key(&key));
            }
        }
    }
}
