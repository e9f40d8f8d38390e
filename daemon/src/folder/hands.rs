//! What a folder's loop has done elsewhere: looking, gathering, changing, asking.
//!
//! Each call returns at once and answers with an event. Scans and applies have a thread of their
//! own for as long as they last (there is at most one of either); short work goes to the runtime's
//! blocking threads. While the root is not what it was, nothing here touches it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use keystore::{DeviceId, FolderSecret};
use parking_lot::{Mutex, RwLock};
use protocol::engine::{Event, Hold, Noticed, Op, Outcome, Prepare, Prepared, Scan, Source, Ticket};
use protocol::message::ChunkWanted;
use protocol::{Content, ContentId, NodeId, NodeStore, RelPath, Timestamp};
use tokio::runtime::Handle;

use super::apply::{self, Executor};
use super::archive::Archive;
use super::hash::{HashContext, Progress, hash_open};
use super::ignored::Ignored;
use super::kept::{Kept, seconds_since_1970};
use super::marker;
use super::rates::Rates;
use super::root::{self, Root};
use super::runner::{Input, Inputs};
use super::scan::{self, Part, ScanContext, ScanError, Unrest};
use super::serve::Server;
use super::stage::{Stage, Written};
use super::watch::Watcher;
use crate::config::Settings;
use crate::disk::{ControlName, Disk, Kind, Place, StagedName};
use crate::net::{ChunkAnswer, Net, Peer, Serve};

/// How long after a write within a tick of the clock its file is looked at again.
const RACY_AGAIN: Duration = Duration::from_secs(3);

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
    watcher: Mutex<Option<Watcher>>,
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
            let message = format!("{}: what a crash has left cannot be settled: {error}", self.path.display());
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
        match Watcher::start(&self.path, Arc::clone(&open.root.disk), notice) {
            Ok(watcher) => *open.watcher.lock() = Some(watcher),
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
            let drawn = root::redraw(open.root.disk.as_ref(), &self.kept, &marker, facts, crate::random::bytes());
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
        self.opened().is_none_or(|open| open.watcher.lock().as_ref().is_none_or(Watcher::is_polling))
    }

    /// Waits until everything that happened on the disk before has been noticed; `false` if that
    /// takes longer than `timeout`, or nothing watches.
    pub fn sync_watcher(&self, timeout: Duration) -> bool {
        let Some(open) = self.opened() else { return false };
        let probe = open.watcher.lock().as_ref().map(Watcher::probe);
        probe.is_some_and(|probe| probe.wait(timeout))
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

/// Looking.
impl Hands {
    /// Scans; answers with parts and the end.
    pub fn scan(self: &Arc<Self>, what: Scan) {
        self.spawn(move |hands| {
            let result = hands.scan_now(&what);
            hands.inputs.event(Event::ScanEnded(result));
        });
    }

    fn scan_now(&self, what: &Scan) -> Result<(), Hold> {
        let Some(open) = self.opened() else {
            return Err(Hold { code: "ROOT_MARKER_MISSING", message: format!("{} is not there", self.path.display()) });
        };
        let disk = &open.root.disk;
        let check = || {
            marker::check_root(&self.path, disk.as_ref(), &self.root_id)
                .map_err(|trouble| root::trouble(&self.path, &trouble))
        };
        check()?;
        let ignored = Ignored::load(disk.as_ref(), &[]).map_err(|error| Hold {
            code: "DISK",
            message: format!("{}: .syncignore cannot be read: {error}", self.path.display()),
        })?;
        let cx = ScanContext {
            files: open.files.clone(),
            records: Arc::new(self.kept.clone()),
            nodes: &self.kept,
            ignored: Arc::new(ignored),
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            unrest: Arc::clone(&self.senses.unrest),
        };
        let mut sink = |part: Part| {
            if check().is_err() {
                return ControlFlow::Break(());
            }
            self.hand_on(part);
            ControlFlow::Continue(())
        };
        match scan::scan(&cx, what, &mut sink) {
            Ok(()) => check().map(drop),
            Err(ScanError::Stopped) => check().map(drop),
            Err(ScanError::RootEmptied) => Ok(()),
            Err(error) => {
                check()?;
                Err(Hold { code: "DISK", message: format!("{}: {error}", self.path.display()) })
            }
        }
    }

    fn hand_on(&self, part: Part) {
        let Part { observations, unsynced, unstable, racy } = part;
        let inputs = self.inputs.clone();
        if !racy.is_empty() {
            self.notice_later(inputs.clone(), RACY_AGAIN, racy);
        }
        for (path, pause) in unstable {
            self.notice_later(inputs.clone(), pause, vec![path]);
        }
        self.inputs.event_and_wait(Event::Scanned { observations, unsynced });
    }

    fn notice_later(&self, inputs: Inputs, pause: Duration, paths: Vec<RelPath>) {
        self.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            let _ = tokio::task::spawn_blocking(move || inputs.event(Event::Noticed(Noticed::Paths(paths)))).await;
        });
    }
}

