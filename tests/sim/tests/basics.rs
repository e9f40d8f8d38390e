//! Two devices and one folder: what users do gets to the other side.

mod common;

use std::time::Duration;

use common::*;
use protocol::{Metadata, Timestamp};
use sim::{Role, World, path};

const TWO: [Role; 2] = [Role::Creator, Role::Writer];

#[test]
fn a_file_gets_to_the_other_device_within_half_a_second() {
    let mut world = World::started(1, &TWO);
    text(&mut world, 0, "a", "hello");
    directory(&mut world, 0, "d");
    text(&mut world, 0, "d/b", "there");
    settled(&mut world);
    assert_eq!(world.devices[1].fetched, 2);
    text(&mut world, 1, "d/b", "changed");
    settled(&mut world);
    text(&mut world, 0, "a", "again");
    world.run_for(Duration::from_millis(600));
    assert_eq!(world.devices[1].contents(), world.devices[0].contents());
    settled(&mut world);
}

#[test]
fn a_joiner_learns_that_the_folder_is_empty() {
    let mut world = World::started(2, &[Role::Creator, Role::Writer, Role::NewReader]);
    world.run_for(Duration::from_secs(5));
    assert!(world.devices.iter().all(|device| device.engine().has_first_head()));
    settled(&mut world);
}

#[test]
fn a_rename_fetches_nothing_and_copies_nothing() {
    for window in [1, 3, 1000] {
        let mut world = World::new(3, &TWO);
        world.devices[1].settings.window = window;
        world.part = 1_000; // both names in one commit
        (0..2).for_each(|n| world.start(n, false));
        world.connect_all();
        directory(&mut world, 0, "d");
        for n in 0..7 {
            text(&mut world, 0, &format!("d/{n}"), &format!("file {n}"));
        }
        settled(&mut world);
        let fetched = world.devices[1].fetched;
        rename(&mut world, 0, "d", "a"); // new names come first
        settled(&mut world);
        rename(&mut world, 0, "a", "z"); // old names come first
        settled(&mut world);
        assert_eq!((world.devices[1].fetched, world.devices[1].moves), (fetched, 14), "window {window}");
    }
}

#[test]
fn a_rename_that_a_scan_tells_in_parts_fetches_nothing() {
    for (window, part) in [(1, 1), (3, 2), (1000, 2), (1000, 5)] {
        let mut world = World::new(4, &TWO);
        world.devices[1].settings.window = window;
        (world.part, world.deletions_last) = (part, true);
        (0..2).for_each(|n| world.start(n, false));
        world.connect_all();
        directory(&mut world, 0, "d");
        for n in 0..7 {
            text(&mut world, 0, &format!("d/{n}"), &format!("file {n}"));
        }
        settled(&mut world);
        let fetched = world.devices[1].fetched;
        for (old, new) in [("d", "a"), ("a", "z")] {
            rename(&mut world, 0, old, new);
            settled(&mut world);
        }
        assert_eq!(world.devices[1].fetched, fetched, "window {window}, part {part}");
    }
}

#[test]
fn one_content_at_many_paths_is_fetched_once() {
    let mut world = World::started(4, &TWO);
    for n in 0..5 {
        text(&mut world, 0, &format!("{n}"), "same");
    }
    settled(&mut world);
    assert_eq!(world.devices[1].fetched, 1);
    // One source, two targets, and one that stays.
    delete(&mut world, 0, "0");
    text(&mut world, 0, "x", "same");
    text(&mut world, 0, "y", "same");
    settled(&mut world);
    assert_eq!(world.devices[1].fetched, 1);
}

#[test]
fn files_and_directories_take_each_others_names() {
    let mut world = World::started(5, &TWO);
    directory(&mut world, 0, "d");
    text(&mut world, 0, "d/x", "in d");
    text(&mut world, 0, "f", "file");
    link(&mut world, 0, "l", "d/x");
    directory(&mut world, 0, "empty");
    settled(&mut world);
    delete(&mut world, 0, "d");
    text(&mut world, 0, "d", "now a file");
    delete(&mut world, 0, "f");
    directory(&mut world, 0, "f");
    text(&mut world, 0, "f/y", "below f");
    delete(&mut world, 0, "l");
    directory(&mut world, 0, "l");
    delete(&mut world, 0, "empty");
    link(&mut world, 0, "empty", "f");
    settled(&mut world);
    assert_eq!(names(&world, 1), ["d", "empty", "f", "f/y", "l"]);
}

