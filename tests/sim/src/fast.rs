//! An engine that is answered at once and without a disk: for what large folders cost.
//!
//! Scans find what they are given, contents arrive when they are asked for, the disk does what it is
//! told. What is left is the engine's own work, over a database in memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use keystore::{DeviceId, FolderSecret};
use model::naive::origin;
use protocol::commit::Observation;
use protocol::context::Label;
use protocol::engine::{Effect, Engine, Event, Identity, Noticed, Outcome, Prepared, Settings, Start};
use protocol::message::{ChunkWanted, Message};
use protocol::{Content, ContentId, Metadata, NodeStore, Record, RelPath, Seen, Stat, Timestamp};

use crate::path;
use crate::store::Store;

/// Bytes of each file.
const FILE_BYTES: u64 = 10_000;
/// The other device.
const PEER: DeviceId = DeviceId([9; 32]);
/// What is to happen later than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A device whose surroundings cost nothing.
pub struct Fast {
    /// What is looked at.
    pub engine: Engine<Store>,
    /// Its database.
    pub store: Store,
    /// How long it has worked so far.
    pub time: Duration,
    /// What the next scan finds.
    to_scan: Vec<Observation>,
    /// Observations that it hands on at once.
    part: usize,
    now: Duration,
    sent: Vec<Message>,
}

impl Fast {
    /// The writer `0`, who has the folder, or another one, who has just joined it.
    pub fn new(n: u8, settings: &Settings) -> Self {
        let secret = FolderSecret::new([7; 20]);
        let opening = secret.opening().expect("a writer's secret");
        let identity = Identity {
            folder: secret.folder_id(),
            device: DeviceId([n; 32]),
            capability: secret.capability(),
            signer: secret.signer(),
            verifier: secret.check_opening(&opening).ok(),
            origin: origin(n, 1),
            label: Label::new("device"),
        };
        let store = Store::default();
        let start = Start { joined: n > 0, distrust_records: false, paused: false };
        let now = Duration::from_secs(1);
        let engine = Engine::new(store.clone(), identity, settings.clone(), start, now);
        let engine = engine.expect("memory holds it");
        let (time, to_scan, sent) = Default::default();
        // Each part is a head, which comes while windows of the ones before are worked off.
        let part = 2 * settings.window;
        Self { engine, store, time, to_scan, part, now, sent }
    }

    /// Two that have met: the first has the folder, the second nothing.
    pub fn pair(settings: &Settings) -> [Self; 2] {
        let mut pair = [Self::new(0, settings), Self::new(1, settings)];
        run(&mut pair, [(0, Event::Joined(PEER)), (1, Event::Joined(PEER))]);
        pair
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        let start = Instant::now();
        self.engine.handle(self.now, event).expect("memory holds it");
        let effects = std::iter::from_fn(|| self.engine.poll()).collect();
        self.time += start.elapsed();
        effects
    }

    fn answer(&mut self, effect: Effect, other: &Store) -> Vec<Event> {
        match effect {
            Effect::Send(_, message) => self.sent.push(message),
            Effect::Scan(_) => {
                let all = std::mem::take(&mut self.to_scan);
                let parts = all
                    .chunks(self.part)
                    .map(|part| Event::Scanned { observations: part.to_vec(), unsynced: Vec::new() });
                return parts.chain([Event::ScanEnded(Ok(()))]).collect();
            }
            Effect::FetchNodes(ticket, _, ids) => {
                let nodes = ids.iter().map(|id| other.load(id).expect("memory holds it")).collect();
                return vec![Event::Nodes(ticket, Ok(nodes))];
            }
            Effect::Prepare(wishes) => {
                let prepared = wishes.into_iter().map(|wish| {
                    let chunk = ChunkWanted { content: wish.content, number: 0, len: wish.size as u32 };
                    let is_here = !wish.same.is_empty();
                    Prepared {
                        content: wish.content,
                        missing: Ok((!is_here).then_some(chunk).into_iter().collect()),
                    }
                });
                return vec![Event::Prepared(prepared.collect())];
            }
            Effect::FetchChunks(ticket, _, chunks) => {
                return vec![Event::Arrived(ticket, chunks), Event::FetchEnded(ticket)];
            }
            Effect::Apply(ops) => {
                let done = ops.into_iter().map(|op| {
                    let record = op.after.map(|shown| Record { shown, stat: None, ignored: false });
                    (op.path, Outcome::Done(record))
                });
                return vec![Event::Applied(done.collect())];
            }
            _ => {}
        }
        Vec::new()
    }
}

