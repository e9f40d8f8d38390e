//! Disks in trouble, files that do not hold still, things that are not synced.

use std::os::unix::net::UnixListener;

use super::*;
use crate::disk::{Call, Effect};

const EIO: i32 = 5;
const ESTALE: i32 = 116;

#[test]
fn a_directory_that_cannot_be_listed_is_a_problem_and_no_deletion() {
    for errno in [EIO, ESTALE, 13] {
        let world = World::new();
        world.write("d/file", "x");
        world.full();
        let lists = world.disk.calls(Some(Call::List));
        world.disk.at(Some(Call::List), lists + 2, Effect::FailOnce(errno));
        let part = world.full();
        assert_eq!(told(&part), [""; 0]);
        assert_eq!(part.unsynced.len(), 1);
        assert_eq!(part.unsynced[0].0, path("d"));
        assert_eq!(world.full(), Part::default());
    }
}

#[test]
fn a_root_that_cannot_be_listed_ends_the_scan() {
    let world = World::new();
    world.write("f", "x");
    world.full();
    let lists = world.disk.calls(Some(Call::List));
    world.disk.at(Some(Call::List), lists + 1, Effect::FailOnce(ESTALE));
    assert!(matches!(world.parts(&Scan::Full), Err(ScanError::RootUnreadable(_))));
}

#[test]
fn an_emptied_root_is_told_as_such() {
    let world = World::new();
    world.write("f", "x");
    world.full();
    fs::remove_file(world.at("f")).expect("remove");
    assert!(matches!(world.parts(&Scan::Full), Err(ScanError::RootEmptied)));
    assert_eq!(told(&world.scan(&paths(&["f"]))), ["-f"]);
}

