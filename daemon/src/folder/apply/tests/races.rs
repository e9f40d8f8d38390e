//! Users, crashes and failures at every single call of a batch.

use super::*;

fn calls_of(prepare: impl Fn(&Home) -> Vec<Op>) -> (u64, u64) {
    let home = Home::new();
    let ops = prepare(&home);
    let before = home.disk.calls(None);
    home.run(&ops);
    (before, home.disk.calls(None))
}

#[test]
fn whenever_a_user_writes_both_contents_survive() {
    let (first, last) = calls_of(|home| three_changes(home).0);
    // In place, and by a rename over the file.
    for name in ["a", "b", "c", "d"] {
        for (position, over) in (first + 1..=last).flat_map(|p| [(p, false), (p, true)]) {
            let home = Home::new();
            let (ops, old) = three_changes(&home);
            let (target, side) = (home.at(name), home.at("side"));
            let write = move || {
                if over {
                    fs::write(&side, b"the user's").expect("write");
                    fs::rename(&side, &target).expect("rename");
                } else {
                    fs::write(&target, b"the user's").expect("write");
                }
            };
            home.disk.at(None, position, Effect::Before(Box::new(write)));
            let outcomes = home.run(&ops);
            let story = format!("{name} at {position}, over: {over}: {outcomes:?}");
            assert!(home.holds(b"the user's"), "{story}");
            // What the user wrote over is gone by the user's own hand, unless we were first.
            let number = usize::from(name == "b");
            let swapped = over && matches!(outcomes[number], Outcome::Done(_) | Outcome::Displaced { .. });
            let own = if swapped && matches!(name, "a" | "b") { "none" } else { name };
            let own = if own == "d" { "c" } else { own };
            for content in old.iter().filter(|c| !c.ends_with(own)) {
                assert!(home.holds(content.as_bytes()), "{content}: {story}");
            }
            never_only_archived(&home, &outcomes, &story);
        }
    }
}

/// The user's bytes are at a path, or in staging under a name that an outcome tells.
fn never_only_archived(home: &Home, outcomes: &[Outcome], story: &str) {
    let told = outcomes.iter().any(|o| match o {
        Outcome::Displaced { staged, .. } => {
            fs::read(home.at(".syncd/staging").join(staged.as_str())).is_ok_and(|b| b == b"the user's")
        }
        _ => false,
    });
    let seen = ["a", "b", "c", "d"].iter().any(|n| fs::read(home.at(n)).is_ok_and(|b| b == b"the user's"));
    assert!(told || seen, "{story}");
}

#[test]
fn a_crash_at_any_call_loses_nothing_and_the_replay_ends_where_it_should() {
    let (first, last) = calls_of(|home| three_changes(home).0);
    for position in first + 1..=last {
        let mut home = Home::new();
        let (ops, old) = three_changes(&home);
        home.disk.at(None, position, Effect::Crash);
        home.run(&ops);
        assert!(home.disk.has_crashed());
        for content in old.iter().chain(&["new a"]) {
            assert!(home.holds(content.as_bytes()), "{content} after a crash at {position}");
        }
        home.restart();
        let outcomes = home.run(&ops);
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Done(_))), "{position}: {outcomes:?}");
        assert_eq!(fs::read(home.at("a")).expect("read"), b"new a", "{position}");
        assert_eq!(fs::read(home.at("d")).expect("read"), b"old c", "{position}");
        assert!(!home.at("b").exists() && !home.at("c").exists(), "{position}");
        let archive = Archive::with_clock(&*home.disk, || NOW);
        sweep(&*home.disk, &archive).expect("sweep");
        for content in old {
            assert!(home.holds(content.as_bytes()), "{content} after the replay of {position}");
        }
    }
}

#[test]
fn any_failing_call_loses_nothing() {
    let (first, last) = calls_of(|home| three_changes(home).0);
    for errno in [28, 5, 13] {
        for position in first + 1..=last {
            let home = Home::new();
            let (ops, old) = three_changes(&home);
            home.disk.at(None, position, Effect::FailOnce(errno));
            let archive = Archive::with_clock(&*home.disk, || NOW);
            Executor::new(&*home.disk, &archive, &verify).run(&ops);
            for content in old.iter().chain(&["new a"]) {
                assert!(home.holds(content.as_bytes()), "{content} after {errno} at {position}");
            }
        }
    }
}