/// What happens to either of them, and all that follows from it, until both are at rest.
fn run(pair: &mut [Fast; 2], events: impl IntoIterator<Item = (usize, Event)>) {
    let mut events: VecDeque<_> = events.into_iter().collect();
    loop {
        let Some((n, event)) = events.pop_front() else {
            let soon = pair.iter().filter_map(|device| device.engine.wake_at(device.now));
            let Some(at) = soon.min().filter(|at| *at < pair[0].now + PATIENCE) else { return };
            for device in pair.iter_mut() {
                device.now = device.now.max(at);
            }
            events.extend([(0, Event::Tick), (1, Event::Tick)]);
            continue;
        };
        let other = pair[1 - n].store.clone();
        for effect in pair[n].handle(event) {
            events.extend(pair[n].answer(effect, &other).into_iter().map(|event| (n, event)));
        }
        let sent = std::mem::take(&mut pair[n].sent);
        events.extend(sent.into_iter().map(|message| (1 - n, Event::Message(PEER, message))));
    }
}

/// The first of two notices something: its next scan finds this. Then all that follows, on both.
pub fn notice(pair: &mut [Fast; 2], found: Vec<Observation>) {
    pair.iter_mut().for_each(|device| device.now += Duration::from_secs(60));
    let noticed = found.first().map(|observation| observation.path.clone());
    pair[0].to_scan = found;
    run(pair, [(0, Event::Noticed(Noticed::Paths(noticed.into_iter().collect())))]);
}

/// The numbered file appears: the content depends on the number alone.
pub fn file(path: RelPath, number: u32) -> Observation {
    let mut id = *blake3::hash(&number.to_le_bytes()).as_bytes();
    id[31] = 1;
    let mtime = Timestamp { seconds: number.into(), nanos: 0 };
    let stat = Stat { inode: number.into(), size: FILE_BYTES, mtime, ctime: mtime, mode: 0o100_644 };
    let seen = Seen {
        content: Content::File { id: ContentId(id), size: FILE_BYTES },
        metadata: Metadata { mtime, mode: 0o644, ..Metadata::default() },
        stat: Some(stat),
    };
    Observation { path, record: None, seen: Some(seen), ignored: false }
}

/// A directory appears.
pub fn directory(path: RelPath) -> Observation {
    let mut found = file(path, 0);
    if let Some(seen) = &mut found.seen {
        seen.content = Content::Directory;
    }
    found
}

/// So many files appear, each `in_each` in a directory of their own, in the order of a scan.
pub fn files(top: &str, count: u32, in_each: u32) -> Vec<Observation> {
    let mut all = BTreeMap::new();
    for number in 0..count {
        let above = path(&format!("{top}{:04}", number / in_each));
        all.entry(above.clone()).or_insert_with(|| directory(above));
        let at = path(&format!("{top}{:04}/file {number:06}.txt", number / in_each));
        all.insert(at.clone(), file(at, number));
    }
    all.into_values().collect()
}

/// All that these devices have recorded is gone, in the order of a scan.
pub fn gone(store: &Store) -> Vec<Observation> {
    let all = store.records().into_iter();
    all.map(|(path, record)| Observation { path, record: Some(record), seen: None, ignored: false }).collect()
}