/// Gathering.
impl Hands {
    /// Asks a peer for nodes.
    pub fn fetch_nodes(&self, ticket: Ticket, peer: Peer, ids: Vec<NodeId>) {
        let inputs = self.inputs.clone();
        self.runtime.spawn(async move {
            let answer = peer.nodes(&ids).await.map_err(|error| tracing::debug!(%error, "nodes did not come"));
            inputs.send_from_async(Input::Event(Event::Nodes(ticket, answer))).await;
        });
    }

    /// Asks a peer for chunks and writes what comes.
    pub fn fetch_chunks(self: &Arc<Self>, ticket: Ticket, peer: Peer, refs: Vec<ChunkWanted>) {
        let hands = Arc::clone(self);
        self.runtime.spawn(async move {
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<(ChunkWanted, ChunkAnswer)>();
            let wanted = refs.clone();
            let asking = async {
                let result = peer
                    .chunks(&wanted, |number, answer| {
                        // Bounded by what one request may ask for.
                        if let Some(chunk) = wanted.get(number) {
                            let _ = sender.send((*chunk, answer));
                        }
                    })
                    .await;
                if let Err(error) = result {
                    tracing::debug!(%error, "chunks did not come");
                }
                drop(sender);
            };
            let writing = async {
                let mut batch = Vec::new();
                while receiver.recv_many(&mut batch, 64).await > 0 {
                    hands.write(ticket, std::mem::take(&mut batch)).await;
                }
            };
            tokio::join!(asking, writing);
            hands.inputs.send_from_async(Input::Event(Event::FetchEnded(ticket))).await;
        });
    }

    /// Verifies and writes some chunks, and tells what became of them.
    async fn write(self: &Arc<Self>, ticket: Ticket, batch: Vec<(ChunkWanted, ChunkAnswer)>) {
        let hands = Arc::clone(self);
        let _ = tokio::task::spawn_blocking(move || {
            let Some(open) = hands.opened() else { return };
            let (mut arrived, mut gone, mut bad) = (Vec::new(), Vec::new(), Vec::new());
            for (chunk, answer) in batch {
                match answer {
                    ChunkAnswer::Gone => gone.push(chunk),
                    ChunkAnswer::Here(bytes) => match open.stage.write(&chunk, &bytes) {
                        Written::Ok => arrived.push(chunk),
                        Written::Bad => bad.push(chunk),
                        Written::Unwanted => {}
                        Written::Failed(message) => hands.disk_failed(&message),
                    },
                }
            }
            for (chunks, event) in [
                (arrived, Event::Arrived as fn(Ticket, Vec<ChunkWanted>) -> Event),
                (gone, Event::Gone),
                (bad, Event::Bad),
            ] {
                if !chunks.is_empty() {
                    hands.inputs.event(event(ticket, chunks));
                }
            }
        })
        .await;
    }

    fn disk_failed(&self, message: &str) {
        tracing::warn!(message, path = %self.path.display(), "a chunk could not be written");
    }

    /// Prepares staged files.
    pub fn prepare(self: &Arc<Self>, wishes: Vec<Prepare>) {
        self.spawn(move |hands| {
            let prepared = match hands.opened() {
                Some(open) => open.stage.prepare(&wishes),
                None => refused(&wishes),
            };
            hands.inputs.event(Event::Prepared(prepared));
        });
    }

    /// Nobody waits for these contents any more.
    pub fn forget(self: &Arc<Self>, contents: Vec<ContentId>) {
        self.spawn(move |hands| {
            if let Some(open) = hands.opened() {
                if let Err(error) = open.stage.forget(&contents) {
                    tracing::debug!(%error, "staged files are left over");
                }
            }
        });
    }

