//! One rule each: the scenarios of the executable specification, by the same names, under the
//! specification in Rust and under the functions of `protocol`.

#![expect(clippy::unwrap_used, reason = "a scenario knows what is there")]

use std::collections::{BTreeMap, BTreeSet};

use model::naive::origin;
use model::team::{DIR, Team};
use model::{Device, Mind, file, path};

macro_rules! scenarios {
    ($($name:ident)*) => {
        mod naive { $(#[test] fn $name() { super::$name(model::Mind::Naive) })* }
        mod real { $(#[test] fn $name() { super::$name(model::Mind::Real) })* }
    };
}

scenarios! {
    scenario_names_do_not_swap scenario_low_numbers_do_not_swap scenario_equal_contents_are_one_file
    scenario_edit_beats_delete scenario_long_absent scenario_three_at_once_same_names
    scenario_one_commit_loses_twice scenario_real_file_with_a_copys_name
    scenario_lost_database_with_copies_on_disk scenario_file_and_directory scenario_renamed_directory
    scenario_directories_into_each_other scenario_newer_entry_that_could_not_be_applied
    scenario_original_deleted scenario_two_commits_before_a_remote_one scenario_writing_for_ever
    scenario_archive scenario_reader scenario_long_names
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// Editing the winner twice, or from a device with a low number, keeps the names.
fn scenario_names_do_not_swap(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old")]);
    t[0].put_at("f", "A", 50);
    t[1].put_at("f", "B", 10);
    for n in 0..5 {
        t[1].put("x", &n.to_string());
        t[1].scan();
    }
    t.sync();
    let (winner, names) = (t[0].text("f").unwrap(), t[0].copies());
    for (n, device) in [0, 1, 0].into_iter().enumerate() {
        t[device].put_at("f", &format!("{winner}{n}"), n as i64);
        t.sync();
        assert_eq!(t.disk()["f"], format!("{winner}{n}"));
        assert_eq!((t[0].copies(), names.len()), (names.clone(), 1));
    }
}

/// A device with few commits of its own edits the winner; the copy's number is higher than its own.
fn scenario_low_numbers_do_not_swap(mind: Mind) {
    let mut t = Team::new(mind, 3, &[("f", "old")]);
    for n in 0..9 {
        for (device, name) in [(1, "x"), (2, "y")] {
            t[device].put(name, &n.to_string());
            t[device].scan();
        }
    }
    t[2].put("f", "C");
    t[2].scan();
    t[1].put("x", "!");
    t[1].scan();
    t[1].put("f", "B");
    t.sync();
    let names = t[0].copies();
    t[0].put("f", "A");
    t.sync();
    assert_eq!((t.disk()["f"].as_str(), t[2].copies()), ("A", names));
}

fn scenario_equal_contents_are_one_file(mind: Mind) {
    let mut t = Team::new(mind, 2, &[]);
    t[0].put("f", "same");
    t[1].put("f", "same");
    t.sync();
    assert_eq!((t.disk(), t[0].state.entries.len()), (map(&[("f", "same")]), 2));
    t[0].delete("f");
    t.sync();
    assert!(t.disk().is_empty() && t[0].state.entries.is_empty(), "a deleted file came back");
}

fn scenario_edit_beats_delete(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old"), ("g", "old")]);
    t[0].delete("f");
    t[1].delete("g");
    t[1].put("f", "edit");
    t[0].put("g", "edit");
    t[0].scan();
    t.send(0, 1); // before it has noticed its own edit and deletion
    t.sync();
    assert_eq!(t.disk(), map(&[("f", "edit"), ("g", "edit")]));
}

fn scenario_long_absent(mind: Mind) {
    let mut t = Team::new(mind, 3, &[("f", "1"), ("g", "2"), ("h", "3")]);
    for n in 0..50 {
        t[0].delete(if n == 0 { "f" } else { "t" });
        t[0].put("t", &n.to_string());
        t.sync_of(&[0, 1]);
    }
    t[2].put("h", "mine");
    t[2].put("new", "mine");
    t.sync();
    assert_eq!(t.disk(), map(&[("g", "2"), ("h", "mine"), ("new", "mine"), ("t", "49")]));
}

fn scenario_three_at_once_same_names(mind: Mind) {
    let mut results = BTreeSet::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut t = Team::new(mind, 3, &[("r.txt", "old")]);
        for n in 0..3 {
            t[n].put_at("r.txt", &format!("text{n}"), 7);
            t[n].scan();
        }
        t.sync_of(&order[..2]);
        t.sync_of(&order);
        assert_eq!(t[0].copies().len(), 2);
        results.insert(t.disk());
    }
    assert_eq!(results.len(), 1, "names depend on the order");
}

/// Two paths with one base name, lost by one commit within one second: two copies all the same.
fn scenario_one_commit_loses_twice(mind: Mind) {
    let old = "README (conflict 2026-11-21 14.03.22 anna 3f9c01)";
    let mut t = Team::new(mind, 2, &[("README", "1"), (old, "2")]);
    for (device, letter) in [(0, "a"), (1, "b")] {
        t[device].put("README", &format!("{letter}1"));
        t[device].put(old, &format!("{letter}2"));
    }
    t.sync();
    t.disk();
    assert_eq!(t[0].files(), ["a1", "a2", "b1", "b2"]);
    assert!(t[0].copies().iter().all(|name| name.matches("(conflict").count() == 1));
}

fn scenario_real_file_with_a_copys_name(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old")]);
    let mut late = Device::new(mind, origin(9, 9), true);
    late.receive(&t[0].state);
    t[0].put("f", "A");
    t[1].put("f", "B");
    t.sync();
    let name = t[0].copies().remove(0);
    let loser = t[0].text(&name).unwrap();
    late.put(&name, "C");
    t.0.push(late);
    t.sync();
    assert_eq!((t.disk()[&name].as_str(), t[0].copies().len()), ("C", 2));
    assert!(t[0].files().contains(&loser));
    t[1].delete(&name);
    t.sync();
    t.disk();
    assert!(t[2].files().contains(&loser) && !t[2].files().contains(&"C".to_owned()));
}

/// Scanned before any peer is met, copies become real files; they meet the losing entries again as one.
fn scenario_lost_database_with_copies_on_disk(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old")]);
    t[0].put("f", "A");
    t[1].put("f", "B");
    t.sync();
    let before = t.disk();
    t[1].lose_database(origin(1, 7));
    t.sync();
    assert_eq!(t.disk(), before, "copies doubled");
    let name = t[0].copies().remove(0);
    t[0].delete(&name);
    t.sync();
    assert_eq!(t.disk().into_keys().collect::<Vec<_>>(), ["f"], "a copy came back");
}

fn scenario_file_and_directory(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old"), ("g", "old")]);
    t[0].put("f", DIR);
    t[0].put("f/x", "child");
    t[1].put("f", "edit");
    t.sync();
    let name = t[0].copies().remove(0);
    assert_eq!((t.disk()["f/x"].as_str(), t.disk()[&name].as_str()), ("child", "edit"));
    t[1].delete("f/x");
    t[1].delete("f");
    t.sync();
    assert_eq!(t.disk(), map(&[("f", "edit"), ("g", "old")]), "the file gets its name");
}

fn scenario_renamed_directory(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("d", DIR), ("d/k", "old"), ("d/l", "old2")]);
    t[0].put("d/k", "A");
    t[1].put("d/k", "B");
    t.sync();
    for old in t[0].texts().into_keys().filter(|p| p == "d" || p.starts_with("d/")) {
        t[0].rename(&old, &old.replacen('d', "e", 1));
    }
    t[1].put("d/l", "edited");
    t.sync();
    let disk = t.disk();
    assert_eq!(disk["d/l"], "edited");
    assert_eq!(disk.keys().filter(|p| p.starts_with("e/")).count(), 3);
    assert!(t[0].state.entries.keys().all(|key| !key.path.as_bytes().starts_with(b"d/k")));
}

fn scenario_directories_into_each_other(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("x", DIR), ("y", DIR), ("x/1", "one"), ("y/2", "two")]);
    t[0].disk.clear();
    t[1].disk.clear();
    for (path, text) in [("y", DIR), ("y/2", "two"), ("y/x", DIR), ("y/x/1", "one")] {
        t[0].put(path, text);
    }
    for (path, text) in [("x", DIR), ("x/1", "one"), ("x/y", DIR), ("x/y/2", "two")] {
        t[1].put(path, text);
    }
    t.sync();
    t.disk();
    let files: BTreeSet<_> = t[0].files().into_iter().collect();
    assert_eq!(files.into_iter().collect::<Vec<_>>(), ["one", "two"], "lost in a cycle");
}

