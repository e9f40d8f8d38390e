pub(crate) mod support;

mod folding;
mod trouble;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use protocol::{Content, Timestamp};

use super::*;
use support::{World, path, told};

fn paths(texts: &[&str]) -> Scan {
    Scan::Paths(texts.iter().map(|text| path(text)).collect())
}

#[test]
fn everything_is_told_once_and_then_nothing() {
    let world = World::new();
    world.write("a/b/file", "x");
    fs::create_dir(world.at("empty")).expect("mkdir");
    symlink("nowhere/at all", world.at("link")).expect("link");
    let first = world.full();
    assert_eq!(told(&first), ["+a", "+a/b", "+a/b/file", "+empty", "+link"]);
    assert_eq!(first.observations[4].seen.as_ref().expect("seen").metadata.mode, 0);
    assert_eq!(world.full(), Part::default());
}

#[test]
fn an_unchanged_tree_is_looked_at_and_not_read() {
    let world = World::new();
    for directory in 0..50 {
        for file in 0..100 {
            world.write(&format!("{directory}/{file}"), "");
        }
    }
    assert_eq!(world.full().observations.len(), 5050);
    let opened = world.disk.calls(Some(crate::disk::Call::Open));
    assert_eq!(world.full(), Part::default());
    assert_eq!(world.disk.calls(Some(crate::disk::Call::Open)), opened);
}

#[test]
fn a_change_that_keeps_size_and_mtime_is_found_by_its_ctime() {
    let world = World::new();
    world.write("f", "one");
    world.full();
    let mtime = fs::metadata(world.at("f")).expect("stat").modified().expect("mtime");
    world.write("f", "two");
    fs::File::options().write(true).open(world.at("f")).expect("open").set_modified(mtime).expect("touch");
    let part = world.full();
    assert_eq!(told(&part), ["+f"]);
    assert_ne!(part.observations[0].record.as_ref().expect("record").shown, world.record("f").shown);
}

#[test]
fn where_one_file_of_a_renamed_directory_was_the_others_are_not_looked_for_one_by_one() {
    let mut world = World::new();
    for n in 0..50 {
        world.write(&format!("old/f{n}"), format!("{n}"));
    }
    world.full();
    let read = world.hashed();
    fs::rename(world.at("old"), world.at("new")).expect("rename");
    world.reopen();
    let part = world.scan(&Scan::Paths(vec![path("new"), path("old")]));
    assert_eq!(told(&part).len(), 2 * 51, "{:?}", told(&part));
    assert_eq!(world.hashed(), read);
    assert!(world.disk.calls(Some(crate::disk::Call::Stat)) < 50);
}

#[test]
fn a_file_in_a_renamed_directory_is_known_by_its_inode_and_comes_with_its_deletion() {
    let mut world = World::new();
    world.write("old/deep/file", vec![7; 100_000]);
    world.full();
    let read = world.hashed();
    fs::rename(world.at("old"), world.at("new")).expect("rename");
    world.reopen();
    let parts = world.parts(&Scan::Full).expect("a scan");
    assert_eq!(parts.len(), 1);
    world.note(&parts[0]);
    assert_eq!(world.hashed(), read);
    let mut told = told(&parts[0]);
    told.sort();
    assert_eq!(told, ["+new", "+new/deep", "+new/deep/file", "-old", "-old/deep", "-old/deep/file"]);
    assert_eq!(world.full(), Part::default());
}

#[test]
fn the_chunk_list_of_a_long_file_is_saved_before_the_file_is_told_of() {
    let world = World::new();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    world.write("long", &bytes);
    world.full();
    let Content::File { id, size } = world.record("long").shown.content else { panic!("no file") };
    let list = protocol::chunk_list::ChunkList::load(&*world.nodes, &id, size).expect("a list");
    assert!(list.count() > 2);
    assert_eq!(size, bytes.len() as u64);
}

