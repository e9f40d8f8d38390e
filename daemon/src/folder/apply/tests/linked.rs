//! Files that have other names: what is written under those is not written to the archive.

use super::*;

/// Makes `other` a second name of `name`, and answers the record that a scan would make of it.
fn linked(home: &Home, name: &str, other: &str, record: Record) -> Record {
    fs::hard_link(home.at(name), home.at(other)).expect("link");
    let found = home.disk.stat(&Place::Folder(path(name))).expect("stat").expect("there");
    Record { stat: Some(found.stat), ..record }
}

fn in_archive(home: &Home, name: &str) -> Vec<u8> {
    fs::read(home.at(".syncd/archive/2026-11-21T14.03.22Z").join(name)).expect("read")
}

fn nothing_is_staged(home: &Home) -> bool {
    fs::read_dir(home.at(".syncd/staging")).expect("list").count() == 0
}

#[test]
fn a_name_that_is_replaced_or_removed_leaves_the_other_alone_and_a_copy_in_the_archive() {
    for is_removed in [true, false] {
        let home = Home::new();
        let record = linked(&home, "a", "b", home.put("a", b"old"));
        let before = fs::metadata(home.at("b")).expect("stat");
        let op = match is_removed {
            true => op("a", Some(record), None, Source::None),
            false => op("a", Some(record), Some(file("a", b"new")), home.stage("s-1", b"new")),
        };
        done(home.run(&[op]).remove(0));
        let after = fs::metadata(home.at("b")).expect("stat");
        assert_eq!((before.ino(), after.nlink()), (after.ino(), 1));
        fs::write(home.at("b"), b"written to in place").expect("write");
        assert_eq!(in_archive(&home, "a"), b"old");
        let archived = fs::metadata(home.at(".syncd/archive/2026-11-21T14.03.22Z/a")).expect("stat");
        assert_eq!((archived.mode(), archived.mtime()), (before.mode(), before.mtime()));
        assert_eq!(home.at("a").exists(), !is_removed);
        assert!(nothing_is_staged(&home), "removed: {is_removed}");
    }
}

#[test]
fn a_directory_does_not_take_other_names_of_its_files_to_the_archive() {
    let home = Home::new();
    let made = home.run(&[op("d", None, Some(directory("d", 0o755)), Source::None)]).remove(0);
    let mut ops = vec![op("d", done(made), None, Source::None)];
    for name in ["d/1", "d/2", "d/3", "d/4"] {
        let record = home.put(name, b"old");
        let record = if name == "d/3" { linked(&home, name, "b", record) } else { record };
        ops.insert(0, op(name, Some(record), None, Source::None));
    }
    for outcome in home.run(&ops) {
        assert_eq!(done(outcome), None);
    }
    fs::write(home.at("b"), b"written to in place").expect("write");
    assert_eq!((in_archive(&home, "d/3"), home.at("d").exists()), (b"old".into(), false));
}

#[test]
fn whatever_fails_or_is_written_while_one_of_two_names_is_removed_nothing_is_lost() {
    let prepare = |home: &Home| {
        let record = linked(home, "a", "b", home.put("a", b"old"));
        vec![op("a", Some(record), None, Source::None)]
    };
    let home = Home::new();
    let ops = prepare(&home);
    let first = home.disk.calls(None);
    home.run(&ops);
    let last = home.disk.calls(None);
    for position in first + 1..=last {
        for effect in 0..3 {
            let mut home = Home::new();
            let ops = prepare(&home);
            let (side, target) = (home.at("side"), home.at("a"));
            home.disk.at(
                None,
                position,
                match effect {
                    0 => Effect::FailOnce(5),
                    1 => Effect::Crash,
                    _ => Effect::Before(Box::new(move || {
                        fs::write(&side, b"the user's").expect("write");
                        fs::rename(&side, &target).expect("rename");
                    })),
                },
            );
            let archive = Archive::with_clock(&*home.disk, || NOW);
            let outcomes = Executor::new(&*home.disk, &archive, &verify).run(&ops).outcomes;
            drop(archive);
            let story = format!("{effect} at {position}: {outcomes:?}");
            assert_eq!(fs::read(home.at("b")).expect("the other name"), b"old", "{story}");
            assert!(effect < 2 || home.holds(b"the user's"), "{story}");
            if effect == 1 {
                home.restart();
                done(home.run(&ops).remove(0));
                sweep(&*home.disk, &Archive::with_clock(&*home.disk, || NOW)).expect("sweep");
                assert!(!home.at("a").exists() && archived(&home).contains(&"a".into()), "{story}");
            }
        }
    }
}
