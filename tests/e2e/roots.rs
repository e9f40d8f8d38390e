//! MD: roots that vanish, and deletions of very much. Nothing is ever deleted elsewhere by accident.

use std::fs;

use harness::{Folder, Mount, Net, Seed, eventually, in_sync, is_root, small_files};

use crate::net;

fn with_files(net: &Net) -> (Folder, Folder) {
    let (anna, ben) = net.two_writers();
    (0..20).for_each(|number| anna.write(format!("d{}/{number}", number % 3), number.to_string()));
    in_sync(&[&anna, &ben]);
    (anna, ben)
}

/// Holds for a reason, and goes on as before when `mend` has put the root back.
fn holds_and_recovers(reason: &str, spoil: impl FnOnce(&Folder), mend: impl FnOnce(&Folder)) {
    let net = net();
    let (anna, ben) = with_files(&net);
    let tree = ben.tree();
    spoil(&anna);
    anna.tell("rescan");
    anna.wait_held(reason);
    let failure = anna.device().failure(&["wait", anna.id(), "--timeout", "120"]);
    assert_eq!(failure.exit, 5, "{failure:?}");
    ben.write("while-held", "by ben");
    ben.settle();
    mend(&anna);
    anna.tell("rescan");
    anna.wait_freed();
    in_sync(&[&anna, &ben]);
    ben.remove("while-held");
    in_sync(&[&ben, &anna]);
    assert_eq!(tree.differences(&ben.tree()), Vec::<String>::new());
    assert_eq!(ben.number("conflicts"), 0);
}

fn away(folder: &Folder) -> std::path::PathBuf {
    folder.root().with_file_name("away")
}

fn put_back(folder: &Folder) {
    if let Ok(found) = fs::symlink_metadata(folder.root()) {
        if found.is_dir() { fs::remove_dir_all(folder.root()) } else { fs::remove_file(folder.root()) }
            .unwrap();
    }
    fs::rename(away(folder), folder.root()).unwrap();
}

/// MD-01: an empty directory in the place of the root, as below a mount that has gone.
#[test]
fn an_empty_directory_in_the_roots_place_holds_the_folder() {
    let spoil = |anna: &Folder| {
        fs::rename(anna.root(), away(anna)).unwrap();
        fs::create_dir(anna.root()).unwrap();
    };
    holds_and_recovers("ROOT_MARKER_MISSING", spoil, put_back);
}

/// MD-01: the disk is unmounted and mounted again; nothing travels for it.
#[test]
fn an_unmounted_disk_holds_the_folder_until_it_is_back() {
    let net = net();
    if !is_root() || !net.has_wires() {
        return;
    }
    let device = net.device("anna");
    let (disk, root) = (device.data().join("disk"), device.data().join("docs"));
    fs::create_dir(&disk).unwrap();
    fs::create_dir(&root).unwrap();
    let mount = Mount::new(&disk, &root);
    let anna = device.share("docs");
    small_files(anna.root(), &mut Seed::new(41), 1_000);
    let ben = net.device("ben").join(anna.writer_key());
    in_sync(&[&anna, &ben]);
    let (tree, head) = (ben.tree(), ben.word("head"));
    assert_eq!(ben.number("files"), 1_000);
    drop(mount);
    anna.tell("rescan");
    anna.wait_held("ROOT_MARKER_MISSING");
    device.restart();
    anna.wait_held("ROOT_MARKER_MISSING");
    ben.settle();
    assert_eq!((ben.word("head"), ben.tree().differences(&tree)), (head.clone(), Vec::new()));
    // Each link that they try takes some 20 KB, most of it to find out how long packets may be.
    [&anna, &ben].iter().for_each(|one| one.wait_peers(1));
    let before = net.sent_bytes();
    let _mount = Mount::new(&disk, &root);
    anna.wait_freed();
    in_sync(&[&anna, &ben]);
    let sent = net.sent_bytes() - before;
    // A thousand files of 2 KiB have 2 MB; some kilobytes are the devices' meeting again.
    assert!(sent < 64 * 1024, "{sent} bytes on the wire for a disk that came back");
    assert_eq!((ben.word("head"), ben.tree().differences(&tree)), (head, Vec::new()));
    assert_eq!(ben.number("conflicts"), 0);
}

/// MD-10: the root is renamed while it is in use.
#[test]
fn a_root_that_is_gone_holds_the_folder() {
    holds_and_recovers("ROOT_TYPE_CHANGED", |anna| fs::rename(anna.root(), away(anna)).unwrap(), put_back);
}

/// MD-10: a link in the place of the root is not followed, even to the root itself.
#[test]
fn a_link_in_the_roots_place_holds_the_folder() {
    let spoil = |anna: &Folder| {
        fs::rename(anna.root(), away(anna)).unwrap();
        std::os::unix::fs::symlink(away(anna), anna.root()).unwrap();
    };
    holds_and_recovers("ROOT_TYPE_CHANGED", spoil, put_back);
}

/// MD-10: a file in the place of the root.
#[test]
fn a_file_in_the_roots_place_holds_the_folder() {
    let spoil = |anna: &Folder| {
        fs::rename(anna.root(), away(anna)).unwrap();
        fs::write(anna.root(), "a file").unwrap();
    };
    holds_and_recovers("ROOT_TYPE_CHANGED", spoil, put_back);
}

