//! What the scheduler knows of one peer: how fast it is, and how far it is to be trusted.

use std::collections::BTreeSet;
use std::time::Duration;

use super::told::Told;
use super::want::Place;
use super::{Availability, RequestId};

/// Window of a peer whose rate is not known.
const FIRST_WINDOW_BYTES: u64 = 2 << 20;
const MIN_WINDOW_BYTES: u64 = 256 << 10;
const MAX_WINDOW_BYTES: u64 = 16 << 20;
/// What a window covers beyond the round trip: the queue of the slowest router, the time that the
/// last chunk takes to be whole, and slack of the disks and of our own loop. With 100 ms a path of
/// 50 ms and 100 Mbit/s was used to three quarters.
const WINDOW_SLACK: Duration = Duration::from_millis(250);
/// The same two while somebody incomplete is connected, who may want the same: what is asked for
/// before that is known is asked of a seed by everybody, and there are others to ask.
const SHARED_FIRST_WINDOW_BYTES: u64 = 512 << 10;
const SHARED_WINDOW_SLACK: Duration = Duration::from_millis(100);
/// Bytes per second of a peer whose rate is not known.
const FIRST_RATE: f64 = 524_288.0;
/// A rate is taken over at least this time of being busy.
const RATE_SAMPLE: Duration = Duration::from_millis(50);
/// Share of a new sample in the rate.
const SAMPLE_WEIGHT: f64 = 0.3;
/// What is left of the best rate for a window after a sample that did not reach it: a packet that is
/// sent again holds up all behind it, and then everything comes at once. The path is no slower, and
/// must not run dry.
const BEST_KEPT: f64 = 0.95;
/// Until a peer has been busy for so long, the path may only be finding out how fast it is.
const FINDING_OUT: Duration = Duration::from_secs(1);
/// An answer may take so many times as long as expected …
const PATIENCE: u32 = 4;
/// … and this long in any case.
const MIN_TIMEOUT: Duration = Duration::from_secs(5);
/// However slow a peer is, it is not waited for longer.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a peer that failed is left alone; doubled with each failure in a row.
const FIRST_REST: Duration = Duration::from_secs(2);
/// So many doublings.
const MAX_REST_DOUBLINGS: u32 = 5;
/// As many bad chunks, and a peer is never asked again.
const BAD_CHUNKS_TO_BAN: u32 = 3;
/// So many times more often than it delivers a peer may say to have what it has not; then it is
/// not listened to any more. Files do change while they are shared.
const LIES: u32 = 16;
/// How long a peer that has no place for us is left alone.
const BUSY_REST: Duration = Duration::from_secs(1);

pub(super) struct Peer {
    pub(super) availability: Availability,
    pub(super) requests: BTreeSet<RequestId>,
    pub(super) outstanding_bytes: u64,
    pub(super) banned: bool,
    /// Not asked before this.
    pub(super) rest_until: Duration,
    /// What it may have of what waits: every want of which it holds a chunk that waits is here;
    /// others may be, until they are met.
    pub(super) candidates: BTreeSet<Place>,
    /// What it has said to have that was not wanted then.
    pub(super) told: Told,
    /// Somebody incomplete is connected.
    pub(super) is_shared: bool,
    lies: u32,
    /// When it last had nothing to do, or delivered something.
    moved_at: Duration,
    rtt: Duration,
    /// Bytes per second while busy.
    rate: Option<f64>,
    /// The best of it lately.
    best_rate: f64,
    /// For how long it has been measured.
    measured: Duration,
    /// Upper bound after failures; grows back with what arrives.
    ceiling_bytes: u64,
    failures: u32,
    bad: u32,
    busy_since: Option<Duration>,
    busy: Duration,
    busy_bytes: u64,
}

impl Peer {
    pub(super) fn new(availability: Availability, rtt: Duration) -> Self {
        Self {
            availability,
            requests: BTreeSet::new(),
            outstanding_bytes: 0,
            banned: false,
            rest_until: Duration::ZERO,
            candidates: BTreeSet::new(),
            told: Told::default(),
            is_shared: false,
            lies: 0,
            moved_at: Duration::ZERO,
            rtt,
            rate: None,
            best_rate: 0.0,
            measured: Duration::ZERO,
            ceiling_bytes: MAX_WINDOW_BYTES,
            failures: 0,
            bad: 0,
            busy_since: None,
            busy: Duration::ZERO,
            busy_bytes: 0,
        }
    }

    pub(super) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// Bytes that may be under way.
    pub(super) fn window_bytes(&self) -> u64 {
        let pays_for = |rate: f64, slack| (rate * (self.rtt + slack).as_secs_f64()) as u64;
        let window = match (self.rate, self.is_shared) {
            (None, true) => SHARED_FIRST_WINDOW_BYTES,
            (Some(rate), true) => pays_for(rate, SHARED_WINDOW_SLACK),
            (None, false) => FIRST_WINDOW_BYTES,
            (Some(_), false) => {
                let least = if self.measured < FINDING_OUT { FIRST_WINDOW_BYTES } else { 0 };
                pays_for(self.best_rate, WINDOW_SLACK).max(least)
            }
        };
        window.min(self.ceiling_bytes).clamp(MIN_WINDOW_BYTES, MAX_WINDOW_BYTES)
    }

