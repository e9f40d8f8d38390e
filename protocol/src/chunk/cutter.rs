//! Where a chunk ends: the cut points of FastCDC (2020, level 1), found several stretches at a time.
//!
//! Each step of the rolling hash waits for the one before, and a processor could do more meanwhile. But
//! the hash depends on the last [`WINDOW`] bytes alone: so stretches that lie one behind the other are
//! gone through side by side, until one of them has a cut; where the first one is, is then looked for in
//! order. What comes out is what the `fastcdc` crate gives, which has the tables and the masks.

use fastcdc::v2020::{Normalization, get_gear_with_seed, select_masks};

use super::{AVERAGE_CHUNK_BYTES, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};

/// What is further back has been shifted out of the hash.
const WINDOW: usize = 64;
/// Stretches that are gone through side by side: more would not fit the registers.
const LANES: usize = 4;
/// Long enough that the windows before them count little, short enough that little lies behind a cut.
const STRETCH: usize = 2048;
const TILE: usize = LANES * STRETCH;

type Tile = [[u8; STRETCH]; LANES];
type Numbers = [u64; 256];

/// What each byte adds to the hash.
struct Gear<'a> {
    once: &'a Numbers,
    /// The same, shifted by one, to go on by two bytes at once.
    shifted: &'a Numbers,
}

/// Where the first chunk of `bytes` ends. Final if it is before the end of `bytes`, if there are
/// [`MAX_CHUNK_BYTES`] or more, or if the file ends with `bytes`.
pub(super) fn first_cut(bytes: &[u8]) -> usize {
    let bytes = &bytes[..bytes.len().min(MAX_CHUNK_BYTES)];
    if bytes.len() <= MIN_CHUNK_BYTES {
        return bytes.len();
    }
    let (once, shifted) = get_gear_with_seed(0);
    let once = once.first_chunk().expect("a number for each byte");
    let shifted = shifted.first_chunk().expect("a number for each byte");
    let (strict, relaxed) = select_masks(AVERAGE_CHUNK_BYTES, Normalization::Level1);
    // Bytes are taken in pairs: the last of an odd number of them is no place for a cut.
    let end = bytes.len() & !1;
    let center = end.min(AVERAGE_CHUNK_BYTES);
    let mut scan = Scan { gear: Gear { once, shifted }, bytes, at: MIN_CHUNK_BYTES, hash: 0 };
    scan.find(center, strict).or_else(|| scan.find(end, relaxed)).unwrap_or(bytes.len())
}

struct Scan<'a> {
    gear: Gear<'a>,
    bytes: &'a [u8],
    at: usize,
    /// Of the bytes before `at`.
    hash: u64,
}

impl Scan<'_> {
    /// The first cut before `end`.
    fn find(&mut self, end: usize, mask: u64) -> Option<usize> {
        while end - self.at >= TILE && self.pass_tile(mask) {}
        while self.at < end {
            self.hash = self.gear.roll(self.hash, self.bytes[self.at]);
            if self.hash & mask == 0 {
                return Some(self.at);
            }
            self.at += 1;
        }
        None
    }

    /// Goes past the next tile, if there is no cut in it.
    fn pass_tile(&mut self, mask: u64) -> bool {
        let (stretches, _) = self.bytes[self.at..self.at + TILE].as_chunks();
        let Some(tile) = stretches.first_chunk::<LANES>() else { return false };
        let behind = |stretch| self.gear.hash_behind(stretch);
        let hashes = [self.hash, behind(&tile[0]), behind(&tile[1]), behind(&tile[2])];
        let Some(hash) = self.gear.roll_side_by_side(tile, hashes, mask) else { return false };
        self.at += TILE;
        self.hash = hash;
        true
    }
}

impl Gear<'_> {
    #[inline(always)]
    fn roll(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.once[usize::from(byte)])
    }

    fn hash_behind(&self, stretch: &[u8; STRETCH]) -> u64 {
        let mut hash = 0;
        for byte in &stretch[STRETCH - WINDOW..] {
            hash = self.roll(hash, *byte);
        }
        hash
    }

    /// The hash behind the last stretch, if there is no cut in any.
    ///
    /// Not inlined: where the mask is a constant, the compiler spends an instruction more on each byte.
    #[inline(never)]
    fn roll_side_by_side(&self, tile: &Tile, hashes: [u64; LANES], mask: u64) -> Option<u64> {
        let [mut first, mut second, mut third, mut fourth] = hashes;
        let mut at = 0;
        while at < STRETCH - 1 {
            if self.has_cut(&mut first, [tile[0][at], tile[0][at + 1]], mask)
                || self.has_cut(&mut second, [tile[1][at], tile[1][at + 1]], mask)
                || self.has_cut(&mut third, [tile[2][at], tile[2][at + 1]], mask)
                || self.has_cut(&mut fourth, [tile[3][at], tile[3][at + 1]], mask)
            {
                return None;
            }
            at += 2;
        }
        Some(fourth)
    }

    /// Rolls over two bytes. Whether there is a cut at one of them.
    #[inline(always)]
    fn has_cut(&self, hash: &mut u64, [one, two]: [u8; 2], mask: u64) -> bool {
        // As shifted as it will be behind the second byte: so is the mask.
        *hash = (*hash << 2).wrapping_add(self.shifted[usize::from(one)]);
        if *hash & (mask << 1) == 0 {
            return true;
        }
        *hash = hash.wrapping_add(self.once[usize::from(two)]);
        *hash & mask == 0
    }
}

#[cfg(test)]
mod tests {
    use fastcdc::v2020::FastCDC;
    use proptest::prelude::*;

    use super::*;

    fn as_the_crate_cuts(bytes: &[u8]) -> usize {
        let cutter = FastCDC::new(bytes, MIN_CHUNK_BYTES, AVERAGE_CHUNK_BYTES, MAX_CHUNK_BYTES);
        cutter.cut(0, bytes.len()).1
    }

    fn random(len: usize, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_long_file_is_cut_as_the_crate_cuts() {
        let bytes = random(40_000_001, 7);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let end = first_cut(rest);
            assert_eq!(end, as_the_crate_cuts(rest), "{} bytes before the end", rest.len());
            rest = &rest[end..];
        }
    }

    #[test]
    fn a_cut_at_any_place_of_a_tile_is_found() {
        // The same cut, with ever more before it.
        let bytes = random(4_000_000, 8);
        for start in (0..2 * TILE).step_by(37) {
            assert_eq!(first_cut(&bytes[start..]), as_the_crate_cuts(&bytes[start..]), "from {start}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn short_and_dull_bytes_are_cut_as_the_crate_cuts(
            len in 0..MAX_CHUNK_BYTES + 5,
            seed: u64,
            // How many of them are the same.
            dull in 0..MAX_CHUNK_BYTES,
            byte: u8,
        ) {
            let mut bytes = random(len, seed);
            let dull = dull.min(len);
            bytes[..dull].fill(byte);
            prop_assert_eq!(first_cut(&bytes), as_the_crate_cuts(&bytes));
            bytes.reverse();
            prop_assert_eq!(first_cut(&bytes), as_the_crate_cuts(&bytes));
        }
    }
}