/// MD-03: the marker is deleted, with or without everything else.
#[test]
fn a_root_that_was_emptied_with_its_marker_holds_the_folder() {
    let spoil = |anna: &Folder| {
        fs::create_dir(away(anna)).unwrap();
        for found in fs::read_dir(anna.root()).unwrap() {
            let found = found.unwrap();
            fs::rename(found.path(), away(anna).join(found.file_name())).unwrap();
        }
    };
    holds_and_recovers("ROOT_MARKER_MISSING", spoil, put_back);
}

/// MD-03: a marker that somebody has made by hand is none.
#[test]
fn a_marker_made_by_hand_holds_the_folder() {
    let marker = |anna: &Folder| anna.path(".syncd/marker");
    let spoil = |anna: &Folder| {
        fs::copy(marker(anna), away(anna)).unwrap();
        fs::write(marker(anna), "").unwrap();
    };
    let mend = |anna: &Folder| fs::rename(away(anna), marker(anna)).unwrap();
    holds_and_recovers("ROOT_MARKER_MISMATCH", spoil, mend);
}

/// MD-03, MD-07: another folder's marker, on the disk of another folder.
#[test]
fn another_folders_directory_in_the_roots_place_holds_the_folder() {
    let spoil = |anna: &Folder| {
        let other = anna.device().share("other");
        other.write("other", "other");
        other.settle();
        fs::rename(anna.root(), away(anna)).unwrap();
        let copied = std::process::Command::new("cp").arg("-a").args([other.root(), anna.root()]).status();
        assert!(copied.unwrap().success());
    };
    holds_and_recovers("ROOT_MARKER_MISMATCH", spoil, put_back);
}

fn with_many_files(net: &Net) -> (Folder, Folder) {
    let (anna, ben) = net.two_writers();
    (0..96).for_each(|number| anna.write(format!("many/{number}"), number.to_string()));
    (96..120).for_each(|number| anna.write(format!("few/{number}"), number.to_string()));
    in_sync(&[&anna, &ben]);
    (anna, ben)
}

/// Most files are gone at one stroke: what goes piece by piece may be seen piece by piece.
fn take_many_away(anna: &Folder) {
    fs::rename(anna.path("many"), away(anna)).unwrap();
}

/// MD-04: most files vanish; nothing is said to anyone until a person approves.
#[test]
fn a_mass_deletion_waits_for_a_person_who_approves() {
    let net = net();
    let (anna, ben) = with_many_files(&net);
    take_many_away(&anna);
    anna.wait_held("MASS_DELETE");
    ben.settle();
    assert_eq!(ben.tree().files().len(), 120);
    assert_eq!(anna.device().failure(&["wait", anna.id()]).exit, 5);
    anna.tell("approve");
    // Ben is asked as well: one key that was stolen does not empty every device.
    ben.wait_held("MASS_DELETE");
    assert_eq!(ben.tree().files().len(), 120);
    ben.tell("approve");
    ben.wait_freed();
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.tree().files().len(), 24);
}

/// MD-04, KR-10: a person says no, and the files are back.
#[test]
fn a_mass_deletion_that_is_reverted_is_undone() {
    let net = net();
    let (anna, ben) = with_many_files(&net);
    take_many_away(&anna);
    anna.wait_held("MASS_DELETE");
    anna.tell("revert");
    anna.wait_freed();
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.tree().files().len(), 120);
}

/// KR-10: a mass deletion that arrives is held where it arrives, when its maker has approved it.
#[test]
fn a_mass_deletion_that_arrives_is_held_too() {
    let net = net();
    let (anna, ben) = with_many_files(&net);
    anna.device().json(&["config", "set", "hold.deletions", "0"]);
    take_many_away(&anna);
    anna.write("left", "left");
    anna.settle();
    ben.wait_held("MASS_DELETE");
    assert!(ben.tree().files().len() >= 120, "nothing is deleted before a person says so");
    ben.tell("approve");
    ben.wait_freed();
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.tree().files().len(), 24 + 1);
}

/// MD-05: a deletion below the threshold needs nobody, and can be brought back from the archive.
#[test]
fn a_deletion_below_the_threshold_passes_and_can_be_restored() {
    let net = net();
    let (anna, ben) = with_many_files(&net);
    ben.set_mode("few/100", 0o600);
    in_sync(&[&ben, &anna]);
    anna.remove("few");
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.tree().files().len(), 96);
    ben.device().json(&["archive", "restore", ben.id(), "few"]);
    in_sync(&[&ben, &anna]);
    assert_eq!((anna.tree().files().len(), anna.text("few/105").as_str()), (120, "105"));
}

/// A rename of very much is no deletion.
#[test]
fn a_rename_of_everything_is_no_mass_deletion() {
    let net = net();
    let (anna, ben) = with_many_files(&net);
    ["few", "many"].into_iter().for_each(|name| anna.rename(name, format!("all/{name}")));
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.tree().files().len(), 120);
}

/// A hold is one folder's own affair.
#[test]
fn a_held_folder_lets_others_go_on() {
    let net = net();
    let (anna, ben) = with_files(&net);
    let other = anna.device().share("other");
    let other_ben = ben.device().join_in("other", other.writer_key());
    fs::rename(anna.root(), away(&anna)).unwrap();
    anna.tell("rescan");
    anna.wait_held("ROOT_TYPE_CHANGED");
    other.write("file", "file");
    in_sync(&[&other, &other_ben]);
    eventually("the other one is idle", || (other.word("state") == "idle").then_some(()));
}
