//! What a folder's loop has done elsewhere: looking, gathering, changing, asking.
//!
//! Each call returns at once and answers with an event. Scans and applies have a thread of their
//! own for as long as they last (there is at most one of either); short work goes to the runtime's
//! blocking threads. While the root is not what it was, nothing here touches it.
//!
//! Reading order: what all share is here, `opening` keeps the root; then `looking` at the disk
//! by its `rules`, `asking` the network, `gathering` in staging (not before `forgetting`), `changing`
//! the disk and `keeping` what users did meanwhile, `tending` to it in quiet times, and minding its `space`.

mod asking;
mod changing;
mod forgetting;
mod gathering;
mod intake;
mod keeping;
mod looking;
mod opening;
mod rules;
mod space;
mod tending;
#[cfg(test)]
mod tests;

use self::intake::Intake;
pub use self::opening::RootNews;
use self::rules::Rules;
use self::space::Lack;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keystore::{DeviceId, FolderSecret};
use parking_lot::{Mutex, RwLock};
use protocol::Timestamp;
use protocol::engine::{Hold, Op};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::hash::{HashContext, Progress};
use super::kept::Kept;
use super::rates::Rates;
use super::root::Root;
use super::runner::Inputs;
use super::scan::Unrest;
use super::serve::Server;
use super::watch::Watcher;
use crate::config::Settings;
use crate::disk::{ControlName, Disk, Place};
use crate::folder::stage::Stage;
use crate::net::Net;

/// How long the end of a folder waits for work on its disk.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// What scans share over time.
pub struct Senses {
    /// What `status` shows.
    pub progress: Arc<Progress>,
    /// Set when the folder ends.
    pub stop: Arc<AtomicBool>,
    unrest: Arc<Unrest>,
}

/// What touches disk and network for one folder.
pub struct Hands {
    secret: FolderSecret,
    path: PathBuf,
    root_id: [u8; 16],
    kept: Kept,
    net: Arc<Net>,
    inputs: Inputs,
    runtime: Handle,
    senses: Senses,
    open: RwLock<Option<Arc<Open>>>,
    /// The disk is older than the database, and nobody has decided yet.
    rollback: Mutex<Option<Hold>>,
    /// The root is being looked at.
    checking: AtomicBool,
    settings: RwLock<Settings>,
    /// That the root has been emptied is known, until the next scan has ended.
    may_be_empty: AtomicBool,
    /// What did not fit on the disk.
    lack: Mutex<Option<Lack>>,
    /// Held for writing while leftovers in staging are removed.
    staging: RwLock<()>,
    /// What is to be changed on the disk, the first of it right now.
    batches: Mutex<VecDeque<Vec<Op>>>,
    forgetting: forgetting::Forgetting,
    intake: Intake,
    /// Upkeep is at work.
    tending: AtomicBool,
    running: AtomicUsize,
    /// Changes that a scan has seen and could not read yet.
    unknown: Arc<AtomicUsize>,
    /// The answer to the probe that is under way.
    probe: Mutex<Option<watch::Receiver<Option<bool>>>>,
    cancels: asking::Cancels,
    greeting: Mutex<asking::Greeting>,
    /// What travels; measured by the loop.
    pub rates: Rates,
}

/// Everything that needs an open root.
pub struct Open {
    root: Root,
    files: HashContext,
    stage: Arc<Stage>,
    server: Server,
    watcher: Mutex<Option<Arc<Watcher>>>,
    rules: Rules,
}

