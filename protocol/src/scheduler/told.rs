//! What a peer has said to have before it was wanted here.
//!
//! Downloaders are not all at the same place: who is ahead tells of contents that others want only
//! later, and who joins late is told before it knows what it wants. Bounded: the oldest goes first.

use std::collections::{BTreeMap, VecDeque};

use crate::entry::ContentId;
use crate::message::{ContentPrefix, Run};

/// Contents that are remembered of a peer: four windows of small files, half a MiB.
const MOST_CONTENTS: usize = 16_384;
/// Runs of chunks that are remembered of a peer: 256 KiB.
const MOST_RUNS: usize = 32_768;
/// All chunks.
pub(super) const WHOLE: Run = Run { first: 0, count: u32::MAX };

#[derive(Default)]
pub(super) struct Told {
    known: BTreeMap<ContentPrefix, Vec<Run>>,
    /// By age; may name what is forgotten.
    order: VecDeque<ContentPrefix>,
    runs: usize,
}

impl Told {
    pub(super) fn note(&mut self, content: ContentPrefix, runs: &[Run]) {
        let known = self.known.entry(content).or_insert_with(|| {
            self.order.push_back(content);
            Vec::new()
        });
        if known.first() == Some(&WHOLE) {
            return;
        }
        if runs.first() == Some(&WHOLE) {
            self.runs -= known.len();
            known.clear();
        }
        known.extend(runs);
        self.runs += runs.len();
        while self.known.len() > MOST_CONTENTS
            || self.runs > MOST_RUNS
            || self.order.len() > 2 * MOST_CONTENTS
        {
            let Some(oldest) = self.order.pop_front() else { break };
            self.drop_known(&oldest);
        }
    }

    pub(super) fn of(&self, content: &ContentId) -> &[Run] {
        self.known.get(&ContentPrefix::of(content)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn forget(&mut self, content: &ContentId) {
        self.drop_known(&ContentPrefix::of(content));
    }

    fn drop_known(&mut self, content: &ContentPrefix) {
        if let Some(runs) = self.known.remove(content) {
            self.runs -= runs.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_the_whole_replaces_its_parts() {
        let mut told = Told::default();
        let id = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            ContentId(id)
        };
        for n in 0..=MOST_CONTENTS {
            told.note(ContentPrefix::of(&id(n)), &[Run { first: 1, count: 2 }]);
        }
        assert!(told.of(&id(0)).is_empty());
        assert_eq!(told.of(&id(1)), [Run { first: 1, count: 2 }]);
        told.note(ContentPrefix::of(&id(1)), &[WHOLE]);
        assert_eq!(told.of(&id(1)), [WHOLE]);
        let many: Vec<_> = (0..MOST_RUNS as u32).map(|n| Run { first: 2 * n, count: 1 }).collect();
        told.note(ContentPrefix::of(&id(9)), &many);
        assert!(told.runs <= MOST_RUNS && told.known.len() <= MOST_CONTENTS);
    }
}
