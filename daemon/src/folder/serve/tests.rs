use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::engine::Prepare;
use protocol::tree::MemoryNodes;
use protocol::{Content, Records};

use super::*;
use crate::disk::Call;
use crate::folder::scan::tests::support::{FakeRecords, World, path};

/// A folder that was scanned, its server, and what the server tells of.
struct Serving {
    world: World,
    server: Server,
    told: Arc<Mutex<Vec<RelPath>>>,
    holders: Arc<Asked>,
}

fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Records, and how often they were asked.
struct Asked {
    records: Arc<FakeRecords>,
    times: AtomicUsize,
}

impl Holders for Asked {
    fn holders(&self, contents: &[ContentId], limit: usize) -> Result<Vec<Vec<Holder>>, StoreError> {
        self.times.fetch_add(1, Ordering::Relaxed);
        let holder = |path: RelPath| {
            let record = self.records.record(&path)?.expect("a record");
            Ok((path, record.shown.content.size_bytes()))
        };
        let of = |content| self.records.with_content(content, limit)?.into_iter().map(holder).collect();
        contents.iter().map(of).collect()
    }
}

fn serving(files: &[(&str, &[u8])]) -> Serving {
    let world = World::new();
    for (name, bytes) in files {
        world.write(name, bytes);
    }
    world.full();
    let nodes: Arc<MemoryNodes> = Arc::new(MemoryNodes::new());
    for id in world.nodes.ids() {
        let bytes = world.nodes.load(&id).expect("load").expect("node");
        nodes.save(&[(id, bytes)]).expect("save");
    }
    let stage = Arc::new(Stage::new(world.disk.clone(), nodes.clone(), World::key()));
    let told: Arc<Mutex<Vec<RelPath>>> = Arc::default();
    let tell = Arc::clone(&told);
    let changed = Box::new(move |path| tell.lock().push(path));
    let holders = Arc::new(Asked { records: world.records.clone(), times: AtomicUsize::new(0) });
    let server = Server::new(world.disk.clone(), holders.clone(), nodes, World::key(), stage, changed);
    Serving { world, server, told, holders }
}

impl Serving {
    fn refs(&self, name: &str) -> Vec<ChunkWanted> {
        let Content::File { id, size } = self.world.record(name).shown.content else { panic!("no file") };
        let list = ChunkList::load(&*self.server.nodes, &id, size).expect("a list");
        let chunks = list.iter().map(|chunk| chunk.expect("a chunk"));
        chunks.map(|chunk| ChunkWanted { content: id, number: chunk.number, len: chunk.len }).collect()
    }

    /// How often the records were asked.
    fn asked(&self) -> usize {
        self.holders.times.load(Ordering::Relaxed)
    }

    fn chunk(&self, wanted: &ChunkWanted) -> Option<Bytes> {
        self.server.chunks(&[*wanted]).expect("the database").remove(0)
    }
}

#[test]
fn the_chunks_of_a_file_are_its_bytes() {
    let bytes = random(2_000_000, 1);
    let serving = serving(&[("long", &bytes), ("short", b"short")]);
    for (name, bytes) in [("long", &bytes[..]), ("short", b"short")] {
        let served: Vec<u8> =
            serving.refs(name).iter().flat_map(|chunk| serving.chunk(chunk).expect("served")).collect();
        assert_eq!(served, bytes);
    }
    assert!(serving.told.lock().is_empty());
}

#[test]
fn a_changed_file_is_told_once_and_not_served() {
    let serving = serving(&[("f", b"one")]);
    let wanted = serving.refs("f")[0];
    fs::write(serving.world.at("f"), "two").expect("write");
    assert_eq!(serving.chunk(&wanted), None);
    assert_eq!(serving.chunk(&wanted), None);
    assert_eq!(*serving.told.lock(), [path("f")]);
}

#[test]
fn another_path_with_the_same_content_serves_as_well() {
    let serving = serving(&[("a", b"same"), ("b", b"same")]);
    let wanted = serving.refs("a")[0];
    fs::remove_file(serving.world.at("a")).expect("remove");
    assert_eq!(serving.chunk(&wanted).as_deref(), Some(&b"same"[..]));
    assert_eq!(*serving.told.lock(), [path("a")]);
}

#[test]
fn a_file_is_opened_once_for_many_chunks() {
    let serving = serving(&[("long", &random(3_000_000, 2))]);
    let opened = serving.world.disk.calls(Some(Call::Open));
    let refs = serving.refs("long");
    assert!(refs.iter().all(|chunk| serving.chunk(chunk).is_some()));
    assert_eq!(serving.world.disk.calls(Some(Call::Open)), opened + 1);
}

