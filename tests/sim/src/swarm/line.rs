//! An uplink: places for a few answers, whose chunks leave one after the other.
//!
//! As the daemon does it: so many answers at a time, peers taking turns for a place; who finds none
//! for a while hears so.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::message::ChunkWanted;
use protocol::scheduler::RequestId;

/// Answers that have a place at a time …
const PLACES: usize = 8;
/// … each for so long; then it goes on without.
const HELD_FOR: Duration = Duration::from_secs(3);
/// How long it is waited for a place.
pub(super) const WAIT: Duration = Duration::from_secs(4);
/// Requests that wait.
const MOST_WAITING: usize = 256;

struct Answer {
    by: usize,
    request: RequestId,
    chunks: VecDeque<ChunkWanted>,
    since: Duration,
}

/// A chunk that is leaving.
#[derive(Clone, Copy)]
pub(super) struct Sending {
    pub(super) by: usize,
    pub(super) request: RequestId,
    pub(super) chunk: ChunkWanted,
    pub(super) begun: Duration,
    pub(super) bytes: u64,
    /// No other has this.
    pub(super) number: u64,
}

/// What is to be sent, and to whom.
pub(super) struct Line {
    /// Bytes a second.
    rate: u64,
    pub(super) sent: u64,
    sending: Option<Sending>,
    count: u64,
    answers: VecDeque<Answer>,
    waiting: BTreeMap<usize, VecDeque<Answer>>,
    turns: VecDeque<usize>,
    waiting_count: usize,
}

impl Line {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate,
            sent: 0,
            sending: None,
            count: 0,
            answers: VecDeque::new(),
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
            waiting_count: 0,
        }
    }

    /// Somebody asks. Whether there is room to wait.
    pub(super) fn ask(
        &mut self,
        now: Duration,
        by: usize,
        request: RequestId,
        refs: Vec<ChunkWanted>,
    ) -> bool {
        self.admit(now);
        if self.waiting_count >= MOST_WAITING {
            return false;
        }
        let queue = self.waiting.entry(by).or_default();
        if queue.is_empty() {
            self.turns.push_back(by);
        }
        queue.push_back(Answer { by, request, chunks: refs.into(), since: now });
        self.waiting_count += 1;
        self.admit(now);
        true
    }

    /// Whether a request still waits for a place.
    pub(super) fn waits(&self, by: usize, request: RequestId) -> bool {
        self.waiting.get(&by).is_some_and(|queue| queue.iter().any(|answer| answer.request == request))
    }

    /// Gives the free places to those whose turn it is.
    pub(super) fn admit(&mut self, now: Duration) {
        let mut taken = self.answers.iter().filter(|answer| answer.since + HELD_FOR > now).count();
        while taken < PLACES {
            let Some(by) = self.turns.pop_front() else { return };
            let Some(queue) = self.waiting.get_mut(&by) else { continue };
            if let Some(answer) = queue.pop_front() {
                self.waiting_count -= 1;
                self.answers.push_back(Answer { since: now, ..answer });
                taken += 1;
            }
            if queue.is_empty() {
                self.waiting.remove(&by);
            } else {
                self.turns.push_back(by);
            }
        }
    }

    /// The next chunk, unless one is leaving.
    pub(super) fn next(&mut self, now: Duration) -> Option<(usize, RequestId, ChunkWanted)> {
        if self.sending.is_some() {
            return None;
        }
        self.admit(now);
        let mut answer = self.answers.pop_front()?;
        let chunk = answer.chunks.pop_front()?;
        let next = (answer.by, answer.request, chunk);
        if !answer.chunks.is_empty() {
            self.answers.push_back(answer);
        }
        Some(next)
    }

    /// A chunk begins to leave: when it will have left, and which it is.
    pub(super) fn send(
        &mut self,
        now: Duration,
        (by, request, chunk): (usize, RequestId, ChunkWanted),
        bytes: u64,
    ) -> (Duration, u64) {
        self.count += 1;
        self.sending = Some(Sending { by, request, chunk, begun: now, bytes, number: self.count });
        (now + time(bytes, self.rate), self.count)
    }

    /// A chunk has left, unless it was taken back.
    pub(super) fn has_sent(&mut self, number: u64) -> Option<Sending> {
        let sent = self.sending.take_if(|sending| sending.number == number)?;
        self.sent += sent.bytes;
        Some(sent)
    }

    /// A request is taken back. How many bytes have left in vain.
    pub(super) fn forget(&mut self, now: Duration, by: usize, request: RequestId) -> u64 {
        self.answers.retain(|answer| (answer.by, answer.request) != (by, request));
        if let Some(queue) = self.waiting.get_mut(&by) {
            let before = queue.len();
            queue.retain(|answer| answer.request != request);
            self.waiting_count -= before - queue.len();
        }
        let cut = self.sending.take_if(|sending| (sending.by, sending.request) == (by, request));
        let bytes = cut.map_or(0, |cut| cut.bytes.min(bytes(now - cut.begun, self.rate)));
        self.sent += bytes;
        bytes
    }

    pub(super) fn forget_asker(&mut self, by: usize) {
        self.answers.retain(|answer| answer.by != by);
        self.waiting_count -= self.waiting.remove(&by).map_or(0, |queue| queue.len());
        self.sending.take_if(|sending| sending.by == by);
    }

    pub(super) fn clear(&mut self) {
        *self = Self { sent: self.sent, count: self.count, ..Self::new(self.rate) };
    }
}

/// How long so many bytes take.
pub(super) fn time(bytes: u64, rate: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate.max(1))
}

fn bytes(time: Duration, rate: u64) -> u64 {
    (time.as_secs_f64() * rate as f64) as u64
}
