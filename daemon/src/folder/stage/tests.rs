use std::fs;

use protocol::chunk::{ContentHasher, Hashed};
use protocol::chunk_list::ChunkList;
use protocol::tree::MemoryNodes;
use protocol::{Content as Shows, Timestamp};
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::disk::{DiskStat, ReadFile};
use crate::folder::scan::tests::support::{World, path};

/// A folder, and a stage that knows the chunk lists of all that is made here.
struct Staging {
    world: World,
    nodes: Arc<MemoryNodes>,
    stage: Stage,
}

fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn staging() -> Staging {
    let world = World::new();
    let nodes = Arc::new(MemoryNodes::new());
    let stage = Stage::new(world.disk.clone(), nodes.clone(), World::key());
    Staging { world, nodes, stage }
}

impl Staging {
    fn wish(&self, bytes: &[u8]) -> Prepare {
        let mut hasher = ContentHasher::new(&World::key());
        hasher.update(bytes);
        let Hashed { id, size, nodes, .. } = hasher.finish();
        self.nodes.save(&nodes).expect("save");
        Prepare { content: id, size, mode: 0o640, same: Vec::new(), earlier: None }
    }

    fn prepare(&self, wish: &Prepare) -> Vec<ChunkWanted> {
        self.stage.prepare(std::slice::from_ref(wish)).remove(0).missing.expect("room")
    }

    /// The bytes of a chunk of the file that these bytes are.
    fn chunk(&self, bytes: &[u8], chunk: &ChunkWanted) -> Bytes {
        let list = ChunkList::load(&*self.nodes, &chunk.content, bytes.len() as u64).expect("a list");
        let at = list.locate(chunk.number).expect("a list").expect("a chunk").offset as usize;
        Bytes::copy_from_slice(&bytes[at..at + chunk.len as usize])
    }

    /// These chunks of it come.
    fn arrive<'c>(&self, chunks: impl IntoIterator<Item = &'c ChunkWanted>, bytes: &[u8]) {
        for chunk in chunks {
            assert_eq!(self.stage.write(chunk, &self.chunk(bytes, chunk)), Written::Ok);
        }
    }

    fn staged(&self, wish: &Prepare) -> Option<Vec<u8>> {
        let place = Place::Staged(staged_name(&wish.content));
        let file = self.world.disk.open(&place).ok()?;
        let mut bytes = vec![0; file.stat().ok()?.stat.size as usize];
        assert_eq!(file.read_at(&mut bytes, 0).expect("read"), bytes.len());
        Some(bytes)
    }

    /// A stage as after a restart.
    fn restart(&mut self) {
        self.stage = Stage::new(self.world.disk.clone(), self.nodes.clone(), World::key());
    }
}

#[test]
fn chunks_in_any_order_make_the_file() {
    let staging = staging();
    for bytes in [random(2_500_000, 1), b"small".to_vec(), random(65_536, 2), random(65_537, 3)] {
        let wish = staging.wish(&bytes);
        let missing = staging.prepare(&wish);
        assert_eq!(missing.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>(), wish.size);
        for chunk in missing.iter().rev() {
            assert!(!staging.stage.is_complete(&wish.content));
            assert_eq!(staging.stage.write(chunk, &staging.chunk(&bytes, chunk)), Written::Ok);
        }
        assert!(staging.stage.is_complete(&wish.content));
        assert_eq!(staging.staged(&wish), Some(bytes));
    }
}

#[test]
fn an_empty_file_needs_nobody() {
    let staging = staging();
    let wish = staging.wish(b"");
    assert_eq!(staging.prepare(&wish), []);
    assert_eq!(staging.staged(&wish), Some(Vec::new()));
}

#[test]
fn what_does_not_verify_is_not_written() {
    let staging = staging();
    let wish = staging.wish(b"right");
    let chunk = staging.prepare(&wish)[0];
    for bad in [&b"wrong"[..], b"righ", b"right!", b""] {
        assert_eq!(staging.stage.write(&chunk, &Bytes::copy_from_slice(bad)), Written::Bad);
    }
    assert_eq!(staging.staged(&wish), None);
    let other = ChunkWanted { content: ContentId([9; 32]), ..chunk };
    assert_eq!(staging.stage.write(&other, &Bytes::from_static(b"right")), Written::Unwanted);
}

#[test]
fn an_interrupted_file_is_resumed_and_each_chunk_of_it_verified() {
    let mut staging = staging();
    let bytes = random(3_000_000, 4);
    let wish = staging.wish(&bytes);
    let missing = staging.prepare(&wish);
    staging.arrive(&missing[..3], &bytes);
    assert_eq!(staging.prepare(&wish), missing[3..]);
    let at = staging.world.at(".syncd/staging").join(staged_name(&wish.content).as_str());
    let mut spoilt = fs::read(&at).expect("read");
    spoilt[10] ^= 1;
    spoilt.truncate(2_000_000);
    fs::write(&at, spoilt).expect("write");
    staging.restart();
    let again: Vec<_> = [&missing[..1], &missing[3..]].concat();
    assert_eq!(staging.prepare(&wish), again);
    staging.arrive(&again, &bytes);
    assert_eq!(staging.staged(&wish), Some(bytes));
}

