//! Peers that go, disks that refuse, people who hesitate.

mod common;

use std::time::Duration;

use common::*;
use protocol::Metadata;
use protocol::engine::{Activity, Command, Event, Hold, Reason};
use sim::disk::hash;
use sim::history::all_is_well;
use sim::{Role, World, path};

const TWO: [Role; 2] = [Role::Creator, Role::Writer];

fn many(world: &mut World, count: usize) {
    for n in 0..count {
        text(world, 0, &format!("{n}"), &format!("file {n}"));
    }
    settled(world);
}

#[test]
fn a_reader_that_learns_the_key_late_loses_no_head() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[Role::Creator, Role::NewReader]);
        text(&mut world, 0, "a", "text");
        world.start(0, false);
        world.run_for(Duration::from_secs(5));
        world.start(1, false);
        world.connect_all();
        world.run_for(Duration::from_secs(5));
        settled(&mut world);
    }
}

#[test]
fn readers_pass_on_what_writers_that_never_met_have_written() {
    let mut world = World::new(1, &[Role::Creator, Role::Writer, Role::Reader, Role::Reader]);
    (0..4).for_each(|n| world.start(n, false));
    world.connect(0, 2);
    world.connect(1, 2);
    world.connect(2, 3);
    world.run_for(Duration::from_secs(10));
    world.disconnect(0, 2);
    world.disconnect(1, 2);
    text(&mut world, 0, "a", "of 0");
    text(&mut world, 1, "b", "of 1");
    world.run_for(Duration::from_secs(10));
    world.connect(0, 2);
    world.run_until_quiet();
    world.disconnect(0, 2);
    world.connect(1, 2);
    world.run_until_quiet();
    assert_eq!(names(&world, 3), ["a", "b"]);
    world.connect_all();
    settled(&mut world);
}

#[test]
fn a_link_that_breaks_at_any_moment_delays_but_spoils_nothing() {
    for millis in (0..1_500).step_by(47) {
        let mut world = World::started(millis, &TWO);
        for n in 0..6 {
            bytes(&mut world, 0, &format!("{n}"), long(n, 100_000 + 300_000 * (n as usize % 3)));
        }
        world.run_for(Duration::from_millis(millis));
        world.disconnect(0, 1);
        world.run_for(Duration::from_secs(40));
        world.connect(0, 1);
        settled(&mut world);
    }
}

#[test]
fn a_crash_at_any_moment_loses_nothing() {
    for millis in (0..1_500).step_by(31) {
        for n in 0..2 {
            let mut world = World::started(millis, &TWO);
            directory(&mut world, 0, "d");
            for n in 0..4 {
                text(&mut world, 0, &format!("d/{n}"), &format!("text {n}"));
            }
            settled(&mut world);
            rename(&mut world, 0, "d", "e");
            text(&mut world, 0, "e/0", "changed");
            text(&mut world, 1, "d/1", "edited");
            world.run_for(Duration::from_millis(millis));
            world.crash(n);
            world.start(n, false);
            world.connect_all();
            settled(&mut world);
            assert!(names(&world, 0).contains(&"d/1".to_owned()));
        }
    }
}

#[test]
fn what_nobody_has_any_more_holds_up_nothing_else() {
    let mut world = World::started(3, &TWO);
    text(&mut world, 0, "a", "first");
    settled(&mut world);
    world.disconnect(0, 1);
    text(&mut world, 0, "a", "second");
    text(&mut world, 0, "b", "other");
    world.run_for(Duration::from_secs(5));
    world.devices[0].disk.remove(&path("a")); // and nobody noticed
    world.connect(0, 1);
    world.run_for(Duration::from_secs(25));
    assert_eq!(names(&world, 1), ["a", "b"]);
    assert_eq!(world.devices[1].engine().unapplied()[&path("a")].reason, Reason::NoContent);
    assert_eq!(world.devices[1].engine().seeds(), (1, 1));
    assert_eq!(world.devices[0].engine().seeds(), (0, 1));
    // It comes back, and so does the link.
    text(&mut world, 0, "a", "second");
    world.run_for(Duration::from_secs(2));
    world.disconnect(0, 1);
    world.connect(0, 1);
    settled(&mut world);
}

#[test]
fn a_disk_that_refuses_a_path_is_tried_again() {
    let mut world = World::started(4, &TWO);
    world.devices[1].refused.insert(path("a"));
    text(&mut world, 0, "a", "text");
    text(&mut world, 0, "b", "text");
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.devices[1].engine().unapplied()[&path("a")].reason, Reason::Problem);
    assert_eq!(names(&world, 1), ["b"]);
    assert!(world.devices[1].effects["apply"] < 4);
    world.devices[1].refused.clear();
    world.run_for(Duration::from_secs(60));
    settled(&mut world);
}

