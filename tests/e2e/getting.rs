//! `syncd get`: a folder fetched once, without a daemon.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use harness::{Device, eventually, in_sync};
use serde_json::Value;

use crate::net;

fn get(device: &Device, arguments: &[&str]) -> (i32, Value) {
    let output =
        device.on_wire(&[&["get", "--json"], arguments].concat()).output().expect("syncd can be run");
    let Output { status, stdout, stderr } = output;
    assert_eq!(String::from_utf8_lossy(&stderr), "", "get {arguments:?}");
    let document = serde_json::from_slice(&stdout).expect("a document");
    (status.code().expect("it ended by itself"), document)
}

fn names(directory: &Path) -> Vec<String> {
    let listed = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        listed.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// It needs no daemon, leaves the files and nothing else, and can be repeated.
#[test]
fn get_fetches_a_folder_and_leaves_nothing_else() {
    let net = net();
    let anna = net.device("anna").share("docs");
    anna.write("a", "a");
    anna.write("sub/b", [9; 300_000]);
    anna.settle();
    let ben = net.stopped_device("ben");
    let (code, got) = get(&ben, &[anna.reader_key(), "got"]);
    assert_eq!((code, &got["files"], &got["bytes"]), (0, &Value::from(2), &Value::from(300_001)), "{got}");
    let directory = ben.data().join("got");
    assert_eq!(names(&directory), ["a", "sub"]);
    assert_eq!(fs::read(directory.join("sub/b")).unwrap(), [9; 300_000]);
    assert_eq!(get(&ben, &[anna.reader_key(), "got"]).0, 0);
    assert_eq!(names(&directory), ["a", "sub"]);
}

/// A key that may write publishes nothing here; what was in the directory before stays.
#[test]
fn get_publishes_nothing_and_keeps_what_was_there() {
    let net = net();
    let anna = net.device("anna").share("docs");
    anna.write("both", "anna's");
    anna.settle();
    let ben = net.stopped_device("ben");
    let directory = ben.data().join("got");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("own"), "own").unwrap();
    fs::write(directory.join("both"), "ben's").unwrap();
    let head = anna.word("head");
    let (code, got) = get(&ben, &[anna.writer_key(), "got"]);
    assert_eq!(code, 0, "{got}");
    assert_eq!(got["local_changes"], 2, "{got}");
    assert_eq!(fs::read_to_string(directory.join("both")).unwrap(), "ben's");
    assert_eq!(names(&directory), ["both", "own"]);
    anna.settle();
    assert_eq!(anna.word("head"), head);
}

/// Interrupted, it goes on where it was.
#[test]
fn an_interrupted_get_goes_on_where_it_was() {
    const SIZE: usize = 24 << 20;
    let net = net();
    if !net.has_wires() {
        return;
    }
    let anna = net.device("anna").share("docs");
    let mut bytes = vec![0; SIZE];
    let mut state = 1_u64;
    bytes.iter_mut().for_each(|byte| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    });
    anna.write("big", &bytes);
    anna.settle();
    anna.device().limit_sending(Some(80));
    let ben = net.stopped_device("ben");
    let before = anna.device().sent_bytes();
    let mut first = ben.on_wire(&["get", anna.reader_key(), "got"]);
    let mut first = first.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    eventually("half of it was sent", || {
        (anna.device().sent_bytes() > before + SIZE as u64 / 2).then_some(())
    });
    Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(1));
    let directory = ben.data().join("got");
    assert_eq!(names(&directory), [".syncd"]);
    // The directory is moved meanwhile.
    let moved = ben.data().join("moved");
    fs::rename(&directory, &moved).unwrap();
    let (code, got) = get(&ben, &[anna.reader_key(), "moved"]);
    assert_eq!(code, 0, "{got}");
    assert_eq!(names(&moved), ["big"]);
    assert!(fs::read(moved.join("big")).unwrap() == bytes);
    let sent = anna.device().sent_bytes() - before;
    assert!(sent < SIZE as u64 * 5 / 4, "{sent} bytes were sent for {SIZE}");
}

/// Nobody there: exit code 4, and why.
#[test]
fn a_get_that_finds_nobody_says_why() {
    let net = net();
    let anna = net.stopped_device("anna");
    let key = "BLZAUABVOPOBJ5AUGKSQIRE7EMFK7QDAX";
    let (code, got) = get(&anna, &[key, "got", "--timeout", "1"]);
    assert_eq!((code, &got["error"]["code"]), (4, &Value::from("TIMED_OUT")), "{got}");
    assert!(got["error"]["message"].as_str().is_some_and(|text| text.contains("no peer")), "{got}");
    assert_eq!(get(&anna, &["BLZ", "got"]).0, 2);
}

/// A directory that a daemon keeps in sync is not touched.
#[test]
fn get_refuses_a_directory_that_is_a_folder() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let root = ben.root().to_str().unwrap();
    let (code, got) = get(ben.device(), &[anna.reader_key(), root]);
    assert_eq!((code, &got["error"]["code"]), (1, &Value::from("DIRECTORY_IN_USE")), "{got}");
    anna.write("file", "file");
    in_sync(&[&anna, &ben]);
}

/// With --seed it serves others what it has, until it is told to stop.
#[test]
fn a_seeding_get_serves_others() {
    let net = net();
    let anna = net.device("anna").share("docs");
    anna.write("file", "file");
    anna.settle();
    let ben = net.stopped_device("ben");
    let mut seeding = ben.on_wire(&["get", "--seed", "--json", anna.reader_key(), "got"]);
    let mut seeding = seeding.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let got = ben.data().join("got/file");
    eventually("it was fetched", || got.exists().then_some(()));
    let key = anna.reader_key().to_owned();
    eventually("anna sees a seed", || (anna.number("seeds") == 1).then_some(()));
    anna.device().stop();
    let carl = net.device("carl").join(&key);
    eventually("carl has it from ben", || carl.says("file", "file").then_some(()));
    Command::new("kill").args(["-INT", &seeding.id().to_string()]).status().unwrap();
    assert_eq!(seeding.wait().unwrap().code(), Some(0));
    assert_eq!(names(&ben.data().join("got")), ["file"]);
}
