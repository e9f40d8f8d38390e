//! What large folders cost: about four times as much for four times as many files. How long it takes:
//! `cargo test --release -p sim --test cost -- --ignored --nocapture`.

use protocol::Records;
use protocol::engine::{Activity, Settings};
use sim::fast::{Fast, file, files, gone, notice};

/// A window as in real folders.
const WINDOW: usize = 4_096;

/// How a folder is set up of which whole directories go.
fn settings(window: usize) -> Settings {
    Settings { hold_deletions: 0, window, ..Settings::default() }
}

/// What the second device has worked, in nodes and rows, since it had worked `before`.
fn work(pair: &[Fast; 2], before: usize) -> usize {
    assert_eq!(pair[1].engine.activity(), Activity::Idle);
    assert_eq!(pair[0].engine.state().entries, pair[1].engine.state().entries);
    assert_eq!(pair[0].store.records().len(), pair[1].store.records().len());
    pair[1].store.work() - before
}

/// A pair that has one directory of so many files.
fn with_directory(count: u32, window: usize) -> [Fast; 2] {
    let mut pair = Fast::pair(&settings(window));
    notice(&mut pair, files("a", count, count));
    pair
}

fn renaming(count: u32, window: usize) -> usize {
    let mut pair = with_directory(count, window);
    let before = pair[1].store.work();
    let mut found = files("b", count, count);
    found.extend(gone(&pair[0].store));
    notice(&mut pair, found);
    work(&pair, before)
}

fn deleting(count: u32, window: usize) -> usize {
    let mut pair = with_directory(count, window);
    let before = pair[1].store.work();
    let found = gone(&pair[0].store);
    notice(&mut pair, found);
    work(&pair, before)
}

fn adding(count: u32, window: usize) -> usize {
    work(&with_directory(count, window), 0)
}

type Story = fn(u32, usize) -> usize;

const STORIES: [(&str, Story); 3] = [("add", adding), ("rename", renaming), ("delete", deleting)];

/// In many windows, and many heads that come between them.
#[test]
fn a_directory_of_four_times_as_many_files_takes_about_four_times_the_work() {
    for (name, story) in STORIES {
        let (small, large) = (story(4_000, 256), story(16_000, 256));
        assert!(large < 5 * small, "to {name} 4,000 files takes {small} nodes and rows, 16,000 {large}");
    }
}

/// As with a file of a hundred gigabytes beside others.
#[test]
fn what_has_more_chunks_than_are_wanted_at_once_waits_its_turn() {
    let few = Settings { wanted_chunks: 10, ..settings(256) };
    let mut pair = Fast::pair(&few);
    notice(&mut pair, files("a", 300, 300));
    assert!(work(&pair, 0) > 0);
    assert_eq!(pair[1].engine.unapplied().len(), 0);
}

/// A rename comes in several heads; that what it removes has come to other paths before is seen
/// nevertheless.
#[test]
fn a_large_rename_is_no_mass_deletion() {
    let settings = Settings { window: 256, ..Settings::default() };
    let mut pair = Fast::pair(&settings);
    notice(&mut pair, files("a", 4_000, 4_000));
    let mut found = files("b", 4_000, 4_000);
    found.extend(gone(&pair[0].store));
    notice(&mut pair, found);
    assert_eq!(pair[1].engine.hold(), None);
    work(&pair, 0);
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "a measurement")]
fn the_work_of_large_directories() {
    for (name, story) in STORIES {
        for count in [50_000, 200_000] {
            let start = std::time::Instant::now();
            println!("{name} {count}: {} nodes and rows, {:?} in all", story(count, WINDOW), start.elapsed());
        }
    }
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "a measurement")]
fn a_hundred_thousand_files() {
    let mut pair = Fast::pair(&settings(WINDOW));
    notice(&mut pair, files("directory ", 100_000, 500));
    println!("100,000 files: {:?} and {:?}, {} nodes and rows", pair[0].time, pair[1].time, work(&pair, 0));
    for number in [12_345_u32, 77_777, 99_999] {
        let path = sim::path(&format!("directory {:04}/file {number:06}.txt", number / 500));
        pair.iter_mut().for_each(|device| device.time = Default::default());
        let mut found = file(path.clone(), 1_000_000 + number);
        found.record = pair[0].store.record(&path).expect("memory holds it");
        notice(&mut pair, vec![found]);
        println!("a save: {:?} and {:?}", pair[0].time, pair[1].time);
    }
}
