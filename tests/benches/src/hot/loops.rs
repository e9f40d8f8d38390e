//! The loops. Each stays as it is: a changed loop begins a new row of the baseline, under a new name.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use harness::Seed;
use keystore::{ContentKey, FolderSecret};
use protocol::chunk::{ChunkId, ContentHasher, GOOD_PIECE_BYTES};
use protocol::engine::{Activity, Settings};
use protocol::frame::{Frame, FrameDecoder, MAX_FRAME_BYTES};
use protocol::merge::merge;
use protocol::message::{ChunkWanted, Request};
use protocol::render::{affected, totals_change};
use protocol::scheduler::{Availability, Limits, PeerKey, Scheduler};
use protocol::tree::{MemoryNodes, Tree};
use protocol::version::Version;
use protocol::{Entry, RelPath};
use sim::fast::{Fast, files, notice};

use super::entries::{ANNA, BEN, commit, content, path, puts, state};

/// A loop that can be run as often as is wanted; its set-up is the same however often.
#[derive(Debug, Clone, Copy)]
pub struct Loop {
    /// What it is called in the baseline.
    pub name: &'static str,
    /// What one round does.
    pub about: &'static str,
    run: fn(u64),
}

impl Loop {
    /// Sets it up and runs it that often.
    pub fn run(&self, rounds: u64) {
        (self.run)(rounds);
    }
}

const fn new(name: &'static str, about: &'static str, run: fn(u64)) -> Loop {
    Loop { name, about, run }
}

/// All of them.
pub const LOOPS: [Loop; 13] = [
    new("hash-large", "cut points and content id of a file of 8 MiB", hash_large),
    new("hash-small", "content ids of 1,000 files of 4 KiB", hash_small),
    new("chunk-verify", "32 chunks of 256 KiB held against their ids", chunk_verify),
    new("tree-build", "a tree of 10,000 entries", tree_build),
    new("tree-edit", "100 entries put here and there into a tree of 10,000", tree_edit),
    new("tree-diff", "two trees of 10,000 entries that differ in 100", tree_diff),
    new("frame-encode", "100 requests of 100 chunks", frame_encode),
    new("frame-decode", "the same, read in pieces of 1,200 bytes", frame_decode),
    new("scheduler-files", "4,000 files of one chunk, fetched from 4 peers", scheduler_files),
    new("scheduler-chunks", "a file of 4,000 chunks, fetched from 16 peers", scheduler_chunks),
    new("first-sync", "20,000 files committed by one engine, planned and recorded by another", first_sync),
    new("merge", "two states of 10,000 entries, each 100 ahead", merge_apart),
    new("render", "what 200 changed entries do to paths and totals", render_changed),
];

/// Entries in the trees.
const FILES: u64 = 10_000;
/// One of them in so many is touched.
const STRIDE: u64 = 100;

fn key() -> ContentKey {
    FolderSecret::new([7; 20]).content_key()
}

fn hash_large(rounds: u64) {
    let (key, bytes) = (key(), Seed::new(1).bytes(8 << 20));
    for _ in 0..rounds {
        let mut hasher = ContentHasher::new(&key);
        for piece in black_box(&bytes).chunks(GOOD_PIECE_BYTES) {
            hasher.update(piece);
        }
        black_box(hasher.finish());
    }
}

fn hash_small(rounds: u64) {
    let (key, bytes) = (key(), Seed::new(2).bytes(4096 + 1_000));
    for _ in 0..rounds {
        for file in 0..1_000 {
            let mut hasher = ContentHasher::new(&key);
            hasher.update(black_box(&bytes[file..file + 4096]));
            black_box(hasher.finish());
        }
    }
}

fn chunk_verify(rounds: u64) {
    let (key, bytes) = (key(), Seed::new(3).bytes(8 << 20));
    let chunks: Vec<_> = bytes.chunks(256 << 10).map(|chunk| (ChunkId::of(&key, chunk), chunk)).collect();
    for _ in 0..rounds {
        for (id, chunk) in &chunks {
            assert!(id.verify(&key, black_box(chunk)));
        }
    }
}

fn tree_build(rounds: u64) {
    let nodes = MemoryNodes::new();
    let empty = Tree::<Entry>::empty(&nodes).expect("memory holds it");
    let edits: Vec<_> = puts(0..FILES, Version { seq: 1, origin: ANNA }).collect();
    for _ in 0..rounds {
        black_box(Tree::new(&nodes, empty).edit(edits.iter().cloned()).expect("edits in order"));
    }
}

fn tree_edit(rounds: u64) {
    let nodes = MemoryNodes::new();
    let before = state(&nodes, FILES);
    let edits: Vec<_> = puts(every_hundredth(0), Version { seq: 2, origin: ANNA }).collect();
    for _ in 0..rounds {
        black_box(before.tree(&nodes).edit(edits.iter().cloned()).expect("edits in order"));
    }
}

