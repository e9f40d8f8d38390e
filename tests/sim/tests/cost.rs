//! What large folders cost. How long it takes:
//! `cargo test --release -p sim --test cost -- --ignored --nocapture`.

use protocol::Records;
use protocol::engine::{Activity, Settings};
use sim::fast::{Fast, file, files, gone, notice};

/// Deletions are never a hold here.
fn settings() -> Settings {
    Settings { hold_deletions: 0, ..Settings::default() }
}

/// What the second device has worked, in nodes and rows, since it had worked `before`.
fn work(pair: &[Fast; 2], before: usize) -> usize {
    assert_eq!(pair[1].engine.activity(), Activity::Idle);
    assert_eq!(pair[0].engine.state().entries, pair[1].engine.state().entries);
    assert_eq!(pair[0].store.records().len(), pair[1].store.records().len());
    pair[1].store.work() - before
}

/// A pair that has one directory of so many files.
fn with_directory(count: u32) -> [Fast; 2] {
    let mut pair = Fast::pair(&settings());
    notice(&mut pair, files("a", count, count));
    pair
}

fn renaming(count: u32) -> usize {
    let mut pair = with_directory(count);
    let before = pair[1].store.work();
    let mut found = files("b", count, count);
    found.extend(gone(&pair[0].store));
    notice(&mut pair, found);
    work(&pair, before)
}

fn deleting(count: u32) -> usize {
    let mut pair = with_directory(count);
    let before = pair[1].store.work();
    let found = gone(&pair[0].store);
    notice(&mut pair, found);
    work(&pair, before)
}

fn adding(count: u32) -> usize {
    work(&with_directory(count), 0)
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "a measurement")]
fn the_work_of_large_directories() {
    let stories: [(&str, fn(u32) -> usize); 3] =
        [("add", adding), ("rename", renaming), ("delete", deleting)];
    for (name, story) in stories {
        for count in [50_000, 200_000] {
            let start = std::time::Instant::now();
            println!("{name} {count}: {} nodes and rows, {:?} in all", story(count), start.elapsed());
        }
    }
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "a measurement")]
fn a_hundred_thousand_files() {
    let mut pair = Fast::pair(&settings());
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
