mod alternatives;
mod history;

use super::*;
use crate::tracker::wire::Event;

const BOTH: Reachable = Reachable { v4: Some(4), v6: Some(6) };
const ONLY_V4: Reachable = Reachable { v4: Some(4), v6: None };
const ONE: &str = "udp://192.0.2.1:1";
const TWO: &str = "udp://192.0.2.2:2";
const NAME: &str = "udp://tracker.example:3";

/// A book and its time.
struct Story {
    book: Book,
    now: Duration,
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn id(number: u16) -> (FolderId, DiscoveryId) {
    let [high, low] = number.to_be_bytes();
    let (mut folder, mut discovery) = ([0; 16], [0; 20]);
    (folder[0], folder[1], discovery[0], discovery[1]) = (high, low, high, low);
    (FolderId(folder), DiscoveryId(discovery))
}

fn answer(found: usize) -> Outcome {
    Ok(Heard { interval: Some(seconds(1800)), min_interval: None, found, total: 1 })
}

fn silence() -> Outcome {
    Err(TrackerError::Silent { address: ([192, 0, 2, 1], 1).into() })
}

fn absence(family: Family) -> Outcome {
    Err(TrackerError::NoAddress { host: "tracker.example".to_owned(), family })
}

fn refusal() -> Outcome {
    Err(TrackerError::NotListed(id(1).1))
}

impl Story {
    fn new(reachable: Reachable) -> Self {
        Self { book: Book::new(reachable), now: seconds(10_000) }
    }

    fn set(&mut self, folder: u16, trackers: &[&str]) {
        let trackers: Vec<String> = trackers.iter().map(|&tracker| tracker.to_owned()).collect();
        self.book.set_folder(id(folder).0, id(folder).1, &trackers, self.now);
    }

    /// All requests that may be made now.
    fn jobs(&mut self) -> Vec<Job> {
        std::iter::from_fn(|| self.book.poll(self.now)).collect()
    }

    fn job(&mut self) -> Job {
        self.book.poll(self.now).expect("a request")
    }

    fn done(&mut self, job: &Job, outcome: Outcome) {
        self.book.handle_outcome(job, outcome, self.now, 0);
    }

    /// Passes the time until something is due; returns how many seconds.
    fn wait(&mut self) -> u64 {
        let due = self.book.next_due().expect("something is due").max(self.now);
        let waited = due - self.now;
        self.now = due;
        waited.as_secs()
    }

    fn row(&self, folder: u16) -> Row {
        let [shown] = &self.book.status(id(folder).0)[..] else { panic!("one tracker") };
        shown.row.clone()
    }
}

fn event(job: &Job) -> Event {
    let Step::Announce { event, .. } = job.step else { panic!("an announce: {job:?}") };
    event
}

fn said(job: &Job) -> (String, Event, u16) {
    let Step::Announce { event, port } = job.step else { panic!("an announce: {job:?}") };
    (job.line.0.to_string(), event, port)
}

#[test]
fn every_tracker_is_told_at_once_over_every_family_that_we_are_reached_over() {
    let mut story = Story::new(BOTH);
    story.set(1, &[ONE, "udp://[2001:db8::1]:1", NAME]);
    let mut all: Vec<_> = story.jobs().iter().map(said).collect();
    all.sort_by_key(|(url, _, port)| (url.clone(), *port));
    let started = |url: &str, port| (url.to_owned(), Event::Started, port);
    let expected = [started(ONE, 4), started("udp://[2001:db8::1]:1", 6), started(NAME, 4), started(NAME, 6)];
    assert_eq!(all, expected);

    let mut story = Story::new(ONLY_V4);
    story.set(1, &["udp://[2001:db8::1]:1", NAME]);
    assert_eq!(story.jobs().iter().map(said).collect::<Vec<_>>(), [started(NAME, 4)]);
    assert_eq!(story.book.next_due(), None);
}

#[test]
fn a_dead_tracker_does_not_hold_up_the_living_one() {
    let mut story = Story::new(ONLY_V4);
    for folder in 1..=3 {
        story.set(folder, &[ONE, TWO]);
    }
    for job in story.jobs() {
        if job.line.0.to_string() == TWO {
            story.done(&job, answer(2));
        }
    }
    // The dead one still has its one request under way.
    let rest = story.jobs();
    assert_eq!(rest.len(), 2);
    for job in rest {
        assert_eq!(job.line.0.to_string(), TWO);
        story.done(&job, answer(2));
    }
    for folder in 1..=3 {
        let status = story.book.status(id(folder).0);
        assert_eq!((status[1].row.found, &status[1].row.error), (2, &None), "{folder}");
        assert_eq!(status[0].row.last_announce, None);
    }
}

#[test]
fn a_thousand_folders_knock_once_where_nobody_is_and_ever_more_rarely() {
    let mut story = Story::new(ONLY_V4);
    for folder in 0..1000 {
        story.set(folder, &[ONE]);
    }
    let mut pauses = Vec::new();
    for attempt in 0..8 {
        let jobs = story.jobs();
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].failures, attempt, "its other addresses are tried");
        assert_eq!(story.book.next_due(), None);
        story.done(&jobs[0], silence());
        pauses.push(story.wait());
    }
    assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1800, 1800]);
    for folder in [0, 999] {
        assert!(story.row(folder).error.expect("all folders show it").contains("does not answer"));
    }
    // It is back: all are told.
    while story.book.status(id(999).0)[0].row.last_announce.is_none() {
        for job in story.jobs() {
            story.done(&job, answer(0));
        }
        story.wait();
    }
    assert_eq!(story.row(0).error, None);
}

