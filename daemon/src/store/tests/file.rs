//! The file: reopening, other versions, damage, readers beside a writer, forgetting.

use std::io::{Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::{Records, RelPath};

use super::{FOLDER, Home, file, path};
use crate::store::{Changes, DatabaseError, Durability, FolderFacts, Marker, Store, is_damaged};

pub(super) fn records(count: u64) -> Changes {
    let records = (0..count).map(|n| {
        let path = path(&format!("d{}/f{n}", n % 10));
        let record = file(&path, n);
        (path, Some(record))
    });
    Changes { records: records.collect(), ..Changes::default() }
}

#[test]
fn a_database_of_a_later_release_is_refused_untouched() {
    let home = Home::new();
    drop(home.folder());
    let connection = rusqlite::Connection::open(home.path()).expect("opens");
    connection.pragma_update(None, "user_version", 1_000).expect("sets");
    connection.close().expect("closes");
    let before = std::fs::read(home.path()).expect("reads");

    let error = Store::open(&home.path()).expect_err("is refused");
    let known = crate::store::known_version();
    assert!(matches!(error, DatabaseError::TooNew { found: 1_000, known: k } if k == known), "{error}");
    assert_eq!(std::fs::read(home.path()).expect("reads"), before);
}

#[test]
fn a_database_of_another_program_is_refused() {
    let home = Home::new();
    let connection = rusqlite::Connection::open(home.path()).expect("opens");
    connection.execute_batch("CREATE TABLE theirs (x)").expect("creates");
    connection.close().expect("closes");
    assert!(matches!(Store::open(&home.path()), Err(DatabaseError::Foreign)));
}

#[test]
fn a_file_that_is_no_database_is_damaged() {
    let home = Home::new();
    std::fs::write(home.path(), vec![b'x'; 20_000]).expect("writes");
    assert!(Store::open(&home.path()).expect_err("is refused").is_damaged());
}

#[test]
fn overwritten_pages_are_noticed_as_damage_when_they_are_read() {
    let home = Home::new();
    home.folder().save(&records(5_000), Durability::Process).expect("saves");
    home.open().tidy(0).expect("checkpoints");
    let length = std::fs::metadata(home.path()).expect("is there").len();
    let mut raw = std::fs::OpenOptions::new().write(true).open(home.path()).expect("opens");
    raw.seek(SeekFrom::Start(8192)).expect("seeks");
    raw.write_all(&vec![0xa5; length as usize - 8192]).expect("writes");
    drop(raw);

    let read = |store: Store| {
        let error = store.folder(&FOLDER)?.children(Some(&path("d1"))).err();
        assert!(error.is_some_and(|error| is_damaged(&error)));
        Ok(())
    };
    let error: Result<(), DatabaseError> = Store::open(&home.path()).and_then(read);
    assert!(error.is_ok() || error.is_err_and(|error| error.is_damaged()));
}

#[test]
fn a_cut_off_file_is_damaged() {
    let home = Home::new();
    home.folder().save(&records(5_000), Durability::Process).expect("saves");
    home.open().tidy(0).expect("checkpoints");
    let raw = std::fs::OpenOptions::new().write(true).open(home.path()).expect("opens");
    raw.set_len(3 * 8192).expect("cuts");
    let error = Store::open(&home.path()).and_then(|store| store.folder(&FOLDER)).expect_err("is noticed");
    assert!(error.is_damaged(), "{error}");
}

#[test]
fn readers_see_whole_commits_while_others_write() {
    let home = Home::new();
    let folder = home.folder();
    let done = AtomicBool::new(false);
    let pair = |n: u64| {
        let (a, b) = (path("d/a"), path("d/b"));
        let (left, right) = (file(&a, n), file(&b, n));
        Changes { records: vec![(a, Some(left)), (b, Some(right))], ..Changes::default() }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let children = folder.children(Some(&path("d"))).expect("reads");
                        let contents: Vec<_> = children.iter().map(|c| &c.1.shown.content).collect();
                        assert!(contents.windows(2).all(|pair| pair[0] == pair[1]));
                    }
                })
            })
            .collect();
        for n in 0..200 {
            folder.save(&pair(n), Durability::Process).expect("saves");
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().expect("agrees"));
    });
}

#[test]
fn facts_and_pinned_addresses_are_there_after_reopening() {
    let home = Home::new();
    let facts = FolderFacts {
        marker: Some(Marker { root_id: [1; 16], device: u64::MAX, inode: 3 }),
        start_counter: 4,
        start_nonce: Some([5; 16]),
        created: true,
        paused: true,
        trusted: true,
        next_nonce: Some([6; 16]),
        opening: Some(([7; 32], [8; 16])),
    };
    assert_eq!(home.folder().facts().expect("reads"), FolderFacts::default());
    home.folder().save_facts(&facts).expect("saves");
    assert!(home.folder().pin("[::1]:5", true).expect("saves"));
    assert!(!home.folder().pin("[::1]:5", true).expect("saves"));
    home.folder().set_linked(&["old:1".into()]).expect("saves");
    home.folder().set_linked(&["b:1".into(), "a:1".into()]).expect("saves");
    let folder = home.folder();
    assert_eq!(folder.linked().expect("reads"), ["b:1", "a:1"]);
    assert_eq!(folder.facts().expect("reads"), facts);
    assert_eq!(folder.pinned().expect("reads"), ["[::1]:5"]);
}

#[test]
fn a_forgotten_folder_leaves_nothing_and_others_alone() {
    let home = Home::new();
    let store = home.open();
    let (mine, other) = (store.folder(&FOLDER).expect("is added"), store.folder(&[8; 16]).expect("is added"));
    mine.save(&records(3_000), Durability::Process).expect("saves");
    other.save(&records(30), Durability::Process).expect("saves");

    store.forget(&FOLDER).expect("forgets");
    assert_eq!(store.folders().expect("reads"), [[8; 16]]);
    assert_eq!(other.counts().expect("reads").records, 30);
    let again = store.folder(&FOLDER).expect("is added");
    assert_eq!(again.records_from(None, 10).expect("reads"), vec![]);
}

#[test]
fn space_is_given_back() {
    let home = Home::new();
    let folder = home.folder();
    folder.save(&records(10_000), Durability::Process).expect("saves");
    home.open().tidy(0).expect("checkpoints");
    let full = std::fs::metadata(home.path()).expect("is there").len();
    let gone: Vec<(RelPath, _)> = records(10_000).records.into_iter().map(|(p, _)| (p, None)).collect();
    folder.save(&Changes { records: gone, ..Changes::default() }, Durability::Process).expect("saves");
    home.open().tidy(10_000).expect("vacuums");
    let empty = std::fs::metadata(home.path()).expect("is there").len();
    assert!(empty * 4 < full, "{empty} of {full}");
}
