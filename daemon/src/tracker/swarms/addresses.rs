//! How many places each source holds, over all swarms.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;

use crate::tracker::source::Source;

/// Locks, so that threads rarely meet.
const PARTS: usize = 64;
/// A part with fewer sources is not worth shrinking.
const SMALL: usize = 64;

/// Counts the places of every source that has any.
#[derive(Debug)]
pub(super) struct Addresses {
    parts: Box<[Mutex<HashMap<Source, u32>>]>,
}

impl Addresses {
    pub(super) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::default()).collect() }
    }

    /// Gives the source one more place, unless it has as many as it may.
    pub(super) fn take(&self, source: Source, most: u32) -> bool {
        let mut part = self.part(source).lock();
        let places = part.entry(source).or_default();
        let is_free = *places < most;
        *places += u32::from(is_free);
        is_free
    }

    /// Takes a place back.
    pub(super) fn give_back(&self, source: Source) {
        let mut part = self.part(source).lock();
        let Entry::Occupied(mut places) = part.entry(source) else { return };
        *places.get_mut() -= 1;
        if *places.get() == 0 {
            places.remove();
        }
    }

    /// Gives back memory after many have gone.
    pub(super) fn shrink(&self) {
        for part in &self.parts {
            let mut part = part.lock();
            if part.capacity() > part.len() * 4 + SMALL {
                part.shrink_to_fit();
            }
        }
    }

    fn part(&self, source: Source) -> &Mutex<HashMap<Source, u32>> {
        // The lowest bits differ among neighbours; the maps themselves hash under secrets.
        let bytes = source.to_bytes();
        &self.parts[usize::from(bytes[7] ^ bytes[6] ^ bytes[5] ^ bytes[3]) % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_holds_no_more_places_than_it_may() {
        let addresses = Addresses::new();
        let source = Source::of("192.0.2.1".parse().unwrap());
        assert!(addresses.take(source, 2) && addresses.take(source, 2));
        assert!(!addresses.take(source, 2));
        addresses.give_back(source);
        assert!(addresses.take(source, 2));
        (0..2).for_each(|_| addresses.give_back(source));
        assert!(addresses.parts.iter().all(|part| part.lock().is_empty()));
    }
}
