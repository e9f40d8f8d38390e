//! One folder at one tracker over one address family: what the tracker was told, what comes next,
//! and when. Pure: times are since the start, jitter is an argument.

use std::time::Duration;

use keystore::FolderId;

use crate::tracker::wire::Event;

/// How often trackers are asked that do not say how often they want it.
pub(super) const USUAL_INTERVAL: Duration = Duration::from_secs(1800);
/// At most this often, whatever else happens…
const LEAST_INTERVAL: Duration = Duration::from_secs(60);
/// …except at trackers whose own interval is shorter: whoever runs one for a few devices wants them
/// to meet quickly. This is the floor for them too.
const LEAST_OF_ALL: Duration = Duration::from_secs(5);
/// After longer than this a tracker may have forgotten us, whatever interval it asked for.
const MOST_INTERVAL: Duration = Duration::from_secs(3600);
/// A tracker's own least interval is obeyed up to this.
const MOST_LEAST_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// The pause after the first refusal; it doubles up to [`USUAL_INTERVAL`]. The operator may just be
/// adding us to the list.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);
/// The pause after the first attempt that was not answered. An attempt over UDP has lasted 2 s and
/// 15 s by then, so together this is the schedule of BEP 15, 15·2ⁿ s; but it ends at half an hour
/// instead of 64 minutes, so that a tracker that has come back is found within the usual interval.
pub(super) const AFTER_SILENCE: Duration = Duration::from_secs(30);

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Started, stopped or nothing special.
    pub(super) event: Event,
    /// The port that is announced.
    pub(super) port: u16,
}

/// What an answer said about when to ask again, and what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The tracker's interval.
    pub(super) interval: Option<Duration>,
    /// The least one.
    pub(super) min_interval: Option<Duration>,
    /// Addresses of others.
    pub(super) found: usize,
}

#[derive(Debug)]
pub(super) struct Swarm {
    pub(super) folder: FolderId,
    /// When there is something to say.
    pub(super) due: Duration,
    /// The port under which the tracker knows us; `None`: it does not.
    told: Option<u16>,
    /// Whether the folder still wants this tracker.
    pub(super) is_wanted: bool,
    pub(super) last_announce: Option<Duration>,
    pub(super) found: usize,
    pub(super) error: Option<String>,
    refusals: u32,
    silences: u32,
}

impl Swarm {
    pub(super) fn new(folder: FolderId, now: Duration) -> Self {
        Self {
            folder,
            due: now,
            told: None,
            is_wanted: true,
            last_announce: None,
            found: 0,
            error: None,
            refusals: 0,
            silences: 0,
        }
    }

    /// What is to be said when it is due, if we are reached at `port`. What the tracker knows of a
    /// port that is ours no more is taken back first, or others would go on dialling it.
    pub(super) fn step(&self, port: u16) -> Step {
        match self.told {
            Some(told) if !self.is_wanted || told != port => Step { event: Event::Stopped, port: told },
            Some(_) => Step { event: Event::None, port },
            None => Step { event: Event::Started, port },
        }
    }

    /// Whether nothing is left to be said.
    pub(super) fn is_over(&self) -> bool {
        !self.is_wanted && self.told.is_none()
    }

    pub(super) fn want(&mut self, folder: FolderId, now: Duration) {
        self.folder = folder;
        if !self.is_wanted {
            (self.is_wanted, self.due) = (true, now);
        }
    }

    pub(super) fn unwant(&mut self, now: Duration) {
        (self.is_wanted, self.due) = (false, now);
    }

    /// Forgets that the tracker knows us, since it cannot be told otherwise.
    pub(super) fn forget(&mut self) {
        self.told = None;
    }

    /// The tracker has answered an announce.
    pub(super) fn handle_announced(&mut self, port: u16, heard: Heard, now: Duration, jitter: u8) {
        self.told = Some(port);
        self.last_announce = Some(now);
        self.found = heard.found;
        self.error = None;
        (self.refusals, self.silences) = (0, 0);
        self.due = if self.is_wanted { now + pause(heard, jitter) } else { now };
    }

    /// The tracker was told that we go, or cannot be told.
    pub(super) fn handle_stopped(&mut self, now: Duration) {
        self.told = None;
        self.due = now;
    }

    pub(super) fn handle_refused(&mut self, error: String, now: Duration, jitter: u8) {
        self.due = now + backoff(AFTER_REFUSAL, self.refusals, jitter);
        (self.refusals, self.silences) = (self.refusals.saturating_add(1), 0);
        self.error = Some(error);
        self.told = None;
    }

    /// There was no answer to an announce; perhaps for this folder alone, so it is not the next to try.
    pub(super) fn handle_silence(&mut self, now: Duration, jitter: u8) {
        if !self.is_wanted {
            self.forget();
        }
        self.due = now + backoff(AFTER_SILENCE, self.silences, jitter);
        self.silences = self.silences.saturating_add(1);
    }

    /// We are now reached at another port: soon, if the tracker knows an old one.
    pub(super) fn handle_port(&mut self, port: u16, soon: Duration) {
        if self.told.is_some_and(|told| told != port) {
            self.due = self.due.min(soon);
        }
    }

    /// Something has changed that makes it worth asking before the interval is over.
    pub(super) fn hasten(&mut self, now: Duration) {
        let earliest = self.last_announce.map_or(now, |last| now.max(last + LEAST_INTERVAL));
        self.due = self.due.min(earliest);
    }
}

