//! One device: an engine, its database, its disk, and what is going on between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use keystore::{ContentKey, DeviceId, FolderSecret};
use model::naive::origin;
use protocol::commit::Observation;
use protocol::context::Label;
use protocol::engine::{Engine, Identity, Op, Outcome, Rules, Settings, Start};
use protocol::{Content, ContentId, NodeId, Origin, Record, RelPath};

use crate::disk::Disk;
use crate::look::shows;
use crate::stage::Staged;
use crate::store::Store;

/// What a device may do in the folder, and how it came to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It made the folder.
    Creator,
    /// It writes, and has joined.
    Writer,
    /// It reads, and knows the verifying key.
    Reader,
    /// It reads, and has to be told the verifying key by a peer.
    NewReader,
}

/// Ignores these paths, and all below them.
#[derive(Debug, Default)]
pub struct Ignoring(pub Vec<RelPath>);

impl Rules for Ignoring {
    fn is_ignored(&self, path: &RelPath, _: bool) -> bool {
        self.0.iter().any(|top| path == top || path.is_below(Some(top)))
    }
}

/// A device.
pub struct Device {
    /// Its number; its label is `dev` and that.
    pub number: usize,
    /// Writes or reads.
    pub role: Role,
    /// The folder's secret.
    pub secret: FolderSecret,
    /// Keys the contents.
    pub key: ContentKey,
    /// Settings of every engine that is started.
    pub settings: Settings,
    /// Outlives the engine.
    pub store: Store,
    /// Outlives the engine.
    pub disk: Disk,
    /// What was replaced or removed.
    pub archive: BTreeMap<Content, Rc<Vec<u8>>>,
    /// Lost in a crash.
    pub staged: BTreeMap<ContentId, Staged>,
    /// None while the daemon is down.
    pub engine: Option<Engine<Store>>,
    /// Counts starts, so that what belongs to an earlier one is dropped.
    pub run: u64,
    /// The origin of this run.
    pub origin: Origin,
    /// Parts of the running scan.
    pub scan: VecDeque<Vec<Observation>>,
    /// The running apply.
    pub ops: VecDeque<Op>,
    /// Whether they are being carried out.
    pub is_applying: bool,
    /// What comes after them.
    pub batches: VecDeque<Vec<Op>>,
    /// Of the running apply.
    pub outcomes: Vec<(RelPath, Outcome)>,
    /// Chunks that came from peers.
    pub fetched: u64,
    /// How many chunks it has given to others.
    pub served: std::cell::Cell<u64>,
    /// Files that were renamed.
    pub moves: u64,
    /// Changes that users have made.
    pub touches: u64,
    /// What a user writes into the next file that is replaced, in the moment of the swap.
    pub slip_in: Option<Vec<u8>>,
    /// What users wrote so.
    pub slipped: BTreeSet<ContentId>,
    /// How often each effect was asked for.
    pub effects: BTreeMap<&'static str, u64>,
    /// All that this device has told or asked others.
    pub sent: u64,
    /// When the engine is called at the latest.
    pub wake: Option<Duration>,
    /// Its disk does not tell case apart.
    pub folds: bool,
    /// What is not wanted here; told with each scan.
    pub rules: Arc<Ignoring>,
    /// Paths that the disk does not take.
    pub refused: BTreeSet<RelPath>,
}

impl Device {
    /// A device with an empty disk; not started.
    pub fn new(number: usize, role: Role, secret: &FolderSecret) -> Self {
        let read_only = || FolderSecret::parse(&secret.read_only_key()).expect("a reader's key");
        let writes = matches!(role, Role::Creator | Role::Writer);
        let key = secret.content_key();
        Self {
            number,
            role,
            secret: if writes { secret.clone() } else { read_only() },
            key: key.clone(),
            settings: Settings::default(),
            store: Store::default(),
            disk: Disk::new(key),
            archive: BTreeMap::new(),
            staged: BTreeMap::new(),
            engine: None,
            run: 0,
            origin: origin(0, 0),
            scan: VecDeque::new(),
            ops: VecDeque::new(),
            is_applying: false,
            batches: VecDeque::new(),
            outcomes: Vec::new(),
            fetched: 0,
            served: std::cell::Cell::new(0),
            moves: 0,
            touches: 0,
            slip_in: None,
            slipped: BTreeSet::new(),
            effects: BTreeMap::new(),
            sent: 0,
            wake: None,
            folds: false,
            rules: Arc::default(),
            refused: BTreeSet::new(),
        }
    }

    /// Its name among peers.
    pub fn id(&self) -> DeviceId {
        DeviceId([self.number as u8; 32])
    }

    /// Whether it has the key to write.
    pub fn writes(&self) -> bool {
        matches!(self.role, Role::Creator | Role::Writer)
    }

    /// Starts the daemon: settles the journal, then makes an engine.
    pub fn start(&mut self, now: Duration, full: &FolderSecret, distrust: bool) {
        let disk = &self.disk;
        self.store.settle(|path, target| {
            protocol::plan::recover(target, disk.get(path).map(|node| node.seen()).as_ref())
        });
        self.run += 1;
        self.origin = origin(self.number as u8, self.run as u16);
        let verifier = |secret: &FolderSecret| {
            let opening = full.opening().expect("a writer's");
            secret.check_opening(&opening).expect("its own")
        };
        let identity = Identity {
            folder: self.secret.folder_id(),
            device: self.id(),
            capability: self.secret.capability(),
            signer: self.secret.signer(),
            verifier: (self.role != Role::NewReader).then(|| verifier(&self.secret)),
            origin: self.origin,
            label: Label::new(&format!("dev{}", self.number)),
        };
        let start = Start { joined: self.role != Role::Creator, distrust_records: distrust, paused: false };
        let engine = Engine::new(self.store.clone(), identity, self.settings.clone(), start, now);
        self.engine = Some(engine.expect("memory does not fail"));
        self.wake = None;
    }

    /// The daemon is killed.
    pub fn crash(&mut self) {
        self.engine = None;
        self.run += 1;
        self.scan.clear();
        self.ops.clear();
        self.is_applying = false;
        self.batches.clear();
        self.outcomes.clear();
        // What a user had written is swept into the archive.
        for (id, staged) in std::mem::take(&mut self.staged) {
            if staged.is_complete() {
                let data = staged.bytes();
                self.archive.insert(Content::File { id, size: data.len() as u64 }, Rc::new(data));
            }
        }
    }

    /// The engine, which runs.
    pub fn engine(&self) -> &Engine<Store> {
        self.engine.as_ref().expect("it runs")
    }

    /// Entries and context of its state.
    pub fn roots(&self) -> (NodeId, NodeId) {
        let state = self.engine().state();
        (state.entries, state.context_root)
    }

    /// What the disk shows, without metadata.
    pub fn contents(&self) -> BTreeMap<RelPath, Content> {
        self.disk.nodes().iter().map(|(path, node)| (path.clone(), node.content.clone())).collect()
    }

    /// Paths that do not show their record.
    pub fn touched(&self) -> Vec<RelPath> {
        let records = self.store.records();
        let all: BTreeSet<_> = records.keys().chain(self.disk.nodes().keys()).cloned().collect();
        let shown = |path: &RelPath, record: Option<&Record>| shows(record, self.disk.get(path), false);
        all.into_iter().filter(|path| !shown(path, records.get(path))).collect()
    }
}
