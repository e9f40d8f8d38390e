//! Paths that one device does not want: neither created, changed nor deleted there, no need and no
//! problem, and wanted again when the rules change.

mod common;

use std::time::Duration;

use common::{delete, directory, names, rename, settled, text};
use protocol::engine::{Activity, Reason};
use sim::device::Role::{self, Creator, Reader, Writer};
use sim::{World, path};

const THREE: [Role; 3] = [Creator, Writer, Reader];

fn says(world: &World, n: usize, at: &str) -> Option<String> {
    let node = world.devices[n].disk.get(&path(at));
    node.map(|node| String::from_utf8_lossy(&node.data).into_owned())
}

/// All hold the same, are idle, miss nothing, and call each other complete.
fn all_are_content(world: &mut World) {
    world.run_until_quiet();
    for device in &world.devices {
        let engine = device.engine();
        let about = format!("device {}: {:?}", device.number, engine.unapplied());
        assert_eq!(device.roots(), world.devices[0].roots(), "{about}");
        assert_eq!(engine.activity(), Activity::Idle, "{about}");
        assert_eq!((engine.need(), engine.seeds()), ((0, 0), (2, 2)), "{about}");
        assert!(engine.unapplied().values().all(|why| why.reason == Reason::Ignored), "{about}");
    }
}

#[test]
fn what_is_ignored_and_was_never_held_is_not_created_and_hinders_nobody() {
    for n in [1, 2] {
        let mut world = World::started(1, &THREE);
        world.ignore(n, &["build"]);
        directory(&mut world, 0, "build");
        text(&mut world, 0, "build/out", "out");
        text(&mut world, 0, "file", "file");
        all_are_content(&mut world);
        assert_eq!(names(&world, n), ["file"]);
        text(&mut world, 0, "build/out", "other");
        all_are_content(&mut world);
        world.crash(n);
        world.start(n, false);
        world.connect_all();
        all_are_content(&mut world);
        assert_eq!(names(&world, n), ["file"]);
        world.ignore(n, &[]);
        settled(&mut world);
        assert_eq!(says(&world, n, "build/out").as_deref(), Some("other"));
    }
}

#[test]
fn an_ignored_path_that_is_held_gets_no_changes_until_it_is_wanted_again() {
    for change in ["edit", "chmod", "delete", "rename"] {
        let mut world = World::started(2, &THREE);
        directory(&mut world, 0, "d");
        text(&mut world, 0, "d/f", "old");
        settled(&mut world);
        world.ignore(1, &["d/f"]);
        all_are_content(&mut world);
        match change {
            "edit" => text(&mut world, 0, "d/f", "new"),
            "delete" => delete(&mut world, 0, "d/f"),
            "rename" => rename(&mut world, 0, "d/f", "g"),
            _ => {
                let metadata = protocol::Metadata { mode: 0o755, ..Default::default() };
                world.devices[0].disk.touch(&path("d/f"), metadata);
                world.notice(0, vec![path("d/f")]);
            }
        }
        all_are_content(&mut world);
        assert_eq!(says(&world, 1, "d/f").as_deref(), Some("old"), "{change}");
        assert_eq!(world.devices[1].disk.get(&path("d/f")).map(|f| f.seen().metadata.mode), Some(0o644));
        assert_eq!(says(&world, 1, "g").is_some(), change == "rename");
        world.ignore(1, &[]);
        settled(&mut world);
    }
}

#[test]
fn a_directory_stays_for_what_is_ignored_in_it_and_goes_with_it() {
    for held in [false, true] {
        let mut world = World::started(3, &THREE);
        directory(&mut world, 0, "d");
        directory(&mut world, 0, "d/e");
        text(&mut world, 0, "d/e/file", "file");
        if held {
            text(&mut world, 0, "d/e/x", "x");
        }
        settled(&mut world);
        world.ignore(1, &["d/e/x"]);
        world.run_until_quiet();
        if !held {
            text(&mut world, 1, "d/e/x", "of 1");
        }
        world.run_until_quiet();
        for at in ["d/e/x", "d/e/file", "d/e", "d"] {
            if world.devices[0].disk.get(&path(at)).is_some() {
                delete(&mut world, 0, at);
            }
        }
        all_are_content(&mut world);
        assert_eq!(names(&world, 1), ["d", "d/e", "d/e/x"], "held: {held}");
        world.ignore(1, &[]);
        settled(&mut world);
        let left: &[&str] = if held { &[] } else { &["d", "d/e", "d/e/x"] };
        assert_eq!(names(&world, 0), left, "it was a file of their own, or an old one of the folder");
    }
}

