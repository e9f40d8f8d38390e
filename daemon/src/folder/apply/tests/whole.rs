//! Directories that are removed or moved at once.

use super::*;

const FILES: [&str; 5] = ["1", "2", "3", "4", "5"];

/// A directory with five files in it, and the records of all.
fn filled(home: &Home, name: &str) -> (Record, Vec<Record>) {
    let made = home.run(&[op(name, None, Some(directory(name, 0o755)), Source::None)]).remove(0);
    let files = FILES.map(|file| home.put(&format!("{name}/{file}"), file.as_bytes()));
    (done(made).expect("a record"), files.into())
}

fn removal(home: &Home) -> Vec<Op> {
    let (directory, files) = filled(home, "d");
    let one = |(name, record): (&&str, Record)| op(&format!("d/{name}"), Some(record), None, Source::None);
    let files = FILES.iter().zip(files).rev().map(one);
    files.chain([op("d", Some(directory), None, Source::None)]).collect()
}

fn renaming(home: &Home) -> Vec<Op> {
    let (_, files) = filled(home, "d");
    let made = op("e", None, Some(directory("e", 0o755)), Source::None);
    let one = |(name, record): (&&str, Record)| {
        let to = format!("e/{name}");
        let from = Source::MovedFrom { path: path(&format!("d/{name}")), record };
        op(&to, None, Some(file(&to, name.as_bytes())), from)
    };
    std::iter::once(made).chain(FILES.iter().zip(files).map(one)).collect()
}

fn names(home: &Home, directory: &str) -> Vec<String> {
    let listed = fs::read_dir(home.at(directory)).expect("list");
    let mut names: Vec<_> =
        listed.map(|one| one.expect("entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[test]
fn a_removed_directory_goes_into_the_archive_by_one_rename() {
    let home = Home::new();
    let ops = removal(&home);
    let before = home.disk.calls(Some(Call::RenameNew));
    let archive = Archive::with_clock(&*home.disk, || NOW);
    let report = Executor::new(&*home.disk, &archive, &verify).run(&ops);
    assert!(report.outcomes.iter().all(|o| matches!(o, Outcome::Done(None))), "{:?}", report.outcomes);
    assert!(home.disk.calls(Some(Call::RenameNew)) - before <= 2, "the archive was made after the first");
    assert_eq!(archived(&home), FILES.map(|file| format!("d/{file}")));
    assert!(!home.at("d").exists());
    let changed = |r: &Resting| {
        archive::changed_since(&*home.disk, &Place::Archived(r.at.clone()), &r.stat).expect("look")
    };
    assert_eq!(report.resting.len(), 5);
    assert!(!report.resting.iter().any(changed), "they rest as they are");
}

#[test]
fn a_directory_with_anything_else_in_it_is_removed_file_by_file() {
    let home = Home::new();
    let ops = removal(&home);
    fs::write(home.at("d/mine"), "mine").expect("write");
    fs::write(home.at("d/3"), "mine as well").expect("write");
    let outcomes = home.run(&ops);
    assert_eq!(names(&home, "d"), ["3", "mine"]);
    assert!(matches!(outcomes[2], Outcome::Touched), "{outcomes:?}");
    assert!(matches!(outcomes[5], Outcome::Waits(Why::NotEmpty)), "{outcomes:?}");
}

#[test]
fn a_moved_directory_swaps_its_name_with_an_empty_one() {
    let home = Home::new();
    let mut ops = renaming(&home);
    ops[0].after = Some(directory("e", 0o750));
    let before = home.disk.calls(Some(Call::RenameNew));
    let outcomes = home.run(&ops);
    assert_eq!(home.disk.calls(Some(Call::RenameNew)), before);
    assert_eq!(names(&home, "e"), FILES);
    assert_eq!(names(&home, "d"), [""; 0]);
    assert_eq!(fs::metadata(home.at("d")).expect("stat").permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(home.at("e")).expect("stat").permissions().mode() & 0o7777, 0o750);
    for outcome in outcomes {
        done(outcome).expect("a record").stat.expect("proven");
    }
}

#[test]
fn a_directory_of_which_something_stays_is_moved_file_by_file() {
    let home = Home::new();
    let ops = renaming(&home);
    fs::write(home.at("d/mine"), "mine").expect("write");
    let outcomes = home.run(&ops);
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Done(Some(_)))), "{outcomes:?}");
    assert_eq!(names(&home, "d"), ["mine"]);
    assert_eq!(names(&home, "e"), FILES);
}

