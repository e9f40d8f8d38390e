//! Watching: which paths may have changed, told soon after they have.
//!
//! Watches are our own, one a directory, never recursive: a recursive watcher reports a new
//! directory before it watches it, and what is made in between is never told. Here the watch is
//! set first, then the directory is listed, then its directories are watched. What is told are
//! hints: only a scan says what has happened. `.syncd/` is watched for the probe file alone.
//!
//! Overflows and watches that run out are part of the trade: after an overflow everything is
//! watched anew and everything is noticed; where no watch can be set, the folder is polled.
//!
//! Reading order: [`Watcher`] is the handle; `Watching` is the thread behind it; `events` turns what
//! the system says into what is to be done.

mod events;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::{Condvar, Mutex, MutexGuard};
use protocol::RelPath;
use protocol::engine::Noticed;
use rustix::fs::{FsWord, statfs};

use self::events::{Step, steps};
use crate::disk::{ControlName, Disk, Kind, Place};

/// How long events are gathered before they are told: a burst is told in few messages.
const GATHER: Duration = Duration::from_millis(5);
/// More paths than this in one message are told as everything.
const MAX_PATHS: usize = 20_000;

/// Takes what was noticed. Called from the watcher's thread; it may block it.
pub type Notice = Box<dyn Fn(Noticed) + Send>;

/// Watches one folder for as long as it lives.
pub struct Watcher {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    wake: Sender<Input>,
}

/// Between the thread and those who ask it.
#[derive(Default)]
struct Shared {
    /// How many probes have been written.
    written: AtomicU64,
    /// The last probe that has come back with everything before it.
    seen: Mutex<u64>,
    came: Condvar,
    /// Some directories are not watched, or the file system tells nothing.
    polling: AtomicBool,
    /// Held by tests to keep the thread from reading.
    stalled: Mutex<()>,
}

/// What the thread reads.
enum Input {
    Event(notify::Result<notify::Event>),
    End,
}

/// A probe on its way through the watcher.
pub struct Probe {
    shared: Arc<Shared>,
    number: u64,
}

