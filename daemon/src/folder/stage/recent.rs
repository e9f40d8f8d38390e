//! The few things used last.

use std::collections::BTreeMap;

/// Keeps up to a number of values; the one not used for longest goes first.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    values: BTreeMap<K, (u64, V)>,
    most: usize,
    clock: u64,
}

impl<K: Ord + Clone, V: Clone> Recent<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { values: BTreeMap::new(), most, clock: 0 }
    }

    pub(crate) fn find(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let (used, value) = self.values.get_mut(key)?;
        *used = self.clock;
        Some(value.clone())
    }

    pub(crate) fn keep(&mut self, key: K, value: V) {
        self.clock += 1;
        if self.values.len() >= self.most && !self.values.contains_key(&key) {
            let oldest = self.values.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.values.remove(&oldest);
            }
        }
        self.values.insert(key, (self.clock, value));
    }

    pub(crate) fn forget(&mut self, key: &K) {
        self.values.remove(key);
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_not_used_for_longest_goes_first() {
        let mut recent = Recent::new(2);
        recent.keep('a', 1);
        recent.keep('b', 2);
        recent.find(&'a');
        recent.keep('c', 3);
        assert_eq!((recent.find(&'a'), recent.find(&'b'), recent.find(&'c')), (Some(1), None, Some(3)));
    }
}
