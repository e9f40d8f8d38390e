//! What the events said, until it is noticed.

use std::collections::BTreeSet;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use protocol::RelPath;

/// More paths than this are no longer told apart.
const MAX_PATHS: usize = 50_000;

/// Filled by the thread that reads, emptied by the one that notices.
#[derive(Default)]
pub(super) struct Pending {
    inner: Mutex<Inner>,
    something: Condvar,
    probed: Condvar,
}

#[derive(Default)]
struct Inner {
    batch: Batch,
    /// Probes written, those whose event has come, and those that have been noticed.
    written: u64,
    arrived: u64,
    noticed: u64,
    /// Probes that could not be written, and come after one that has not arrived.
    failed: BTreeSet<u64>,
    stop: bool,
}

/// What came together.
#[derive(Default)]
pub(super) struct Batch {
    /// Events were lost.
    pub(super) everything: bool,
    /// Something happened to the root itself; a removed one that is still open tells no more.
    pub(super) root: bool,
    /// Paths that may have changed.
    pub(super) changed: BTreeSet<RelPath>,
    /// Others, of which the last is that something was removed.
    pub(super) removed: BTreeSet<RelPath>,
    /// Paths at which directories were, which have watches.
    pub(super) moved_away: BTreeSet<RelPath>,
    /// Paths at which directories are that may have no watch.
    pub(super) appeared: BTreeSet<RelPath>,
    /// All probes up to this one have come.
    pub(super) probes: u64,
}

impl Pending {
    pub(super) fn add_everything(&self) {
        self.inner.lock().batch.be_everything();
        self.something.notify_one();
    }

    /// Events were lost, perhaps those of probes as well; but everything is noticed now.
    pub(super) fn lost(&self) {
        let mut inner = self.inner.lock();
        inner.arrived = inner.written;
        inner.failed.clear();
        drop(inner);
        self.add_everything();
    }

    /// What was read together, and how many probes were among it.
    pub(super) fn add(&self, mut batch: Batch, probes: u64) {
        let mut inner = self.inner.lock();
        inner.arrived = (inner.arrived + probes).min(inner.written);
        inner.pass_failed();
        inner.batch.append(&mut batch);
        drop(inner);
        self.something.notify_one();
    }

    /// Waits for something; `None` at the end.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut inner = self.inner.lock();
        while !inner.stop && inner.batch.is_empty() && inner.arrived == inner.noticed {
            self.something.wait(&mut inner);
        }
        if inner.stop {
            return None;
        }
        let probes = inner.arrived;
        Some(Batch { probes, ..std::mem::take(&mut inner.batch) })
    }

    pub(super) fn noticed(&self, probes: u64) {
        self.inner.lock().noticed = probes;
        self.probed.notify_all();
    }

    /// A probe is about to be written.
    pub(super) fn expect_probe(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.written += 1;
        inner.written
    }

    /// A probe was not written: nobody waits for its event.
    pub(super) fn probe_failed(&self, number: u64) {
        let mut inner = self.inner.lock();
        if number > inner.arrived {
            inner.failed.insert(number);
            inner.pass_failed();
        }
        self.something.notify_one();
    }

    pub(super) fn wait_for_probe(&self, number: u64, deadline: Instant) -> bool {
        let mut inner = self.inner.lock();
        while inner.noticed < number && !inner.stop {
            if self.probed.wait_until(&mut inner, deadline).timed_out() {
                break;
            }
        }
        inner.noticed >= number
    }

    pub(super) fn stop(&self) {
        self.inner.lock().stop = true;
        self.something.notify_all();
        self.probed.notify_all();
    }
}

impl Inner {
    fn pass_failed(&mut self) {
        while self.failed.remove(&(self.arrived + 1)) {
            self.arrived += 1;
        }
    }
}

impl Batch {
    /// Something has changed at a path, or come to it.
    pub(super) fn change(&mut self, path: RelPath) {
        self.removed.remove(&path);
        self.changed.insert(path);
    }

    /// Something was removed from a path.
    pub(super) fn remove(&mut self, path: RelPath) {
        self.changed.remove(&path);
        self.removed.insert(path);
    }

    /// What has come after it.
    fn append(&mut self, later: &mut Self) {
        self.root |= later.root;
        self.everything |= later.everything;
        if self.is_empty() {
            std::mem::swap(&mut self.changed, &mut later.changed);
            std::mem::swap(&mut self.removed, &mut later.removed);
        }
        std::mem::take(&mut later.changed).into_iter().for_each(|path| self.change(path));
        std::mem::take(&mut later.removed).into_iter().for_each(|path| self.remove(path));
        self.moved_away.append(&mut later.moved_away);
        self.appeared.append(&mut later.appeared);
        // Watches are set again anyway, and everything is noticed after.
        if self.everything || self.changed.len() + self.removed.len() > MAX_PATHS {
            self.be_everything();
        }
    }

    fn be_everything(&mut self) {
        *self = Self { everything: true, root: self.root, ..Self::default() };
    }

    fn is_empty(&self) -> bool {
        !self.everything && !self.root && self.changed.is_empty() && self.removed.is_empty()
    }
}