#[test]
fn a_thousand_folders_do_not_flood_the_tracker_that_they_share() {
    let mut story = Story::new(ONLY_V4);
    for folder in 0..1000 {
        story.set(folder, &[ONE]);
    }
    let (begin, mut told) = (story.now, 0);
    while told < 1000 {
        let jobs = story.jobs();
        assert!(jobs.len() <= 4, "{} requests at once", jobs.len());
        told += jobs.len();
        let passed = (story.now - begin).as_secs_f64();
        assert!(told as f64 <= 20.0 * passed + 22.0, "{told} requests after {passed} s");
        for job in &jobs {
            story.done(job, answer(1));
        }
        story.now += Duration::from_millis(10);
    }
    let took = story.now - begin;
    assert!(took < seconds(60), "the last one waits {took:?}");
}

#[test]
fn one_folder_that_is_refused_or_ignored_does_not_concern_the_others() {
    let mut story = Story::new(ONLY_V4);
    story.set(1, &[ONE]);
    let job = story.job();
    story.done(&job, refusal());
    story.set(2, &[ONE]);
    let job = story.job();
    assert_eq!(job.folder, id(2).0);
    story.done(&job, answer(3));
    assert!(story.row(1).error.expect("it was refused").contains(&id(1).1.to_string()));
    assert_eq!(story.row(2).error, None);
    assert_eq!(story.wait(), 60);
    let job = story.job();
    assert_eq!(job.folder, id(1).0);

    // Now it is ignored; the other is asked next, at its time.
    story.done(&job, silence());
    story.set(3, &[ONE]);
    assert_eq!(story.wait(), 30);
    let next = story.job();
    assert_eq!(next.folder, id(3).0);
    story.done(&next, answer(0));
    assert_eq!(story.row(3).error, None);
}

#[test]
fn the_trackers_that_a_folder_has_no_more_are_told_so() {
    let mut story = Story::new(ONLY_V4);
    story.set(1, &[ONE, TWO]);
    for job in story.jobs() {
        story.done(&job, answer(0));
    }
    story.set(1, &[TWO]);
    let job = story.job();
    assert_eq!(said(&job), (ONE.to_owned(), Event::Stopped, 4));
    // It is wanted again before that is through.
    story.set(1, &[ONE, TWO]);
    assert_eq!(story.jobs(), []);
    story.done(&job, answer(0));
    let job = story.job();
    assert_eq!(said(&job), (ONE.to_owned(), Event::Started, 4));
    // The folder goes while it is being announced: what was announced is taken back.
    story.book.remove_folder(id(1).0, story.now);
    assert_eq!(said(&story.job()), (TWO.to_owned(), Event::Stopped, 4));
    story.done(&job, answer(0));
    let job = story.job();
    assert_eq!(said(&job), (ONE.to_owned(), Event::Stopped, 4));
    story.done(&job, silence());
    assert_eq!((story.jobs(), story.book.lines.len()), (vec![], 1));
    assert_eq!(story.book.status(id(1).0), []);
}

#[test]
fn a_folder_with_another_discovery_id_is_another_swarm() {
    let mut story = Story::new(ONLY_V4);
    story.set(1, &[ONE]);
    let job = story.job();
    story.done(&job, answer(0));
    story.book.set_folder(id(1).0, id(9).1, &[ONE.to_owned()], story.now);
    let said: Vec<_> = story.jobs().iter().map(|job| (job.discovery, event(job))).collect();
    assert_eq!(said, [(id(1).1, Event::Stopped), (id(9).1, Event::Started)]);
}

#[test]
fn what_is_no_tracker_is_shown_and_never_asked() {
    let mut story = Story::new(BOTH);
    let many: Vec<String> = (1..=33).map(|host| format!("udp://192.0.2.{host}:1")).collect();
    let all: Vec<&str> = std::iter::once("wss://a.example").chain(many.iter().map(String::as_str)).collect();
    story.set(1, &all);
    assert_eq!(story.jobs().len(), 31);
    let status = story.book.status(id(1).0);
    assert_eq!(status.len(), 34);
    let error = |at: usize| status[at].row.error.clone().unwrap_or_default();
    assert!(error(0).contains("\"wss://a.example\" is no tracker's URL: it must begin with udp://"));
    assert_eq!(error(31), "");
    assert_eq!(error(32), "it is not asked: only 32 trackers are");
    assert_eq!(status[32].source, many[31]);
}