/// At each call of a batch a user writes; what was written is at a path, or told.
fn a_user_writes_at_any_call(prepare: fn(&Home) -> Vec<Op>, write: fn(&Path)) {
    let home = Home::new();
    let ops = prepare(&home);
    let first = home.disk.calls(None);
    home.run(&ops);
    for position in first + 1..=home.disk.calls(None) {
        let home = Home::new();
        let ops = prepare(&home);
        let root = home.root.path().to_owned();
        home.disk.at(None, position, Effect::Before(Box::new(move || write(&root))));
        let outcomes = home.run(&ops);
        let story = format!("at {position}: {outcomes:?}");
        let told = |outcome: &Outcome| match outcome {
            Outcome::Displaced { staged, .. } => {
                fs::read(home.at(".syncd/staging").join(staged.as_str())).expect("read") == b"the user's"
            }
            _ => false,
        };
        let mut found = Vec::new();
        for name in ["d", "e"].map(|name| home.at(name)).iter().filter(|name| name.is_dir()) {
            collect(name, &mut found);
        }
        let is_seen = found.iter().any(|bytes| bytes == b"the user's");
        // Nobody can write into a directory that has gone.
        let wrote = home.holds(b"the user's");
        assert!(!wrote || is_seen || outcomes.iter().any(told), "{story}");
        for file in FILES.iter().filter(|file| **file != "3") {
            assert!(home.holds(file.as_bytes()), "{file} {story}");
        }
    }
}

fn in_place(root: &Path) {
    // Opened for writing as an editor does it: nothing is made where nothing is.
    let opened = fs::OpenOptions::new().write(true).truncate(true).open(root.join("d/3"));
    drop(opened.map(|mut file| io::Write::write_all(&mut file, b"the user's").expect("write")));
}

fn a_new_one(root: &Path) {
    let _ = fs::write(root.join("d/new"), b"the user's");
}

fn in_a_directory_made_anew(root: &Path) {
    in_place(root);
    let _ = fs::create_dir(root.join("d"));
    let _ = fs::write(root.join("d/new"), b"the user's");
}

#[test]
fn whatever_a_user_writes_meanwhile_is_not_removed_with_the_directory() {
    for write in [in_place, a_new_one, in_a_directory_made_anew] {
        a_user_writes_at_any_call(removal, write);
    }
}

#[test]
fn whatever_a_user_writes_meanwhile_survives_the_move_of_the_directory() {
    for write in [in_place, a_new_one, in_a_directory_made_anew] {
        a_user_writes_at_any_call(renaming, write);
    }
}

#[test]
fn a_directory_that_was_made_anew_meanwhile_gets_its_users_edit_back() {
    let home = Home::new();
    let ops = removal(&home);
    let root = home.root.path().to_owned();
    let renames = home.disk.calls(Some(Call::RenameNew));
    // The first finds no archive; the edit comes before the second, the new directory after it.
    let edited = root.clone();
    home.disk.at(Some(Call::RenameNew), renames + 2, Effect::Before(Box::new(move || in_place(&edited))));
    let again = move || fs::create_dir(root.join("d")).expect("mkdir");
    home.disk.at(Some(Call::RenameNew), renames + 3, Effect::Before(Box::new(again)));
    let outcomes = home.run(&ops);
    assert!(matches!(outcomes[2], Outcome::Touched), "{outcomes:?}");
    assert_eq!(fs::read(home.at("d/3")).expect("read"), b"the user's");
    assert_eq!(archived(&home), ["d/1", "d/2", "d/4", "d/5"]);
}

#[test]
fn a_crash_or_a_failure_at_any_call_loses_nothing() {
    for prepare in [removal, renaming] {
        let home = Home::new();
        let ops = prepare(&home);
        let first = home.disk.calls(None);
        home.run(&ops);
        for position in first + 1..=home.disk.calls(None) {
            let mut home = Home::new();
            let ops = prepare(&home);
            home.disk.at(None, position, Effect::Crash);
            home.run(&ops);
            home.restart();
            let outcomes = home.run(&ops);
            assert!(outcomes.iter().all(|o| matches!(o, Outcome::Done(_))), "{position}: {outcomes:?}");
            assert!(FILES.iter().all(|file| home.holds(file.as_bytes())), "crash at {position}");
            let home = Home::new();
            let ops = prepare(&home);
            home.disk.at(None, position, Effect::FailOnce(5));
            let archive = Archive::with_clock(&*home.disk, || NOW);
            Executor::new(&*home.disk, &archive, &verify).run(&ops);
            assert!(FILES.iter().all(|file| home.holds(file.as_bytes())), "failure at {position}");
        }
    }
}
