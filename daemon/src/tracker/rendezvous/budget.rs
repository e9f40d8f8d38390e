//! A budget that fills up steadily. Pure: the time is an argument.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// So many tokens at once, and so many more in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    most: f64,
    per_second: f64,
    left: f64,
    at: Duration,
}

impl Budget {
    /// A full budget.
    pub(super) fn new(most: f64, per_second: f64, now: Duration) -> Self {
        Self { most, per_second, left: most, at: now }
    }

    /// So many in a minute, and as many at once.
    pub(super) fn per_minute(count: u32, now: Duration) -> Self {
        Self::new(f64::from(count), f64::from(count) / 60.0, now)
    }

    /// Takes one token, if there is one.
    pub(super) fn take_one(&mut self, now: Duration) -> bool {
        self.fill(now);
        let is_there = self.left >= 1.0;
        if is_there {
            self.left -= 1.0;
        }
        is_there
    }

    /// Takes tokens, into debt if need be; returns how long to wait until it is paid.
    pub(super) fn spend(&mut self, amount: f64, now: Duration) -> Option<Duration> {
        self.fill(now);
        self.left -= amount;
        (self.left < 0.0).then(|| Duration::from_secs_f64(-self.left / self.per_second))
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.most);
        self.at = now;
    }
}

/// A rate that all relays keep together; clones share it.
#[derive(Clone, Debug)]
pub struct TotalRate {
    start: Instant,
    budget: Arc<Mutex<Budget>>,
}

impl TotalRate {
    /// So many bytes a second, and a tenth of that at once.
    pub fn new(bytes_per_second: u64) -> Self {
        let rate = bytes_per_second.max(1) as f64;
        let budget = Budget::new(rate / 10.0, rate, Duration::ZERO);
        Self { start: Instant::now(), budget: Arc::new(Mutex::new(budget)) }
    }

    /// Takes what was passed on; how long the one who has passed it on is to wait.
    pub(super) fn spend(&self, bytes: usize) -> Option<Duration> {
        self.budget.lock().spend(bytes as f64, self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn so_many_at_once_and_then_no_more_than_the_rate() {
        let mut budget = Budget::per_minute(60, at(0));
        let mut taken = |range: std::ops::Range<u64>| range.filter(|ms| budget.take_one(at(*ms))).count();
        assert_eq!(taken(0..1000), 60);
        assert_eq!(taken(1000..11_000), 10);
    }

    #[test]
    fn a_debt_is_waited_for() {
        let mut budget = Budget::new(100.0, 1000.0, at(0));
        assert_eq!(budget.spend(100.0, at(0)), None);
        assert_eq!(budget.spend(500.0, at(0)), Some(at(500)));
        assert_eq!(budget.spend(1.0, at(600)), None);
    }
}
