//! Windows that follow one another without a pause.

mod common;

use std::cell::Cell;
use std::time::Duration;

use common::*;
use protocol::engine::Reason;
use sim::{Role, World, path};

const TWO: [Role; 2] = [Role::Creator, Role::Writer];
/// Paths in a window.
const WINDOW: usize = 2;

/// A first sync of a directory with this many files, about to begin.
fn joining(seed: u64, count: usize, content: impl Fn(usize) -> String) -> World {
    let mut world = World::new(seed, &TWO);
    world.devices.iter_mut().for_each(|device| device.settings.window = WINDOW);
    (0..2).for_each(|n| world.start(n, false));
    directory(&mut world, 0, "d");
    for n in 0..count {
        text(&mut world, 0, &format!("d/{n:02}"), &content(n));
    }
    world.connect_all();
    world
}

fn all_names(count: usize) -> Vec<String> {
    let files = (0..count).map(|n| format!("d/{n:02}"));
    std::iter::once("d".to_owned()).chain(files).collect()
}

#[test]
fn the_disk_has_the_next_window_before_it_is_done_with_one() {
    thread_local!(static FOLLOWED: Cell<usize> = const { Cell::new(0) });
    let mut world = joining(1, 20, |n| format!("text {n}"));
    world.between = Some(|world, n| {
        let waiting = world.devices[n].batches.len();
        assert!(waiting < 2, "no more than one waits");
        FOLLOWED.set(FOLLOWED.get() + usize::from(waiting > 0 && world.devices[n].ops.is_empty()));
    });
    settled(&mut world);
    assert_eq!(names(&world, 1), all_names(20));
    assert!(FOLLOWED.get() >= 5, "of ten windows {} were followed at once", FOLLOWED.get());
}

#[test]
fn what_lies_in_a_directory_that_cannot_be_made_waits_and_nothing_else() {
    let mut world = joining(2, 8, |n| format!("text {n}"));
    world.devices[1].refused.insert(path("d"));
    for n in 0..8 {
        text(&mut world, 0, &format!("e{n}"), &format!("behind {n}"));
    }
    world.run_for(Duration::from_secs(20));
    assert_eq!(names(&world, 1), (0..8).map(|n| format!("e{n}")).collect::<Vec<_>>());
    assert_eq!(world.devices[1].engine().unapplied()[&path("d")].reason, Reason::Problem);
    world.devices[1].refused.clear();
    world.run_for(Duration::from_secs(60));
    settled(&mut world);
    assert_eq!(names(&world, 1).len(), 17);
}

#[test]
fn files_of_the_same_content_come_in_windows_that_follow_one_another() {
    for kinds in [1, 2, 3, 5] {
        let mut world = joining(3, 20, |n| format!("text {}", n % kinds));
        settled(&mut world);
        assert_eq!(names(&world, 1), all_names(20));
    }
}

#[test]
fn a_crash_between_two_windows_under_way_loses_nothing() {
    for millis in (0..3_000).step_by(41) {
        let mut world = joining(millis, 20, |n| format!("text {}", n % 15));
        world.run_for(Duration::from_millis(millis));
        world.crash(1);
        world.start(1, false);
        world.connect_all();
        settled(&mut world);
        assert_eq!(names(&world, 1), all_names(20));
    }
}

#[test]
fn what_changes_while_windows_follow_one_another_is_shown() {
    for millis in (0..3_000).step_by(37) {
        let mut world = joining(millis, 20, |n| format!("text {n}"));
        world.run_for(Duration::from_millis(millis));
        text(&mut world, 0, "d/01", "edited meanwhile");
        delete(&mut world, 0, "d/03");
        rename(&mut world, 0, "d/17", "d/04b");
        text(&mut world, 1, "x", "of another");
        settled(&mut world);
        let mut expected = all_names(20);
        expected.retain(|name| name != "d/03" && name != "d/17");
        expected.extend(["d/04b".to_owned(), "x".to_owned()]);
        expected.sort();
        assert_eq!(names(&world, 1), expected);
    }
}
