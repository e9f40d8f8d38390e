//! The time since the tracker has started, in the units that its parts count in.

use std::time::{Duration, Instant};

use super::swarms::Tick;

/// Minutes at the start, so that peers from the state file can be older than the process.
const FIRST_MINUTE: u64 = 1 << 20;

/// Counts from the start of the process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

/// One moment.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    since_start: Duration,
}

impl Clock {
    /// Starts to count.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// This moment.
    pub fn now(&self) -> Now {
        Now { since_start: self.start.elapsed() }
    }
}

impl Now {
    /// So long after the start.
    pub fn at(since_start: Duration) -> Self {
        Self { since_start }
    }

    /// How long the tracker has been running.
    pub fn since_start(&self) -> Duration {
        self.since_start
    }

    /// Microseconds since the start.
    pub fn micros(&self) -> u64 {
        u64::try_from(self.since_start.as_micros()).unwrap_or(u64::MAX)
    }

    /// The minute, for swarms.
    pub fn tick(&self) -> Tick {
        Tick::of_minute(FIRST_MINUTE + self.since_start.as_secs() / 60)
    }
}