    /// How much to ask for now, 0 for nothing: half a window at a time, so that the next request
    /// is there before the last answer ends, and no dribble of tiny requests.
    pub(super) fn budget_bytes(&self) -> u64 {
        let window = self.window_bytes();
        let free = window.saturating_sub(self.outstanding_bytes);
        if free < window / 4 { 0 } else { free.min(window / 2) }
    }

    /// How long until it will have answered what it was asked for.
    pub(super) fn backlog(&self) -> Duration {
        let rate = self.rate.unwrap_or(FIRST_RATE).max(1.0);
        let seconds = (self.outstanding_bytes as f64 / rate).min(MAX_TIMEOUT.as_secs_f64());
        self.rtt + Duration::from_secs_f64(seconds)
    }

    /// How long until it will have answered, if it takes as long as it has been silent by now.
    pub(super) fn doubtful_backlog(&self, now: Duration) -> Duration {
        let silent =
            if self.outstanding_bytes > 0 { now.saturating_sub(self.moved_at) } else { Duration::ZERO };
        self.backlog().max(silent)
    }

    /// How long it would take to get so much, asked now.
    pub(super) fn time_for(&self, bytes: u64) -> Duration {
        let rate = self.rate.unwrap_or(FIRST_RATE).max(1.0);
        self.backlog() + Duration::from_secs_f64((bytes as f64 / rate).min(MAX_TIMEOUT.as_secs_f64()))
    }

    /// Whether what it says to have is believed.
    pub(super) fn is_believed(&self) -> bool {
        self.lies < LIES
    }

    /// It does not have what it has said to have.
    pub(super) fn on_lie(&mut self) {
        self.lies += 1;
    }

    /// How long a request may go on without anything arriving.
    pub(super) fn patience(&self) -> Duration {
        (self.backlog() * PATIENCE).clamp(MIN_TIMEOUT, MAX_TIMEOUT)
    }

    pub(super) fn on_asked(&mut self, now: Duration, request: RequestId, bytes: u64) {
        self.requests.insert(request);
        if self.outstanding_bytes == 0 {
            self.moved_at = now;
        }
        self.outstanding_bytes += bytes;
        self.busy_since.get_or_insert(now);
    }

    pub(super) fn on_arrived(&mut self, now: Duration, bytes: u64) {
        self.failures = 0;
        self.lies = self.lies.saturating_sub(1);
        self.moved_at = now;
        self.ceiling_bytes = (self.ceiling_bytes + bytes).min(MAX_WINDOW_BYTES);
        self.busy_bytes += bytes;
        if let Some(since) = self.busy_since {
            self.busy += now.saturating_sub(since);
            self.busy_since = Some(now);
        }
        if self.busy >= RATE_SAMPLE.max(self.rtt) {
            let sample = self.busy_bytes as f64 / self.busy.as_secs_f64();
            self.rate = Some(self.rate.map_or(sample, |rate| rate + (sample - rate) * SAMPLE_WEIGHT));
            self.best_rate = sample.max(self.best_rate * BEST_KEPT);
            self.measured += self.busy;
            (self.busy, self.busy_bytes) = (Duration::ZERO, 0);
        }
    }

    /// So many bytes are no longer under way, for whatever reason.
    pub(super) fn on_settled(&mut self, bytes: u64) {
        self.outstanding_bytes = self.outstanding_bytes.saturating_sub(bytes);
        if self.outstanding_bytes == 0 {
            self.busy_since = None;
        }
    }

    /// A request failed or took too long: it gets less, and later.
    pub(super) fn on_failed(&mut self, now: Duration) {
        self.ceiling_bytes = (self.window_bytes() / 2).max(MIN_WINDOW_BYTES);
        self.rest_until = now + FIRST_REST * 2u32.pow(self.failures.min(MAX_REST_DOUBLINGS));
        self.failures += 1;
    }

    /// It has no place for us now.
    pub(super) fn on_busy(&mut self, now: Duration) {
        self.rest_until = now + BUSY_REST;
    }

    /// Whether that was one too many.
    pub(super) fn on_bad(&mut self) -> bool {
        self.bad += 1;
        self.banned |= self.bad >= BAD_CHUNKS_TO_BAN;
        self.banned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(10);

    /// A peer that is always busy, and delivers so much in each tick.
    fn busy(ticks: u32, bytes: u64) -> (Peer, Duration) {
        let mut peer = Peer::new(Availability::Everything, Duration::from_millis(50));
        peer.on_asked(Duration::ZERO, RequestId(1), 1 << 40);
        (1..=ticks).for_each(|n| peer.on_arrived(TICK * n, bytes));
        (peer, TICK * ticks)
    }

    #[test]
    fn a_packet_that_is_sent_again_does_not_shrink_the_window() {
        let (mut peer, now) = busy(200, 125_000);
        let before = peer.window_bytes();
        peer.on_arrived(now + Duration::from_millis(200), 1_000);
        assert!(peer.window_bytes() * 10 > before * 9, "{} of {before}", peer.window_bytes());
    }

    #[test]
    fn a_slow_start_does_not_shrink_the_first_window() {
        let (peer, _) = busy(10, 1_000);
        assert_eq!(peer.window_bytes(), FIRST_WINDOW_BYTES);
        let (peer, _) = busy(200, 1_000);
        assert_eq!(peer.window_bytes(), MIN_WINDOW_BYTES);
    }
}