#[test]
fn a_new_port_is_told_soon_but_not_at_every_turn() {
    let mut story = Story::new(ONLY_V4);
    story.set(1, &[ONE]);
    let job = story.job();
    story.done(&job, answer(1));
    for (port, wait) in [(5, 3), (7, 60)] {
        story.book.handle_reachable(Reachable { v4: Some(port), v6: None }, story.now);
        assert_eq!(story.wait(), wait);
        let job = story.job();
        assert_eq!(event(&job), Event::Stopped);
        story.done(&job, answer(1));
        let job = story.job();
        assert_eq!(said(&job), (ONE.to_owned(), Event::Started, port));
        story.done(&job, answer(1));
    }
    // Another family's port changes nothing here.
    story.book.handle_reachable(Reachable { v4: Some(7), v6: Some(1) }, story.now);
    assert!(story.wait() > 1000);
    // Without a port there is nothing to say, and with one there is again.
    story.book.handle_reachable(Reachable { v4: None, v6: None }, story.now);
    assert_eq!(story.book.next_due(), None);
    story.book.handle_reachable(Reachable { v4: Some(9), v6: None }, story.now);
    story.wait();
    assert_eq!(said(&story.job()), (ONE.to_owned(), Event::Started, 9));
}

#[test]
fn one_family_that_works_is_enough() {
    let mut story = Story::new(BOTH);
    story.set(1, &[NAME]);
    let jobs = story.jobs();
    let [v4, v6] = &jobs[..] else { panic!("both families: {jobs:?}") };
    story.done(v6, silence());
    assert_eq!(story.row(1).error, None, "the other is still being asked");
    story.done(v4, answer(2));
    let row = story.row(1);
    assert_eq!((row.found, row.error, row.is_well), (2, None, Some(true)));

    // Both are silent, then one has no address at all.
    let mut story = Story::new(BOTH);
    story.set(1, &[NAME]);
    let jobs = story.jobs();
    let [v4, v6] = &jobs[..] else { panic!("both families: {jobs:?}") };
    story.done(v6, absence(Family::V6));
    story.done(v4, silence());
    assert!(story.row(1).error.expect("an error").contains("does not answer"));
    assert_eq!(story.wait(), 30);
    let again = story.job();
    assert_eq!(again.line.1, Family::V4);
    story.done(&again, absence(Family::V4));
    assert!(story.row(1).error.expect("an error").contains("no IPv4 address"));
}

#[test]
fn a_change_of_the_network_ends_the_pause_after_failures_and_shortens_intervals() {
    let mut story = Story::new(ONLY_V4);
    story.set(1, &[ONE]);
    story.set(2, &[TWO]);
    for job in story.jobs() {
        let outcome = if job.folder == id(1).0 { silence() } else { answer(1) };
        story.done(&job, outcome);
    }
    story.now += seconds(1);
    story.book.handle_network_change(story.now);
    let job = story.job();
    assert_eq!(job.folder, id(1).0);
    assert_eq!(story.jobs(), []);
    assert_eq!(story.wait(), 59, "at most once a minute");
    assert_eq!(story.job().folder, id(2).0);
}

#[test]
fn a_tracker_that_does_not_count_is_none_the_worse_for_it() {
    let web = "http://192.0.2.1/announce";
    for outcome in [silence(), refusal()] {
        let mut story = Story::new(ONLY_V4);
        story.set(1, &[ONE]);
        story.set(2, &[web]);
        for job in story.jobs() {
            story.done(&job, answer(0));
        }
        assert_eq!(story.wait(), 300);
        let job = story.job();
        assert_eq!((job.step, job.folder), (Step::Count, id(1).0), "over HTTP there is a least interval");
        story.done(&job, outcome);
        assert_eq!((story.row(1).error, story.wait()), (None, 1320));
        assert_eq!(story.jobs().iter().map(event).collect::<Vec<_>>(), [Event::None, Event::None]);
    }
}

#[test]
fn at_the_end_everything_is_taken_back() {
    let mut story = Story::new(ONLY_V4);
    for folder in 0..100 {
        story.set(folder, &[ONE]);
    }
    story.set(200, &[TWO]);
    let (dead, first): (Vec<Job>, Vec<Job>) =
        story.jobs().into_iter().partition(|job| job.folder == id(200).0);
    story.done(&dead[0], silence());
    story.done(&first[0], answer(0));
    let mut told = 1;
    while told < 100 {
        let jobs = story.jobs();
        told += jobs.len();
        jobs.iter().for_each(|job| story.done(job, answer(0)));
        story.now += seconds(1);
    }
    story.book.end(story.now);
    story.set(300, &[ONE]);
    let mut stopped = 0;
    while !story.book.has_ended() {
        let jobs = story.jobs();
        assert!(!jobs.is_empty() && jobs.len() <= 32);
        stopped += jobs.iter().filter(|job| job.step.is_stop()).count();
        for job in jobs {
            story.done(&job, answer(0));
        }
    }
    assert_eq!(stopped, 100);
}
