//! The own part of what all downloaders want.
//!
//! Those who fetch the same contents at the same time each take another part from the seeds and the
//! rest from each other, so that a seed sends each chunk once before twice. Nobody is asked for
//! leave: everybody sorts the incomplete peers that it knows by device id and computes the parts. Who
//! knows fewer of them takes a larger part, and some of it twice over. Whether they download at all
//! is not known when all begin at once; the parts are only where each begins. What is left to others
//! in the end is left to those who have said that they download.

use std::ops::Range;

use crate::entry::ContentId;

/// Which of how many downloaders we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Our place among them, from 0.
    pub index: u32,
    /// How many there may be, with us: at least one.
    pub count: u32,
    /// How many of the others are known to download.
    pub active: u32,
}

impl Share {
    /// Nobody else downloads.
    pub const ALONE: Self = Self { index: 0, count: 1, active: 0 };

    /// Whether others may download too.
    pub(super) fn is_shared(&self) -> bool {
        self.count > 1
    }

    /// The ids of contents of one chunk that are our part: from, and up to but without.
    pub(super) fn ids(&self) -> (ContentId, Option<ContentId>) {
        let at = |index: u32| {
            let mut id = [0; 32];
            let part = (u128::from(index) << 64) / u128::from(self.count.max(1));
            u64::try_from(part).ok().map(|part| {
                id[..8].copy_from_slice(&part.to_be_bytes());
                ContentId(id)
            })
        };
        (at(self.index).unwrap_or(ContentId([0xff; 32])), at(self.index + 1))
    }

    /// Whose part a content of one chunk is: the inverse of [`Self::ids`].
    pub(super) fn owner_of(&self, content: &ContentId) -> u32 {
        let [a, b, c, d, e, f, g, h, ..] = content.0;
        let begin = u128::from(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        let owner = ((begin + 1) * u128::from(self.count.max(1)) - 1) >> 64;
        u32::try_from(owner).unwrap_or_default()
    }

    /// Whose part a chunk is: the inverse of [`Self::chunks`].
    pub(super) fn owner_of_chunk(&self, content: &ContentId, chunks: u64, number: u64) -> u32 {
        let chunks = chunks.max(1);
        let place = u128::from((number + chunks - turn(content, chunks)) % chunks);
        let owner = place * u128::from(self.count.max(1)) / u128::from(chunks);
        u32::try_from(owner).unwrap_or_default()
    }

    /// The numbers of a content's chunks, of which there are `chunks`, that are our part: two ranges,
    /// the second may be empty. Where the first part begins depends on the content, so that with few
    /// chunks each it is not always the same device that has some.
    pub(super) fn chunks(&self, content: &ContentId, chunks: u64) -> [Range<u64>; 2] {
        let count = u64::from(self.count.max(1));
        let edge = |index: u32| (u64::from(index) * chunks).div_ceil(count);
        let (begin, end) = (edge(self.index), edge(self.index + 1));
        let turn = turn(content, chunks);
        let (begin, end) = (begin + turn, end + turn);
        match (begin < chunks, end <= chunks) {
            (_, true) => [begin..end, 0..0],
            (true, false) => [begin..chunks, 0..end - chunks],
            (false, false) => [begin - chunks..end - chunks, 0..0],
        }
    }
}

/// At which chunk of a content the first part begins.
fn turn(content: &ContentId, chunks: u64) -> u64 {
    let [a, b, c, d] = [content.0[8], content.0[9], content.0[10], content.0[11]];
    u64::from(u32::from_be_bytes([a, b, c, d])) % chunks.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_all_are_everything_and_no_two_have_a_chunk_in_common() {
        for (count, chunks) in [(1, 10), (3, 10), (7, 100), (50, 7), (4, 1)] {
            for byte in [0, 3, 77, 255] {
                let content = ContentId([byte; 32]);
                let share = |index| Share { index, count, active: 0 };
                let parts = (0..count).flat_map(|index| share(index).chunks(&content, chunks));
                let mut all: Vec<u64> = parts.flatten().collect();
                all.sort_unstable();
                assert_eq!(all, (0..chunks).collect::<Vec<_>>(), "{count} of {chunks}");
                for number in all {
                    let index = share(0).owner_of_chunk(&content, chunks, number);
                    let parts = share(index).chunks(&content, chunks);
                    assert!(parts.iter().any(|part| part.contains(&number)), "{number} is of {index}");
                }
            }
        }
    }

    #[test]
    fn every_small_content_is_in_one_part() {
        let holds = |share: Share, id: ContentId| {
            let (from, to) = share.ids();
            id >= from && to.is_none_or(|to| id < to)
        };
        for byte in 0..=255 {
            let id = ContentId([byte; 32]);
            let share = |index| Share { index, count: 7, active: 0 };
            let holders: Vec<u32> = (0..7).filter(|index| holds(share(*index), id)).collect();
            assert_eq!(holders, [share(0).owner_of(&id)]);
            assert!(holds(Share::ALONE, id));
        }
    }
}
