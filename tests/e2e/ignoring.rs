//! `.syncignore` and MD-09: «not wanted here» is local, and never a deletion.

use harness::{eventually, in_sync};

use crate::net;

/// What is ignored does not leave, and the list itself is synced.
#[test]
fn ignored_files_stay_at_home_and_the_list_travels() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write(".syncignore", "*.tmp\n/build/\n!keep.tmp\n");
    anna.settle();
    for name in ["a.tmp", "keep.tmp", "build/out", "deep/build/in", "file"] {
        anna.write(name, name);
    }
    anna.settle();
    ben.settle();
    eventually("the rest arrives", || ben.has("file").then_some(()));
    in_sync_shown(&anna, &ben);
    assert_eq!(ben.tree().files(), [".syncignore", "deep/build/in", "file", "keep.tmp"]);
    ben.write("b.tmp", "of ben");
    ben.settle();
    anna.settle();
    assert!(!anna.has("b.tmp"), "the list holds on the other side too");
}

fn in_sync_shown(anna: &harness::Folder, ben: &harness::Folder) {
    eventually("the heads are equal", || {
        anna.settle();
        (anna.word("head") == ben.word("head")).then_some(())
    });
    // It may have heard of it only now.
    ben.settle();
}

/// MD-09: files are ignored, deleted here, and wanted again: they come back, and are deleted nowhere.
#[test]
fn files_deleted_while_ignored_come_back_when_wanted() {
    let net = net();
    let (anna, ben) = net.two_writers();
    (0..30).for_each(|number| anna.write(format!("photos/{number}"), number.to_string()));
    anna.write("other", "other");
    in_sync(&[&anna, &ben]);
    anna.write(".syncignore", "/photos/\n");
    anna.settle();
    anna.remove("photos");
    anna.settle();
    in_sync_shown(&anna, &ben);
    assert_eq!(ben.tree().files().len(), 32, "nothing is deleted there");
    anna.remove(".syncignore");
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.tree().files().len(), 31);
}

/// MD-09 and MD-04: that ignored files go is no deletion, however many, and be there nothing else.
#[test]
fn ignored_files_that_go_are_no_mass_deletion() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let names: Vec<_> = (0..80).map(|number| format!("photo-{number}")).collect();
    names.iter().for_each(|name| anna.write(name, name));
    in_sync(&[&anna, &ben]);
    anna.write(".syncignore", "/photo-*\n");
    anna.settle();
    names.iter().for_each(|name| anna.remove(name));
    anna.settle();
    assert_eq!((anna.word("state"), ben.tree().files().len()), ("idle".to_owned(), 81));
    // Now nothing at all is left.
    anna.remove(".syncignore");
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.tree().files().len(), 80);
}

/// A rule that comes and goes with its files, while the daemon does not look.
#[test]
fn rules_that_changed_while_the_daemon_was_stopped_are_obeyed() {
    let net = net();
    let (anna, ben) = net.two_writers();
    (0..5).for_each(|number| anna.write(format!("photos/{number}"), number.to_string()));
    in_sync(&[&anna, &ben]);
    anna.device().stop();
    anna.write(".syncignore", "/photos/\n");
    anna.remove("photos");
    anna.device().start();
    anna.settle();
    in_sync_shown(&anna, &ben);
    assert_eq!(ben.tree().files().len(), 6);
    anna.device().stop();
    anna.remove(".syncignore");
    anna.device().start();
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.tree().files().len(), 5);
    anna.write(".syncignore", "/photos/\n");
    anna.settle();
    anna.remove("photos");
    anna.settle();
    anna.device().stop();
    anna.remove(".syncignore");
    anna.device().start();
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.tree().files().len(), 5);
}

/// What is ignored is not watched, and is again once it is wanted.
#[test]
fn a_directory_that_is_wanted_again_is_watched_again() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write(".syncignore", "build/\n");
    anna.settle();
    anna.write("build/deep/out", "1");
    anna.settle();
    assert!(!ben.has("build"));
    anna.write(".syncignore", "# nothing\n");
    in_sync(&[&anna, &ben]);
    anna.write("build/deep/out", "22");
    in_sync(&[&anna, &ben]);
    assert!(ben.says("build/deep/out", "22"));
}
