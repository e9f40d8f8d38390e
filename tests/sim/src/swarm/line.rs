//! An uplink: one chunk after the other, the askers taking turns.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::message::ChunkWanted;
use protocol::scheduler::RequestId;

/// What is to be sent, and to whom.
pub(super) struct Line {
    /// Bytes a second.
    rate: u64,
    pub(super) is_busy: bool,
    pub(super) sent: u64,
    waiting: BTreeMap<usize, VecDeque<(RequestId, ChunkWanted)>>,
    turns: VecDeque<usize>,
}

impl Line {
    pub(super) fn new(rate: u64) -> Self {
        Self { rate, is_busy: false, sent: 0, waiting: BTreeMap::new(), turns: VecDeque::new() }
    }

    pub(super) fn ask(&mut self, by: usize, chunks: impl Iterator<Item = (RequestId, ChunkWanted)>) {
        let queue = self.waiting.entry(by).or_default();
        if queue.is_empty() {
            self.turns.push_back(by);
        }
        queue.extend(chunks);
    }

    pub(super) fn next(&mut self) -> Option<(usize, RequestId, ChunkWanted)> {
        loop {
            let by = self.turns.pop_front()?;
            let Some(queue) = self.waiting.get_mut(&by) else { continue };
            let Some((request, chunk)) = queue.pop_front() else { continue };
            if queue.is_empty() {
                self.waiting.remove(&by);
            } else {
                self.turns.push_back(by);
            }
            return Some((by, request, chunk));
        }
    }

    /// Sends so much; how long it takes.
    pub(super) fn send(&mut self, bytes: u64) -> Duration {
        self.is_busy = true;
        self.sent += bytes;
        time(bytes, self.rate)
    }

    pub(super) fn forget(&mut self, by: usize, request: RequestId) {
        if let Some(queue) = self.waiting.get_mut(&by) {
            queue.retain(|(id, _)| *id != request);
        }
    }

    pub(super) fn forget_asker(&mut self, by: usize) {
        self.waiting.remove(&by);
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// How long so many bytes take.
pub(super) fn time(bytes: u64, rate: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate.max(1))
}