/// Two files swap their names, a third becomes a directory, and a directory a file.
fn swaps(home: &Home) -> Vec<Op> {
    let (a, b, c) = (home.put("a", b"one"), home.put("b", b"two"), home.put("c", b"three"));
    let d = done(home.run(&[op("d", None, Some(directory("d", 0o755)), Source::None)]).remove(0));
    let from_b = Source::MovedFrom { path: path("b"), record: b.clone() };
    let from_a = Source::MovedFrom { path: path("a"), record: a.clone() };
    let source = home.stage("s-1", b"four");
    vec![
        op("a", Some(a), Some(file("a", b"two")), from_b),
        op("b", Some(b), Some(file("b", b"one")), from_a),
        op("c", Some(c), Some(directory("c", 0o500)), Source::None),
        op("d", d, Some(file("d", b"four")), source),
    ]
}

#[test]
fn a_crash_in_the_middle_of_a_swap_loses_neither_side() {
    let (first, last) = calls_of(swaps);
    for position in first + 1..=last {
        let mut home = Home::new();
        let ops = swaps(&home);
        home.disk.at(None, position, Effect::Crash);
        home.run(&ops);
        home.restart();
        let outcomes = home.run(&ops);
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Done(_))), "{position}: {outcomes:?}");
        let read = |name: &str| fs::read(home.at(name)).expect("read");
        assert_eq!((read("a"), read("b"), read("d")), (b"two".into(), b"one".into(), b"four".into()));
        assert!(home.at("c").is_dir() && home.holds(b"three"), "{position}");
    }
}

#[test]
fn a_user_who_writes_right_after_is_not_taken_for_us() {
    let (_, last) = calls_of(|home| {
        let source = home.stage("s-1", b"new");
        vec![op("f", None, Some(file("f", b"new")), source)]
    });
    for position in 1..=last {
        let home = Home::new();
        let target = home.at("f");
        home.disk.at(
            None,
            position,
            Effect::Before(Box::new(move || {
                if target.exists() {
                    fs::write(&target, b"wen").expect("write");
                }
            })),
        );
        let source = home.stage("s-1", b"new");
        let outcome = home.run(&[op("f", None, Some(file("f", b"new")), source)]).remove(0);
        if fs::read(home.at("f")).expect("read") == b"wen" {
            let stat = done(outcome).expect("a record").stat;
            let now = home.disk.stat(&Place::Folder(path("f"))).expect("stat").expect("there");
            assert_ne!(stat, Some(now.stat), "the scan would not notice the edit");
        }
    }
}

#[test]
fn an_edit_in_the_moment_of_the_swap_is_handed_to_the_caller() {
    let home = Home::new();
    let record = home.put("a", b"old a");
    let source = home.stage("s-1", b"new a");
    let target = home.at("a");
    let write = move || fs::write(target, b"the user's").expect("write");
    home.disk.at(Some(Call::Exchange), 1, Effect::Before(Box::new(write)));
    let outcome = home.run(&[op("a", Some(record), Some(file("a", b"new a")), source)]).remove(0);
    let Outcome::Displaced { staged, seen, placed } = outcome else { panic!("{outcome:?}") };
    let kept = home.at(".syncd/staging").join(staged.as_str());
    assert_eq!(fs::read(&kept).expect("read"), b"the user's");
    assert_eq!((seen.stat.size, seen.links), (10, 2));
    assert_eq!(fs::metadata(kept).expect("stat").nlink(), 1, "the archive lets go of what is edited");
    assert_eq!(fs::read(home.at("a")).expect("read"), b"new a", "never exchanged back");
    assert!(placed.is_some() && archived(&home).is_empty());
}

#[test]
fn a_disk_that_cannot_rename_to_a_free_name_at_once_comes_to_the_same_end() {
    let mut home = Home::new();
    let (ops, old) = three_changes(&home);
    let real = RealDisk::open(home.root.path(), SpecialBits::Strip).expect("open");
    real.forget_noreplace();
    home.disk = Arc::new(FaultyDisk::new(Arc::new(real)));
    let outcomes = home.run(&ops);
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Done(_))), "{outcomes:?}");
    assert_eq!(fs::read(home.at("a")).expect("read"), b"new a");
    assert_eq!(fs::read(home.at("d")).expect("read"), b"old c");
    assert!(!home.at("b").exists() && !home.at("c").exists());
    assert!(old.iter().all(|content| home.holds(content.as_bytes())));
    assert_eq!(archived(&home), ["a", "b"]);
    assert_eq!(fs::read_dir(home.at(".syncd/staging")).expect("list").count(), 0);
}
