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
        ben.settle();
        (anna.word("head") == ben.word("head")).then_some(())
    });
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
