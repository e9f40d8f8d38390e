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
/// Who is alone, at a tracker that names no least interval, counts this often, and announces itself
/// when somebody has come: otherwise one who cannot be dialled, and so must dial, would hear of
/// another half an hour late. A count is one small datagram each way, and tells the tracker nothing.
const COUNT_EVERY: Duration = Duration::from_secs(300);
/// The pause after the first refusal; it doubles up to [`USUAL_INTERVAL`]. The operator may just be
/// adding us to the list.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);
/// The pause after the first attempt that was not answered. An attempt over UDP has lasted 2 s and
/// 15 s by then, so together this is the schedule of BEP 15, 15·2ⁿ s; but it ends at half an hour
/// instead of 64 minutes, so that a tracker that has come back is found within the usual interval.
pub(super) const AFTER_SILENCE: Duration = Duration::from_secs(30);

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Tell of ourselves, and ask for others.
    Announce {
        /// Started, stopped or nothing special.
        event: Event,
        /// The port that is announced.
        port: u16,
    },
    /// Only ask how many there are.
    Count,
}

impl Step {
    pub(super) fn is_stop(self) -> bool {
        matches!(self, Self::Announce { event: Event::Stopped, .. })
    }
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
    /// How many there are, as the tracker counts; perhaps with us.
    pub(super) total: u32,
}

#[derive(Debug)]
pub(super) struct Swarm {
    pub(super) folder: FolderId,
    /// When there is something to say.
    pub(super) due: Duration,
    /// When it is time to announce; what is due before is to count.
    pub(super) next_announce: Duration,
    /// Whether a count costs next to nothing, and the tracker answers it.
    can_count: bool,
    /// The last count.
    total: u32,
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
    pub(super) fn new(folder: FolderId, can_count: bool, now: Duration) -> Self {
        Self {
            folder,
            due: now,
            next_announce: now,
            can_count,
            total: 0,
            told: None,
            is_wanted: true,
            last_announce: None,
            found: 0,
            error: None,
            refusals: 0,
            silences: 0,
        }
    }

    /// What is to be said now that it is due, if we are reached at `port`. What the tracker knows of
    /// a port that is ours no more is taken back first, or others would go on dialling it.
    pub(super) fn step(&self, port: u16, now: Duration) -> Step {
        let (event, port) = match self.told {
            Some(told) if !self.is_wanted || told != port => (Event::Stopped, told),
            Some(_) if now < self.next_announce => return Step::Count,
            Some(_) => (Event::None, port),
            None => (Event::Started, port),
        };
        Step::Announce { event, port }
    }

    /// Whether nothing is left to be said.
    pub(super) fn is_over(&self) -> bool {
        !self.is_wanted && self.told.is_none()
    }

    pub(super) fn want(&mut self, folder: FolderId, now: Duration) {
        self.folder = folder;
        if !self.is_wanted {
            self.is_wanted = true;
            self.announce_at(now);
        }
    }

    pub(super) fn unwant(&mut self, now: Duration) {
        self.is_wanted = false;
        self.announce_at(now);
    }

    fn announce_at(&mut self, at: Duration) {
        (self.due, self.next_announce) = (at, at);
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
        self.total = heard.total;
        self.announce_at(if self.is_wanted { now + pause(heard, jitter) } else { now });
        self.count_while_alone(now);
    }

    /// The tracker has said how many there are, or that it does not say.
    pub(super) fn handle_counted(&mut self, total: Option<u32>, now: Duration) {
        match total {
            None => {
                self.can_count = false;
                self.due = self.next_announce;
            }
            // Somebody has come: to be heard of, we announce ourselves.
            Some(total) if total > self.total => self.announce_at(now),
            Some(total) => {
                self.total = total;
                self.due = self.next_announce;
                self.count_while_alone(now);
            }
        }
    }

    fn count_while_alone(&mut self, now: Duration) {
        if self.can_count && self.is_wanted && self.found == 0 {
            self.due = self.due.min(now + COUNT_EVERY);
        }
    }

    /// The tracker was told that we go, or cannot be told.
    pub(super) fn handle_stopped(&mut self, now: Duration) {
        self.told = None;
        self.announce_at(now);
    }

    pub(super) fn handle_refused(&mut self, error: String, now: Duration, jitter: u8) {
        self.announce_at(now + backoff(AFTER_REFUSAL, self.refusals, jitter));
        (self.refusals, self.silences) = (self.refusals.saturating_add(1), 0);
        self.error = Some(error);
        self.told = None;
    }

