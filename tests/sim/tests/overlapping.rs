//! What happens while something else is under way: heads that come during a scan, a window or a crash.

mod common;

use std::time::Duration;

use common::{delete, directory, link, names, settled, text};
use protocol::engine::Command;
use sim::device::Role::{self, Creator, Reader, Writer};
use sim::{World, path};

const TWO: [Role; 2] = [Creator, Writer];

/// Both write `f` while they are apart. Answers the name of the conflict copy.
fn conflict(world: &mut World) -> String {
    world.disconnect(0, 1);
    text(world, 0, "f", "of 0");
    text(world, 1, "f", "of 1");
    world.run_for(Duration::from_secs(5));
    world.connect(0, 1);
    settled(world);
    copies(world, 0).remove(0)
}

fn copies(world: &World, n: usize) -> Vec<String> {
    names(world, n).into_iter().filter(|name| name.contains("(conflict")).collect()
}

#[test]
fn a_conflict_of_which_each_deletes_one_side_is_over_everywhere() {
    for millis in (0..200).step_by(9) {
        let mut world = World::started(millis, &TWO);
        let copy = conflict(&mut world);
        delete(&mut world, 1, &copy);
        world.run_for(Duration::from_millis(millis));
        delete(&mut world, 0, "f");
        settled(&mut world);
        assert!(names(&world, 0).is_empty(), "the copy is shown for no reason");
    }
}

#[test]
fn what_is_gone_again_before_a_crash_is_not_left_behind_by_it() {
    for millis in (0..400).step_by(17) {
        for later in [60, 110, 160] {
            let mut world = World::started(millis, &TWO);
            settled(&mut world);
            directory(&mut world, 0, "d");
            (0..5).for_each(|number| text(&mut world, 0, &format!("d/{number}"), &number.to_string()));
            world.run_for(Duration::from_millis(millis));
            delete(&mut world, 0, "d");
            world.run_for(Duration::from_millis(later));
            world.crash(1);
            world.start(1, false);
            world.connect_all();
            settled(&mut world);
            assert!(names(&world, 1).is_empty());
        }
    }
}

/// Device 0 and 2 disagree on whether `d` is a link or a directory, and on `b`; 1 does not know it yet, and
/// deals with `b` and `c` first. It knows `d` as a directory, or as a reader has one of its own.
fn link_or_directory(seed: u64, middle: Role) -> World {
    let mut world = World::new(seed, &[Creator, middle, Writer]);
    world.devices[1].settings.window = 3;
    (0..3).for_each(|n| world.start(n, false));
    world.connect_all();
    world.run_for(Duration::from_secs(2));
    if middle == Reader {
        world.disconnect(0, 1);
        world.disconnect(1, 2);
        directory(&mut world, 1, "d");
        text(&mut world, 1, "d/mine", "local");
    }
    directory(&mut world, 0, "d");
    text(&mut world, 0, "d/x", "old");
    world.run_until_quiet();
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        world.disconnect(a, b);
    }
    text(&mut world, 0, "b", "of 0");
    text(&mut world, 0, "c", "text");
    text(&mut world, 0, "d/x", "new");
    text(&mut world, 2, "b", "of 2");
    delete(&mut world, 2, "d");
    link(&mut world, 2, "d", "elsewhere");
    world.run_for(Duration::from_secs(5));
    world.connect(0, 2);
    world.run_for(Duration::from_secs(5));
    world
}

#[test]
fn a_copy_of_what_a_directory_hides_goes_with_either_of_them() {
    for millis in (0..600).step_by(19) {
        for deletes_copy in [false, true] {
            let mut world = link_or_directory(millis, Writer);
            let hidden = copies(&world, 0).into_iter().find(|name| name.starts_with('d'));
            world.connect(0, 1);
            world.run_for(Duration::from_millis(millis));
            match hidden.filter(|_| deletes_copy) {
                Some(copy) => delete(&mut world, 0, &copy),
                None => delete(&mut world, 0, "d"),
            }
            world.run_for(Duration::from_secs(5));
            world.connect_all();
            settled(&mut world);
            assert_eq!(copies(&world, 1).len(), 1, "that of `b`: {:?}", names(&world, 1));
            assert_eq!(world.devices[1].disk.get(&path("d/x")).is_some(), deletes_copy);
        }
    }
}

#[test]
fn a_readers_own_directory_makes_room_when_it_is_given_up_whatever_came_meanwhile() {
    for millis in (0..600).step_by(19) {
        let mut world = link_or_directory(millis, Reader);
        world.connect(0, 1);
        world.run_for(Duration::from_millis(millis));
        delete(&mut world, 0, "d");
        world.run_for(Duration::from_secs(5));
        world.connect_all();
        world.run_until_quiet();
        assert!(names(&world, 1).contains(&"d/mine".to_owned()));
        world.command(1, Command::Revert(None));
        settled(&mut world);
        assert!(!names(&world, 1).contains(&"d/mine".to_owned()));
    }
}
