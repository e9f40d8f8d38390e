//! One tracker over one address family, and all folders that want it: how many requests may be under
//! way, how soon the next may begin, and how long to leave it alone when it does not answer. Pure.
//!
//! A tracker that has not yet answered, or does so no more, is asked for one folder at a time: a
//! thousand folders do not knock at a door behind which nobody is. One that answers is asked for
//! [`MAX_UNDER_WAY`] folders at a time and not more than one every [`GAP`], but for a first burst.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keystore::{DiscoveryId, FolderId};

use super::swarm::{AFTER_SILENCE, Heard, Step, Swarm, USUAL_INTERVAL, backoff};
use crate::tracker::wire::Event;

/// Requests under way at once, at a tracker that answers.
const MAX_UNDER_WAY: usize = 4;
/// The same when the daemon ends, which has no time.
const MAX_UNDER_WAY_AT_END: usize = 32;
/// The mean pause between two requests: 20 a second.
const GAP: Duration = Duration::from_millis(50);
/// Requests that may go out without a pause.
const BURST: u32 = 20;
/// What `status` shows of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) last_announce: Option<Duration>,
    /// `None` while it is being asked.
    pub(super) next: Option<Duration>,
    pub(super) found: usize,
    pub(super) error: Option<String>,
    /// Whether the last attempt was a success; `None`: there was none.
    pub(super) is_well: Option<bool>,
    /// Whether the tracker has no address of the family.
    pub(super) is_absent: bool,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    swarms: BTreeMap<DiscoveryId, Swarm>,
    /// All swarms that nothing is under way for, by when they are due.
    queue: BTreeSet<(Duration, DiscoveryId)>,
    under_way: BTreeSet<DiscoveryId>,
    /// The port that is announced; `None`: we are not reached over this family, and say nothing.
    port: Option<u16>,
    has_answered: bool,
    failures: u32,
    not_before: Duration,
    error: Option<String>,
    /// The tracker has no address of this family.
    is_absent: bool,
    /// When the allowance would be used up to nothing.
    paid_until: Duration,
    is_ending: bool,
    /// Whether a count is cheaper than an announce.
    can_count: bool,
}

impl Line {
    pub(super) fn new(port: Option<u16>, can_count: bool) -> Self {
        Self { port, can_count, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.swarms.is_empty()
    }

    pub(super) fn is_active(&self) -> bool {
        self.port.is_some()
    }

    /// How often in a row it has not answered; tells which of its addresses is to be tried.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn want(&mut self, discovery: DiscoveryId, folder: FolderId, now: Duration) {
        let can_count = self.can_count;
        self.swarms.entry(discovery).or_insert_with(|| Swarm::new(folder, can_count, now));
        self.change(&discovery, |swarm| swarm.want(folder, now));
    }

    pub(super) fn unwant(&mut self, discovery: &DiscoveryId, now: Duration) {
        let can_be_told = self.is_active() && self.failures == 0;
        self.change(discovery, |swarm| {
            swarm.unwant(now);
            if !can_be_told {
                swarm.forget();
            }
        });
    }

    /// Everything is to be taken back, quickly.
    pub(super) fn end(&mut self, now: Duration) {
        self.is_ending = true;
        let all: Vec<DiscoveryId> = self.swarms.keys().copied().collect();
        for discovery in all {
            self.unwant(&discovery, now);
        }
    }

    pub(super) fn set_port(&mut self, port: Option<u16>, soon: Duration) {
        self.port = port;
        self.change_all(|swarm| match port {
            Some(port) => swarm.handle_port(port, soon),
            None => swarm.forget(),
        });
    }

    /// The network has changed: a tracker that did not answer may do so now.
    pub(super) fn hasten(&mut self, now: Duration) {
        self.not_before = self.not_before.min(now);
        self.change_all(|swarm| swarm.hasten(now));
    }

    /// What is to be said now; then it is under way until one of the `handle_` is called.
    pub(super) fn poll(&mut self, now: Duration) -> Option<(DiscoveryId, FolderId, Step)> {
        if self.next_due().is_none_or(|due| due > now) {
            return None;
        }
        let (_, discovery) = self.queue.pop_first()?;
        let swarm = self.swarms.get(&discovery)?;
        self.under_way.insert(discovery);
        self.paid_until = self.paid_until.max(now) + GAP;
        Some((discovery, swarm.folder, swarm.step(self.port?, now)))
    }