#[test]
fn metadata_travels_without_content() {
    let mut world = World::started(6, &TWO);
    text(&mut world, 0, "a", "text");
    settled(&mut world);
    let metadata =
        Metadata { mtime: Timestamp { seconds: 77, nanos: 5 }, mode: 0o700, ..Metadata::default() };
    world.devices[0].touches += 1;
    world.devices[0].disk.touch(&path("a"), metadata.clone());
    world.notice(0, vec![path("a")]);
    settled(&mut world);
    assert_eq!(world.devices[1].disk.get(&path("a")).unwrap().metadata, metadata);
    assert_eq!(world.devices[1].fetched, 1);
}

#[test]
fn two_edits_both_survive_under_the_same_names_everywhere() {
    let mut world = World::started(7, &[Role::Creator, Role::Writer, Role::Reader]);
    text(&mut world, 0, "a", "first");
    settled(&mut world);
    world.disconnect(0, 1);
    text(&mut world, 0, "a", "mine");
    text(&mut world, 1, "a", "yours");
    world.run_for(Duration::from_secs(30));
    world.connect(0, 1);
    settled(&mut world);
    assert_eq!(names(&world, 2).len(), 2);
    assert_eq!(names(&world, 0), names(&world, 2));
}

#[test]
fn a_long_file_is_changed_by_fetching_what_changed() {
    let mut world = World::started(8, &TWO);
    let mut data = long(1, 3 << 20);
    bytes(&mut world, 0, "a", data.clone());
    settled(&mut world);
    let fetched = world.devices[1].fetched;
    assert!(fetched > 4);
    data[2_000_000] ^= 1;
    bytes(&mut world, 0, "a", data);
    settled(&mut world);
    assert!(world.devices[1].fetched <= fetched + 2);
}

#[test]
fn whoever_comes_with_the_same_files_adopts_them() {
    let mut world = World::new(9, &TWO);
    for n in 0..2 {
        text(&mut world, n, "same", "text");
        text(&mut world, n, "other", &format!("of {n}"));
    }
    text(&mut world, 1, "mine", "text of 1");
    (0..2).for_each(|n| world.start(n, false));
    world.connect_all();
    settled(&mut world);
    let copies = names(&world, 0).iter().filter(|name| name.contains("conflict")).count();
    assert_eq!((names(&world, 0).len(), copies), (4, 1));
    // Found loses: the creator's has the name.
    assert_eq!(*world.devices[1].disk.get(&path("other")).unwrap().data, b"of 0");
}

#[test]
fn whoever_finds_nobody_commits_after_a_while_and_merges_later() {
    let mut world = World::new(10, &TWO);
    text(&mut world, 0, "a", "of 0");
    text(&mut world, 1, "a", "of 1");
    (0..2).for_each(|n| world.start(n, false));
    world.run_for(Duration::from_secs(60));
    world.connect_all();
    settled(&mut world);
    assert_eq!(*world.devices[1].disk.get(&path("a")).unwrap().data, b"of 0");
}

#[test]
fn three_who_fetch_at_once_take_different_parts_of_a_writer_and_the_rest_of_each_other() {
    let mut world = World::started(5, &[Role::Creator, Role::Writer, Role::Writer, Role::Writer]);
    settled(&mut world);
    let mut state = 1u64;
    let big: String = (0..12_000_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 59) as u8 % 26)
        })
        .collect();
    text(&mut world, 0, "big", &big);
    settled(&mut world);
    let served: Vec<u64> = world.devices.iter().map(|device| device.served.get()).collect();
    let fetched: Vec<u64> = world.devices.iter().map(|device| device.fetched).collect();
    let all: u64 = fetched[1..].iter().sum();
    assert!(served[0] * 3 < all * 2, "served {served:?}, fetched {fetched:?}");
    assert!(served[1..].iter().all(|count| *count > 0), "served {served:?}, fetched {fetched:?}");
}

#[test]
fn a_small_folder_is_known_with_the_greeting() {
    let mut world = World::new(4, &TWO);
    world.start(0, false);
    bytes(&mut world, 0, "film", long(4, 3_000_000));
    text(&mut world, 0, "notes", "hello");
    world.run_until_quiet();
    world.start(1, false);
    world.connect(1, 0);
    settled(&mut world);
    assert_eq!(world.devices[1].effects.get("nodes"), None);
    assert_eq!(world.devices[1].contents(), world.devices[0].contents());
}