#[test]
fn many_deletions_here_are_held_and_let_through() {
    let mut world = World::started(5, &TWO);
    world.part = 1_000;
    many(&mut world, 100);
    for n in 0..80 {
        delete(&mut world, 0, &format!("{n}"));
    }
    world.run_until_quiet();
    assert_eq!(world.devices[0].engine().hold().unwrap().code, "MASS_DELETE");
    assert_eq!(names(&world, 1).len(), 100, "some were told");
    // The other side is asked as well: they arrive there.
    world.command(0, Command::Approve);
    world.run_until_quiet();
    assert_eq!(world.devices[1].engine().hold().unwrap().code, "MASS_DELETE");
    world.command(1, Command::Approve);
    settled(&mut world);
    assert_eq!(names(&world, 1).len(), 20);
}

#[test]
fn many_deletions_here_can_be_taken_back() {
    let mut world = World::started(6, &TWO);
    world.part = 1_000;
    many(&mut world, 100);
    for n in 0..80 {
        delete(&mut world, 0, &format!("{n}"));
    }
    world.run_until_quiet();
    world.command(0, Command::Revert(None));
    settled(&mut world);
    assert_eq!(names(&world, 0).len(), 100);
}

#[test]
fn many_deletions_that_arrive_can_be_taken_back_for_everyone() {
    let mut world = World::started(7, &TWO);
    world.part = 1_000;
    many(&mut world, 100);
    for n in 0..80 {
        delete(&mut world, 0, &format!("{n}"));
    }
    world.run_until_quiet();
    world.command(0, Command::Approve);
    world.run_until_quiet();
    world.devices[1].touches += 1;
    world.command(1, Command::Revert(None));
    world.run_until_quiet();
    assert_eq!(names(&world, 1).len(), 100);
    settled(&mut world);
    assert_eq!(names(&world, 0).len(), 100);
}

#[test]
fn a_pause_stops_commits_and_changes_of_the_disk() {
    let mut world = World::started(8, &TWO);
    many(&mut world, 3);
    world.command(1, Command::Pause);
    text(&mut world, 0, "new", "text");
    text(&mut world, 1, "mine", "text");
    world.run_until_quiet();
    assert_eq!(world.devices[1].engine().activity(), Activity::Paused);
    assert_eq!((names(&world, 0).len(), names(&world, 1).len()), (4, 4));
    world.command(1, Command::Resume);
    settled(&mut world);
    assert_eq!(names(&world, 0).len(), 5);
}

#[test]
fn a_restored_disk_deletes_nothing_once_somebody_has_approved() {
    let mut world = World::started(9, &TWO);
    many(&mut world, 5);
    world.crash(0);
    world.devices[0].disk.remove(&path("1")); // the disk is older than the database
    world.start(0, false);
    world.handle(0, Event::Root(Some(Hold { code: "ROLLBACK_SUSPECTED", message: String::new() })));
    world.connect_all();
    world.run_until_quiet();
    assert_eq!(names(&world, 1).len(), 5);
    world.command(0, Command::Approve);
    settled(&mut world);
    assert_eq!(names(&world, 0).len(), 5);
}

#[test]
fn a_lost_database_deletes_nothing() {
    let mut world = World::started(10, &TWO);
    many(&mut world, 5);
    world.crash(1);
    world.devices[1].store.lose();
    delete(&mut world, 1, "1");
    text(&mut world, 1, "2", "older or newer, who knows");
    world.start(1, true);
    world.connect_all();
    settled(&mut world);
    assert_eq!(names(&world, 0).len(), 6);
    assert_eq!(*world.devices[1].disk.get(&path("2")).unwrap().data, b"file 2");
}

#[test]
fn a_readers_changes_stay_until_it_gives_them_up() {
    let mut world = World::started(11, &[Role::Creator, Role::Reader]);
    many(&mut world, 3);
    text(&mut world, 1, "1", "local");
    text(&mut world, 1, "mine", "local");
    delete(&mut world, 1, "2");
    world.run_until_quiet();
    text(&mut world, 0, "1", "newer");
    world.run_until_quiet();
    let rows = world.devices[1].engine().unapplied();
    assert_eq!(rows.values().filter(|why| why.reason == Reason::LocalChange).count(), 3);
    assert_eq!(*world.devices[1].disk.get(&path("1")).unwrap().data, b"local");
    world.command(1, Command::Revert(None));
    settled(&mut world);
    all_is_well(&world);
}

#[test]
fn failing_requests_delay_only() {
    let mut world = World::new(12, &TWO);
    world.failing = 0.5;
    (0..2).for_each(|n| world.start(n, false));
    world.connect_all();
    for n in 0..4 {
        bytes(&mut world, 0, &format!("{n}"), long(n, 500_000));
    }
    world.run_for(Duration::from_secs(300));
    settled(&mut world);
}

