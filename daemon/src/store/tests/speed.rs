//! What the tables cost, printed: `cargo test -p syncd store::tests::speed -- --ignored --nocapture`.

use std::time::Instant;

use protocol::{Content, Records};
use rusqlite::StatementStatus;

use super::{Home, file, path};
use crate::store::records::{copies_in_directory, search_by};
use crate::store::{Changes, Durability, FolderStore};

const FILES: u64 = 100_000;
const DIRECTORIES: u64 = 1_000;

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, reason = "a measurement is read by a person")]
fn a_record_costs_less_than_200_bytes() {
    let home = Home::new();
    let folder = home.folder();
    let records = (0..FILES).map(|n| {
        let directory = n * DIRECTORIES / FILES;
        let path = path(&format!("project/src/module{}/part{directory}/some_name_{n}.rs", directory / 10));
        let record = file(&path, n);
        (path, Some(record))
    });
    let changes = Changes { records: records.collect(), ..Changes::default() };
    let begin = Instant::now();
    folder.save(&changes, Durability::PowerCut).expect("saves");
    let wrote = begin.elapsed().as_secs_f64();
    home.open().tidy(0).expect("checkpoints");
    let bytes = std::fs::metadata(home.path()).expect("is there").len() / FILES;

    let begin = Instant::now();
    let found: usize = (0..DIRECTORIES)
        .map(|n| path(&format!("project/src/module{}/part{n}", n / 10)))
        .map(|directory| folder.children(Some(&directory)).expect("reads").len())
        .sum();
    let read = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    folder.save(&changes, Durability::PowerCut).expect("saves");
    let rewrote = begin.elapsed().as_secs_f64();
    eprintln!(
        "{bytes} bytes a file, {:.0} rows/s new, {:.0} rows/s again, {:.0} rows/s read in {read:.3} s",
        FILES as f64 / wrote,
        FILES as f64 / rewrote,
        found as f64 / read
    );
    assert_eq!(found as u64, FILES);
    assert!(bytes < 200);
}

/// Planning a statement costs more than running it.
#[test]
fn the_search_for_a_content_is_planned_once_however_often_it_runs() {
    let home = Home::new();
    let folder = home.folder();
    folder.save(&file::records(100), Durability::Process).expect("saves");
    let planned = |folder: &FolderStore| {
        let planned = folder.shared.connections.read(|connection| {
            let select = connection.prepare_cached(&search_by("tag"))?;
            Ok((select.get_status(StatementStatus::Run), select.get_status(StatementStatus::RePrepare)))
        });
        planned.expect("reads")
    };
    for n in 0..100 {
        let path = path(&format!("d{}/f{n}", n % 10));
        let record = folder.record(&path).expect("reads").expect("is there");
        let Content::File { id, .. } = record.shown.content else { panic!("a file") };
        assert_eq!(folder.with_content(&id, 2).expect("reads").len(), 1);
    }
    assert_eq!(planned(&folder), (100, 0));
}

#[test]
fn copies_are_found_without_going_through_their_directory() {
    let home = Home::new();
    let folder = home.folder();
    folder.save(&file::records(5_000), Durability::Process).expect("saves");
    let directory = path("d1");
    assert!(folder.copies(Some(&directory)).expect("reads").is_empty());
    let steps = folder.shared.connections.read(|connection| {
        let mut select = connection.prepare(&copies_in_directory())?;
        let found = select.query(rusqlite::params![1, b"d1"])?.next()?.is_some();
        Ok((found, select.get_status(StatementStatus::VmStep)))
    });
    let (found, steps) = steps.expect("reads");
    assert!(!found && steps < 100, "{steps} steps for none of 500");
}
