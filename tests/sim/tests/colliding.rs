//! Names that one device's disk does not tell apart.

mod common;

use std::time::Duration;

use common::{delete, directory, names, rename, settled, text};
use protocol::engine::{Activity, Reason};
use sim::device::Role::{Creator, Writer};
use sim::{World, path};

/// Two files, or directories with a file, that differ in case alone; device 1 cannot have both.
fn twins(below: &str) -> World {
    let mut world = World::started(1, &[Creator, Writer]);
    world.devices[1].folds = true;
    for name in ["a", "A"] {
        if !below.is_empty() {
            directory(&mut world, 0, name);
        }
        text(&mut world, 0, &format!("{name}{below}"), name);
    }
    world.run_until_quiet();
    world
}

fn shown(world: &World) -> Vec<String> {
    names(world, 1)
}

#[test]
fn one_of_two_is_there_and_the_other_is_a_collision_that_is_not_tried_for_ever() {
    let mut world = twins("");
    let there = shown(&world);
    assert_eq!(there.len(), 1, "{there:?}");
    let (row, why) = world.devices[1].engine().unapplied().iter().next().expect("a row");
    assert_eq!((why.reason, row.to_string() == there[0]), (Reason::Collision, false));
    assert!(why.message.contains('a') && why.message.contains('A'));
    assert_eq!(world.devices[1].engine().activity(), Activity::Idle);
    assert_eq!(world.devices[0].engine().seeds(), (0, 1), "it has not everything");
    let applies = world.devices[1].effects["apply"];
    text(&mut world, 0, "other", "text");
    world.run_for(Duration::from_secs(600));
    assert_eq!(world.devices[1].effects["apply"], applies + 1);
    assert_eq!(names(&world, 0).len(), 3, "nothing is deleted or renamed elsewhere");
}

#[test]
fn the_other_comes_when_one_is_renamed_or_deleted_on_either_side() {
    for below in ["", "/f"] {
        for here in [0, 1] {
            for renamed in [true, false] {
                let mut world = twins(below);
                let there = shown(&world)[0].clone();
                match renamed {
                    true => rename(&mut world, here, &there, "b"),
                    false => delete(&mut world, here, &there),
                }
                settled(&mut world);
                assert_eq!(shown(&world).contains(&"b".to_owned()), renamed);
            }
        }
    }
}

#[test]
fn an_edit_of_either_never_changes_the_other() {
    let mut world = twins("");
    let there = shown(&world)[0].clone();
    text(&mut world, 1, &there, "edited");
    let other = if there == "a" { "A" } else { "a" };
    text(&mut world, 0, other, "edited as well");
    world.run_until_quiet();
    let says = |n: usize, at: &str| world.devices[n].disk.get(&path(at)).map(|node| node.data.to_vec());
    assert_eq!(says(0, &there).as_deref(), Some(&b"edited"[..]));
    assert_eq!(says(0, other).as_deref(), Some(&b"edited as well"[..]));
    assert_eq!(says(1, &there).as_deref(), Some(&b"edited"[..]));
}
