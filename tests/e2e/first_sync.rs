//! The first time that devices meet in a folder.

use std::fs;

use harness::{Seed, every_kind, in_sync};

use crate::net;

/// NM-01, NM-02, NM-09, NM-13: names as bytes, links, modes, times, empty directories.
#[test]
fn a_tree_of_every_kind_arrives_whole() {
    let net = net();
    let anna = net.device("anna").share("docs");
    every_kind(anna.root(), 1, 240);
    let ben = net.device("ben").join(anna.writer_key());
    in_sync(&[&anna, &ben]);
    assert!(ben.tree().len() > 300);
    assert_eq!(ben.number("problems"), 0);
    assert_eq!(anna.number("conflicts"), 0);
}

/// What lay in a directory before it was shared is shared, and what the numbers say is true.
#[test]
fn files_and_bytes_are_counted_the_same_on_both_sides() {
    let net = net();
    let anna = net.device("anna").share("docs");
    anna.write("a", "12345");
    anna.write("deep/b", "123");
    anna.link("four", "deep/link");
    let ben = net.device("ben").join(anna.writer_key());
    in_sync(&[&anna, &ben]);
    for folder in [&anna, &ben] {
        assert_eq!((folder.number("files"), folder.number("bytes")), (3, 12));
        assert_eq!((folder.number("need_files"), folder.number("need_bytes")), (0, 0));
        assert_eq!((folder.number("peers"), folder.number("seeds")), (1, 1));
    }
}

/// peers.md 2: disjoint files unite; equal ones are adopted; a name with two contents keeps both.
#[test]
fn two_full_folders_unite_without_a_loss() {
    let net = net();
    let anna = net.device("anna").share("docs");
    anna.write("same", "the same bytes");
    anna.write("of-anna", "anna");
    anna.write("both", "from anna");
    let ben = net.device("ben");
    let docs = ben.data().join("docs");
    fs::create_dir(&docs).unwrap();
    for (name, content) in [("same", "the same bytes"), ("of-ben", "ben"), ("both", "from ben")] {
        fs::write(docs.join(name), content).unwrap();
    }
    let ben = ben.join_in("docs", anna.writer_key());
    in_sync(&[&anna, &ben]);
    let files = anna.tree().files();
    assert_eq!(files.len(), 5, "{files:?}");
    let copy = files.iter().find(|name| name.starts_with("both (conflict ")).expect("a copy");
    let mut both = [anna.text("both"), anna.text(copy)];
    both.sort();
    assert_eq!(both, ["from anna", "from ben"]);
    assert_eq!(anna.number("conflicts"), 1);
}

/// peers.md 4, CF: equal bytes with other times are no conflict, and are not sent.
#[test]
fn equal_files_on_both_sides_are_adopted_and_not_sent() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let content = Seed::new(4).bytes(4 << 20);
    let anna = net.device("anna").share("docs");
    anna.write("big", &content);
    anna.settle();
    let ben = net.device("ben");
    let docs = ben.data().join("docs");
    fs::create_dir(&docs).unwrap();
    fs::write(docs.join("big"), &content).unwrap();
    let before = net.sent_bytes();
    let ben = ben.join_in("docs", anna.writer_key());
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.tree().files(), ["big"]);
    let sent = net.sent_bytes() - before;
    assert!(sent < 200_000, "{sent} bytes went over the wire");
}

/// A folder of one device works, and is in sync with itself.
#[test]
fn a_folder_that_nobody_else_has_is_in_sync() {
    let net = net();
    let anna = net.device("anna").share("docs");
    anna.write("alone", "alone");
    anna.settle();
    assert_eq!((anna.number("files"), anna.number("peers")), (1, 0));
}

/// A joined folder waits for somebody who can say what it is.
#[test]
fn a_joined_folder_is_not_in_sync_before_a_first_head_has_come() {
    let net = net();
    let device = net.device("anna");
    let anna = device.share("docs");
    anna.write("file", "file");
    anna.settle();
    let key = anna.writer_key().to_owned();
    device.stop();
    let ben = net.device("ben").join(&key);
    let failure = ben.device().failure(&["wait", ben.id(), "--timeout", "1"]);
    assert_eq!((failure.exit, ben.word("state").as_str()), (4, "scanning"));
    device.start();
    in_sync(&[&anna, &ben]);
}

/// NM-12, peers.md 15: of 64 MB of nothing only the chunks at its ends travel, of a megabyte at most.
#[test]
fn holes_of_a_sparse_file_do_not_travel() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    let before = net.sent_bytes();
    anna.write("sparse", "head");
    anna.truncate("sparse", 64 << 20);
    anna.append("sparse", "tail");
    in_sync(&[&anna, &ben]);
    let sent = net.sent_bytes() - before;
    assert!(sent < 2_300_000, "{sent} bytes went over the wire");
}