impl Watcher {
    /// Watches the directory at `root`, which `disk` holds open. All watches are set when this
    /// returns: a scan that begins now, and what is noticed from now on, miss nothing between them.
    pub fn start(root: &Path, disk: Arc<dyn Disk>, notice: Notice) -> notify::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (wake, inputs) = mpsc::channel();
        let events = wake.clone();
        let config = Config::default().with_follow_symlinks(false);
        let handler = move |event| {
            let _ = events.send(Input::Event(event));
        };
        let watcher = RecommendedWatcher::new(handler, config)?;
        let mut watching = Watching {
            root: root.to_owned(),
            disk: Arc::clone(&disk),
            watcher,
            shared: Arc::clone(&shared),
            unwatched: 0,
            notice,
        };
        if is_remote(root) {
            shared.polling.store(true, Ordering::Relaxed);
        }
        watching.watch_control();
        watching.watch_below(None);
        let thread =
            std::thread::Builder::new().name("watcher".into()).spawn(move || watching.run(&inputs))?;
        Ok(Self { disk, shared, thread: Some(thread), wake })
    }

    /// Whether changes may happen that nobody tells: then the folder must be looked at often.
    pub fn is_polling(&self) -> bool {
        self.shared.polling.load(Ordering::Relaxed)
    }

    /// Writes the probe file; when it has come back, everything before it has been noticed.
    pub fn probe(&self) -> Probe {
        let number = self.shared.written.fetch_add(1, Ordering::SeqCst) + 1;
        let _ = self.disk.write_control(ControlName::Probe, number.to_string().as_bytes());
        Probe { shared: Arc::clone(&self.shared), number }
    }

    /// Keeps the watcher from reading for as long as the guard lives; for tests.
    #[doc(hidden)]
    pub fn stall(&self) -> MutexGuard<'_, ()> {
        self.shared.stalled.lock()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.wake.send(Input::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Probe {
    /// Waits for it; `false` if it takes longer.
    pub fn wait(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut seen = self.shared.seen.lock();
        while *seen < self.number {
            if self.shared.came.wait_until(&mut seen, until).timed_out() {
                return *seen >= self.number;
            }
        }
        true
    }
}

/// The thread.
struct Watching {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    watcher: RecommendedWatcher,
    shared: Arc<Shared>,
    unwatched: usize,
    notice: Notice,
}

/// What a batch of events amounts to.
#[derive(Default)]
struct Batch {
    paths: BTreeSet<RelPath>,
    everything: bool,
    probed: bool,
}

impl Watching {
    fn run(&mut self, inputs: &Receiver<Input>) {
        while let Ok(first) = inputs.recv() {
            drop(self.shared.stalled.lock());
            // What was written before this is in the queue now, and is read before the batch ends.
            let probes = self.shared.written.load(Ordering::SeqCst);
            let mut batch = Batch::default();
            let mut next = Some(first);
            let until = Instant::now() + GATHER;
            while let Some(input) = next {
                let Input::Event(event) = input else { return };
                self.take(event, &mut batch);
                next = match inputs.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(input) => Some(input),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
            }
            self.tell(batch, probes);
        }
    }

    fn take(&mut self, event: notify::Result<notify::Event>, batch: &mut Batch) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::debug!(%error, "the watcher stumbled");
                batch.everything = true;
                return;
            }
        };
        for step in steps(event) {
            match step {
                Step::Overflowed => {
                    tracing::info!(root = %self.root.display(), "events were lost: everything is looked at");
                    batch.everything = true;
                    self.watch_below(None);
                }
                Step::Changed(path) => self.changed(&path, false, batch),
                Step::Appeared(path) => self.changed(&path, true, batch),
            }
        }
    }

    /// A path may have changed; if it is a new directory, it is watched to its bottom first.
    fn changed(&mut self, path: &Path, appeared: bool, batch: &mut Batch) {
        let Ok(below) = path.strip_prefix(&self.root) else {
            batch.everything = true;
            return;
        };
        let bytes = below.as_os_str().as_bytes();
        if bytes.is_empty() {
            batch.everything = true;
            return;
        }
        if bytes == b".syncd/probe" {
            batch.probed = true;
            return;
        }
        // The control directory, and names that no folder can hold: a scan reports the latter.
        let Ok(path) = RelPath::parse(bytes) else { return };
        if appeared && self.is_directory(&path) {
            self.watch_below(Some(&path));
        }
        if batch.paths.len() < MAX_PATHS {
            batch.paths.insert(path);
        } else {
            batch.everything = true;
        }
    }

    fn is_directory(&self, path: &RelPath) -> bool {
        let found = self.disk.stat(&Place::Folder(path.clone()));
        found.ok().flatten().is_some_and(|found| found.kind == Kind::Directory)
    }

    fn tell(&self, batch: Batch, probes: u64) {
        if batch.everything {
            (self.notice)(Noticed::Everything);
        } else if !batch.paths.is_empty() {
            (self.notice)(Noticed::Paths(batch.paths.into_iter().collect()));
        }
        if batch.probed {
            *self.shared.seen.lock() = probes;
            self.shared.came.notify_all();
        }
    }

    /// Watches a directory and everything below it: first the watch, then the list.
    fn watch_below(&mut self, top: Option<&RelPath>) {
        let mut open = vec![top.cloned()];
        while let Some(directory) = open.pop() {
            if !self.watch(directory.as_ref()) {
                continue;
            }
            let at = directory.clone().map_or(Place::Root, Place::Folder);
            let Ok(listed) = self.disk.list(&at) else { continue };
            for entry in listed {
                let is_directory = entry.stat.as_ref().is_ok_and(|stat| stat.kind == Kind::Directory);
                if let (true, Ok(path)) = (is_directory, RelPath::join(directory.as_ref(), &entry.name)) {
                    open.push(Some(path));
                }
            }
        }
    }

    /// Sets one watch; whether what is below should be watched too.
    fn watch(&mut self, directory: Option<&RelPath>) -> bool {
        let path = match directory {
            None => self.root.clone(),
            Some(path) => self.root.join(OsStr::from_bytes(path.as_bytes())),
        };
        match self.watcher.watch(&path, RecursiveMode::NonRecursive) {
            Ok(()) => true,
            Err(error) => match error.kind {
                ErrorKind::MaxFilesWatch => {
                    self.run_out(&path);
                    false
                }
                // Gone again, or a name that the system takes for another: the scan sees it.
                _ => false,
            },
        }
    }

    fn run_out(&mut self, path: &Path) {
        self.unwatched += 1;
        if !self.shared.polling.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %path.display(),
                "WATCH_LIMIT: no more directories can be watched; the folder is polled. Raise fs.inotify.max_user_watches");
        }
    }

    /// The probe file lies directly in the control directory.
    fn watch_control(&mut self) {
        let control = self.root.join(protocol::path::CONTROL_DIRECTORY);
        if let Err(error) = self.watcher.watch(&control, RecursiveMode::NonRecursive) {
            tracing::warn!(%error, "the control directory cannot be watched");
            self.shared.polling.store(true, Ordering::Relaxed);
        }
    }
}

/// File systems on which other machines change files that nobody tells us of.
fn is_remote(root: &Path) -> bool {
    const NFS: FsWord = 0x6969;
    const SMB: FsWord = 0x517b;
    const SMB2: FsWord = 0xfe53_4d42;
    const CIFS: FsWord = 0xff53_4d42;
    const FUSE: FsWord = 0x6573_5546;
    const NINE_P: FsWord = 0x0102_1997;
    statfs(root).is_ok_and(|found| [NFS, SMB, SMB2, CIFS, FUSE, NINE_P].contains(&found.f_type))
}
