//! DB: databases and disks that are lost, or put back from a backup.

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::{Folder, Net, in_sync};

use crate::net;

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp").success());
}

/// The files of the database, at this moment; the daemon must be stopped.
fn save_database(folder: &Folder, to: &str) {
    let to = folder.device().data().join(to);
    fs::create_dir(&to).unwrap();
    for found in database(folder) {
        copy(&found, &to);
    }
}

fn restore_database(folder: &Folder, from: &str) {
    lose_database(folder);
    for found in fs::read_dir(folder.device().data().join(from)).unwrap() {
        copy(&found.unwrap().path(), folder.device().home());
    }
}

fn lose_database(folder: &Folder) {
    database(folder).iter().for_each(|path| fs::remove_file(path).unwrap());
}

fn database(folder: &Folder) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(folder.device().home()).unwrap().map(|found| found.unwrap().path());
    let files: Vec<_> = all.filter(|path| path.to_string_lossy().contains("syncd.db")).collect();
    assert!(!files.is_empty(), "there is a database");
    files
}

fn with_files(net: &Net) -> (Folder, Folder) {
    let (anna, ben) = net.two_writers();
    (0..10).for_each(|number| anna.write(format!("f{number}"), format!("old {number}")));
    in_sync(&[&anna, &ben]);
    (anna, ben)
}

/// DB-01: the database is gone, with edits in it that nobody has seen. Nothing is deleted or doubled.
#[test]
fn a_lost_database_costs_no_file_and_no_conflict() {
    let net = net();
    let (anna, ben) = with_files(&net);
    anna.device().stop();
    anna.write("f1", "edited unseen");
    anna.write("new", "made unseen");
    lose_database(&anna);
    anna.device().start();
    in_sync(&[&anna, &ben]);
    let files = ben.tree().files();
    assert!((0..10).all(|number| ben.has(format!("f{number}"))) && ben.text("new") == "made unseen");
    let edited =
        files.iter().filter(|name| name.starts_with("f1")).any(|name| ben.text(name) == "edited unseen");
    assert!(edited, "{files:?}");
    assert!(files.len() <= 12, "only what differs may be doubled: {files:?}");
}

/// DB-02: an old database under a current disk deletes nothing and brings nothing back.
#[test]
fn an_old_database_under_a_current_disk_deletes_nothing() {
    let net = net();
    let (anna, ben) = with_files(&net);
    anna.device().stop();
    save_database(&anna, "backup");
    anna.device().start();
    anna.write("f1", "new 1");
    anna.write("new", "new");
    in_sync(&[&anna, &ben]);
    ben.write("f2", "new 2");
    in_sync(&[&ben, &anna]);
    anna.device().stop();
    restore_database(&anna, "backup");
    anna.device().start();
    in_sync(&[&anna, &ben]);
    assert_eq!(
        (anna.text("f1"), anna.text("f2"), anna.text("new")),
        ("new 1".into(), "new 2".into(), "new".into())
    );
    assert_eq!((ben.tree().files().len(), ben.number("conflicts")), (11, 0));
}

/// DB-03: an old database and an empty directory: all comes back, and nothing is deleted elsewhere.
#[test]
fn a_database_without_its_files_deletes_nothing_elsewhere() {
    let net = net();
    let (anna, ben) = with_files(&net);
    anna.device().stop();
    fs::remove_dir_all(anna.root()).unwrap();
    fs::create_dir(anna.root()).unwrap();
    anna.device().start();
    anna.wait_held("ROOT_MARKER_MISSING");
    assert_eq!(ben.tree().files().len(), 10);
}

/// MD-07: a disk put back from a backup is not a user's undoing of everything since.
#[test]
fn a_restored_disk_under_a_current_database_holds_and_loses_nothing() {
    let net = net();
    let (anna, ben) = with_files(&net);
    anna.device().stop();
    let backup = anna.device().data().join("backup");
    copy(anna.root(), &backup);
    anna.device().start();
    anna.write("f1", "new 1");
    anna.write("new", "new");
    in_sync(&[&anna, &ben]);
    anna.device().stop();
    fs::remove_dir_all(anna.root()).unwrap();
    fs::rename(&backup, anna.root()).unwrap();
    anna.device().start();
    anna.wait_held("ROLLBACK_SUSPECTED");
    assert_eq!((ben.text("f1"), ben.text("new")), ("new 1".into(), "new".into()));
    anna.tell("approve");
    anna.wait_freed();
    in_sync(&[&anna, &ben]);
    assert_eq!((anna.text("f1"), anna.text("new")), ("new 1".into(), "new".into()));
}

/// DB-06 in small: a database of rubbish is put aside, named, and made anew.
#[test]
fn a_damaged_database_is_put_aside_and_made_anew() {
    let net = net();
    let (anna, ben) = with_files(&net);
    anna.device().stop();
    lose_database(&anna);
    fs::write(anna.device().home().join("syncd.db"), [0x5a; 8192]).unwrap();
    anna.device().start();
    in_sync(&[&anna, &ben]);
    assert_eq!((ben.tree().files().len(), ben.number("conflicts")), (10, 0));
    let home = fs::read_dir(anna.device().home()).unwrap();
    let aside =
        home.filter(|found| found.as_ref().unwrap().file_name().to_string_lossy().contains("damaged"));
    assert_eq!(aside.count(), 1, "the damaged one is kept");
}