/// Something works on the disk.
struct Running(Arc<Hands>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hands {
    /// Hands for a folder; its root is opened later.
    pub fn new(
        secret: &FolderSecret,
        path: &Path,
        root_id: [u8; 16],
        kept: Kept,
        net: Arc<Net>,
        inputs: Inputs,
        settings: &Settings,
    ) -> Arc<Self> {
        let senses = Senses { progress: Arc::default(), stop: Arc::default(), unrest: Arc::default() };
        Arc::new(Self {
            secret: secret.clone(),
            path: path.to_owned(),
            root_id,
            kept,
            net,
            inputs,
            runtime: Handle::current(),
            senses,
            open: RwLock::new(None),
            rollback: Mutex::new(None),
            checking: AtomicBool::new(false),
            settings: RwLock::new(settings.clone()),
            may_be_empty: AtomicBool::new(false),
            lack: Mutex::new(None),
            staging: RwLock::new(()),
            batches: Mutex::default(),
            forgetting: forgetting::Forgetting::default(),
            intake: Intake::default(),
            tending: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            unknown: Arc::default(),
            probe: Mutex::new(None),
            cancels: asking::Cancels::default(),
            greeting: Mutex::default(),
            rates: Rates::default(),
        })
    }

    fn opened(&self) -> Option<Arc<Open>> {
        self.open.read().clone()
    }

    /// Obeys settings.
    pub fn set_settings(&self, settings: &Settings) {
        *self.settings.write() = settings.clone();
    }

    /// The settings.
    pub fn settings(&self) -> Settings {
        self.settings.read().clone()
    }

    /// After how many days files leave the archive; 0: never.
    pub fn archive_days(&self) -> u32 {
        self.settings.read().archive_days
    }

    /// How often everything is looked at.
    pub fn scan_interval(&self) -> Option<Duration> {
        self.settings.read().scan_interval(self.is_polling())
    }

    /// Whether changes are not told of, but looked for.
    pub fn is_polling(&self) -> bool {
        self.opened().is_none_or(|open| {
            let watcher = open.watcher.lock().clone();
            watcher.is_none_or(|watcher| {
                let state = watcher.state();
                state.polling.is_some() || !state.unwatched.is_empty()
            })
        })
    }

    /// Why not everything is watched, if so: a code where there is one, and a sentence.
    pub fn watch_trouble(&self) -> Option<(Option<&'static str>, String)> {
        let open = self.opened()?;
        let Some(watcher) = open.watcher.lock().clone() else {
            return Some((Some("WATCH_LIMIT"), "changes are only polled for: nothing can be watched".into()));
        };
        let state = watcher.state();
        if !state.unwatched.is_empty() {
            let message = format!(
                "{} directories cannot be watched and are polled; raise fs.inotify.max_user_watches",
                state.unwatched_directories
            );
            return Some((Some("WATCH_LIMIT"), message));
        }
        state.polling.map(|why| (None, format!("changes are only polled for: {why}")))
    }

    /// Asks the watcher to say everything, and whether it has within `timeout`; where nothing watches,
    /// nothing is unread. Whoever asks while an answer is on its way shares it.
    pub async fn all_noticed(self: &Arc<Self>, timeout: Duration) -> bool {
        let mut answer = {
            let mut probe = self.probe.lock();
            match probe.as_ref().filter(|probe| probe.borrow().is_none() && probe.has_changed().is_ok()) {
                Some(under_way) => under_way.clone(),
                None => {
                    let (sender, answer) = watch::channel(None);
                    *probe = Some(answer.clone());
                    self.spawn(move |hands| {
                        let told = hands.is_polling() || hands.sync_watcher(timeout);
                        let _ = sender.send(Some(told));
                    });
                    answer
                }
            }
        };
        let told = answer.wait_for(Option::is_some).await.map(|told| *told);
        told.is_ok_and(|told| told == Some(true))
    }

    /// Waits until everything that happened on the disk before has been noticed; `false` if that
    /// takes longer than `timeout`, or nothing watches.
    pub fn sync_watcher(&self, timeout: Duration) -> bool {
        let Some(open) = self.opened() else { return false };
        let watcher = open.watcher.lock().clone();
        watcher.is_some_and(|watcher| watcher.sync(timeout).unwrap_or(false))
    }

    /// What watches the folder, for tests that stall it.
    #[cfg(test)]
    pub(crate) fn watcher(&self) -> Option<Arc<Watcher>> {
        self.opened()?.watcher.lock().clone()
    }

    /// What scans have done.
    pub fn progress(&self) -> &Progress {
        &self.senses.progress
    }

    /// The disk, while the root is what it was.
    pub fn disk(&self) -> Option<Arc<dyn Disk>> {
        self.opened().map(|open| Arc::clone(&open.root.disk))
    }

    /// Bytes a second, received and sent, over all peers.
    pub fn rates(&self) -> (u64, u64) {
        self.rates.total()
    }

    /// Bytes a second, received from and sent to a peer.
    pub fn peer_rates(&self, peer: &DeviceId) -> (u64, u64) {
        self.rates.of(peer)
    }

    /// Everything ends. Returns when nothing touches the disk any more; what takes longer than
    /// `LAST_WORDS` is left to the end of the process.
    pub fn stop(&self) {
        self.senses.stop.store(true, Ordering::Relaxed);
        *self.open.write() = None;
        let until = Instant::now() + LAST_WORDS;
        while self.is_running() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Counts as work on the disk for as long as the answer lives.
    fn running(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    /// Whether anything works on the disk.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// Deletes the marker.
    pub fn remove_marker(&self) {
        if let Ok(disk) = crate::disk::RealDisk::open(&self.path, crate::disk::SpecialBits::Strip) {
            let _ = disk.remove_file(&Place::Control(ControlName::Marker));
        }
    }

    /// Runs something on a blocking thread.
    fn spawn(self: &Arc<Self>, work: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let running = self.running();
        self.runtime.spawn_blocking(move || work(&running.0));
    }
}

/// The time of day.
pub fn wall_clock() -> Timestamp {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos(),
        },
        Err(_) => Timestamp::default(),
    }
}