    /// When there is something to say that may be said; `None`: not before something happens.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let most = match self {
            Self { is_ending: true, .. } => MAX_UNDER_WAY_AT_END,
            Self { has_answered: true, failures: 0, .. } => MAX_UNDER_WAY,
            _ => 1,
        };
        if self.port.is_none() || self.under_way.len() >= most {
            return None;
        }
        let (due, _) = self.queue.first()?;
        Some(if self.is_ending { *due } else { (*due).max(self.ready_at()) })
    }

    fn ready_at(&self) -> Duration {
        self.not_before.max(self.paid_until.saturating_sub(GAP * BURST))
    }

    /// The tracker has answered.
    pub(super) fn handle_answer(
        &mut self,
        discovery: &DiscoveryId,
        step: Step,
        heard: Heard,
        now: Duration,
        jitter: u8,
    ) {
        self.handle_sign_of_life();
        self.land(discovery, |swarm| match step {
            Step::Announce { event: Event::Stopped, .. } => swarm.handle_stopped(now),
            Step::Announce { port, .. } => swarm.handle_announced(port, heard, now, jitter),
            Step::Count => swarm.handle_counted(Some(heard.total), now),
        });
    }

    /// The tracker does not count for us. That says nothing of how it is: many have this switched off.
    pub(super) fn handle_no_count(&mut self, discovery: &DiscoveryId, now: Duration) {
        self.land(discovery, |swarm| swarm.handle_counted(None, now));
    }

    /// The tracker wants nothing of this folder.
    pub(super) fn handle_refusal(
        &mut self,
        discovery: &DiscoveryId,
        error: String,
        now: Duration,
        jitter: u8,
    ) {
        self.handle_sign_of_life();
        self.land(discovery, |swarm| swarm.handle_refused(error, now, jitter));
    }

    fn handle_sign_of_life(&mut self) {
        (self.has_answered, self.failures, self.error, self.is_absent) = (true, 0, None, false);
    }

    /// The tracker does not answer.
    pub(super) fn handle_failure(
        &mut self,
        discovery: &DiscoveryId,
        step: Step,
        error: String,
        now: Duration,
        jitter: u8,
    ) {
        self.not_before = now + backoff(AFTER_SILENCE, self.failures, jitter);
        self.failures = self.failures.saturating_add(1);
        (self.error, self.is_absent) = (Some(error), false);
        self.land(discovery, |swarm| match step.is_stop() {
            true => swarm.handle_stopped(now),
            false => swarm.handle_silence(now, jitter),
        });
    }

    /// The tracker has no address of this family: looked at again at the usual pace.
    pub(super) fn handle_absence(&mut self, discovery: &DiscoveryId, error: String, now: Duration) {
        (self.failures, self.error, self.is_absent) = (0, Some(error), true);
        self.not_before = now + USUAL_INTERVAL;
        self.land(discovery, |swarm| {
            swarm.forget();
            swarm.due = now;
        });
    }

    pub(super) fn row(&self, discovery: &DiscoveryId) -> Option<Row> {
        let swarm = self.swarms.get(discovery)?;
        let is_under_way = self.under_way.contains(discovery);
        let error = self.error.clone().or_else(|| swarm.error.clone());
        let was_tried = error.is_some() || swarm.last_announce.is_some();
        Some(Row {
            last_announce: swarm.last_announce,
            next: (!is_under_way).then(|| swarm.next_announce.max(self.ready_at())),
            found: swarm.found,
            is_well: was_tried.then_some(error.is_none()),
            is_absent: self.is_absent,
            error,
        })
    }

    /// What was under way has come to its end.
    fn land(&mut self, discovery: &DiscoveryId, apply: impl FnOnce(&mut Swarm)) {
        self.under_way.remove(discovery);
        self.change(discovery, apply);
    }

    fn change_all(&mut self, mut apply: impl FnMut(&mut Swarm)) {
        let all: Vec<DiscoveryId> = self.swarms.keys().copied().collect();
        for discovery in all {
            self.change(&discovery, &mut apply);
        }
    }

    /// Changes a swarm and keeps the queue right; one that is over goes.
    fn change(&mut self, discovery: &DiscoveryId, apply: impl FnOnce(&mut Swarm)) {
        let Some(swarm) = self.swarms.get_mut(discovery) else { return };
        self.queue.remove(&(swarm.due, *discovery));
        apply(swarm);
        let is_under_way = self.under_way.contains(discovery);
        if swarm.is_over() && !is_under_way {
            self.swarms.remove(discovery);
        } else if !is_under_way {
            self.queue.insert((swarm.due, *discovery));
        }
    }
}
