//! What a large folder costs, of processor time: `cargo test --release -p sim --test cost -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a measurement")]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use keystore::{DeviceId, FolderSecret};
use model::naive::origin;
use protocol::commit::Observation;
use protocol::context::Label;
use protocol::engine::{Effect, Engine, Event, Identity, Noticed, Outcome, Prepared, Settings, Start};
use protocol::message::ChunkWanted;
use protocol::{Content, ContentId, Metadata, NodeStore, Record, RelPath, Seen, Stat, Timestamp};
use sim::store::Store;

const FILES: u32 = 100_000;
const PART: usize = 16_384;

/// An engine that is answered at once and without a disk; counts what it takes.
struct Fast {
    engine: Engine<Store>,
    store: Store,
    time: Duration,
    now: Duration,
    out: Vec<protocol::message::Message>,
    to_scan: Vec<Observation>,
}

fn peer() -> DeviceId {
    DeviceId([9; 32])
}

impl Fast {
    fn new(n: u8) -> Self {
        let secret = FolderSecret::new([7; 20]);
        let identity = Identity {
            folder: secret.folder_id(),
            device: DeviceId([n; 32]),
            capability: secret.capability(),
            signer: secret.signer(),
            verifier: secret.check_opening(&secret.opening().unwrap()).ok(),
            origin: origin(n, 1),
            label: Label::new("device"),
        };
        let store = Store::default();
        let start = Start { joined: n > 0, distrust_records: false, paused: false };
        let now = Duration::from_secs(1);
        let engine = Engine::new(store.clone(), identity, Settings::default(), start, now).unwrap();
        Self { engine, store, time: Duration::ZERO, now, out: Vec::new(), to_scan: Vec::new() }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        let start = Instant::now();
        self.engine.handle(self.now, event).unwrap();
        let effects = std::iter::from_fn(|| self.engine.poll()).collect();
        self.time += start.elapsed();
        effects
    }

    /// Answers until nothing is to be answered.
    fn run(&mut self, other: Option<&Store>, first: Vec<Effect>) {
        let mut effects = VecDeque::from(first);
        loop {
            let Some(effect) = effects.pop_front() else {
                match self.engine.wake_at(self.now) {
                    Some(at) if at < self.now + Duration::from_secs(5) => {
                        self.now = self.now.max(at);
                        effects.extend(self.handle(Event::Tick));
                        continue;
                    }
                    _ => return,
                }
            };
            for event in self.answer(other, effect) {
                effects.extend(self.handle(event));
            }
        }
    }

    fn answer(&mut self, other: Option<&Store>, effect: Effect) -> Vec<Event> {
        match effect {
            Effect::Send(_, message) => {
                self.out.push(message);
                Vec::new()
            }
            Effect::Scan(_) => {
                let all = std::mem::take(&mut self.to_scan);
                let parts = all
                    .chunks(PART)
                    .map(|part| Event::Scanned { observations: part.to_vec(), unsynced: Vec::new() });
                parts.chain([Event::ScanEnded(Ok(()))]).collect()
            }
            Effect::FetchNodes(ticket, _, ids) => {
                let nodes = ids.iter().map(|id| other.unwrap().load(id).unwrap()).collect();
                vec![Event::Nodes(ticket, Ok(nodes))]
            }
            Effect::Prepare(wishes) => {
                let missing = wishes.iter().map(|wish| {
                    let chunk = ChunkWanted { content: wish.content, number: 0, len: wish.size as u32 };
                    Prepared { content: wish.content, missing: Ok(vec![chunk]) }
                });
                vec![Event::Prepared(missing.collect())]
            }
            Effect::FetchChunks(ticket, _, chunks) => {
                vec![Event::Arrived(ticket, chunks), Event::FetchEnded(ticket)]
            }
            Effect::Apply(ops) => {
                let done = ops.into_iter().map(|op| {
                    let record = op.after.map(|shown| Record { shown, stat: None, ignored: false });
                    (op.path, Outcome::Done(record))
                });
                vec![Event::Applied(done.collect())]
            }
            _ => Vec::new(),
        }
    }
}

fn file(path: &RelPath, text: u32, record: Option<Record>) -> Observation {
    let mut id = [1; 32];
    id[..4].copy_from_slice(&text.to_le_bytes());
    let mtime = Timestamp { seconds: text.into(), nanos: 0 };
    let stat = Stat { inode: text.into(), size: 10_000, mtime, ctime: mtime, mode: 0o100_644 };
    let seen = Seen {
        content: Content::File { id: ContentId(id), size: 10_000 },
        metadata: Metadata { mtime, mode: 0o644, ..Metadata::default() },
        stat: Some(stat),
    };
    Observation { path: path.clone(), record, seen: Some(seen), ignored: false }
}

fn tree() -> BTreeMap<RelPath, Observation> {
    let mut all = BTreeMap::new();
    for n in 0..FILES {
        let directory = sim::path(&format!("directory {:03}", n / 500));
        let path = sim::path(&format!("directory {:03}/file {:05}.txt", n / 500, n));
        let mut observation = file(&directory, 0, None);
        observation.seen.as_mut().unwrap().content = Content::Directory;
        all.entry(directory).or_insert(observation);
        all.insert(path.clone(), file(&path, n, None));
    }
    all
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "a measurement")]
fn a_hundred_thousand_files() {
    let mut writer = Fast::new(0);
    writer.to_scan = tree().into_values().collect();
    let first = writer.handle(Event::Tick);
    let first = [std::iter::from_fn(|| writer.engine.poll()).collect(), first].concat_all();
    writer.run(None, first);
    println!("commit of {} files: {:?}", writer.engine.totals().files, writer.time);
    let mut joiner = Fast::new(1);
    let effects = joiner.handle(Event::Joined(peer()));
    joiner.run(None, effects);
    let effects = writer.handle(Event::Joined(peer()));
    writer.run(None, effects);
    for message in std::mem::take(&mut writer.out) {
        let effects = joiner.handle(Event::Message(peer(), message));
        joiner.run(Some(&writer.store), effects);
    }
    println!(
        "joiner: {:?}, {:?}, {} files",
        joiner.time,
        joiner.engine.activity(),
        joiner.store.records().len()
    );
    joiner.out.clear();
    for (n, name) in [12_345_u32, 77_777, 99_999].into_iter().enumerate() {
        let path = sim::path(&format!("directory {:03}/file {name:05}.txt", name / 500));
        (writer.time, joiner.time) = Default::default();
        let record = protocol::Records::record(&writer.store, &path).unwrap();
        writer.now += Duration::from_secs(60);
        writer.to_scan = vec![file(&path, 1_000_000 + n as u32, record)];
        let effects = writer.handle(Event::Noticed(Noticed::Paths(vec![path])));
        writer.run(None, effects);
        joiner.now = writer.now;
        for message in std::mem::take(&mut writer.out) {
            let effects = joiner.handle(Event::Message(peer(), message));
            joiner.run(Some(&writer.store), effects);
        }
        println!("a save: {:?} and {:?}, {:?}", writer.time, joiner.time, joiner.engine.activity());
        assert_eq!(writer.engine.state().entries, joiner.engine.state().entries);
    }
}

trait ConcatAll<T> {
    fn concat_all(self) -> Vec<T>;
}

impl<T> ConcatAll<T> for [Vec<T>; 2] {
    fn concat_all(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
}
