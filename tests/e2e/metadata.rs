//! NM-13: modes and times, alone and with content.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use harness::{Shown, in_sync};

use crate::net;

/// A change of mode or mtime alone arrives, and sends no content.
#[test]
fn a_change_of_mode_or_time_alone_arrives() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("script", "#!/bin/sh");
    anna.write("dir/inside", "inside");
    in_sync(&[&anna, &ben]);
    anna.set_mode("script", 0o755);
    anna.set_mode("dir", 0o700);
    anna.set_mtime("dir/inside", UNIX_EPOCH + Duration::new(1_000_000_000, 5));
    in_sync(&[&anna, &ben]);
    let tree = ben.tree();
    assert!(matches!(tree.at("script"), Some(Shown::File { mode: 0o755, .. })), "{tree:?}");
    assert!(matches!(tree.at("dir"), Some(Shown::Directory { mode: 0o700 })), "{tree:?}");
    assert!(
        matches!(tree.at("dir/inside"), Some(Shown::File { mtime: 1_000_000_000_000_000_005, .. })),
        "{tree:?}"
    );
}

/// setuid and setgid bits of others are not set here.
#[test]
fn a_setuid_bit_does_not_arrive() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("tool", "tool");
    anna.set_mode("tool", 0o4755);
    anna.settle();
    harness::eventually("it arrives", || ben.has("tool").then_some(()));
    ben.settle();
    let mode = fs::metadata(ben.path("tool")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o755);
    let head = anna.word("head");
    anna.device().restart();
    in_sync_heads(&anna, &ben);
    assert_eq!(anna.word("head"), head, "no storm about it");
}

fn in_sync_heads(anna: &harness::Folder, ben: &harness::Folder) {
    anna.settle();
    ben.settle();
    harness::eventually("the heads are equal", || (anna.word("head") == ben.word("head")).then_some(()));
}

/// Files in a directory that forbids writing are made and changed all the same.
#[test]
fn files_in_a_read_only_directory_are_updated() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("locked/file", "one");
    anna.set_mode("locked", 0o555);
    in_sync(&[&anna, &ben]);
    anna.write("locked/file", "two");
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.text("locked/file"), "two");
    // Nobody but root can delete there: the way of everybody else.
    anna.set_mode("locked", 0o755);
    anna.remove("locked");
    in_sync(&[&anna, &ben]);
    assert!(!ben.has("locked"));
}

/// A change of mode here and of content there, made apart, both arrive or both survive.
#[test]
fn a_mode_and_a_content_changed_apart_lose_no_bytes() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    anna.write("f", "base");
    in_sync(&[&anna, &ben]);
    ben.device().disconnect();
    anna.set_mode("f", 0o600);
    ben.write("f", "edited");
    anna.settle();
    ben.settle();
    ben.device().connect();
    in_sync(&[&anna, &ben]);
    let files = anna.tree().files();
    assert!(files.iter().any(|name| anna.text(name) == "edited"), "{files:?}");
}
