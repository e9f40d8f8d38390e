//! Watching: hints about which paths may have changed.
//!
//! One watch a directory, not recursive, always in this order: set the watch, list, go deeper. So a
//! directory that appears is watched before it is looked at, and its path is noticed after: whoever
//! scans it to its bottom misses nothing. Events are hints, which is why this is the one module that
//! goes by path names; what is true is up to the scan.
//!
//! Three threads: one reads what the kernel says, puts it into `pending` and never waits for
//! anything else; one sets watches and notices; and whoever calls.
//!
//! Reading order: this file; `watches` (which are set), `walk` (setting them), `events` (reading),
//! `pending` (what was read and is not noticed yet).

mod events;
mod pending;
#[cfg(test)]
mod tests;
mod walk;
mod watches;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use protocol::RelPath;
use protocol::engine::Noticed;

use crate::disk::{ControlName, Disk};
use events::Ending;
use pending::Pending;
use watches::Watches;

/// Whether a path (and, if so said, directory) is ignored, with all below.
pub type IsIgnored = Box<dyn Fn(&RelPath, bool) -> bool + Send + Sync>;
/// Is told what may have changed. Called from a thread of its own; may take its time.
pub type Notice = Box<dyn Fn(Noticed) + Send>;

/// How well a folder is watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchState {
    /// Why all of it must be polled: changes may come that nobody tells.
    pub polling: Option<String>,
    /// Directories that could not be watched: they and all below must be polled.
    pub unwatched: Vec<RelPath>,
    /// How many directories that are, counted when they were found.
    pub unwatched_directories: u64,
    /// How many directories were watched when all watches were last set.
    pub directories: u64,
    /// How often events were lost since the start; each time everything was noticed.
    pub overflows: u64,
}

/// Watches one folder until it is dropped.
pub struct Watcher {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    probing: Mutex<()>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads share.
struct Shared {
    root: PathBuf,
    is_ignored: IsIgnored,
    watches: Watches,
    pending: Pending,
    ending: Ending,
    state: Mutex<WatchState>,
    /// Held by a test that stalls the reading.
    gate: Mutex<()>,
}

/// Why a folder cannot be watched at all.
#[derive(Debug, thiserror::Error)]
#[error("the folder cannot be watched: {0}")]
pub struct WatchError(#[from] io::Error);

impl Watcher {
    /// Sets all watches, then begins to notice. What changes from now on is noticed; what changed
    /// before is for the first scan. `disk` is the folder's, for [`sync`](Self::sync).
    pub fn start(
        root: &Path,
        disk: Arc<dyn Disk>,
        notice: Notice,
        is_ignored: IsIgnored,
    ) -> Result<(Self, WatchState), WatchError> {
        let shared = Arc::new(Shared {
            root: root.to_path_buf(),
            is_ignored,
            watches: Watches::new().map_err(io::Error::from)?,
            pending: Pending::default(),
            ending: Ending::new().map_err(io::Error::from)?,
            state: Mutex::default(),
            gate: Mutex::default(),
        });
        shared.watch_everything();
        let state = shared.state.lock().clone();
        let mut watcher = Self { shared, disk, probing: Mutex::default(), threads: Vec::new() };
        watcher.spawn("watch events", |shared| shared.read_events())?;
        watcher.spawn("watch", move |shared| shared.notice(&notice))?;
        Ok((watcher, state))
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(&Shared) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.threads.push(std::thread::Builder::new().name(name.into()).spawn(move || work(&shared))?);
        Ok(())
    }

    /// How well the folder is watched now.
    pub fn state(&self) -> WatchState {
        self.shared.state.lock().clone()
    }

    /// Sets all watches again and notices everything: what is ignored has changed, or there are
    /// more watches to be had.
    pub fn watch_again(&self) {
        self.shared.pending.add_everything();
    }

    /// Waits until everything that happened on the disk before this call has been noticed: writes
    /// `.syncd/probe` and waits for its event. `false` if it does not come in time, or if the folder
    /// is not watched.
    pub fn sync(&self, timeout: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + timeout;
        let number = {
            // Their events come in the order of their numbers.
            let _one_at_a_time = self.probing.lock();
            let number = self.shared.pending.expect_probe();
            let written = self.disk.write_control(ControlName::Probe, number.to_string().as_bytes());
            written.inspect_err(|_| self.shared.pending.probe_failed(number))?;
            number
        };
        Ok(self.shared.pending.wait_for_probe(number, deadline))
    }

    /// Stalls the thread that takes events from the kernel, for tests of overflow.
    #[doc(hidden)]
    pub fn stall(&self) -> MutexGuard<'_, ()> {
        self.shared.gate.lock()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.pending.stop();
        self.shared.ending.tell();
        for thread in self.threads.drain(..) {
            // It has nothing to say; if it panicked, that has been printed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn notice(&self, notice: &Notice) {
        while let Some(mut batch) = self.pending.take() {
            batch.everything |= batch.root && !self.root.is_dir();
            if batch.everything {
                self.watch_everything();
            } else {
                // First: what was moved away may be what has appeared.
                batch.moved_away.iter().for_each(|path| self.watches.drop_tree(path));
                batch.appeared.iter().for_each(|path| self.watch_if_wanted(path));
            }
            // After the watches are set: what a scan finds from now on, a later event tells.
            if batch.everything {
                notice(Noticed::Everything);
            } else {
                for (paths, noticed) in [
                    (batch.changed, Noticed::Paths as fn(_) -> _),
                    (batch.removed, Noticed::Removed as fn(_) -> _),
                ] {
                    let paths = paths.into_iter().filter(|path| !(self.is_ignored)(path, false));
                    let paths: Vec<_> = paths.collect();
                    if !paths.is_empty() {
                        notice(noticed(paths));
                    }
                }
            }
            self.pending.noticed(batch.probes);
        }
    }
}
