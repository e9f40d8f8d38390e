//! `.syncignore` and MD-09: «not wanted here» is local, and never a deletion.

use harness::{Folder, eventually, in_sync};

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

fn in_sync_shown(anna: &Folder, ben: &Folder) {
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

/// Waits until all miss nothing that they want and call each other complete, be their trees as they may.
fn all_content(folders: &[&Folder]) {
    let others = (folders.len() - 1).to_string();
    eventually("the heads are equal", || {
        folders.iter().for_each(|folder| folder.settle());
        let head = folders[0].word("head");
        folders.iter().all(|folder| folder.word("head") == head).then_some(())
    });
    for folder in folders {
        folder.device().json(&["wait", folder.id(), "--timeout", "120", "--peers", &others]);
        let row = folder.row();
        assert_eq!((&row["problems"], &row["need_files"]), (&0.into(), &0.into()), "{row}");
    }
}

/// MD-09: what a rule covers that came with it is not fetched, hinders nobody, and comes when the rule goes.
#[test]
fn what_was_never_held_and_is_ignored_comes_when_the_rule_goes() {
    let net = net();
    let anna = net.device("anna").share("project");
    anna.write("build/out", "out");
    anna.write("file", "file");
    anna.settle();
    anna.write(".syncignore", "/build/\n");
    anna.settle();
    let ben = net.device("ben").join(anna.writer_key());
    let rita = net.device("rita").join(anna.reader_key());
    all_content(&[&anna, &ben, &rita]);
    for folder in [&ben, &rita] {
        assert_eq!(folder.tree().files(), [".syncignore", "file"]);
    }
    ben.device().restart();
    all_content(&[&anna, &ben, &rita]);
    ben.write(".syncignore", "# nothing\n");
    in_sync(&[&anna, &ben, &rita]);
    assert_eq!(rita.tree().files(), [".syncignore", "build/out", "file"]);
}

/// MD-09: a rule and what it covers, made apart. What a user has of its own at such a path is kept.
#[test]
fn a_users_own_file_at_an_ignored_path_survives_the_end_of_the_rule() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    anna.write("file", "file");
    in_sync(&[&anna, &ben]);
    ben.device().disconnect();
    anna.write(".syncignore", "*.tmp\n");
    anna.write("x.tmp", "of anna");
    anna.write("same.tmp", "same");
    anna.settle();
    for (name, text) in [("x.tmp", "of ben"), ("y.tmp", "y"), ("same.tmp", "same")] {
        ben.write(name, text);
    }
    ben.settle();
    ben.device().connect();
    all_content(&[&anna, &ben]);
    assert!(anna.says("x.tmp", "of anna") && !anna.has("y.tmp"));
    anna.remove(".syncignore");
    in_sync(&[&anna, &ben]);
    let files = ben.tree().files();
    let texts: Vec<_> =
        files.iter().filter(|name| name.starts_with('x')).map(|name| ben.text(name)).collect();
    assert_eq!(texts.len(), 2, "{files:?}");
    assert!(ben.says("x.tmp", "of anna") && ben.says("y.tmp", "y"), "{texts:?}");
}
