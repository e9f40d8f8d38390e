//! When a packet comes out at the other end of a line, if it does.

use std::time::Duration;

use harness::Seed;

use super::Line;

/// How long packets may wait for those before them; a router of the usual kind has as much memory.
const QUEUE: Duration = Duration::from_millis(100);

/// One direction of a line. Time is a [`Duration`] since any fixed start.
pub(super) struct Way {
    line: Line,
    chance: Seed,
    /// When the last packet has left.
    free: Duration,
}

impl Way {
    pub(super) fn new(line: Line, seed: u64) -> Self {
        Self { line, chance: Seed::new(seed), free: Duration::ZERO }
    }

    /// When a packet of that many bytes that is sent now arrives; `None` if it is lost, or the queue
    /// is full. Packets never overtake each other.
    pub(super) fn admit(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let is_lost = self.chance.below(1_000_000) < self.line.lost_per_million as usize;
        let start = self.free.max(now);
        if is_lost || start - now > QUEUE {
            return None;
        }
        let nanos = bytes as u64 * 8 * 1_000_000_000 / self.line.bits_per_second;
        self.free = start + Duration::from_nanos(nanos);
        Some(self.free + self.line.delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line =
        Line { delay: Duration::from_millis(25), bits_per_second: 100_000_000, lost_per_million: 0 };

    #[test]
    fn packets_wait_for_those_before_them_and_then_travel() {
        let mut way = Way::new(LINE, 1);
        let arrivals: Vec<_> = (0..3).filter_map(|_| way.admit(Duration::ZERO, 1_250)).collect();
        assert_eq!(arrivals, [25_100, 25_200, 25_300].map(Duration::from_micros));
        let later = Duration::from_secs(1);
        assert_eq!(way.admit(later, 1_250), Some(later + Duration::from_micros(25_100)));
    }

    #[test]
    fn what_would_wait_too_long_is_dropped() {
        let mut way = Way::new(LINE, 1);
        let admitted = (0..2_000).filter(|_| way.admit(Duration::ZERO, 1_250).is_some()).count();
        assert_eq!(admitted, 1_001);
        assert!(way.admit(Duration::from_millis(1), 1_250).is_some());
    }

    #[test]
    fn as_many_are_lost_as_was_said() {
        let mut way = Way::new(Line { lost_per_million: 1_000, ..LINE }, 1);
        let lost = (0..100_000).filter(|n| way.admit(Duration::from_millis(*n), 100).is_none()).count();
        assert!((60..140).contains(&lost), "{lost}");
    }
}
