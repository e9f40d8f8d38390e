//! A set of small numbers, one bit each.

/// A set of numbers below a length that is given when it is made. Most contents are of one chunk: what
/// fits into a word needs no memory of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits {
    first: u64,
    /// Those of the numbers from 64 on.
    rest: Vec<u64>,
}

impl Bits {
    /// No number below `len`.
    pub(super) fn empty(len: usize) -> Self {
        Self { first: 0, rest: vec![0; len.div_ceil(64).saturating_sub(1)] }
    }

    /// All numbers below `len`.
    pub(super) fn full(len: usize) -> Self {
        let all = |len: usize| if len >= 64 { u64::MAX } else { (1 << len) - 1 };
        let starts = (64..len).step_by(64);
        Self { first: all(len), rest: starts.map(|start| all(len - start)).collect() }
    }

    fn word(&self, at: usize) -> Option<&u64> {
        match at.checked_sub(1) {
            None => Some(&self.first),
            Some(at) => self.rest.get(at),
        }
    }

    fn word_mut(&mut self, at: usize) -> Option<&mut u64> {
        match at.checked_sub(1) {
            None => Some(&mut self.first),
            Some(at) => self.rest.get_mut(at),
        }
    }

    fn words(&self, from: usize) -> impl Iterator<Item = &u64> {
        let first = (from == 0).then_some(&self.first);
        first.into_iter().chain(self.rest.iter().skip(from.saturating_sub(1)))
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.word(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Adds a number below the length. Whether it is new.
    pub(super) fn add(&mut self, at: usize) -> bool {
        let is_new = !self.has(at);
        if let Some(word) = self.word_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
        is_new
    }

    /// Takes a number out. Whether it was in.
    pub(super) fn remove(&mut self, at: usize) -> bool {
        let was_in = self.has(at);
        if let Some(word) = self.word_mut(at / 64) {
            *word &= !(1 << (at % 64));
        }
        was_in
    }

    /// The numbers from `from` on, ascending, that are also in `other`. Skips 64 at a time.
    pub(super) fn both_from<'a>(&'a self, other: &'a Self, from: usize) -> impl Iterator<Item = usize> + 'a {
        let words = self.words(from / 64).zip(other.words(from / 64)).zip(from / 64..);
        words.flat_map(move |((a, b), at)| {
            let mask = if at == from / 64 { u64::MAX << (from % 64) } else { u64::MAX };
            ones(a & b & mask).map(move |bit| at * 64 + bit)
        })
    }

    /// The numbers from `from` to before `to` that are not in it, ascending. Skips 64 at a time.
    pub(super) fn missing(&self, from: usize, to: usize) -> Vec<usize> {
        let words = self.words(from / 64).zip(from / 64..).take_while(|(_, at)| at * 64 < to);
        let missing = words.flat_map(|(word, at)| ones(!word).map(move |bit| at * 64 + bit));
        missing.filter(|at| (from..to).contains(at)).collect()
    }

    /// All numbers, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.both_from(self, 0)
    }
}

fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros() as usize;
            word &= word - 1;
            bit
        })
    })
}

/// Numbers in both sets, ascending from `start` and then those below it.
pub(super) fn turned<'a>(one: &'a Bits, other: &'a Bits, start: usize) -> impl Iterator<Item = usize> + 'a {
    one.both_from(other, start).chain(one.both_from(other, 0).take_while(move |at| *at < start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_in_and_out_and_come_in_order() {
        let mut bits = Bits::empty(200);
        for at in [0, 63, 64, 130, 199] {
            assert!(bits.add(at) && !bits.add(at));
        }
        assert!(bits.remove(64) && !bits.remove(64));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 63, 130, 199]);
        assert_eq!(bits.both_from(&Bits::full(200), 63).collect::<Vec<_>>(), [63, 130, 199]);
        assert_eq!(bits.missing(63, 67), [64, 65, 66]);
        assert_eq!((bits.missing(1, 200).len(), bits.missing(5, 5).len()), (196, 0));
        assert_eq!(Bits::full(130).missing(0, 130), []);
        assert_eq!(Bits::full(130).iter().count(), 130);
        assert_eq!(Bits::full(128).iter().count(), 128);
        assert_eq!(Bits::full(0).iter().count(), 0);
    }
}
