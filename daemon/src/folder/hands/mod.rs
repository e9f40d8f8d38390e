//! What a folder's loop has done elsewhere: looking, gathering, changing, asking.
//!
//! Each call returns at once and answers with an event. Scans and applies have a thread of their
//! own for as long as they last (there is at most one of either); short work goes to the runtime's
//! blocking threads. While the root is not what it was, nothing here touches it.
//!
//! Reading order: the open root and who keeps it here; `looking`, `asking` the network,
//! `gathering` in staging, `changing` the disk.

mod asking;
mod changing;
mod gathering;
mod looking;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keystore::{DeviceId, FolderSecret};
use parking_lot::{Mutex, RwLock};
use protocol::engine::{Event, Hold, Noticed};
use protocol::{RelPath, Timestamp};
use tokio::runtime::Handle;

use super::hash::{HashContext, Progress};
use super::kept::Kept;
use super::marker;
use super::rates::Rates;
use super::root::{self, Root};
use super::runner::Inputs;
use super::scan::Unrest;
use super::serve::Server;
use super::watch::Watcher;
use crate::config::Settings;
use crate::disk::{ControlName, Disk, Place};
use crate::folder::stage::Stage;
use crate::net::Net;

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
    archive_days: Mutex<u32>,
    scan_interval: Mutex<Option<Duration>>,
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
            archive_days: Mutex::new(settings.archive_days),
            scan_interval: Mutex::new(settings.scan_interval(false)),
            rates: Rates::default(),
        })
    }

    /// Opens the root and settles what a crash has left; whether the records are not to be trusted.
    pub fn open_root(self: &Arc<Self>) -> Result<bool, Hold> {
        let opened = root::open(&self.path, &self.root_id, &self.kept, crate::random::bytes())?;
        let files = root::files(&opened.root.disk, &self.secret, &self.senses);
        let distrust = opened.distrust_records;
        let rollback = opened.rollback.clone();
        if rollback.is_none()
            && let Err(error) = root::recover(&files, &self.kept)
        {
            let message =
                format!("{}: what a crash has left cannot be settled: {error}", self.path.display());
            return Err(Hold { code: "DISK", message });
        }
        let open = Arc::new(self.equip(opened.root, files));
        *self.open.write() = Some(Arc::clone(&open));
        self.watch(&open);
        *self.rollback.lock() = rollback.clone();
        rollback.map_or(Ok(distrust), Err)
    }

    fn equip(&self, root: Root, files: HashContext) -> Open {
        let kept = Arc::new(self.kept.clone());
        let inputs = self.inputs.clone();
        let stage = Arc::new(Stage::new(Arc::clone(&files.disk), kept.clone(), files.content_key.clone()));
        let changed = move |path: RelPath| inputs.try_event(Event::Noticed(Noticed::Paths(vec![path])));
        Open {
            server: Server::new(
                Arc::clone(&files.disk),
                kept.clone(),
                kept,
                files.content_key.clone(),
                Arc::clone(&stage),
                Box::new(changed),
            ),
            stage,
            watcher: Mutex::new(None),
            files,
            root,
        }
    }

    fn watch(self: &Arc<Self>, open: &Arc<Open>) {
        let inputs = self.inputs.clone();
        let notice = Box::new(move |noticed| inputs.event(Event::Noticed(noticed)));
        let is_ignored = Box::new(|_: &RelPath, _| false);
        match Watcher::start(&self.path, Arc::clone(&open.root.disk), notice, is_ignored) {
            Ok((watcher, _)) => *open.watcher.lock() = Some(Arc::new(watcher)),
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "changes are only polled for"),
        }
    }

    fn opened(&self) -> Option<Arc<Open>> {
        self.open.read().clone()
    }

    /// Looks whether the root is still the one that it was, and says so if that has changed.
    pub fn check_root(self: &Arc<Self>) {
        if let Some(hold) = self.rollback.lock().clone() {
            self.inputs.try_event(Event::Root(Some(hold)));
            return;
        }
        let result = match self.opened() {
            Some(open) => marker::check_root(&self.path, open.root.disk.as_ref(), &self.root_id)
                .map(drop)
                .map_err(|trouble| root::trouble(&self.path, &trouble)),
            None => Err(Hold { code: "", message: String::new() }),
        };
        if let Err(hold) = result {
            *self.open.write() = None;
            let again = self.open_root();
            let hold = if again.is_ok() || hold.code.is_empty() { again.err() } else { Some(hold) };
            self.inputs.try_event(Event::Root(hold));
        }
    }

    /// A person takes the disk as it is, although it is older than the database.
    pub fn accept_disk(&self) {
        *self.rollback.lock() = None;
        let (Some(open), Ok(facts)) = (self.opened(), self.kept.0.facts()) else { return };
        if let Ok(marker) = marker::Marker::load(open.root.disk.as_ref(), &self.root_id) {
            let drawn =
                root::redraw(open.root.disk.as_ref(), &self.kept, &marker, facts, crate::random::bytes());
            if let Err(error) = drawn {
                tracing::error!(%error, "the start counter cannot be kept");
            }
        }
    }

    /// Obeys settings.
    pub fn set_settings(&self, settings: &Settings) {
        *self.archive_days.lock() = settings.archive_days;
        *self.scan_interval.lock() = settings.scan_interval(self.is_polling());
    }

    /// How often everything is looked at.
    pub fn scan_interval(&self) -> Option<Duration> {
        *self.scan_interval.lock()
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

    /// Waits until everything that happened on the disk before has been noticed; `false` if that
    /// takes longer than `timeout`, or nothing watches.
    pub fn sync_watcher(&self, timeout: Duration) -> bool {
        let Some(open) = self.opened() else { return false };
        let watcher = open.watcher.lock().clone();
        watcher.is_some_and(|watcher| watcher.sync(timeout).unwrap_or(false))
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

    /// Everything ends.
    pub fn stop(&self) {
        self.senses.stop.store(true, Ordering::Relaxed);
        *self.open.write() = None;
    }

    /// Deletes the marker.
    pub fn remove_marker(&self) {
        if let Ok(disk) = crate::disk::RealDisk::open(&self.path, crate::disk::SpecialBits::Strip) {
            let _ = disk.remove_file(&Place::Control(ControlName::Marker));
        }
    }

    /// Runs something on a blocking thread.
    fn spawn(self: &Arc<Self>, work: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let hands = Arc::clone(self);
        self.runtime.spawn_blocking(move || work(&hands));
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