fn scenario_newer_entry_that_could_not_be_applied(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old"), ("g", "old")]);
    t[0].put("f", "A");
    t[0].put("g", "A");
    t[0].scan();
    t.send(0, 1);
    let mut apply = t[1].apply(BTreeSet::from([path("f"), path("g")]));
    while t[1].step(&mut apply) {}
    t[1].put("f", "B");
    t[1].delete("g");
    t.sync();
    assert_eq!(t.disk()["g"], "A");
    assert_eq!(t[0].files(), ["A", "A", "B"]);
}

/// Without the winner, the path shows its best remaining entry: the copy takes the name, all over.
fn scenario_original_deleted(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old")]);
    t[0].put("f", "A");
    t[1].put("f", "B");
    t.sync();
    let rest = t[0].text(&t[0].copies()[0]).unwrap();
    t[0].delete("f");
    t.sync();
    assert_eq!(t.disk(), map(&[("f", &rest)]));
}

fn scenario_two_commits_before_a_remote_one(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old")]);
    for text in ["A1", "A2"] {
        t[0].put("f", text);
        t[0].scan();
    }
    t[1].put("f", "B");
    t.sync();
    t.disk();
    assert_eq!(t[0].files(), ["A2", "B"], "only the last of each");
    let mut t = Team::new(mind, 2, &[("f", "old")]);
    t[0].delete("f");
    t[0].scan();
    t[0].put("f", "again");
    t[0].scan();
    t[1].put("f", "B");
    t.sync();
    t.disk();
    assert_eq!(t[0].files(), ["B", "again"], "deleted and made again");
}