#[test]
fn what_was_written_on_both_sides_and_then_deleted_goes_though_its_turn_never_came() {
    let mut world = World::started(13, &TWO);
    settled(&mut world);
    world.disconnect(0, 1);
    text(&mut world, 0, "a", "soon gone");
    text(&mut world, 0, "x", "same");
    world.run_for(Duration::from_secs(5));
    world.devices[0].disk.remove(&path("a")); // and nobody noticed
    world.connect(0, 1);
    world.run_for(Duration::from_secs(2));
    text(&mut world, 1, "x", "same"); // while the step waits for `a`
    world.run_for(Duration::from_secs(2));
    delete(&mut world, 0, "x");
    world.run_for(Duration::from_secs(30));
    assert!(names(&world, 1).is_empty());
    text(&mut world, 0, "a", "soon gone");
    settled(&mut world);
}

#[test]
fn a_directory_that_a_reader_makes_again_is_no_local_change_though_nobody_noticed() {
    let mut world = World::started(14, &[Role::Creator, Role::Reader]);
    directory(&mut world, 0, "d");
    text(&mut world, 0, "d/x", "text");
    settled(&mut world);
    delete(&mut world, 1, "d");
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.devices[1].engine().unapplied()[&path("d")].reason, Reason::LocalChange);
    world.devices[1].disk.put_directory(&path("d"));
    text(&mut world, 1, "d/x", "text");
    settled(&mut world);
    assert!(world.devices[1].engine().unapplied().is_empty());
}

#[test]
fn a_readers_own_directory_takes_in_what_others_put_there() {
    let mut world = World::started(17, &[Role::Creator, Role::Reader]);
    settled(&mut world);
    directory(&mut world, 1, "d");
    text(&mut world, 1, "d/mine", "local");
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.devices[1].engine().unapplied()[&path("d")].reason, Reason::LocalChange);
    directory(&mut world, 0, "d");
    text(&mut world, 0, "d/x", "text");
    world.run_for(Duration::from_secs(5));
    assert_eq!(names(&world, 1), ["d", "d/mine", "d/x"]);
    let rows = world.devices[1].engine().unapplied();
    assert_eq!(rows.keys().collect::<Vec<_>>(), [&path("d/mine")]);
    world.command(1, Command::Revert(None));
    settled(&mut world);
}

#[test]
fn a_readers_file_that_is_a_directory_by_now_is_no_local_change_though_nobody_noticed() {
    let mut world = World::started(18, &[Role::Creator, Role::Reader]);
    text(&mut world, 1, "d", "local");
    directory(&mut world, 0, "d");
    text(&mut world, 0, "d/x", "text");
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.devices[1].engine().unapplied()[&path("d")].reason, Reason::LocalChange);
    world.devices[1].disk.remove(&path("d"));
    world.devices[1].disk.put_directory(&path("d"));
    text(&mut world, 1, "d/mine", "local");
    world.run_for(Duration::from_secs(5));
    assert_eq!(names(&world, 1), ["d", "d/mine", "d/x"]);
}

#[test]
fn without_any_peer_what_needs_no_content_is_applied() {
    let mut world = World::started(15, &TWO);
    for at in ["gone", "old", "mode", "keeps"] {
        text(&mut world, 0, at, at);
    }
    settled(&mut world);
    world.disconnect(0, 1);
    text(&mut world, 0, "new", "not here");
    delete(&mut world, 0, "gone");
    rename(&mut world, 0, "old", "moved");
    let mode = Metadata { mode: 0o600, ..Metadata::default() };
    world.devices[0].disk.touch(&path("mode"), mode.clone());
    world.notice(0, vec![path("mode")]);
    world.run_for(Duration::from_secs(5));
    let new = world.devices[0].disk.remove(&path("new")); // and nobody noticed
    world.connect(0, 1);
    world.run_for(Duration::from_secs(3));
    world.disconnect(0, 1);
    world.run_for(Duration::from_secs(12));
    assert_eq!(names(&world, 1), ["keeps", "mode", "moved"]);
    assert_eq!(world.devices[1].disk.get(&path("mode")).unwrap().metadata, mode);
    assert_eq!(world.devices[1].engine().unapplied()[&path("new")].reason, Reason::NoContent);
    // It asks nobody, for nothing.
    let prepared = world.devices[1].effects["prepare"];
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.devices[1].effects["prepare"], prepared);
    world.devices[0].disk.put_file(&path("new"), new[0].1.data.to_vec(), new[0].1.metadata.clone());
    world.connect(0, 1);
    settled(&mut world);
}

#[test]
fn what_has_come_of_a_long_file_outlasts_a_broken_link() {
    let mut world = World::started(16, &TWO);
    bytes(&mut world, 0, "long", long(1, 30_000_000));
    while world.devices[1].fetched < 20 {
        world.run_for(Duration::from_millis(1));
    }
    world.disconnect(0, 1);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.devices[1].engine().unapplied()[&path("long")].reason, Reason::NoContent);
    let fetched = world.devices[1].fetched;
    world.connect(0, 1);
    settled(&mut world);
    let chunks = hash(&world.secret.content_key(), &long(1, 30_000_000)).chunks;
    assert!(fetched >= 20 && world.devices[1].fetched <= chunks, "{fetched}");
}
