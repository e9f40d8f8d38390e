//! The own part of what all downloaders want.
//!
//! Those who fetch the same contents at the same time each take another part from the seeds and the
//! rest from each other, so that a seed sends each chunk once before twice. Nobody is asked for
//! leave: everybody sorts the downloaders that it knows by device id and computes the parts. Who
//! knows fewer of them takes a larger part, and some of it twice over; nothing else depends on it.

use std::ops::Range;

use crate::entry::ContentId;

/// Which of how many downloaders we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Our place among them, from 0.
    pub index: u32,
    /// How many there are, with us: at least one.
    pub count: u32,
}

impl Share {
    /// Nobody else downloads.
    pub const ALONE: Self = Self { index: 0, count: 1 };

    /// Whether others download too.
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

    /// The numbers of a content's chunks, of which there are `chunks`, that are our part: two ranges,
    /// the second may be empty. Where the first part begins depends on the content, so that with few
    /// chunks each it is not always the same device that has some.
    pub(super) fn chunks(&self, content: &ContentId, chunks: u64) -> [Range<u64>; 2] {
        let count = u64::from(self.count.max(1));
        let edge = |index: u32| (u64::from(index) * chunks).div_ceil(count);
        let (begin, end) = (edge(self.index), edge(self.index + 1));
        let [a, b, c, d] = [content.0[8], content.0[9], content.0[10], content.0[11]];
        let turn = u64::from(u32::from_be_bytes([a, b, c, d])) % chunks.max(1);
        let (begin, end) = (begin + turn, end + turn);
        match (begin < chunks, end <= chunks) {
            (_, true) => [begin..end, 0..0],
            (true, false) => [begin..chunks, 0..end - chunks],
            (false, false) => [begin - chunks..end - chunks, 0..0],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_all_are_everything_and_no_two_have_a_chunk_in_common() {
        for (count, chunks) in [(1, 10), (3, 10), (7, 100), (50, 7), (4, 1)] {
            for byte in [0, 3, 77, 255] {
                let shares = (0..count).map(|index| Share { index, count });
                let mut all: Vec<u64> =
                    shares.flat_map(|share| share.chunks(&ContentId([byte; 32]), chunks)).flatten().collect();
                all.sort_unstable();
                assert_eq!(all, (0..chunks).collect::<Vec<_>>(), "{count} of {chunks}");
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
            assert_eq!((0..7).filter(|index| holds(Share { index: *index, count: 7 }, id)).count(), 1);
            assert!(holds(Share::ALONE, id));
        }
    }
}