    /// There was no answer to an announce; perhaps for this folder alone, so it is not the next to try.
    pub(super) fn handle_silence(&mut self, now: Duration, jitter: u8) {
        if !self.is_wanted {
            self.forget();
        }
        self.announce_at(now + backoff(AFTER_SILENCE, self.silences, jitter));
        self.silences = self.silences.saturating_add(1);
    }

    /// We are now reached at another port: soon, if the tracker knows an old one.
    pub(super) fn handle_port(&mut self, port: u16, soon: Duration) {
        if self.told.is_some_and(|told| told != port) {
            self.announce_at(self.next_announce.min(soon));
        }
    }

    /// Something has changed that makes it worth asking before the interval is over.
    pub(super) fn hasten(&mut self, now: Duration) {
        let earliest = self.last_announce.map_or(now, |last| now.max(last + LEAST_INTERVAL));
        if earliest < self.next_announce {
            self.announce_at(earliest);
        }
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
        Heard { interval: interval.map(seconds), min_interval: min_interval.map(seconds), found, total: 1 }
    }

    fn says(event: Event, port: u16) -> Step {
        Step::Announce { event, port }
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
        let mut swarm = Swarm::new(FOLDER, true, START);
        assert_eq!(swarm.step(7, START), says(Event::Started, 7));
        swarm.handle_announced(7, heard(Some(1800), None, 1), START, 0);
        assert_eq!(swarm.step(7, swarm.due), says(Event::None, 7));
        assert_eq!(swarm.due, START + seconds(1620));
        swarm.unwant(START);
        assert_eq!(swarm.step(7, START), says(Event::Stopped, 7));
        assert_eq!((swarm.due, swarm.is_over()), (START, false));
        swarm.handle_stopped(START);
        assert!(swarm.is_over());
    }

    #[test]
    fn a_port_that_is_ours_no_more_is_taken_back_before_the_new_one_is_announced() {
        let mut swarm = Swarm::new(FOLDER, true, START);
        swarm.handle_announced(7, heard(Some(1800), None, 1), START, 0);
        swarm.handle_port(8, START + seconds(3));
        assert_eq!(swarm.due, START + seconds(3));
        assert_eq!(swarm.step(8, START), says(Event::Stopped, 7));
        swarm.handle_stopped(START + seconds(3));
        assert_eq!(swarm.due, START + seconds(3));
        assert_eq!(swarm.step(8, START), says(Event::Started, 8));
    }

    #[test]
    fn whoever_is_refused_asks_ever_more_rarely_until_it_is_not() {
        let mut swarm = Swarm::new(FOLDER, true, START);
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
        assert_eq!(swarm.step(7, START), says(Event::Started, 7));
    }

    #[test]
    fn who_is_alone_counts_and_announces_itself_when_somebody_has_come() {
        let mut swarm = Swarm::new(FOLDER, true, START);
        swarm.handle_announced(7, heard(Some(1800), None, 0), START, 0);
        let mut now = START;
        for _ in 0..5 {
            assert_eq!(swarm.due, now + seconds(300));
            now = swarm.due;
            assert_eq!(swarm.step(7, now), Step::Count);
            swarm.handle_counted(Some(1), now);
        }
        assert_eq!(swarm.due, START + seconds(1620));
        assert_eq!(swarm.step(7, swarm.due), says(Event::None, 7));
        swarm.handle_announced(7, heard(Some(1800), None, 0), swarm.due, 0);
        now = swarm.due;
        swarm.handle_counted(Some(2), now);
        assert_eq!((swarm.due, swarm.step(7, now)), (now, says(Event::None, 7)));
        swarm.handle_announced(7, heard(Some(1800), None, 1), now, 0);
        assert_eq!(swarm.due, now + seconds(1620), "with company there is nothing to count");

        // What does not count is not asked to.
        swarm.handle_announced(7, heard(Some(1800), None, 0), now, 0);
        swarm.handle_counted(None, swarm.due);
        assert_eq!(swarm.due, now + seconds(1620));
        swarm.handle_announced(7, heard(Some(1800), None, 0), now, 0);
        assert_eq!(swarm.due, now + seconds(1620));
    }

    #[test]
    fn haste_has_its_limit_too() {
        let mut swarm = Swarm::new(FOLDER, true, START);
        swarm.handle_announced(7, heard(Some(1800), None, 1), START, 0);
        swarm.hasten(START + seconds(1));
        assert_eq!(swarm.due, START + seconds(60));
        swarm.hasten(START + seconds(500));
        assert_eq!(swarm.due, START + seconds(60), "never later than it was");
    }
}