#[test]
fn a_users_own_file_at_a_path_that_is_wanted_again_is_kept() {
    for (own, copies) in [("of 1", 1), ("of 0", 0)] {
        let mut world = World::started(4, &THREE);
        world.ignore(1, &["f"]);
        world.run_until_quiet();
        text(&mut world, 0, "f", "of 0");
        text(&mut world, 1, "f", own);
        all_are_content(&mut world);
        assert_eq!(says(&world, 1, "f").as_deref(), Some(own));
        world.ignore(1, &[]);
        settled(&mut world);
        assert_eq!(says(&world, 0, "f").as_deref(), Some(own));
        assert_eq!(names(&world, 0).len(), 1 + copies);
    }
}

#[test]
fn deletions_put_off_while_ignored_are_a_mass_deletion_when_their_turn_comes() {
    let mut world = World::started(5, &THREE);
    directory(&mut world, 0, "d");
    (0..60).for_each(|number| text(&mut world, 0, &format!("d/{number}"), &number.to_string()));
    settled(&mut world);
    world.ignore(1, &["d"]);
    all_are_content(&mut world);
    // Elsewhere a person has approved.
    for n in [0, 2] {
        world.devices[n].settings.hold_deletions = 0;
        let settings = world.devices[n].settings.clone();
        world.devices[n].engine.as_mut().expect("it runs").set_settings(settings);
    }
    (0..60).for_each(|number| delete(&mut world, 0, &format!("d/{number}")));
    all_are_content(&mut world);
    assert_eq!(names(&world, 1).len(), 61);
    world.ignore(1, &[]);
    world.run_until_quiet();
    assert_eq!(world.devices[1].engine().hold().map(|hold| hold.code), Some("MASS_DELETE"));
    assert_eq!(names(&world, 1).len(), 61);
    world.devices[1].touches += 1;
    world.command(1, protocol::engine::Command::Revert(None));
    settled(&mut world);
    assert_eq!(names(&world, 0).len(), 61, "put again for everyone");
}

#[test]
fn new_rules_are_applied_before_what_comes_with_them() {
    let mut world = World::started(6, &[Creator, Writer]);
    world.disconnect(0, 1);
    for at in ["a", ".syncignore", "b"] {
        text(&mut world, 0, at, at);
    }
    world.run_until_quiet();
    world.between = Some(|world, n| {
        let is_first = world.devices[n].disk.get(&path(".syncignore")).is_none();
        let ops = &world.devices[n].ops;
        assert!(!is_first || ops.iter().all(|op| op.path == path(".syncignore")), "{ops:?}");
    });
    world.connect(0, 1);
    settled(&mut world);
    delete(&mut world, 0, ".syncignore");
    settled(&mut world);
    assert_eq!(names(&world, 1), ["a", "b"]);
}

#[test]
fn what_was_moved_while_it_was_ignored_is_taken_from_where_it_is_now() {
    // While it is looked for, while peers would be asked, and when they have been.
    for millis in (0..100).step_by(7).chain([1_000, 20_000]) {
        let mut world = World::started(millis, &[Creator]);
        directory(&mut world, 0, "d");
        text(&mut world, 0, "f", "text");
        settled(&mut world);
        world.ignore(0, &["d", "f"]);
        world.run_until_quiet();
        rename(&mut world, 0, "f", "d/f");
        world.ignore(0, &["d"]);
        // That it is in `d` is not known, and nobody else has it.
        world.run_for(Duration::from_millis(millis));
        world.ignore(0, &[]);
        world.run_for(Duration::from_secs(3));
        settled(&mut world);
        assert_eq!(names(&world, 0), ["d", "d/f", "f"]);
    }
}
