//! KR: who may only read cannot change anything for anyone.

use harness::{eventually, in_sync};

use crate::net;

/// KR-01: local changes stay, are shown, and nothing leaves.
#[test]
fn a_readers_changes_stay_where_they_are_and_are_shown() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    for name in ["edited", "deleted", "untouched"] {
        anna.write(name, "by anna");
    }
    in_sync(&[&anna, &rita]);
    let (head, tree) = (anna.word("head"), anna.tree());
    rita.write("edited", "by rita");
    rita.remove("deleted");
    rita.write("added", "by rita");
    rita.settle();
    eventually("three changes are shown", || (rita.number("local_changes") == 3).then_some(()));
    anna.settle();
    assert_eq!((anna.word("head"), rita.word("head")), (head.clone(), head));
    assert!(anna.tree() == tree, "nothing has left");
    assert_eq!((rita.text("edited").as_str(), rita.has("deleted")), ("by rita", false));
    assert_eq!(rita.row()["capability"], "read");
}

/// KR-01: `revert` puts the changes in the archive and shows the state.
#[test]
fn revert_restores_what_a_reader_has_changed() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    anna.write("edited", "by anna");
    anna.write("deleted", "by anna");
    in_sync(&[&anna, &rita]);
    rita.write("edited", "by rita");
    rita.remove("deleted");
    rita.write("added", "by rita");
    rita.settle();
    rita.tell("revert");
    eventually("nothing is changed any more", || (rita.number("local_changes") == 0).then_some(()));
    in_sync(&[&anna, &rita]);
    let archived = rita.device().json(&["archive", "list", rita.id()]);
    let names: Vec<_> = archived.as_array().expect("a list").iter().map(|row| row["path"].clone()).collect();
    assert!(names.contains(&"edited".into()) && names.contains(&"added".into()), "{archived}");
}

/// One path alone can be reverted.
#[test]
fn revert_of_one_path_leaves_the_other_changes() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    anna.write("one", "by anna");
    anna.write("two", "by anna");
    in_sync(&[&anna, &rita]);
    rita.write("one", "by rita");
    rita.write("two", "by rita");
    rita.settle();
    rita.device().json(&["revert", rita.id(), "one"]);
    eventually("one change is left", || (rita.number("local_changes") == 1).then_some(()));
    eventually("it is restored", || rita.says("one", "by anna").then_some(()));
    assert_eq!(rita.text("two"), "by rita");
}

/// A changed path gets no updates; all others do, and undoing the change by hand ends it (peers.md 47).
#[test]
fn a_reader_gets_updates_of_all_that_it_has_not_changed() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    anna.write("changed", "one");
    anna.write("other", "one");
    in_sync(&[&anna, &rita]);
    rita.write("changed", "by rita");
    rita.settle();
    anna.write("changed", "two");
    anna.write("other", "two");
    eventually("the other arrives", || rita.says("other", "two").then_some(()));
    rita.settle();
    assert_eq!(rita.text("changed"), "by rita");
    rita.write("changed", "two");
    eventually("no change is left", || (rita.number("local_changes") == 0).then_some(()));
    assert_eq!(rita.tree().files(), anna.tree().files());
}

/// `reader.local_changes = "revert"`: no command is needed.
#[test]
fn a_reader_told_to_revert_does_so_by_itself() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    anna.write("file", "by anna");
    in_sync(&[&anna, &rita]);
    rita.device().json(&["config", "set", "reader.local_changes", "revert"]);
    rita.write("file", "by rita");
    rita.write("added", "by rita");
    eventually("the state is shown", || (!rita.has("added") && rita.says("file", "by anna")).then_some(()));
    in_sync(&[&anna, &rita]);
    assert_eq!(rita.number("local_changes"), 0);
}

/// A reader passes on what it has: the writer need not be there.
#[test]
fn readers_get_a_folder_from_each_other() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    anna.write("file", "by anna");
    in_sync(&[&anna, &rita]);
    anna.device().stop();
    let rosa = net.device("rosa").join(rita.reader_key());
    in_sync(&[&rita, &rosa]);
    assert_eq!(rosa.text("file"), "by anna");
}

/// KR-03: nothing that a reader has says the writer's key.
#[test]
fn a_reader_has_no_writers_key() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    let keys = rita.device().json(&["keys", rita.id()]);
    assert!(keys["keys"]["read_write"].is_null(), "{keys}");
    assert_eq!(keys["keys"]["read_only"], anna.reader_key());
    assert!(!keys.to_string().contains(anna.writer_key()));
    let own = anna.device().json(&["keys", anna.id()]);
    for field in ["folder_id", "fingerprint", "discovery_id"] {
        assert_eq!(keys[field], own[field], "{field}");
    }
}

/// The same directory with a stronger key is an upgrade.
#[test]
fn a_reader_that_is_given_the_writers_key_becomes_a_writer() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    anna.write("file", "by anna");
    in_sync(&[&anna, &rita]);
    let root = rita.root().to_str().expect("text").to_owned();
    rita.device().json(&["add", &root, "--key", anna.writer_key()]);
    eventually("rita is a writer", || (rita.word("capability") == "write").then_some(()));
    rita.write("file", "by rita");
    in_sync(&[&rita, &anna]);
    assert_eq!(anna.text("file"), "by rita");
}

/// What a reader is told by another wire survives a restart of both.
#[test]
fn a_reader_that_restarts_alone_knows_what_it_had() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    anna.write("file", "by anna");
    in_sync(&[&anna, &rita]);
    let head = rita.word("head");
    anna.device().stop();
    rita.device().restart();
    rita.settle();
    assert_eq!((rita.word("head"), rita.word("state").as_str()), (head, "idle"));
    rita.write("file", "by rita");
    eventually("the change is shown", || (rita.number("local_changes") == 1).then_some(()));
}
