//! A congestion controller for long paths: as much under way as is delivered in a round trip, and
//! half as much again.
//!
//! It is BBR's idea in its plainest form. The path's rate is the most that was delivered in one of
//! the last [`ROUNDS`] round trips, its length the shortest round trip of the last [`PROBE_EVERY`].
//! What is lost does not count as long as the rest arrives: radios lose packets that no queue has
//! dropped. Losing much does count, since then the rate is no longer what it was. The half that is
//! under way beyond the need waits in the queue of the slowest router: there it fills gaps, and
//! finds out whether the path has become faster. (quinn's own BBR takes rates from single
//! acknowledgements, which are noise: it overfilled a queue of 100 ms until a quarter was dropped.)
//!
//! Others have to live beside it, and it beside them. In a short queue the half beyond the need would
//! overflow it all the time, and a flow of Cubic starve: so it gives way when more is lost in a round
//! than radios lose. In a long queue that others keep full it would be pushed out, so it becomes more.
//!
//! quinn paces: it spreads a window over a round trip.

use std::any::Any;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use quinn::congestion::Controller;
use quinn_proto::RttEstimator;

/// Packets under way before anything is known.
const INITIAL_PACKETS: u64 = 128;
/// However bad the path, so many may be under way.
const MIN_PACKETS: u64 = 8;
/// The rate is the best of so many rounds.
const ROUNDS: usize = 10;
/// Under way, in relation to what the path holds …
const GAIN: f64 = 1.5;
/// … where the queue is so short that this is too much for it: others have to live there too …
const MIN_GAIN: f64 = 1.0;
/// … and at most, while others fill the queue and would push us out of it.
const MAX_GAIN: f64 = 2.5;
/// That it is others shows in even the shortest round trip being so much longer than all that we have
/// under way takes.
const OTHERS: f64 = 1.1;
/// More than this share is seldom lost by radios, and is a sign of a queue that overflows.
const OVERFLOWS: f64 = 0.01;
/// What is left of the gain after a round in which it did.
const GAIN_KEPT: f64 = 0.9;
/// By how much the gain changes in a round otherwise.
const GAIN_STEP: f64 = 0.02;
/// What acknowledgements may lag behind beyond that, in packets.
const SLACK_PACKETS: u64 = 16;
/// A path whose rate has grown by less than this in a round is full.
const GROWTH: f64 = 1.25;
/// And so it is when the shortest of [`SAMPLES`] round trips is so much longer than the path's: a
/// queue has formed. Not waiting for the end of the round keeps it from doubling once more, which is
/// more than the queues of most routers hold.
const QUEUED: f64 = 1.125;
/// More packets than travel in one burst, of which only the first finds no queue.
const SAMPLES: u32 = 32;
/// Beyond this share the losses of a round are a queue's.
const MUCH_LOST: f64 = 0.1;
/// Of the rate, so much is believed after such a round, at least.
const KEPT: f64 = 0.7;
/// How long a shortest round trip is believed. Then less is sent for a moment, so that our own
/// queue does not pass for distance.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// What is under way meanwhile, in relation to what the path holds.
const PROBE_GAIN: f64 = 0.5;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Delivered {
    mtu: u64,
    window: u64,
    phase: Phase,
    gain: f64,
    /// Bytes a second, of the last rounds that were not short of data.
    rates: VecDeque<f64>,
    shortest: Option<(Duration, Instant)>,
    round: Round,
    /// The shortest of the last few round trips, and how many these are.
    lately: (Duration, u32),
    last_sent: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// Doubling each round; the rate to beat, and for how many rounds it was not.
    Growing {
        best: f64,
        rounds_without: u8,
    },
    /// The path is full; what is under way stays as it is until a whole round with it has shown the
    /// rate, which the rounds of growth have not.
    Full {
        /// The last packet that was sent before.
        since: u64,
    },
    Steady,
    /// Sending less until then, with the shortest round trip found so far.
    Probing {
        until: Instant,
        found: Duration,
    },
}

/// What has happened since a moment: until a packet that is sent later is acknowledged.
#[derive(Debug, Clone)]
struct Round {
    since: Instant,
    /// The last packet that was sent before it, with whose successor it ends.
    ends_after: u64,
    acked: u64,
    lost: u64,
    is_short_of_data: bool,
    shortest: Option<Duration>,
}

impl Round {
    fn new(since: Instant, ends_after: u64) -> Self {
        Self { since, ends_after, acked: 0, lost: 0, is_short_of_data: false, shortest: None }
    }
}

impl Delivered {
    /// From here on: what was sent before, up to this packet, says nothing of a whole round.
    pub(super) fn new(now: Instant, mtu: u16, last_sent: u64) -> Self {
        let mtu = u64::from(mtu);
        Self {
            mtu,
            window: INITIAL_PACKETS * mtu,
            phase: Phase::Growing { best: 0.0, rounds_without: 0 },
            gain: GAIN,
            rates: VecDeque::new(),
            shortest: None,
            round: Round::new(now, last_sent),
            lately: (Duration::MAX, 0),
            last_sent,
        }
    }

    #[cfg(test)]
    pub(super) fn round_ends_after(&self) -> u64 {
        self.round.ends_after
    }

    /// Bytes that the path holds, by all that is known.
    fn holds(&self) -> Option<f64> {
        let rate = self.rates.iter().copied().reduce(f64::max)?;
        Some(rate * self.shortest?.0.as_secs_f64())
    }

