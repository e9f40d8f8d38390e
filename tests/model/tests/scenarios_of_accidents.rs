//! Scenarios of interrupted applies, and of databases lost or put back; see `scenarios.rs`.

#![expect(clippy::unwrap_used, reason = "a scenario knows what is there")]

use std::collections::{BTreeMap, BTreeSet};

use model::naive::origin;
use model::team::{DIR, Team};
use model::{Device, Mind, path};

macro_rules! scenarios {
    ($($name:ident)*) => {
        mod naive { $(#[test] fn $name() { super::$name(model::Mind::Naive) })* }
        mod real { $(#[test] fn $name() { super::$name(model::Mind::Real) })* }
    };
}

scenarios! {
    scenario_old_files_do_not_win scenario_lost_database_meets_the_state_first
    scenario_old_database_meets_the_state_first scenario_copy_deleted_while_it_takes_the_name
    scenario_copy_moved_over_an_original_that_is_gone scenario_two_lives scenario_crash
    scenario_copy_first scenario_copy_moved_back_in_the_middle
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn scenario_old_files_do_not_win(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old"), ("g", "same")]);
    for n in 0..3 {
        t[0].put("f", &format!("new{n}"));
        t.sync_of(&[0]);
    }
    t[1].lose_database(origin(1, 7));
    t.sync();
    assert_eq!((t.disk()["f"].as_str(), t[0].text(&t[0].copies()[0]).unwrap().as_str()), ("new2", "old"));
    let of_g = t[0].state.entries.keys().filter(|key| key.path == path("g")).count();
    assert!(of_g == 1 || t[1].state.seq(&origin(1, 7)) == 1, "same file put twice");
}

fn scenario_lost_database_meets_the_state_first(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "one"), ("g", "two")]);
    t[1].lose_database(origin(1, 7));
    t.send(0, 1);
    t[1].scan();
    assert_eq!(t[1].state, t[0].state, "equal files need no commit");
    t[0].put("f", "newer");
    t[0].scan();
    t[1].lose_database(origin(1, 8));
    t.send(0, 1);
    t.sync();
    assert_eq!((t.disk()["f"].as_str(), t[0].text(&t[0].copies()[0]).unwrap().as_str()), ("newer", "one"));
}

fn scenario_old_database_meets_the_state_first(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "0"), ("g", "0")]);
    let old = t[1].clone();
    t[0].put("f", "1");
    t[0].put("g", "1");
    t.sync();
    t[0].put("f", "2");
    t[0].scan();
    t[1] = Device { disk: t[1].disk.clone(), archive: t[1].archive.clone(), ..old };
    t[1].start(origin(1, 8), true);
    t.send(0, 1);
    t.sync();
    let disk = t.disk();
    assert_eq!((disk["f"].as_str(), disk["g"].as_str(), t[0].copies().len()), ("2", "1", 1), "{disk:?}");
}

/// «The disk shows what the state wants» must not swallow a deletion.
fn scenario_copy_deleted_while_it_takes_the_name(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old")]);
    t[0].put("f", "A");
    t[1].put("f", "B");
    t.sync();
    t[0].delete("f");
    let name = t[1].copies().remove(0);
    t[1].delete(&name);
    t[0].scan();
    t.send(0, 1);
    t.sync();
    assert!(t.disk().is_empty(), "deletion swallowed");
}

/// The state wants that content there already, but by the entry that leaves with the copy's name.
fn scenario_copy_moved_over_an_original_that_is_gone(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old")]);
    t[0].put("f", "A");
    t[1].put("f", "B");
    t.sync();
    let name = t[1].copies().remove(0);
    let rest = t[1].text(&name).unwrap();
    t[1].rename(&name, "f");
    t[0].delete("f");
    t[0].scan();
    t.send(0, 1);
    t.sync();
    assert_eq!(t.disk(), map(&[("f", &rest)]), "chosen copy lost");
}

/// An image was put back; both lives made commits, and the first was known to one peer only.
fn scenario_two_lives(mind: Mind) {
    let mut t = Team::new(mind, 3, &[("f", "old"), ("g", "old"), ("i", "old")]);
    t[1].put("j", "old");
    t.sync();
    let image = t[1].clone();
    t[1].put("f", "first life");
    t[1].scan();
    t.send(1, 0);
    t[1] = image;
    t[1].start(origin(1, 8), false);
    for n in 0..3 {
        t[1].put("g", &format!("second life {n}"));
        t[1].scan();
    }
    t[1].put("h", "second life");
    t[1].scan();
    t[1].delete("i");
    t[1].delete("j");
    t[1].scan();
    t.send(1, 2);
    t.sync_of(&[2, 1]);
    t.sync();
    assert!(t[0].state == t[1].state && t[1].state == t[2].state, "one context, two states");
    assert_eq!(t.disk(), map(&[("f", "first life"), ("g", "second life 2"), ("h", "second life")]));
}

fn scenario_crash(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "1"), ("g", "1")]);
    t[0].put("f", "2");
    t[0].put("g", "2");
    t[0].scan();
    t.send(0, 1);
    let mut apply = t[1].apply(BTreeSet::new());
    assert!(t[1].step(&mut apply) && t[1].step(&mut apply));
    t[1].start(origin(1, 7), false);
    t[0].put("f", "3");
    t[0].scan();
    t.send(0, 1);
    let before = t[1].state.clone();
    t[1].scan();
    assert_eq!(t[1].state, before, "own unfinished work taken for an edit");
    t.sync();
    assert_eq!(t.disk(), map(&[("f", "3"), ("g", "2")]));
}

/// Before the winner takes the place of bytes that the state still holds, these have their new name.
fn scenario_copy_first(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old")]);
    t[0].put("f", "A");
    t[1].put("f", "B");
    t[0].scan();
    t[1].scan();
    // Equal numbers: the higher origin wins.
    t.send(1, 0);
    let mut apply = t[0].apply(BTreeSet::new());
    while t[0].step(&mut apply) {
        assert!(t[0].files().contains(&"A".to_owned()), "shown nowhere for a while");
    }
    assert_eq!(t[0].text("f").unwrap(), "B");
}

/// Old and new name of one entry are both on record; the user undoes the move between two steps.
fn scenario_copy_moved_back_in_the_middle(mind: Mind) {
    let mut t = Team::new(mind, 2, &[]);
    t[0].put("d", DIR);
    t[0].put("d/x", "A");
    t[1].put("d", "B");
    t[0].scan();
    t[1].scan();
    t.send(0, 1);
    let mut apply = t[1].apply(BTreeSet::new());
    while t[1].step(&mut apply) {
        let copies = t[1].copies();
        if t[1].text("d").as_deref() == Some(DIR) && !copies.is_empty() {
            t[1].rename(&copies[0], "d");
            break;
        }
    }
    t[1].scan();
    t.sync();
    t.disk();
    assert_eq!(t[0].files(), ["A", "B"], "lost between two names");
}