fn tree_diff(rounds: u64) {
    let nodes = MemoryNodes::new();
    let before = state(&nodes, FILES);
    let after = commit(&nodes, &before, ANNA, every_hundredth(0));
    for _ in 0..rounds {
        let found = before.tree(&nodes).diff(&after.tree(&nodes)).filter_map(Result::ok).count();
        assert_eq!(found as u64, FILES / STRIDE);
    }
}

fn every_hundredth(first: u64) -> impl Iterator<Item = u64> {
    (first..FILES).step_by(STRIDE as usize)
}

fn requests() -> Vec<Request> {
    let chunk = |number: u64| ChunkWanted { content: content(number / 8), number: number % 8, len: 4096 };
    let request =
        |first: u64| Request::Chunks { channel: 3, chunks: (first..first + 100).map(chunk).collect() };
    (0..100).map(|number| request(number * 100)).collect()
}

fn frame_encode(rounds: u64) {
    let requests = requests();
    for _ in 0..rounds {
        for request in &requests {
            black_box(request.encode().encode());
        }
    }
}

fn frame_decode(rounds: u64) {
    let requests = requests();
    let bytes: Vec<u8> = requests.iter().flat_map(|request| request.encode().encode()).collect();
    for _ in 0..rounds {
        let (mut decoder, mut count) = (FrameDecoder::new(MAX_FRAME_BYTES), 0);
        for piece in black_box(&bytes).chunks(1_200) {
            decoder.push(piece);
            while let Ok(Some(frame)) = decoder.next_frame() {
                count += usize::from(parse(&frame).is_some());
            }
        }
        assert_eq!(count, requests.len());
    }
}

fn parse(frame: &Frame) -> Option<Request> {
    Request::parse(frame).ok()
}

fn scheduler_files(rounds: u64) {
    for _ in 0..rounds {
        let mut scheduler = scheduler(4);
        for number in 0..4_000 {
            assert!(scheduler.want(content(number), 4096, [(0, 4096)], 0));
        }
        fetch_all(&mut scheduler, 4_000);
    }
}

fn scheduler_chunks(rounds: u64) {
    for _ in 0..rounds {
        let mut scheduler = scheduler(16);
        assert!(scheduler.want(content(0), 4_000 << 18, (0..4_000).map(|number| (number, 1 << 18)), 0));
        fetch_all(&mut scheduler, 4_000);
    }
}

fn scheduler(peers: u64) -> Scheduler {
    let mut scheduler = Scheduler::new(Limits::default());
    for peer in 0..peers {
        scheduler.add_peer(PeerKey(peer), Availability::Everything, Duration::from_millis(10));
    }
    scheduler
}

/// Peers answer in the order in which they were asked, a chunk each tenth of a millisecond.
fn fetch_all(scheduler: &mut Scheduler, chunks: usize) {
    let (mut now, mut arrived, mut asked) = (Duration::ZERO, 0, VecDeque::new());
    while arrived < chunks {
        while let Some(assignment) = scheduler.poll_request(now) {
            asked.extend(assignment.refs.into_iter().map(|chunk| (assignment.request, chunk)));
        }
        now += Duration::from_micros(100);
        let (request, chunk) = asked.pop_front().expect("something is under way");
        arrived += usize::from(scheduler.handle_arrived(now, request, chunk));
    }
    assert!(scheduler.is_idle());
}

fn first_sync(rounds: u64) {
    let found = files("directory ", 20_000, 100);
    for _ in 0..rounds {
        let mut pair = Fast::pair(&Settings::default());
        notice(&mut pair, found.clone());
        assert_eq!(pair[1].engine.state().entries, pair[0].engine.state().entries);
        assert_eq!(pair[1].engine.activity(), Activity::Idle);
    }
}

fn merge_apart(rounds: u64) {
    let nodes = MemoryNodes::new();
    let before = state(&nodes, FILES);
    let ours = commit(&nodes, &before, ANNA, every_hundredth(0));
    let theirs = commit(&nodes, &before, BEN, every_hundredth(50));
    for _ in 0..rounds {
        assert!(merge(&nodes, &ours, &theirs).expect("they go together").changed);
    }
}

fn render_changed(rounds: u64) {
    let nodes = MemoryNodes::new();
    let before = state(&nodes, FILES);
    let ours = commit(&nodes, &before, ANNA, every_hundredth(0));
    let after = commit(&nodes, &ours, BEN, every_hundredth(50));
    let changed: Vec<RelPath> = every_hundredth(0).chain(every_hundredth(50)).map(path).collect();
    for _ in 0..rounds {
        let (old, new) = (before.tree(&nodes), after.tree(&nodes));
        let paths = affected(&old, &new, &after.context, changed.iter().cloned()).expect("whole trees");
        black_box(totals_change(&old, &new, &after.context, &paths).expect("whole trees"));
    }
}