#[test]
fn a_named_file_costs_no_listing() {
    let world = World::new();
    world.write("d/one", "1");
    world.write("d/two", "2");
    world.full();
    world.write("d/one", "changed");
    world.write("d/two", "changed");
    let listed = world.disk.calls(Some(crate::disk::Call::List));
    assert_eq!(told(&world.scan(&paths(&["d/one"]))), ["+d/one"]);
    assert_eq!(world.disk.calls(Some(crate::disk::Call::List)), listed);
}

#[test]
fn a_named_directory_is_looked_at_to_its_bottom_and_with_those_above() {
    let world = World::new();
    world.write("a/b/c/d", "x");
    let part = world.scan(&paths(&["a/b"]));
    assert_eq!(told(&part), ["+a", "+a/b", "+a/b/c", "+a/b/c/d"]);
}

#[test]
fn a_path_whose_directory_is_gone_is_gone_with_the_whole_of_it() {
    let world = World::new();
    world.write("a/b/one", "1");
    world.write("a/b/two", "2");
    world.full();
    fs::remove_dir_all(world.at("a/b")).expect("remove");
    let part = world.scan(&paths(&["a/b/one", "a/b/two"]));
    assert_eq!(told(&part), ["-a/b", "-a/b/one", "-a/b/two"]);
}

#[test]
fn a_path_that_nobody_knew_and_nobody_finds_is_nothing() {
    let world = World::new();
    world.write("keep", "");
    world.full();
    assert_eq!(world.scan(&paths(&["was/never/there", "nor-this"])), Part::default());
}

#[test]
fn a_directory_that_became_a_file_takes_what_was_below_it() {
    for named in [Scan::Full, paths(&["d"]), paths(&["d/below"])] {
        let world = World::new();
        world.write("d/below", "x");
        world.full();
        fs::remove_dir_all(world.at("d")).expect("remove");
        world.write("d", "now a file");
        assert_eq!(told(&world.scan(&named)), ["+d", "-d/below"]);
    }
}

#[test]
fn a_link_to_a_directory_is_not_followed() {
    let mut world = World::new();
    world.write("real/file", "x");
    world.full();
    fs::rename(world.at("real"), world.at("moved")).expect("rename");
    symlink("moved", world.at("real")).expect("link");
    world.reopen();
    let part = world.scan(&paths(&["real/file"]));
    assert_eq!(told(&part), ["+real", "-real/file"]);
}

#[test]
fn only_mode_and_inode_of_a_directory_matter() {
    let world = World::new();
    world.write("d/file", "x");
    world.full();
    fs::remove_file(world.at("d/file")).expect("remove");
    assert_eq!(told(&world.full()), ["-d/file"]);
    fs::set_permissions(world.at("d"), fs::Permissions::from_mode(0o711)).expect("chmod");
    assert_eq!(told(&world.full()), ["+d"]);
    assert_eq!(world.record("d").shown.metadata.mode, 0o711);
}

#[test]
fn what_was_written_just_now_is_not_trusted_and_read_again() {
    let world = World::new();
    *world.ahead.lock() = Duration::ZERO;
    world.write("f", "one");
    // However slow this machine is: the file is as new as the clock.
    let stat = fs::metadata(world.at("f")).expect("stat");
    let now = Timestamp { seconds: stat.ctime(), nanos: stat.ctime_nsec() as u32 };
    assert!(compare::is_racy(&world.disk_stat("f"), now));
    let later = Timestamp { seconds: now.seconds + 1, ..now };
    assert!(!compare::is_racy(&world.disk_stat("f"), later));
    let part = world.full();
    if part.racy == [path("f")] {
        assert_eq!(world.record("f").stat, None);
        *world.ahead.lock() = Duration::from_secs(5);
        assert_eq!(told(&world.full()), ["+f"]);
    }
    assert!(world.record("f").stat.is_some() || !part.racy.is_empty());
}