#[test]
fn zeros_are_holes_and_never_asked_for() {
    let mut staging = staging();
    let mut bytes = vec![0; 12_000_000];
    bytes[..300_000].copy_from_slice(&random(300_000, 5));
    let wish = staging.wish(&bytes);
    let missing = staging.prepare(&wish);
    assert!(missing.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>() < 2_000_000);
    staging.arrive(&missing, &bytes);
    let at = staging.world.at(".syncd/staging").join(staged_name(&wish.content).as_str());
    assert!(fs::metadata(&at).expect("stat").blocks() * 512 < 3_000_000);
    assert!(staging.staged(&wish) == Some(bytes.clone()));
    // What an unfinished run may have left where zeros belong does not stay.
    fs::write(&at, vec![7; bytes.len()]).expect("write");
    staging.restart();
    staging.arrive(&staging.prepare(&wish), &bytes);
    assert!(staging.staged(&wish) == Some(bytes));
}

#[test]
fn the_same_content_elsewhere_is_copied_and_verified() {
    let staging = staging();
    let bytes = random(700_000, 6);
    staging.world.write("here", &bytes);
    staging.world.write("liar", random(700_000, 7));
    let mut wish = staging.wish(&bytes);
    wish.same = vec![path("gone"), path("here")];
    assert_eq!(staging.prepare(&wish), []);
    assert_eq!(staging.staged(&wish), Some(bytes));
    staging.stage.forget(&[wish.content]).expect("forget");
    assert_eq!(staging.staged(&wish), None);
    wish.same = vec![path("liar")];
    let missing: u64 = staging.prepare(&wish).iter().map(|chunk| u64::from(chunk.len)).sum();
    assert_eq!(missing, 700_000);
}

#[test]
fn chunks_of_an_earlier_version_are_reused() {
    let staging = staging();
    let old = random(4_000_000, 8);
    staging.world.write("f", &old);
    let mut new = old.clone();
    new.splice(1_000_000..1_000_000, *b"inserted");
    let earlier = staging.wish(&old);
    let mut wish = staging.wish(&new);
    wish.earlier = Some((path("f"), earlier.content));
    let missing = staging.prepare(&wish);
    assert!((1..=2).contains(&missing.len()), "{missing:?}");
    staging.arrive(&missing, &new);
    assert!(staging.staged(&wish) == Some(new));
}

#[test]
fn what_does_not_fit_on_the_disk_is_said_before() {
    let staging = staging();
    let mut wish = staging.wish(b"x");
    wish.size = 40_000;
    wish.content = ContentId([3; 32]);
    assert_eq!(staging.prepare(&wish).len(), 1);
    staging.stage.wanted.lock().missing_bytes = u64::MAX / 2;
    let wish = staging.wish(&random(3_200_000, 9));
    let refused = staging.stage.prepare(&[wish]).remove(0).missing;
    assert_eq!(refused, Err("no space: needs 3.2 MB, 0 bytes free".into()));
}

#[test]
fn a_content_without_its_chunk_list_is_refused() {
    let staging = staging();
    let wish =
        Prepare { content: ContentId([5; 32]), size: 1 << 40, mode: 0o644, same: Vec::new(), earlier: None };
    assert!(staging.stage.prepare(&[wish]).remove(0).missing.is_err());
}

#[test]
fn leftovers_are_named_by_their_content() {
    let staging = staging();
    let wish = staging.wish(&random(100_000, 10));
    staging.prepare(&wish);
    fs::write(staging.world.at(".syncd/staging/other"), "").expect("write");
    let mut left = staging.stage.leftovers().expect("list");
    left.sort();
    assert_eq!(left.iter().map(staged_content).collect::<Vec<_>>(), [Some(wish.content), None]);
    staging.stage.discard(&left).expect("discard");
    assert_eq!(staging.stage.leftovers().expect("list"), []);
}

#[test]
fn many_threads_write_many_files() {
    let staging = staging();
    let files: Vec<Vec<u8>> = (0..200).map(|n| random(1000 + n, n as u64)).collect();
    let wishes: Vec<_> = files.iter().map(|bytes| staging.wish(bytes)).collect();
    let prepared = staging.stage.prepare(&wishes);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (stage, files, prepared) = (&staging.stage, &files, &prepared);
            scope.spawn(move || {
                for (bytes, prepared) in files.iter().zip(prepared).skip(thread).step_by(4) {
                    let chunk = prepared.missing.as_ref().expect("room")[0];
                    let written = stage.write_many(&[(chunk, Bytes::copy_from_slice(bytes))]);
                    assert_eq!(written, [Written::Ok]);
                }
            });
        }
    });
    for (bytes, wish) in files.iter().zip(&wishes) {
        assert_eq!(staging.staged(wish).as_ref(), Some(bytes));
    }
    assert_eq!(staging.stage.wanted.lock().missing_bytes, 0);
}

