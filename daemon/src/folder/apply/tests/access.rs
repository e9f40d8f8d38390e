//! Directories that forbid writing.

use super::*;

/// Root may do it anyway: so the next call of this kind is told what others would be told.
fn deny_next(home: &Home, call: Call) {
    let denied = Effect::FailOnce(Errno::ACCESS.raw_os_error());
    home.disk.at(Some(call), home.disk.calls(Some(call)) + 1, denied);
}

fn locked(home: &Home) -> (Record, Record) {
    let made = home.run(&[op("d", None, Some(directory("d", 0o755)), Source::None)]).remove(0);
    let file = home.put("d/f", b"old");
    let locked = home.run(&[op("d", done(made), Some(directory("d", 0o555)), Source::None)]).remove(0);
    (done(locked).expect("a record"), file)
}

fn mode(home: &Home) -> u32 {
    fs::metadata(home.at("d")).expect("stat").mode() & 0o7777
}

#[test]
fn a_file_in_a_read_only_directory_is_replaced_and_the_directory_stays_read_only() {
    let home = Home::new();
    let (_, record) = locked(&home);
    let staged = home.stage("s-1", b"new");
    deny_next(&home, Call::Exchange);
    let outcome = home.run(&[op("d/f", Some(record), Some(file("d/f", b"new")), staged)]).remove(0);
    done(outcome).expect("a record");
    assert_eq!((fs::read(home.at("d/f")).expect("read"), mode(&home)), (b"new".to_vec(), 0o555));
}

#[test]
fn a_read_only_directory_is_emptied_and_removed_in_one_batch() {
    let home = Home::new();
    let (directory, record) = locked(&home);
    deny_next(&home, Call::RenameNew);
    let ops = [op("d/f", Some(record), None, Source::None), op("d", Some(directory), None, Source::None)];
    home.run(&ops).into_iter().for_each(|outcome| assert_eq!(done(outcome), None));
    assert!(!home.at("d").exists() && home.holds(b"old"));
}

#[test]
fn what_stays_forbidden_is_a_problem() {
    let home = Home::new();
    let record = home.put("f", b"old");
    deny_next(&home, Call::RenameNew);
    let outcome = home.run(&[op("f", Some(record), None, Source::None)]).remove(0);
    assert!(matches!(outcome, Outcome::Problem { code: "PERMISSION", .. }), "{outcome:?}");
    assert!(home.at("f").exists());
}