#[test]
fn a_clock_of_whole_seconds_is_trusted_after_two() {
    let time = |seconds, nanos| Timestamp { seconds, nanos };
    let stat = protocol::Stat { inode: 1, size: 1, mtime: time(100, 0), ctime: time(100, 0), mode: 0 };
    assert!(compare::is_racy(&stat, time(101, 900_000_000)));
    assert!(!compare::is_racy(&stat, time(102, 0)));
    assert!(!compare::is_racy(&protocol::Stat { mtime: time(9_999, 0), ..stat }, time(103, 0)));
}

#[test]
fn ignored_paths_are_noted_once_and_deleting_them_deletes_nothing() {
    let mut world = World::new();
    world.write("cache/a", "1");
    world.write("cache/b", "2");
    world.write("kept", "3");
    world.full();
    world.ignored = Arc::new(Ignored::new(["/cache"]));
    assert_eq!(told(&world.full()), ["?cache", "?cache/a", "?cache/b"]);
    world.write("cache/new", "never seen");
    assert_eq!(world.full(), Part::default());
    fs::remove_dir_all(world.at("cache")).expect("remove");
    assert_eq!(world.full(), Part::default());
    assert_eq!(world.scan(&paths(&["cache/a"])), Part::default());
    world.ignored = Arc::new(Ignored::nothing());
    let part = world.full();
    assert_eq!(told(&part), ["-cache", "-cache/a", "-cache/b"]);
    assert!(part.observations.iter().all(|o| o.record.as_ref().is_some_and(|r| r.ignored)));
}

#[test]
fn what_is_no_longer_ignored_and_unchanged_is_told_without_reading_it() {
    let mut world = World::new();
    world.write("a.log", "1");
    world.full();
    world.ignored = Arc::new(Ignored::new(["*.log"]));
    assert_eq!(told(&world.full()), ["?a.log"]);
    let read = world.hashed();
    world.ignored = Arc::new(Ignored::nothing());
    assert_eq!(told(&world.full()), ["+a.log"]);
    assert_eq!(world.hashed(), read);
    assert_eq!(world.full(), Part::default());
}

/// A directory with 9,000 files has gone, a file has come.
fn much_is_gone() -> World {
    let world = World::new();
    world.write("new", "x");
    world.full();
    let record = Record { stat: None, ..world.record("new") };
    let mut records = world.records.0.lock();
    let directory = protocol::Shown { content: Content::Directory, ..record.shown.clone() };
    records.insert(path("old"), Record { shown: directory, stat: None, ignored: false });
    for file in 0..9_000 {
        records.insert(path(&format!("old/{file}")), record.clone());
    }
    records.remove(&path("new"));
    drop(records);
    world
}

#[test]
fn a_scan_in_parts_tells_deletions_last_and_in_bounded_parts() {
    let world = much_is_gone();
    fs::create_dir(world.at("a-first")).expect("mkdir");
    let ahead = Arc::clone(&world.ahead);
    let reads = world.disk.calls(Some(crate::disk::Call::Read));
    let late = move || *ahead.lock() += Duration::from_secs(10);
    world.disk.at(Some(crate::disk::Call::Read), reads + 1, crate::disk::Effect::Before(Box::new(late)));
    let parts = world.parts(&Scan::Full).expect("a scan");
    let removals = |part: &Part| part.observations.iter().filter(|o| o.seen.is_none()).count();
    assert!(removals(&parts[0]) == 0);
    let removals: Vec<_> = parts.iter().map(removals).filter(|n| *n > 0).collect();
    assert_eq!(removals, [8_192, 809]);
}

#[test]
fn a_scan_that_fits_into_one_part_is_one_part() {
    let parts = much_is_gone().parts(&Scan::Full).expect("a scan");
    assert_eq!(parts.iter().map(|part| part.observations.len()).collect::<Vec<_>>(), [9_002]);
}