    /// Leaves all links of the folder and joins again.
    pub fn rejoin(self: &Arc<Self>) {
        self.net.remove_folder(self.secret.folder_id());
        let opening = super::opening_of(&self.secret, &self.kept);
        self.net.add_folder(self.secret.clone(), opening, Arc::clone(self) as Arc<dyn Serve>);
        self.net.set_pinned(self.secret.folder_id(), self.kept.0.pinned().unwrap_or_default());
    }
}

fn refused(wishes: &[Prepare]) -> Vec<Prepared> {
    let missing = Err("the folder's directory is not there".to_owned());
    wishes.iter().map(|wish| Prepared { content: wish.content, missing: missing.clone() }).collect()
}

/// Changing.
impl Hands {
    /// Carries out a batch.
    pub fn apply(self: &Arc<Self>, ops: Vec<Op>) {
        self.spawn(move |hands| {
            let paths: Vec<_> = ops.iter().map(|op| op.path.clone()).collect();
            let outcomes = match hands.opened() {
                Some(open) => hands.apply_now(&open, ops),
                None => paths.into_iter().map(|path| (path, Outcome::Waits)).collect(),
            };
            hands.inputs.event(Event::Applied(outcomes));
        });
    }

    fn apply_now(&self, open: &Open, ops: Vec<Op>) -> Vec<(RelPath, Outcome)> {
        let disk = open.root.disk.as_ref();
        let mut staged = Vec::new();
        let mut uses: BTreeMap<ContentId, usize> = BTreeMap::new();
        for op in &ops {
            if let Source::Staged(content) = op.source {
                *uses.entry(content).or_default() += 1;
            }
        }
        let moved: Vec<_> = ops
            .iter()
            .filter_map(|op| match &op.source {
                Source::Moved(from, _) => Some((op.path.clone(), from.clone())),
                _ => None,
            })
            .collect();
        let batch: Vec<_> = ops.into_iter().map(|op| prepare_op(open, op, &mut uses, &mut staged)).collect();
        if let Err(error) = apply::make_durable(disk, &staged) {
            let message = format!("staged files cannot be made durable: {error}");
            return batch.into_iter().map(|op| (op.path, Outcome::Problem(message.clone()))).collect();
        }
        let archive = Archive::new(disk, seconds_since_1970());
        let verify = |file: &dyn crate::disk::ReadFile| Ok(hash_open(&open.files, file, &mut |_| Ok(()))?.0);
        let report = Executor::new(disk, &archive, &verify).run(&batch);
        if let Err(error) = report.sync {
            let message = format!("directories cannot be made durable: {error}");
            return batch.into_iter().map(|op| (op.path, Outcome::Problem(message.clone()))).collect();
        }
        self.look_again(report.resting);
        let mut outcomes: Vec<_> = batch
            .into_iter()
            .zip(report.outcomes)
            .map(|(op, outcome)| (op.path, self.outcome(open, outcome)))
            .collect();
        let done: Vec<_> = outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Done(_) | Outcome::Displaced { .. }))
            .map(|(path, _)| path.clone())
            .collect();
        for (to, from) in moved {
            if done.contains(&to) {
                outcomes.push((from, Outcome::Done(None)));
            }
        }
        outcomes
    }

    /// Turns the executor's words into the engine's.
    fn outcome(&self, open: &Open, outcome: apply::Outcome) -> Outcome {
        match outcome {
            apply::Outcome::Done(record) => Outcome::Done(record),
            apply::Outcome::Touched => Outcome::Touched,
            apply::Outcome::Waits(_) => Outcome::Waits,
            apply::Outcome::Problem { code, message } => {
                tracing::debug!(code, message, "a path cannot be applied");
                Outcome::Problem(message)
            }
            apply::Outcome::Displaced { staged, seen, placed } => match self.adopt(open, &staged, seen.kind) {
                Ok(content) => {
                    Outcome::Displaced { record: placed, edit: root::seen(content, &seen) }
                }
                Err(error) => Outcome::Problem(format!("a user's edit came out and could not be kept: {error}")),
            },
        }
    }

    /// What a user had where something else was put: staged under the content that it holds.
    fn adopt(&self, open: &Open, staged: &StagedName, kind: Kind) -> std::io::Result<Content> {
        let at = Place::Staged(staged.clone());
        if kind == Kind::Symlink {
            return Ok(Content::Symlink { target: open.root.disk.read_link(&at)?.into() });
        }
        let file = open.root.disk.open(&at)?;
        let keep = &mut |nodes: Vec<(NodeId, Bytes)>| NodeStore::save(&self.kept, &nodes).map_err(std::io::Error::other);
        let (id, size) = hash_open(&open.files, file.as_ref(), keep)?;
        match open.root.disk.rename_new(&at, &Place::Staged(super::stage::staged_name(&id))) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Content::File { id, size }),
        }
    }

    /// A program may still have had a displaced file open: what it writes then is an edit.
    fn look_again(&self, _resting: Vec<apply::Resting>) {}

    /// Puts what is at these paths into the archive.
    pub fn revert(self: &Arc<Self>, mut paths: Vec<RelPath>) {
        self.spawn(move |hands| {
            let mut done = Vec::new();
            if let Some(open) = hands.opened() {
                let disk = open.root.disk.as_ref();
                let archive = Archive::new(disk, seconds_since_1970());
                paths.sort_by(|a, b| b.cmp(a));
                for path in paths {
                    match put_aside(disk, &archive, &path) {
                        Ok(()) => done.push(path),
                        Err(error) => tracing::warn!(%path, %error, "a local change could not be put aside"),
                    }
                }
                let _ = archive.sync();
            }
            hands.inputs.event(Event::Reverted(done));
        });
    }
}

