//! What the events said, until it is noticed.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use notify::event::{CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, EventKind};
use parking_lot::{Condvar, Mutex};
use protocol::RelPath;
use protocol::path::CONTROL_DIRECTORY;

use super::Shared;

/// More paths than this are no longer told apart.
const MAX_PATHS: usize = 50_000;

/// Filled by notify's thread, emptied by ours.
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
    /// Those among them that may be directories without a watch.
    pub(super) appeared: BTreeSet<RelPath>,
    /// All probes up to this one have come.
    pub(super) probes: u64,
}

impl Pending {
    pub(super) fn add_everything(&self) {
        let mut inner = self.inner.lock();
        inner.batch.everything = true;
        inner.batch.changed.clear();
        inner.batch.appeared.clear();
        self.something.notify_one();
    }

    /// Events were lost, perhaps those of probes as well; but everything is noticed now.
    fn lost(&self) {
        let mut inner = self.inner.lock();
        inner.arrived = inner.written;
        inner.failed.clear();
        drop(inner);
        self.add_everything();
    }

    fn add(&self, path: RelPath, appeared: bool) {
        let mut inner = self.inner.lock();
        if inner.batch.everything {
            // Watches are set again anyway, and everything is noticed after.
            return;
        }
        let is_first = inner.batch.is_empty();
        if appeared {
            inner.batch.appeared.insert(path.clone());
        }
        inner.batch.changed.insert(path);
        let many = inner.batch.changed.len() > MAX_PATHS;
        drop(inner);
        // Whoever waits for the rest of a batch is not woken for each part of it.
        if is_first {
            self.something.notify_one();
        }
        if many {
            self.add_everything();
        }
    }

    fn touch_root(&self) {
        self.inner.lock().batch.root = true;
        self.something.notify_one();
    }

    fn probe_arrived(&self) {
        let mut inner = self.inner.lock();
        inner.arrived = (inner.arrived + 1).min(inner.written);
        inner.pass_failed();
        self.something.notify_one();
    }

    /// Waits for something, then for what comes with it; `None` at the end.
    pub(super) fn take(&self, together: Duration) -> Option<Batch> {
        let mut inner = self.inner.lock();
        while !inner.stop && inner.batch.is_empty() && inner.arrived == inner.noticed {
            self.something.wait(&mut inner);
        }
        let deadline = Instant::now() + together;
        while !inner.stop && inner.arrived == inner.noticed {
            if self.something.wait_until(&mut inner, deadline).timed_out() {
                break;
            }
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
    fn is_empty(&self) -> bool {
        !self.everything && !self.root && self.changed.is_empty()
    }
}

impl Shared {
    /// On notify's thread: must not wait, and must not call notify.
    pub(super) fn on_event(&self, event: notify::Result<Event>) {
        drop(self.gate.lock());
        let Ok(event) = event else { return self.pending.lost() };
        // Every file that we hash is opened: without this a scan would wake the next one.
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        if event.need_rescan() {
            self.state.lock().overflows += 1;
            return self.pending.lost();
        }
        // From and To have said it already.
        if matches!(event.kind, EventKind::Modify(ModifyKind::Name(RenameMode::Both))) {
            return;
        }
        let appeared = may_lack_watch(&event.kind);
        for path in &event.paths {
            self.on_path(path, &event.kind, appeared);
        }
    }

    fn on_path(&self, path: &Path, kind: &EventKind, appeared: bool) {
        let Some(below) = below(&self.root, path) else { return };
        if below.is_empty() {
            return self.pending.touch_root();
        }
        match RelPath::parse(below) {
            Ok(path) => self.pending.add(path, appeared),
            // With the control directory goes the marker: whoever is told looks at the root.
            Err(_) if below == CONTROL_DIRECTORY.as_bytes() => {
                if appeared {
                    self.pending.add_everything();
                }
            }
            Err(_) if is_probe(below) => {
                if matches!(kind, EventKind::Modify(ModifyKind::Name(RenameMode::To))) {
                    self.pending.probe_arrived();
                }
            }
            Err(_) => {}
        }
    }
}

/// Whether there may be a directory that has no watch: new, moved here, or the name of one that has
/// gone and has been made again meanwhile (whose watch notify then drops as well).
fn may_lack_watch(kind: &EventKind) -> bool {
    match kind {
        EventKind::Create(kind) => *kind != CreateKind::File,
        EventKind::Remove(kind) => *kind != RemoveKind::File,
        EventKind::Modify(ModifyKind::Name(_)) => true,
        _ => false,
    }
}

/// The bytes of `path` behind the root; none if it lies elsewhere.
fn below<'a>(root: &Path, path: &'a Path) -> Option<&'a [u8]> {
    Some(path.strip_prefix(root).ok()?.as_os_str().as_bytes())
}

fn is_probe(below: &[u8]) -> bool {
    below.strip_prefix(CONTROL_DIRECTORY.as_bytes()) == Some(b"/probe")
}
