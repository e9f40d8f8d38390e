//! When a folder is looked up and announced. Pure: the time is an argument.
//!
//! Both happen in one *turn*: the lookup finds the nodes that the announcement goes to, so that this
//! costs one more packet for each of them, and only an announcement shows whether anybody answers.
//! A turn is some hundred packets of a hundred bytes; nodes forget an announcement after 30 minutes
//! or more.

use std::time::Duration;

/// After a start, the pauses between turns: soon at first, since the other side may just have
/// started and is not announced yet; the last one is kept.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(20),
    Duration::from_secs(60),
    Duration::from_secs(180),
    Duration::from_secs(420),
    Duration::from_secs(15 * 60),
];
/// After a turn in which nobody has answered.
const RETRY: Duration = Duration::from_secs(30);
/// When all are to look again, their turns begin within this time, but for a single folder at once.
const SPREAD: Duration = Duration::from_secs(5);
/// No turn begins sooner after the one before, whatever happens.
const AT_LEAST: Duration = Duration::from_secs(10);

/// The turns of one folder.
#[derive(Debug)]
pub(super) struct Pace {
    step: usize,
    due: Duration,
    last: Option<Duration>,
    has_failed: bool,
}

impl Pace {
    /// The first turn is due at once.
    pub(super) fn new(now: Duration) -> Self {
        Self { step: 0, due: now, last: None, has_failed: false }
    }

    /// When the next turn is due.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// A turn has ended. `jitter` (0 to 255) takes up to a quarter from the pause, so that neither
    /// folders nor devices keep in step.
    pub(super) fn handle_turn(&mut self, was_answered: bool, now: Duration, jitter: u8) {
        let pause = if was_answered { PAUSES[self.step] } else { RETRY };
        if was_answered {
            self.step = (self.step + 1).min(PAUSES.len() - 1);
        }
        self.has_failed = !was_answered;
        self.last = Some(now);
        self.due = now + pause - pause / 4 * u32::from(jitter) / 255;
    }

    /// There are nodes to ask again: what the last turn could not do need not wait.
    pub(super) fn handle_entry(&mut self, now: Duration, jitter: u8) {
        if self.has_failed {
            self.handle_change(now, jitter);
        }
    }

    /// Something has changed that makes a turn worth while: another network, another port.
    pub(super) fn handle_change(&mut self, now: Duration, jitter: u8) {
        self.step = 0;
        let spread = SPREAD * u32::from(jitter) / 255;
        let earliest = self.last.map_or(now, |last| last + AT_LEAST);
        self.due = self.due.min(earliest.max(now + spread));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn turns_are_quick_at_first_and_slow_at_rest() {
        let mut pace = Pace::new(at(0));
        let mut times = Vec::new();
        while times.len() < 7 {
            times.push(pace.due().as_secs());
            pace.handle_turn(true, pace.due(), 0);
        }
        assert_eq!(times, [0, 20, 80, 260, 680, 1580, 2480]);
    }

    #[test]
    fn jitter_takes_at_most_a_quarter() {
        for (jitter, rest) in [(0, 900), (255, 675)] {
            let mut pace = Pace::new(at(0));
            (0..5).for_each(|_| pace.handle_turn(true, at(0), jitter));
            assert_eq!(pace.due(), at(rest));
        }
    }

    #[test]
    fn while_nobody_answers_it_is_tried_every_half_minute() {
        let mut pace = Pace::new(at(0));
        pace.handle_turn(true, at(0), 0);
        for n in 1..20 {
            pace.handle_turn(false, at(30 * n), 0);
            assert_eq!(pace.due(), at(30 * (n + 1)));
        }
        pace.handle_turn(true, at(600), 0);
        assert_eq!(pace.due(), at(660));
    }

    #[test]
    fn a_turn_that_has_failed_is_made_up_for_as_soon_as_there_are_nodes_to_ask() {
        let mut pace = Pace::new(at(0));
        pace.handle_turn(true, at(0), 0);
        pace.handle_entry(at(5), 0);
        assert_eq!(pace.due(), at(20));
        pace.handle_turn(false, at(20), 0);
        pace.handle_entry(at(40), 0);
        assert_eq!(pace.due(), at(40));
    }

    #[test]
    fn a_change_brings_a_turn_soon_but_not_in_a_flood() {
        let mut pace = Pace::new(at(0));
        (0..5).for_each(|_| pace.handle_turn(true, at(100), 0));
        pace.handle_change(at(500), 255);
        assert_eq!(pace.due(), at(505));
        pace.handle_turn(true, at(505), 0);
        pace.handle_change(at(506), 0);
        assert_eq!(pace.due(), at(515));
        pace.handle_change(at(514), 255);
        assert_eq!(pace.due(), at(515), "a change never puts off what is due");
    }
}