    fn end_round(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Round::new(now, self.last_sent));
        let elapsed = now.saturating_duration_since(round.since).as_secs_f64();
        if elapsed == 0.0 || round.acked == 0 {
            return;
        }
        let rate = round.acked as f64 / elapsed;
        let lost = round.lost as f64 / (round.acked + round.lost) as f64;
        let best = self.rates.iter().copied().fold(0.0, f64::max);
        let is_probing = matches!(self.phase, Phase::Probing { .. });
        if lost > MUCH_LOST {
            self.rates.clear();
            self.rates.push_back(rate.max(best * KEPT));
        } else if rate > best || !(round.is_short_of_data || is_probing) {
            self.rates.push_back(rate);
            self.rates.drain(..self.rates.len().saturating_sub(ROUNDS));
        }
        self.judge_queue(&round, lost);
        self.judge_growth(&round, rate, lost);
    }

    fn judge_growth(&mut self, round: &Round, rate: f64, lost: f64) {
        match &mut self.phase {
            Phase::Growing { best, rounds_without } => {
                if rate >= *best * GROWTH {
                    (*best, *rounds_without) = (rate, 0);
                } else if !round.is_short_of_data {
                    *rounds_without += 1;
                }
                if *rounds_without > 1 || lost > MUCH_LOST {
                    self.phase = Phase::Steady;
                }
            }
            Phase::Full { since } if round.ends_after >= *since => self.phase = Phase::Steady,
            _ => {}
        }
    }

    fn judge_queue(&mut self, round: &Round, lost: f64) {
        let best = self.rates.iter().copied().fold(0.0, f64::max);
        let ours = self.window as f64 / best;
        self.gain = if lost > OVERFLOWS {
            (self.gain * GAIN_KEPT).max(MIN_GAIN)
        } else if round.is_short_of_data {
            self.gain
        } else if round.shortest.is_some_and(|now| now.as_secs_f64() > ours * OTHERS) {
            (self.gain + GAIN_STEP).min(MAX_GAIN)
        } else if self.gain > GAIN {
            (self.gain - GAIN_STEP).max(GAIN)
        } else {
            (self.gain + GAIN_STEP).min(GAIN)
        };
    }

    /// Whether the last few packets all had to wait; looked at each time that there are enough.
    fn is_queued(&mut self, sample: Duration) -> bool {
        let (shortest, count) = &mut self.lately;
        (*shortest, *count) = (sample.min(*shortest), *count + 1);
        if *count < SAMPLES {
            return false;
        }
        let (lately, _) = std::mem::replace(&mut self.lately, (Duration::MAX, 0));
        self.shortest.is_some_and(|(ever, _)| lately > ever.mul_f64(QUEUED))
    }

    fn measure(&mut self, now: Instant, sample: Duration) {
        self.round.shortest = Some(self.round.shortest.map_or(sample, |shortest| shortest.min(sample)));
        if let Phase::Probing { found, .. } = &mut self.phase {
            *found = sample.min(*found);
        }
        if self.shortest.is_none_or(|(shortest, _)| sample <= shortest) {
            self.shortest = Some((sample, now));
        }
    }

    /// Asks the path for its length when the answer has become old.
    fn probe(&mut self, now: Instant, smoothed: Duration) {
        match (&self.phase, self.shortest) {
            (Phase::Steady, Some((_, at))) if now.saturating_duration_since(at) > PROBE_EVERY => {
                // One round trip until the queue is empty, another until that shows.
                let until = now + smoothed.mul_f64(2.5);
                self.phase = Phase::Probing { until, found: Duration::MAX };
            }
            (Phase::Probing { until, found }, _) if now >= *until && *found < Duration::MAX => {
                self.shortest = Some((*found, now));
                self.phase = Phase::Steady;
            }
            _ => {}
        }
    }

    fn handle_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        is_short_of_data: bool,
        smoothed: Duration,
    ) {
        self.round.acked += bytes;
        let sample = now.saturating_duration_since(sent);
        self.measure(now, sample);
        self.probe(now, smoothed);
        // Single packets are acknowledged late, which is no queue.
        if is_short_of_data || !matches!(self.phase, Phase::Growing { .. }) {
            return;
        }
        if self.is_queued(sample) {
            self.phase = Phase::Full { since: self.last_sent };
        } else {
            self.window += bytes;
        }
    }

    fn set_window(&mut self) {
        let gain = match self.phase {
            Phase::Growing { .. } | Phase::Full { .. } => return,
            Phase::Steady => self.gain,
            Phase::Probing { .. } => PROBE_GAIN,
        };
        if let Some(holds) = self.holds() {
            let window = (holds * gain) as u64 + SLACK_PACKETS * self.mtu;
            self.window = window.max(MIN_PACKETS * self.mtu);
        }
    }
}

impl Controller for Delivered {
    fn on_sent(&mut self, _now: Instant, _bytes: u64, last_packet_number: u64) {
        self.last_sent = last_packet_number;
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.handle_ack(now, sent, bytes, app_limited, rtt.get());
    }

    fn on_end_acks(&mut self, now: Instant, _in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.round.is_short_of_data |= app_limited;
        if largest.is_some_and(|largest| largest > self.round.ends_after) {
            self.end_round(now);
        }
        self.set_window();
    }

    fn on_congestion_event(&mut self, now: Instant, _sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.round.lost += lost_bytes;
        if is_persistent {
            // Nothing has arrived for long: whatever the path is now, it is not what it was.
            let mtu = u16::try_from(self.mtu).unwrap_or(u16::MAX);
            *self = Self::new(now, mtu, self.last_sent);
            self.window = MIN_PACKETS * self.mtu;
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        let mtu = u64::from(new_mtu);
        if let Phase::Growing { .. } = self.phase {
            // So many packets as before: no rate is known that would say how many bytes.
            self.window = self.window * mtu / self.mtu;
        }
        self.mtu = mtu;
        self.window = self.window.max(MIN_PACKETS * mtu);
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_PACKETS * self.mtu
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
#[path = "delivered_tests.rs"]
mod tests;
