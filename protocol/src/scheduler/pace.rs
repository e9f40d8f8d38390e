//! How a fetch goes as a whole, over all peers.

use std::time::Duration;

/// In a swarm no more is asked for ahead than arrives in this time, so that what is chosen is still
/// the best choice when its turn comes …
const AHEAD: Duration = Duration::from_secs(2);
/// … or than this part of what others have: who has much to choose from, since it is late or unlucky,
/// gets more and catches up …
const AHEAD_PART: u64 = 4;
/// … but so much in any case.
const MIN_AHEAD_BYTES: u64 = 2 << 20;
/// The total rate is taken over this long.
const SAMPLE: Duration = Duration::from_millis(500);

/// How things go as a whole.
#[derive(Default)]
pub(super) struct Pace {
    outstanding_bytes: u64,
    /// Bytes per second, over all peers.
    rate: u64,
    sampled_at: Duration,
    sample_bytes: u64,
    /// When somebody has last got what nobody had.
    pub(super) progress_at: Duration,
    /// Since when a seed could be asked, but for what others seem to fetch; and for how long that is
    /// left to them.
    pub(super) held: Option<(Duration, Duration)>,
}

impl Pace {
    pub(super) fn on_arrived(&mut self, now: Duration, bytes: u64) {
        self.sample_bytes += bytes;
        let passed = now.saturating_sub(self.sampled_at);
        if passed >= SAMPLE {
            self.rate = (self.sample_bytes as f64 / passed.as_secs_f64()) as u64;
            (self.sampled_at, self.sample_bytes) = (now, 0);
        }
    }

    pub(super) fn on_asked(&mut self, bytes: u64) {
        self.outstanding_bytes += bytes;
    }

    pub(super) fn on_settled(&mut self, bytes: u64) {
        self.outstanding_bytes = self.outstanding_bytes.saturating_sub(bytes);
    }

    pub(super) fn on_progress(&mut self, now: Duration) {
        self.progress_at = now;
    }

    /// Whether enough is under way, when others have `common_bytes` of what is still to be asked for.
    pub(super) fn is_far_ahead(&self, common_bytes: u64) -> bool {
        let enough = MIN_AHEAD_BYTES.max(self.rate * AHEAD.as_secs()).max(common_bytes / AHEAD_PART);
        self.outstanding_bytes >= enough
    }
}