fn scenario_writing_for_ever(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "old")]);
    let mut overwritten = BTreeSet::new();
    for n in 0..60 {
        for (device, letter) in [(0, "A"), (1, "B")] {
            overwritten.extend(t[device].text("f"));
            t[device].put("f", &format!("{letter}{n}"));
        }
        t.sync();
    }
    assert!(t[0].copies().len() <= t[0].copies_kept + 2, "too many copies");
    for device in &t.0 {
        for text in (0..60).flat_map(|n| [format!("A{n}"), format!("B{n}")]) {
            let kept = device.files().contains(&text) || device.archive.contains(&file(&text));
            assert!(kept || overwritten.contains(&text), "{text} is lost");
        }
    }
}

fn scenario_archive(mind: Mind) {
    let mut t = Team::new(mind, 2, &[("f", "1"), ("g", "1g")]);
    t[0].put("f", "2");
    t[0].delete("g");
    t.sync();
    assert!(t[1].archive.contains(&file("1")) && t[1].archive.contains(&file("1g")));
}

fn scenario_reader(mind: Mind) {
    let mut t = Team::new(mind, 1, &[("f", "1"), ("g", "1")]);
    t.0.push(Device::new(mind, origin(8, 1), false));
    t.sync();
    t[1].put("f", "mine");
    t[1].put("extra", "mine");
    t[0].put("f", "2");
    t[0].put("g", "2");
    t.sync();
    assert_eq!(t[0].texts(), map(&[("f", "2"), ("g", "2")]));
    assert_eq!(t[1].texts(), map(&[("f", "mine"), ("g", "2"), ("extra", "mine")]));
    t[1].revert();
    t.sync();
    assert_eq!(t.disk(), map(&[("f", "2"), ("g", "2")]));
    assert!(t[1].archive.contains(&file("mine")));
}

fn scenario_long_names(mind: Mind) {
    let long = format!("{}.txt", "ü".repeat(125));
    let fits = |t: &Team| t[0].disk.keys().all(|path| path.name().len() <= 255);
    let mut t = Team::new(mind, 2, &[(&long, "old")]);
    t[0].put(&long, "A");
    t[1].put(&long, "B");
    t.sync();
    assert!(t.disk().len() == 2 && fits(&t));
    let name = t[0].copies().remove(0);
    t[0].put(&name, "A2");
    t[1].put(&name, "B2");
    t.sync();
    assert!(t.disk().len() == 3 && fits(&t), "copy of a copy");
}