#[test]
fn what_a_scan_hashed_is_what_staging_asks_for() {
    let staging = staging();
    let bytes = random(1_000_000, 11);
    staging.world.write("f", &bytes);
    staging.world.full();
    let Shows::File { id, size } = staging.world.record("f").shown.content else { panic!("no file") };
    let wish = staging.wish(&bytes);
    assert_eq!((wish.content, wish.size), (id, size));
}

#[test]
fn what_others_have_staged_of_a_short_content_is_taken_up() {
    let mut staging = staging();
    let (bytes, other) = (random(4_000, 20), random(4_000, 21));
    let (wish, brought) = (staging.wish(&bytes), staging.wish(&other));
    let put = |staging: &Staging, wish: &Prepare, bytes: &[u8]| {
        let at = staging.world.at(".syncd/staging").join(staged_name(&wish.content).as_str());
        fs::write(at, bytes).expect("write");
    };
    put(&staging, &wish, &bytes);
    staging.restart();
    assert_eq!(staging.prepare(&wish), [], "an earlier run has left it");
    put(&staging, &brought, &other);
    staging.stage.note_left(&brought.content);
    assert_eq!(staging.prepare(&brought), [], "a user's edit came out");

    // Nobody has told of it: it comes again, into the file that is there.
    let (unknown, half) = (random(4_000, 22), random(9_000, 23));
    let wish = staging.wish(&unknown);
    put(&staging, &wish, &half);
    let missing = staging.prepare(&wish);
    assert_eq!(missing.len(), 1);
    assert_eq!(staging.stage.write(&missing[0], &Bytes::from(unknown.clone())), Written::Ok);
    assert_eq!(staging.staged(&wish), Some(unknown));
}

#[test]
fn a_large_file_is_put_together_from_an_earlier_one_and_what_comes() {
    let staging = staging();
    let mut old = random(24_000_000, 30);
    old[3_000_000..8_000_000].fill(0);
    staging.world.write("f", &old);
    let mut new = old.clone();
    new[15_000_001..15_100_000].copy_from_slice(&random(99_999, 31));
    new.splice(10_000_000..10_000_000, *b"inserted");
    new.extend(random(700_000, 32));
    let earlier = staging.wish(&old);
    let mut wish = staging.wish(&new);
    wish.earlier = Some((path("f"), earlier.content));
    // What is said to be there, and is not, has to come.
    let mut touched = old.clone();
    touched[20_000_000] ^= 1;
    staging.world.write("f", &touched);
    let missing = staging.prepare(&wish);
    let missing_bytes: usize = missing.iter().map(|chunk| chunk.len as usize).sum();
    assert!((900_000..5_000_000).contains(&missing_bytes), "{missing:?}");
    let at = staging.world.at(".syncd/staging").join(staged_name(&wish.content).as_str());
    assert!(fs::metadata(&at).expect("stat").blocks() * 512 < 22_000_000, "zeros take room");
    staging.arrive(missing.iter().rev(), &new);
    assert!(staging.staged(&wish) == Some(new));
}

#[test]
fn room_that_was_taken_on_the_disk_is_not_promised_as_well() {
    let staging = staging();
    let bytes = random(17_000_000, 33);
    let earlier = staging.wish(&random(100_000, 34));
    let wish = Prepare { earlier: Some((path("gone"), earlier.content)), ..staging.wish(&bytes) };
    let missing = staging.prepare(&wish);
    let at = staging.world.at(".syncd/staging").join(staged_name(&wish.content).as_str());
    let has_room = fs::metadata(&at).expect("stat").blocks() * 512 >= 17_000_000;
    let promised = staging.stage.wanted.lock().missing_bytes;
    assert_eq!(promised, if has_room { 0 } else { 17_000_000 });
    staging.arrive(&missing, &bytes);
    assert_eq!(staging.stage.wanted.lock().missing_bytes, 0);
    assert!(staging.staged(&wish) == Some(bytes));
}

/// A file of a file system that promises room and takes none.
struct Promising(Box<dyn WriteFile>);

impl ReadFile for Promising {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn stat(&self) -> io::Result<DiskStat> {
        self.0.stat()
    }
}

impl WriteFile for Promising {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn allocate(&self, _offset: u64, _bytes: u64) -> bool {
        true
    }
    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.0.set_length(bytes)
    }
    fn set_mode(&self, mode: u16) -> io::Result<()> {
        self.0.set_mode(mode)
    }
    fn set_mtime(&self, mtime: Timestamp) -> io::Result<()> {
        self.0.set_mtime(mtime)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn room_that_a_file_system_only_promises_is_none() {
    let staging = staging();
    let wish = staging.wish(&random(17_000_000, 40));
    let list = ChunkList::load(&*staging.stage.nodes, &wish.content, wish.size).expect("a list");
    let file = staging.stage.disk.stage(&staged_name(&wish.content)).expect("a file");
    assert!(!prepare::take_room(&Promising(file), &list).expect("an answer"));
}