/// The pause after some failures in a row: it doubles up to [`USUAL_INTERVAL`], and jitter makes it
/// up to a quarter longer.
pub(super) fn backoff(first: Duration, failures: u32, jitter: u8) -> Duration {
    let pause = first.saturating_mul(1 << failures.min(10)).min(USUAL_INTERVAL);
    pause + pause.mul_f64(f64::from(jitter) / 1024.0)
}

/// How long until the next announce. Some percent shorter than the tracker's interval, so that we
/// are there again before it has forgotten us, and devices that started together drift apart. Who
/// is alone asks as often as the tracker expressly allows.
fn pause(heard: Heard, jitter: u8) -> Duration {
    let interval = heard.interval.filter(|interval| !interval.is_zero()).unwrap_or(USUAL_INTERVAL);
    let least = heard.min_interval.unwrap_or_default().min(MOST_LEAST_INTERVAL);
    let floor = LEAST_INTERVAL.min(interval).max(LEAST_OF_ALL).max(least);
    let wanted = match heard.min_interval {
        Some(least) if heard.found == 0 => interval.min(least),
        _ => interval,
    };
    let jittered = wanted.mul_f64(0.9 + f64::from(jitter) / 2550.0);
    jittered.clamp(floor, MOST_INTERVAL.max(floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);
    const FOLDER: FolderId = FolderId([1; 16]);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn heard(interval: Option<u64>, min_interval: Option<u64>, found: usize) -> Heard {
        Heard { interval: interval.map(seconds), min_interval: min_interval.map(seconds), found }
    }

    #[test]
    fn the_interval_of_the_tracker_is_kept_within_bounds() {
        // (interval, least interval, found) and the next announce, at the least and the most jitter.
        let cases = [
            (heard(Some(1800), None, 1), 1620, 1800),
            (heard(None, None, 1), 1620, 1800),
            (heard(Some(0), None, 1), 1620, 1800),
            (heard(Some(100_000), None, 1), 3600, 3600),
            (heard(Some(1800), Some(900), 1), 1620, 1800),
            (heard(Some(1800), Some(1750), 1), 1750, 1800),
            (heard(Some(1800), Some(7200), 1), 7200, 7200),
            (heard(Some(1800), Some(u64::from(u32::MAX)), 1), 86_400, 86_400),
            // Alone: as soon as is expressly allowed.
            (heard(Some(1800), Some(900), 0), 900, 900),
            (heard(Some(1800), Some(1), 0), 60, 60),
            (heard(Some(1800), None, 0), 1620, 1800),
            // Only a tracker that says so is asked more often than once a minute.
            (heard(Some(61), None, 1), 60, 61),
            (heard(Some(30), None, 1), 30, 30),
            (heard(Some(1), None, 1), 5, 5),
        ];
        for (heard, least, most) in cases {
            assert_eq!(pause(heard, 0).as_secs(), least, "{heard:?}");
            assert_eq!(pause(heard, 255).as_secs_f64().round() as u64, most, "{heard:?}");
        }
    }

    #[test]
    fn first_comes_started_then_nothing_special_and_last_stopped() {
        let mut swarm = Swarm::new(FOLDER, START);
        assert_eq!(swarm.step(7), Step { event: Event::Started, port: 7 });
        swarm.handle_announced(7, heard(Some(1800), None, 1), START, 0);
        assert_eq!(swarm.step(7), Step { event: Event::None, port: 7 });
        assert_eq!(swarm.due, START + seconds(1620));
        swarm.unwant(START);
        assert_eq!(swarm.step(7), Step { event: Event::Stopped, port: 7 });
        assert_eq!((swarm.due, swarm.is_over()), (START, false));
        swarm.handle_stopped(START);
        assert!(swarm.is_over());
    }

    #[test]
    fn a_port_that_is_ours_no_more_is_taken_back_before_the_new_one_is_announced() {
        let mut swarm = Swarm::new(FOLDER, START);
        swarm.handle_announced(7, heard(Some(1800), None, 1), START, 0);
        swarm.handle_port(8, START + seconds(3));
        assert_eq!(swarm.due, START + seconds(3));
        assert_eq!(swarm.step(8), Step { event: Event::Stopped, port: 7 });
        swarm.handle_stopped(START + seconds(3));
        assert_eq!(swarm.due, START + seconds(3));
        assert_eq!(swarm.step(8), Step { event: Event::Started, port: 8 });
    }

    #[test]
    fn whoever_is_refused_asks_ever_more_rarely_until_it_is_not() {
        let mut swarm = Swarm::new(FOLDER, START);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            swarm.handle_refused("no".to_owned(), START, 0);
            pauses.push((swarm.due - START).as_secs());
        }
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1800, 1800]);
        assert_eq!(swarm.error.as_deref(), Some("no"));
        swarm.handle_announced(7, heard(None, None, 0), START, 0);
        assert_eq!(swarm.error, None);
        swarm.handle_refused("no".to_owned(), START, 255);
        assert_eq!((swarm.due - START).as_secs(), 74);
        assert_eq!(swarm.step(7).event, Event::Started);
    }

    #[test]
    fn haste_has_its_limit_too() {
        let mut swarm = Swarm::new(FOLDER, START);
        swarm.handle_announced(7, heard(Some(1800), None, 1), START, 0);
        swarm.hasten(START + seconds(1));
        assert_eq!(swarm.due, START + seconds(60));
        swarm.hasten(START + seconds(500));
        assert_eq!(swarm.due, START + seconds(60), "never later than it was");
    }
}
