//! Which folder wants which trackers, what is to be asked next, and what came of it. Pure: times are
//! since the start, jitter is an argument, the deed is the caller's.
//!
//! All trackers of a folder are asked, side by side, but for alternatives that stand by: see `listed`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use keystore::{DiscoveryId, FolderId};

use super::line::{Line, Row};
use super::listed::{LineKey, Listed, Listing, families};
use super::swarm::{Heard, Step};
use super::url::{Scheme, TrackerUrl};
use super::{Family, TrackerError};
use crate::discovery::Reachable;

/// A change of our port is told after this long, in case there is another right behind it…
const PORT_SETTLES: Duration = Duration::from_secs(3);
/// …and after this long when the last change is not older than [`PORT_IS_STEADY`].
const PORT_SETTLES_SLOWLY: Duration = Duration::from_secs(60);
const PORT_IS_STEADY: Duration = Duration::from_secs(300);

/// One request that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) line: LineKey,
    pub(super) folder: FolderId,
    pub(super) discovery: DiscoveryId,
    pub(super) step: Step,
    /// How often in a row the tracker has not answered.
    pub(super) failures: u32,
}

/// What came of a request.
pub(super) type Outcome = Result<Heard, TrackerError>;

/// What `status` shows of one tracker of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) source: String,
    pub(super) row: Row,
    /// It is not asked while another answers that was named as an alternative before it.
    pub(super) stands_by: bool,
}

#[derive(Debug)]
pub(super) struct Book {
    folders: HashMap<FolderId, Listed>,
    lines: BTreeMap<LineKey, Line>,
    reachable: Reachable,
    last_change: Option<Duration>,
    is_ending: bool,
}

impl Book {
    pub(super) fn new(reachable: Reachable) -> Self {
        Self {
            folders: HashMap::new(),
            lines: BTreeMap::new(),
            reachable,
            last_change: None,
            is_ending: false,
        }
    }

    /// Replaces a folder's trackers.
    pub(super) fn set_folder(
        &mut self,
        folder: FolderId,
        discovery: DiscoveryId,
        trackers: &[String],
        now: Duration,
    ) {
        if self.is_ending {
            return;
        }
        let old = self.folders.remove(&folder);
        let mut listed = Listed::parse(discovery, trackers);
        listed.asked = self.to_ask(&listed);
        listed.asked.iter().for_each(|key| self.want(key, discovery, folder, now));
        if let Some(old) = old {
            let is_kept = |key: &LineKey| old.discovery == discovery && listed.asked.contains(key);
            self.unwant(&old, |key| !is_kept(key), now);
        }
        if !listed.is_empty() {
            self.folders.insert(folder, listed);
            self.choose(folder, now);
        }
    }

    /// Of a folder's alternatives, asks those that are to be asked as things stand.
    fn choose(&mut self, folder: FolderId, now: Duration) {
        // Who is asked more may be known to fail, for another folder.
        while let Some(mut listed) = self.folders.remove(&folder) {
            let to_ask = self.to_ask(&listed);
            let is_settled = to_ask == listed.asked;
            to_ask.difference(&listed.asked).for_each(|key| self.want(key, listed.discovery, folder, now));
            self.unwant(&listed, |key| !to_ask.contains(key), now);
            listed.asked = to_ask;
            self.folders.insert(folder, listed);
            if is_settled {
                return;
            }
        }
    }

    /// The same for all folders for which it may be others now.
    fn choose_all(&mut self, now: Duration) {
        let all = self.folders.iter().filter(|(_, listed)| listed.has_alternatives());
        let all: Vec<FolderId> = all.map(|(folder, _)| *folder).collect();
        all.into_iter().for_each(|folder| self.choose(folder, now));
    }

    fn to_ask(&self, listed: &Listed) -> BTreeSet<LineKey> {
        listed.to_ask(|url| {
            let is_out_of_reach =
                families(url).into_iter().all(|family| port_of(self.reachable, family).is_none());
            is_out_of_reach || self.row(url, &listed.discovery).is_well == Some(false)
        })
    }

    fn want(&mut self, key: &LineKey, discovery: DiscoveryId, folder: FolderId, now: Duration) {
        let new = || Line::new(port_of(self.reachable, key.1), key.0.scheme == Scheme::Udp);
        self.lines.entry(key.clone()).or_insert_with(new).want(discovery, folder, now);
    }

    /// Tells all its trackers that we are gone.
    pub(super) fn remove_folder(&mut self, folder: FolderId, now: Duration) {
        if let Some(old) = self.folders.remove(&folder) {
            self.unwant(&old, |_| true, now);
        }
    }

    fn unwant(&mut self, old: &Listed, is_left: impl Fn(&LineKey) -> bool, now: Duration) {
        for key in old.asked.iter().filter(|key| is_left(key)) {
            if let Some(line) = self.lines.get_mut(key) {
                line.unwant(&old.discovery, now);
            }
        }
        self.drop_empty_lines();
    }