#[test]
fn a_removed_root_deletes_nothing() {
    let world = World::new();
    world.write("f", "x");
    world.full();
    fs::remove_dir_all(world.root()).expect("remove");
    for what in [Scan::Full, paths(&["f"])] {
        assert!(matches!(world.parts(&what), Err(ScanError::RootChanged)));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let world = World::new();
    world.write("f", "x");
    world.disk.at(Some(Call::Open), 1, Effect::FailOnce(13));
    let part = world.full();
    assert_eq!(part.unsynced, [(path("f"), "cannot be read: permission denied".into())]);
    assert_eq!(told(&world.full()), ["+f"]);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_left_for_later() {
    let world = World::new();
    world.write("f", vec![1; 300_000]);
    let at = world.at("f");
    world.disk.at(
        Some(Call::Read),
        1,
        Effect::Before(Box::new(move || {
            fs::write(at, vec![2; 300_001]).expect("write");
        })),
    );
    let part = world.full();
    assert_eq!(told(&part), [""; 0]);
    assert_eq!(part.unstable.len(), 1);
    let soon = world.full();
    assert_eq!((soon.observations.len(), soon.unstable.len()), (0, 1), "it rests");
    *world.ahead.lock() += Duration::from_secs(10);
    assert_eq!(told(&world.full()), ["+f"]);
}

#[test]
fn a_short_file_that_changes_while_it_is_read_is_read_once_more() {
    let world = World::new();
    world.write("f", "old");
    let at = world.at("f");
    let late = Effect::Before(Box::new(move || fs::write(at, "and new").expect("write")));
    world.disk.at(Some(Call::Read), 1, late);
    assert_eq!(told(&world.full()), ["+f"]);
    assert_eq!(world.record("f").shown.content.size_bytes(), 7);
    assert_eq!(world.full(), Part::default());
}

#[test]
fn a_short_file_is_opened_read_and_looked_at_once() {
    let world = World::new();
    for file in 0..10 {
        world.write(&format!("d/{file}"), "short");
    }
    let calls = |call| world.disk.calls(Some(call));
    world.full();
    assert_eq!((calls(Call::Open), calls(Call::Read), calls(Call::FileStat)), (10, 10, 10));
    assert!(calls(Call::Stat) < 10, "the listing has looked at them");
}

#[test]
fn a_file_that_was_emptied_just_now_is_given_time_to_be_written() {
    let world = World::new();
    world.write("f", "old");
    world.write("g", "old");
    world.full();
    *world.ahead.lock() = Duration::from_secs(0);
    world.write("f", "");
    let part = world.full();
    assert_eq!(told(&part), [""; 0]);
    assert!(part.unstable[0].1 <= Duration::from_millis(100), "{:?}", part.unstable);
    world.write("g", "new");
    world.write("new and empty", "");
    assert_eq!(told(&world.full()), ["+g", "+new and empty"], "nothing else waits");
    *world.ahead.lock() = Duration::from_secs(1);
    assert!(told(&world.full()).contains(&"+f".to_owned()), "then it is empty");
}

#[test]
fn a_file_that_never_holds_still_is_told_to_people() {
    let world = World::new();
    world.write("f", vec![b'x'; 100_000]);
    let mut part = Part::default();
    for round in 0..5 {
        let at = world.at("f");
        let reads = world.disk.calls(Some(Call::Read));
        world.disk.at(
            Some(Call::Read),
            reads + 1,
            Effect::Before(Box::new(move || {
                fs::write(at, vec![b'x'; 100_001 + round]).expect("write");
            })),
        );
        *world.ahead.lock() += Duration::from_secs(100);
        part = world.full();
    }
    assert_eq!(part.unsynced, [(path("f"), "keeps changing while it is read".into())]);
}

#[test]
fn a_file_that_comes_back_before_its_deletion_is_told_is_not_deleted() {
    let world = World::new();
    world.write("f", "x");
    world.write("other", "x");
    world.full();
    fs::rename(world.at("f"), world.at(".syncd/away")).expect("rename");
    let (from, to) = (world.at(".syncd/away"), world.at("f"));
    let stats = world.disk.calls(Some(Call::Stat));
    // The root twice, then the parent, then the path itself.
    world.disk.at(
        Some(Call::Stat),
        stats + 3,
        Effect::Before(Box::new(move || {
            fs::rename(from, to).expect("rename");
        })),
    );
    let part = world.full();
    assert_eq!(told(&part), [""; 0]);
    assert_eq!(part.unstable.len(), 1);
}

#[test]
fn sockets_and_fifos_are_told_and_never_opened_nor_deleted() {
    let world = World::new();
    world.write("was-a-file", "x");
    world.full();
    let opened = world.disk.calls(Some(Call::Open));
    fs::remove_file(world.at("was-a-file")).expect("remove");
    let _socket = UnixListener::bind(world.at("was-a-file")).expect("a socket");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        world.at("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a FIFO");
    let part = world.full();
    assert_eq!(told(&part), [""; 0]);
    let problems: Vec<_> = part.unsynced.iter().map(|(p, why)| format!("{p} {why}")).collect();
    assert_eq!(problems, ["pipe is a FIFO and is not synced", "was-a-file is a socket and is not synced"]);
    assert_eq!(world.disk.calls(Some(Call::Open)), opened);
}

#[test]
fn control_directories_anywhere_are_skipped_in_silence() {
    let world = World::new();
    world.write("d/.syncd/marker", "another folder's");
    world.write(".SYNCD/x", "");
    assert_eq!(told(&world.full()), ["+d"]);
}

#[test]
fn names_are_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::new();
    let name = std::ffi::OsStr::from_bytes(b"not utf-8 \xff\n");
    fs::write(world.root().join(name), "x").expect("write");
    let part = world.full();
    assert_eq!(part.observations[0].path.as_bytes(), name.as_bytes());
    assert_eq!(world.full(), Part::default());
}

#[test]
fn a_sink_that_has_enough_ends_the_scan() {
    let world = World::new();
    world.write("f", "x");
    let cx = ScanContext {
        files: world.files(),
        records: world.records.clone(),
        nodes: &*world.nodes,
        ignored: Arc::new(Ignored::nothing()),
        threads: 1,
        unrest: Arc::default(),
        may_be_empty: false,
    };
    let stopped = scan(&cx, &Scan::Full, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(ScanError::Stopped)));
}

#[test]
fn a_file_system_that_went_away_in_the_middle_deletes_nothing() {
    for errno in [EIO, ESTALE, 18, 13] {
        // The root is asked twice; then the directory of what has gone, then the path itself.
        for nth in [3, 4] {
            let world = World::new();
            world.write("d/gone", "x");
            world.write("d/other", "x");
            world.full();
            fs::remove_file(world.at("d/gone")).expect("remove");
            let stats = world.disk.calls(Some(Call::Stat));
            world.disk.at(Some(Call::Stat), stats + nth, Effect::FailOnce(errno));
            let part = world.full();
            assert_eq!((told(&part).len(), part.unsynced.len()), (0, 1), "{errno}");
            assert_eq!(told(&world.full()), ["-d/gone"]);
        }
    }
}