fn put_aside(disk: &dyn Disk, archive: &Archive<'_>, path: &RelPath) -> std::io::Result<()> {
    let at = Place::Folder(path.clone());
    match disk.stat(&at) {
        Ok(Some(found)) if found.kind == Kind::Directory => disk.remove_directory(&at).or_else(|error| {
            // It still holds what is not a local change: only its record was in question.
            if error.kind() == std::io::ErrorKind::DirectoryNotEmpty { Ok(()) } else { Err(error) }
        }),
        Ok(Some(_)) => archive.put(&at, path).map(drop),
        Ok(None) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The engine's operation as the executor's, with what it takes out of staging made ready.
fn prepare_op(
    open: &Open,
    op: Op,
    uses: &mut BTreeMap<ContentId, usize>,
    staged: &mut Vec<StagedName>,
) -> apply::Op {
    let disk = open.root.disk.as_ref();
    let source = match op.source {
        Source::Moved(path, record) => apply::Source::MovedFrom { path, record: *record },
        Source::Staged(content) => {
            let name = super::stage::staged_name(&content);
            let left = uses.get_mut(&content).map_or(1, |left| std::mem::replace(left, left.saturating_sub(1)));
            let name = if left > 1 {
                another_name(&content, left)
                    .filter(|copy| disk.copy_to_staged(&Place::Staged(name.clone()), copy).is_ok())
                    .unwrap_or(name)
            } else {
                name
            };
            staged.push(name.clone());
            apply::Source::Staged(name)
        }
        Source::None => match op.after.as_ref().map(|after| (&after.content, after.metadata.mtime)) {
            Some((Content::Symlink { target }, mtime))
                if op.before.as_ref().is_none_or(|before| {
                    Some(&before.shown.content) != op.after.as_ref().map(|after| &after.content)
                }) =>
            {
                let name = link_name(&op.path);
                match disk.stage_link(&name, target, mtime) {
                    Ok(()) => apply::Source::Staged(name),
                    Err(_) => apply::Source::None,
                }
            }
            _ => apply::Source::None,
        },
    };
    apply::Op { path: op.path, before: op.before, after: op.after, source }
}

/// A second staged file of a content that several paths want.
fn another_name(content: &ContentId, number: usize) -> Option<StagedName> {
    let mut name = format!("copy-{number}-");
    for byte in content.0 {
        write!(name, "{byte:02x}").ok()?;
    }
    StagedName::parse(&name)
}

/// The staged link for a path.
fn link_name(path: &RelPath) -> StagedName {
    let hash = blake3::hash(path.as_bytes()).to_hex();
    StagedName::parse(&format!("link-{hash}")).expect("letters, a dash and hex digits")
}

impl Serve for Hands {
    fn nodes(&self, ids: &[NodeId]) -> Vec<Option<Bytes>> {
        ids.iter().map(|id| self.kept.load(id).ok().flatten()).collect()
    }

    fn chunk(&self, wanted: &ChunkWanted) -> Option<Bytes> {
        self.opened()?.server.chunk(wanted).ok().flatten()
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
