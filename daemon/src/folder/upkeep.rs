//! Upkeep: what a folder does when nothing else happens, and when.
//!
//! The loop asks every few seconds what is due; the work itself is the hands'. A folder that is held
//! or paused only looks at its root and at its space.

use std::time::{Duration, Instant};

use protocol::engine::{Activity, Event, Hold, Noticed};

use super::hands::RootNews;
use super::runner::Runner;

/// How often the archive is looked at for what has expired.
const EXPIRY: Duration = Duration::from_secs(60 * 60);
/// How long after the start that is done first: a start is busy enough.
const FIRST_EXPIRY: Duration = Duration::from_secs(60);
/// How often an idle folder looks for leftovers in staging.
const STAGING: Duration = Duration::from_secs(10 * 60);
/// How often displaced files are looked at.
const DISPLACED: Duration = Duration::from_secs(5);
/// How long a hold for trouble with the disk lasts before the disk is tried again.
const DISK_PATIENCE: Duration = Duration::from_secs(20);
/// How long a loop that has failed rests before it begins anew.
const FAILURE_PATIENCE: Duration = Duration::from_secs(30);

/// What is due, and since when.
pub struct Upkeep {
    scanned: Instant,
    expiry: Instant,
    staging: Instant,
    displaced: Instant,
    disk_tried: Instant,
    pub(super) failed: Option<Instant>,
}

/// Work for a quiet time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chores {
    /// Look again at what was displaced.
    pub displaced: bool,
    /// Remove what has been in the archive for so many days.
    pub expire: Option<u32>,
    /// Remove what nobody wants from staging.
    pub staging: bool,
}

impl Upkeep {
    /// Nothing is due at the start but leftovers.
    pub fn new(now: Instant) -> Self {
        let long_ago = |pause: Duration, first: Duration| now.checked_sub(pause - first).unwrap_or(now);
        Self {
            scanned: now,
            expiry: long_ago(EXPIRY, FIRST_EXPIRY),
            staging: long_ago(STAGING, FIRST_EXPIRY),
            displaced: now,
            disk_tried: now,
            failed: None,
        }
    }

    /// Everything is being looked at.
    pub fn full_scan(&mut self, now: Instant) {
        self.scanned = now;
    }

    fn is_scan_due(&self, now: Instant, interval: Option<Duration>) -> bool {
        interval.is_some_and(|interval| now.saturating_duration_since(self.scanned) >= interval)
    }

    fn chores(&mut self, now: Instant, archive_days: u32, is_idle: bool) -> Chores {
        let due = |at: &mut Instant, pause: Duration| {
            let is_due = now.saturating_duration_since(*at) >= pause;
            if is_due {
                *at = now;
            }
            is_due
        };
        Chores {
            displaced: due(&mut self.displaced, DISPLACED),
            expire: (due(&mut self.expiry, EXPIRY) && archive_days > 0).then_some(archive_days),
            staging: is_idle && due(&mut self.staging, STAGING),
        }
    }
}

impl Runner {
    /// Looks what is due. Called every few seconds.
    pub(super) fn keep_up(&mut self) {
        if self.failure.is_some() {
            return self.begin_anew_after_failure();
        }
        self.hands.check_root();
        let hold = self.engine.hold().map(|hold| hold.code);
        if hold == Some("NO_SPACE") {
            self.hands.check_space();
        }
        if !self.is_at_work() {
            return;
        }
        let now = Instant::now();
        if self.upkeep.is_scan_due(now, self.hands.scan_interval()) {
            self.upkeep.full_scan(now);
            self.handle(Event::Noticed(Noticed::Everything));
        }
        let is_idle = self.engine.activity() == Activity::Idle;
        if is_idle {
            self.rebuilding = false;
            self.hands.has_space();
        }
        let chores = self.upkeep.chores(now, self.hands.archive_days(), is_idle);
        if chores != Chores::default() && !self.hands.is_tending() {
            self.hands.tend(chores);
        }
    }

    /// Whether the folder may commit and apply.
    pub fn is_at_work(&self) -> bool {
        self.failure.is_none() && !matches!(self.engine.activity(), Activity::Paused | Activity::Held)
    }

    /// Takes in what a look at the root has shown.
    pub fn on_root(&mut self, news: RootNews) {
        let held = self.engine.hold().map(|hold| hold.code);
        match news {
            RootNews::Same => {
                let now = Instant::now();
                let is_over = match held {
                    Some("DISK") => now.saturating_duration_since(self.upkeep.disk_tried) >= DISK_PATIENCE,
                    Some(code) => code.starts_with("ROOT_"),
                    None => false,
                };
                if is_over {
                    self.upkeep.disk_tried = now;
                    self.handle(Event::Root(None));
                }
            }
            RootNews::Opened { distrust_records: true } => self.begin_anew(true),
            RootNews::Opened { distrust_records: false } => {
                tracing::info!("the folder's directory was opened again");
                self.handle(Event::Root(None));
                self.handle(Event::Noticed(Noticed::Everything));
            }
            RootNews::Trouble(hold) => {
                if held != Some(hold.code) {
                    let Hold { code, message } = &hold;
                    tracing::warn!(code, message, "the folder is held");
                    self.upkeep.disk_tried = Instant::now();
                }
                self.handle(Event::Root(Some(hold)));
            }
        }
    }

    /// There is room again, or it is time to look whether there is.
    pub fn has_room(&mut self) {
        if self.engine.hold().is_some_and(|hold| hold.code == "NO_SPACE") {
            self.hands.try_space_again();
            self.handle(Event::Root(None));
        }
    }

    /// The database had failed: once it answers again, the folder begins where it left it.
    fn begin_anew_after_failure(&mut self) {
        let since = *self.upkeep.failed.get_or_insert_with(Instant::now);
        if since.elapsed() < FAILURE_PATIENCE || self.hands.is_running() {
            return;
        }
        self.upkeep.failed = Some(Instant::now());
        match self.hands.open_again() {
            RootNews::Trouble(hold) if hold.code == "DATABASE" || hold.code == "DISK" => {
                tracing::debug!(hold.message, "still not");
            }
            RootNews::Opened { distrust_records } => self.begin_anew(distrust_records),
            news => {
                self.begin_anew(false);
                self.on_root(news);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chores_come_round_and_only_an_idle_folder_clears_its_staging() {
        let now = Instant::now() + EXPIRY * 2;
        let mut upkeep = Upkeep::new(now);
        assert_eq!(upkeep.chores(now, 30, true), Chores::default());
        let soon = now + FIRST_EXPIRY;
        let all = Chores { displaced: true, expire: Some(30), staging: false };
        assert_eq!(upkeep.chores(soon, 30, false), all);
        assert_eq!(upkeep.chores(soon, 30, true), Chores { staging: true, ..Chores::default() });
        let later = upkeep.chores(soon + EXPIRY, 0, true);
        assert_eq!(later, Chores { displaced: true, expire: None, staging: true }, "kept for ever");
    }

    #[test]
    fn everything_is_looked_at_again_when_the_interval_is_over() {
        let now = Instant::now();
        let mut upkeep = Upkeep::new(now);
        let minute = Duration::from_secs(60);
        assert!(!upkeep.is_scan_due(now, Some(minute)));
        assert!(upkeep.is_scan_due(now + minute, Some(minute)));
        assert!(!upkeep.is_scan_due(now + minute, None), "never");
        upkeep.full_scan(now + minute);
        assert!(!upkeep.is_scan_due(now + minute, Some(minute)));
    }
}