#[test]
fn what_was_never_a_chunk_is_not_here() {
    let serving = serving(&[("f", b"bytes")]);
    let wanted = serving.refs("f")[0];
    for bad in [
        ChunkWanted { number: 1, ..wanted },
        ChunkWanted { number: u64::MAX, ..wanted },
        ChunkWanted { len: 4, ..wanted },
        ChunkWanted { content: ContentId([1; 32]), ..wanted },
    ] {
        assert_eq!(serving.chunk(&bad), None);
    }
    assert!(serving.told.lock().is_empty());
}

#[test]
fn a_complete_staged_content_is_served_before_it_is_in_place() {
    let serving = serving(&[("f", b"bytes")]);
    let wanted = serving.refs("f")[0];
    let wish =
        Prepare { content: wanted.content, size: 5, mode: 0o644, same: vec![path("f")], earlier: None };
    assert_eq!(serving.server.stage.prepare(&[wish])[0].missing, Ok(Vec::new()));
    serving.world.records.0.lock().clear();
    assert_eq!(serving.chunk(&wanted).as_deref(), Some(&b"bytes"[..]));
}

#[test]
fn what_is_gathered_is_served_as_far_as_it_is_here() {
    let bytes = random(2_000_000, 3);
    let serving = serving(&[("long", &bytes)]);
    let refs = serving.refs("long");
    let chunks: Vec<_> = refs.iter().map(|chunk| serving.chunk(chunk).expect("served")).collect();
    serving.world.records.0.lock().clear();
    serving.server.close_files();
    let wish =
        Prepare { content: refs[0].content, size: 2_000_000, mode: 0o644, same: Vec::new(), earlier: None };
    assert_eq!(serving.server.stage.prepare(&[wish])[0].missing.as_ref().map(Vec::len), Ok(refs.len()));
    assert_eq!(serving.chunk(&refs[1]), None, "nothing is here yet");
    assert_eq!(serving.server.stage.write(&refs[1], &chunks[1]), crate::folder::stage::Written::Ok);
    assert_eq!(serving.chunk(&refs[1]).as_ref(), Some(&chunks[1]));
    assert_eq!(serving.chunk(&refs[0]), None);
    assert_eq!(serving.server.stage.write(&refs[0], &chunks[0]), crate::folder::stage::Written::Ok);
    assert_eq!(serving.chunk(&refs[0]).as_ref(), Some(&chunks[0]));
}

#[test]
fn a_question_about_many_files_asks_the_database_once() {
    let serving = serving(&[("b/two", b"two"), ("a/three", b"three"), ("b/one", b"one")]);
    let wanted: Vec<_> = ["b/two", "a/three", "b/one"].iter().map(|name| serving.refs(name)[0]).collect();
    let absent = ChunkWanted { content: ContentId([1; 32]), ..wanted[0] };
    let asked = serving.asked();
    let chunks = serving.server.chunks(&[&wanted[..], &[absent]].concat()).expect("the database");
    let chunks: Vec<_> = chunks.iter().map(Option::as_deref).collect();
    assert_eq!(chunks, [Some(&b"two"[..]), Some(b"three"), Some(b"one"), None]);
    assert_eq!(serving.asked(), asked + 1);
}

#[test]
fn a_file_that_changes_while_it_is_open_is_served_from_elsewhere() {
    let bytes = random(2_000_000, 4);
    let serving = serving(&[("a", &bytes), ("b", &bytes)]);
    let refs = serving.refs("a");
    assert!(serving.chunk(&refs[0]).is_some());
    let changed = serving.world.at("a");
    fs::write(&changed, random(2_000_000, 5)).expect("write");
    let len = refs[0].len as usize;
    assert_eq!(serving.chunk(&refs[0]).as_deref(), Some(&bytes[..len]));
    assert_eq!(*serving.told.lock(), [path("a")]);
}

#[test]
fn a_fifo_in_the_place_of_a_file_is_not_opened() {
    let serving = serving(&[("f", b"bytes")]);
    let wanted = serving.refs("f")[0];
    fs::remove_file(serving.world.at("f")).expect("remove");
    let made = std::process::Command::new("mkfifo").arg(serving.world.at("f")).status();
    assert!(made.expect("mkfifo").success());
    assert_eq!(serving.chunk(&wanted), None);
    assert_eq!(*serving.told.lock(), [path("f")]);
}
