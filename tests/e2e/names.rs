//! NM: names and types that other tools have mangled.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use harness::{Seed, eventually, in_sync};

use crate::net;

/// NM-01: hundreds of names of random legal bytes come back byte for byte, in both directions.
#[test]
fn hundreds_of_names_of_any_bytes_round_trip() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let mut seed = Seed::new(11);
    for number in 0..400 {
        let mut name: Vec<u8> =
            (0..=seed.below(40)).map(|_| u8::try_from(seed.below(255) + 1).unwrap()).collect();
        name.retain(|byte| *byte != b'/');
        name.extend_from_slice(format!("{number}").as_bytes());
        let folder = if number % 2 == 0 { &anna } else { &ben };
        folder.write(OsStr::from_bytes(&name), format!("{number}"));
    }
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.number("files"), 400);
    assert_eq!((anna.number("problems"), anna.number("conflicts")), (0, 0));
}

/// NM-03, NM-04: twins by normalisation or case are two files; one is edited, one deleted.
#[test]
fn twins_of_case_and_normalisation_stay_apart() {
    let net = net();
    let (anna, ben) = net.two_writers();
    for name in ["a", "A", "\u{e9}", "e\u{301}"] {
        anna.write(name, name);
    }
    in_sync(&[&anna, &ben]);
    ben.write("A", "edited");
    ben.remove("\u{e9}");
    in_sync(&[&ben, &anna]);
    assert_eq!(anna.tree().files(), ["A", "a", "e\u{301}"]);
    assert_eq!((anna.text("a"), anna.text("A")), ("a".into(), "edited".into()));
}

/// A rename that changes case alone.
#[test]
fn a_rename_of_case_alone_arrives() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("readme", "text");
    in_sync(&[&anna, &ben]);
    anna.rename("readme", "README");
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.tree().files(), ["README"]);
}

/// NM-09, HW-02, peers.md 25 and 36: links are text; nothing behind one is read, written or deleted.
#[test]
fn links_are_never_followed() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let outside = net.directory().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    anna.link(&outside, "out");
    anna.link("out/secret", "through");
    anna.link("loop", "loop");
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.number("files"), 3, "nothing behind the links was found");
    ben.remove("out");
    ben.write("out/secret", "inside");
    in_sync(&[&ben, &anna]);
    assert_eq!(anna.text("out/secret"), "inside");
    assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "secret");
}

/// A link is pointed elsewhere, and a file takes its name with the same bytes as the link's text.
#[test]
fn a_link_and_a_file_of_its_text_are_not_equal() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.link("target", "link");
    in_sync(&[&anna, &ben]);
    anna.remove("link");
    anna.link("other", "link");
    in_sync(&[&anna, &ben]);
    assert_eq!(std::fs::read_link(ben.path("link")).unwrap().to_str(), Some("other"));
    anna.remove("link");
    anna.write("link", "other");
    in_sync(&[&anna, &ben]);
    assert!(ben.path("link").symlink_metadata().unwrap().is_file());
}

/// NM-10: a FIFO is never opened, is reported, and is not deleted with its directory by others.
#[test]
fn a_fifo_is_reported_and_holds_nothing_up() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("dir/file", "file");
    in_sync(&[&anna, &ben]);
    assert!(Command::new("mkfifo").arg(anna.path("dir/fifo")).status().unwrap().success());
    anna.write("dir/other", "other");
    in_sync_but_for(&anna, &ben, "dir/fifo");
    eventually("it is reported", || (anna.number("problems") == 1).then_some(()));
    let text = String::from_utf8(anna.device().cli(&["status", anna.id()]).stdout).unwrap();
    assert!(text.contains("dir/fifo"), "{text}");
    ben.remove("dir");
    ben.settle();
    eventually("the files are gone", || (!anna.has("dir/file") && !anna.has("dir/other")).then_some(()));
    assert!(anna.has("dir/fifo"), "what was never synced is not deleted");
}

fn in_sync_but_for(anna: &harness::Folder, ben: &harness::Folder, path: &str) {
    anna.settle();
    eventually("all but one path are equal", || {
        (anna.tree().differences(&ben.tree()).iter().all(|line| line.starts_with(path))).then_some(())
    });
}

/// NM-08: deep paths, beyond what one system call takes.
#[test]
fn a_path_of_two_hundred_levels_arrives() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let deep = vec!["level"; 200].join("/");
    anna.write(format!("{deep}/file"), "deep down");
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.text(format!("{deep}/file")), "deep down");
    anna.remove("level");
    in_sync(&[&anna, &ben]);
    assert!(!ben.has("level"));
}

/// HW-13: names from others are never printed raw.
#[test]
fn names_with_escapes_are_not_printed_raw() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    rita.write("\u{1b}[31mred\nline", "local");
    rita.settle();
    let output = rita.device().cli(&["status", rita.id()]);
    assert!(!output.stdout.contains(&0x1b), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(anna.tree().is_empty());
}
