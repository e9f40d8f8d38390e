//! Keyed hashing for tables, and dice for fair choices. Neither is for secrets.

/// Hashes fixed-size keys under a secret drawn at the start, so that nobody can choose keys that
/// collide. What comes out of it is never told to anyone.
#[derive(Debug, Clone, Copy)]
pub struct Mixer {
    start: u64,
    factor: u64,
}

impl Mixer {
    /// A mixer with a secret of sixteen random bytes.
    pub fn new(secret: [u8; 16]) -> Self {
        let secret = u128::from_le_bytes(secret);
        // An even factor would lose bits.
        Self { start: low(secret), factor: low(secret >> 64) | 1 }
    }

    /// The hash of a key. All its bits can be used.
    pub fn hash(&self, key: &[u8]) -> u64 {
        let (words, tail) = key.as_chunks::<8>();
        let mut state = self.start;
        for word in words {
            state = fold(state ^ u64::from_le_bytes(*word), self.factor);
        }
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        fold(fold(state ^ u64::from_le_bytes(last), self.factor) ^ self.start, !self.factor | 1)
    }
}

/// Both halves of the product, laid over each other.
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    low(product) ^ low(product >> 64)
}

fn low(wide: u128) -> u64 {
    u64::try_from(wide & u128::from(u64::MAX)).expect("64 bits")
}

/// A quick random sequence (splitmix64), seeded by the system.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall as the seed says.
    pub fn new(seed: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(seed))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, each equally likely (to one in 2⁴⁰ and better); 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.roll()) * u128::try_from(end).unwrap_or(0);
        usize::try_from(wide >> 64).expect("it is below `end`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_key_moves_half_of_the_hash() {
        let mixer = Mixer::new(*b"sixteen  secrets");
        let key = [7_u8; 20];
        let before = mixer.hash(&key);
        for bit in 0..160 {
            let mut other = key;
            other[bit / 8] ^= 1 << (bit % 8);
            let moved = (mixer.hash(&other) ^ before).count_ones();
            assert!((8..=56).contains(&moved), "bit {bit} moves {moved}");
        }
    }

    #[test]
    fn dice_show_every_side_equally_often() {
        let mut dice = Dice::new(*b"the dice");
        let mut seen = [0_u32; 6];
        for _ in 0..60_000 {
            seen[dice.below(6)] += 1;
        }
        assert!(seen.iter().all(|times| (9_500..10_500).contains(times)), "{seen:?}");
        assert_eq!(dice.below(0), 0);
    }
}