    /// The ports under which we are reached have changed.
    pub(super) fn handle_reachable(&mut self, reachable: Reachable, now: Duration) {
        let was_steady = self.last_change.is_none_or(|last| now.saturating_sub(last) > PORT_IS_STEADY);
        let soon = now + if was_steady { PORT_SETTLES } else { PORT_SETTLES_SLOWLY };
        for ((_, family), line) in &mut self.lines {
            let port = port_of(reachable, *family);
            if port != port_of(self.reachable, *family) {
                line.set_port(port, soon);
            }
        }
        self.reachable = reachable;
        self.last_change = Some(now);
        self.drop_empty_lines();
        self.choose_all(now);
    }

    /// The network has changed.
    pub(super) fn handle_network_change(&mut self, now: Duration) {
        for line in self.lines.values_mut() {
            line.hasten(now);
        }
    }

    /// Takes everything back; nothing is added any more.
    pub(super) fn end(&mut self, now: Duration) {
        self.is_ending = true;
        self.folders.clear();
        for line in self.lines.values_mut() {
            line.end(now);
        }
        self.drop_empty_lines();
    }

    /// Whether everything was taken back.
    pub(super) fn has_ended(&self) -> bool {
        self.is_ending && self.lines.is_empty()
    }

    /// The next request that may be made now; it is under way until [`Book::handle_outcome`].
    pub(super) fn poll(&mut self, now: Duration) -> Option<Job> {
        self.lines.iter_mut().find_map(|(key, line)| {
            let (discovery, folder, step) = line.poll(now)?;
            Some(Job { line: key.clone(), folder, discovery, step, failures: line.failures() })
        })
    }

    /// When [`Book::poll`] has something; `None`: not before something happens.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.lines.values().filter_map(Line::next_due).min()
    }

    /// What came of a request.
    pub(super) fn handle_outcome(&mut self, job: &Job, outcome: Outcome, now: Duration, jitter: u8) {
        let Some(line) = self.lines.get_mut(&job.line) else { return };
        match outcome {
            Ok(heard) => line.handle_answer(&job.discovery, job.step, heard, now, jitter),
            Err(_) if job.step == Step::Count => line.handle_no_count(&job.discovery, now),
            Err(error) if error.is_refusal() => {
                line.handle_refusal(&job.discovery, error.to_string(), now, jitter);
            }
            Err(error @ TrackerError::NoAddress { .. }) => {
                line.handle_absence(&job.discovery, error.to_string(), now);
            }
            Err(error) => line.handle_failure(&job.discovery, job.step, error.to_string(), now, jitter),
        }
        self.drop_empty_lines();
        self.choose_all(now);
    }

    /// One row for each tracker of a folder, in the order in which they were given.
    pub(super) fn status(&self, folder: FolderId) -> Vec<Shown> {
        let Some(listed) = self.folders.get(&folder) else { return Vec::new() };
        let shown = |Listing { source, url }: &Listing| {
            let (row, stands_by) = match url {
                Ok(url) => (self.row(url, &listed.discovery), listed.stands_by(url)),
                Err(error) => (Row { error: Some(error.clone()), ..Row::default() }, false),
            };
            Shown { source: source.clone(), row, stands_by }
        };
        listed.items.iter().flatten().map(shown).collect()
    }

    /// Both families in one: what is well over one of them needs no mention of the other.
    fn row(&self, url: &TrackerUrl, discovery: &DiscoveryId) -> Row {
        let lines = families(url).into_iter().filter_map(|family| self.lines.get(&(url.clone(), family)));
        let rows: Vec<Row> =
            lines.filter(|line| line.is_active()).filter_map(|line| line.row(discovery)).collect();
        let is_well = rows.iter().any(|row| row.is_well == Some(true));
        // That there is no such address matters only if it leaves no way at all.
        let (absent, present): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_absent);
        let next = |rows: &[&Row]| rows.iter().filter_map(|row| row.next).min();
        let mut errors = present.iter().chain(&absent).filter_map(|row| row.error.clone());
        let is_undecided = present.iter().any(|row| row.is_well.is_none());
        Row {
            last_announce: rows.iter().filter_map(|row| row.last_announce).max(),
            next: next(&present).or(next(&absent)),
            found: rows.iter().map(|row| row.found).sum(),
            error: if is_well || is_undecided { None } else { errors.next() },
            is_well: (!is_undecided && !rows.is_empty()).then_some(is_well),
            is_absent: false,
        }
    }

    fn drop_empty_lines(&mut self) {
        self.lines.retain(|_, line| !line.is_empty());
    }
}

fn port_of(reachable: Reachable, family: Family) -> Option<u16> {
    match family {
        Family::V4 => reachable.v4,
        Family::V6 => reachable.v6,
    }
}

#[cfg(test)]
mod tests;
