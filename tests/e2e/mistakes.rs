//! Wrong input: a sentence, a next step, an exit code, a document.

use std::fs;

use harness::{Device, Failure, is_root};

use crate::net;

/// A failure says what is wrong in a sentence, and what to do.
fn check(failure: Failure, exit: i32, code: &str, says: &str) {
    assert_eq!((failure.exit, failure.code.as_str()), (exit, code), "{failure:?}");
    assert!(failure.message.contains(says), "{failure:?}");
    assert!(failure.message.len() > 10 && !failure.message.contains("Error {"), "{failure:?}");
    assert!(failure.next.is_some_and(|next| !next.is_empty()), "a next step");
}

fn directory(device: &Device, name: &str) -> String {
    let path = device.data().join(name);
    fs::create_dir_all(&path).unwrap();
    path.to_str().expect("text").to_owned()
}

/// A mistyped key is named with the position of what is wrong.
#[test]
fn a_mistyped_key_is_named_with_its_position() {
    let net = net();
    let anna = net.device("anna").share("docs");
    let device = net.device("ben");
    let target = device.data().join("joined");
    let path = target.to_str().expect("text");
    let key = anna.writer_key();
    let wrong_character = format!("{}1{}", &key[..7], &key[8..]);
    let wrong_letter = format!("Z{}", &key[1..]);
    for (key, says) in [(&wrong_character, "8"), (&wrong_letter, "1"), (&key[..30].to_owned(), "30")] {
        check(device.failure(&["add", path, "--key", key]), 2, "BAD_KEY", says);
    }
    assert!(!target.exists(), "a refused join makes no directory");
}

/// Case, spaces and dashes are forgiven, and standard input keeps a key from other users' eyes.
#[test]
fn a_key_is_read_from_standard_input_and_forgives_its_writing() {
    let net = net();
    let anna = net.device("anna").share("docs");
    let device = net.device("ben");
    let key = anna.writer_key().to_lowercase();
    let spaced = format!("{}-{} {}\n", &key[..5], &key[5..12], &key[12..]);
    let output = device.cli_with_input(&["add", "joined", "--key", "-"], &spaced);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(device.json(&["list"])[0]["folder_id"], anna.id());
}

#[test]
fn a_missing_directory_and_a_file_are_not_shared() {
    let net = net();
    let device = net.device("anna");
    let missing = device.data().join("missing");
    let failure = device.failure(&["add", missing.to_str().expect("text")]);
    assert!(failure.path.as_deref() == missing.to_str(), "{failure:?}");
    check(failure, 1, "DIRECTORY_MISSING", "does not exist");
    assert!(!missing.exists());
    let file = device.data().join("file");
    fs::write(&file, "file").unwrap();
    check(device.failure(&["add", file.to_str().expect("text")]), 1, "NOT_A_DIRECTORY", "not a directory");
}

#[test]
fn directories_inside_or_around_a_folder_are_refused() {
    let net = net();
    let device = net.device("anna");
    let (docs, inside) = (directory(&device, "docs"), directory(&device, "docs/inside"));
    device.json(&["add", &docs]);
    let around = device.data().to_str().expect("text").to_owned();
    let home = directory(&device, "../home");
    check(device.failure(&["add", &docs]), 1, "ALREADY_SHARED", "docs");
    check(device.failure(&["add", &inside]), 1, "NESTED", "docs");
    check(device.failure(&["add", &around]), 1, "NESTED", "docs");
    check(device.failure(&["add", &home]), 1, "OVERLAPS_HOME", "home");
    std::os::unix::fs::symlink(&inside, device.data().join("by-link")).unwrap();
    check(
        device.failure(&["add", device.data().join("by-link").to_str().expect("text")]),
        1,
        "NESTED",
        "docs",
    );
    assert_eq!(device.json(&["list"]).as_array().map(Vec::len), Some(1));
}

/// A refused join leaves nothing behind inside the other folder.
#[test]
fn a_refused_join_inside_a_folder_makes_no_directory() {
    let net = net();
    let anna = net.device("anna").share("docs");
    let ben = net.device("ben").share("other");
    let inside = ben.path("inside");
    let failure = ben.device().failure(&["add", inside.to_str().expect("text"), "--key", anna.writer_key()]);
    check(failure, 1, "NESTED", "other");
    assert!(!inside.exists());
}

#[test]
fn the_same_folder_again_is_named() {
    let net = net();
    let anna = net.device("anna").share("docs");
    let elsewhere = directory(anna.device(), "elsewhere");
    check(
        anna.device().failure(&["add", &elsewhere, "--key", anna.writer_key()]),
        1,
        "FOLDER_EXISTS",
        "docs",
    );
    let same = anna.root().to_str().expect("text");
    check(anna.device().failure(&["add", same, "--key", anna.reader_key()]), 1, "FOLDER_EXISTS", "docs");
}

#[test]
fn a_second_daemon_in_one_home_is_refused() {
    let net = net();
    let device = net.device("anna");
    let ended = device.spawn(&[]).wait().expect("it ends");
    assert_eq!(ended.code(), Some(1));
    assert!(device.log().contains("already runs"), "{}", device.log());
    device.json(&["status"]);
}

/// An address that was given and is taken is an error; the default gives way, and what it got is kept.
#[test]
fn a_port_in_use_is_an_error_only_if_it_was_asked_for() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let listen =
        |device: &Device| device.json(&["status"])["listen"][0].as_str().expect("an address").to_owned();
    let anna = net.device("anna");
    let taken = listen(&anna);
    let ben = net.neighbour("ben", &anna);
    let ended = ben.spawn(&["--listen", &taken]).wait().expect("it ends");
    assert_eq!(ended.code(), Some(1), "{}", ben.log());
    assert!(ben.log().contains("4455"), "{}", ben.log());
    ben.start();
    let free = listen(&ben);
    assert_ne!(free, taken);
    ben.restart();
    assert_eq!(listen(&ben), free, "it is kept");
}

#[test]
fn without_a_daemon_commands_say_how_to_start_one() {
    let net = net();
    let device = net.stopped_device("anna");
    for command in [["status"].as_slice(), &["list"], &["wait", "docs"], &["down"]] {
        let failure = device.failure(command);
        assert!(failure.next.as_deref().is_some_and(|next| next.contains("syncd up")), "{failure:?}");
        check(failure, 3, "NO_DAEMON", "daemon");
    }
    let text = String::from_utf8(device.cli(&["status"]).stderr).unwrap();
    assert!(text.starts_with("error: ") && text.contains("next: "), "{text}");
}

#[test]
fn unknown_folders_settings_and_words_are_named() {
    let net = net();
    let anna = net.device("anna").share("docs");
    let device = anna.device();
    check(device.failure(&["status", "nope"]), 1, "FOLDER_NOT_FOUND", "nope");
    check(device.failure(&["config", "get", "discovery.moon"]), 2, "UNKNOWN_SETTING", "discovery.moon");
    let wrong = device.failure(&["config", "set", "hold.deletions", "many"]);
    assert_eq!((wrong.exit, wrong.code.as_str()), (2, "WRONG_VALUE"), "{wrong:?}");
    assert_eq!(device.failure(&["frobnicate"]).exit, 2);
    check(device.failure(&["peer", "add", "docs", "nowhere"]), 2, "BAD_ADDRESS", "nowhere");
    assert_eq!(device.failure(&["archive", "list", "docs", "../etc"]).code, "BAD_PATH");
    assert_eq!(device.failure(&["revert", "docs"]).code, "NOTHING_TO_REVERT");
}

/// `wait` gives up when it was told to.
#[test]
fn wait_gives_up_in_time() {
    let net = net();
    let anna = net.device("anna").share("docs");
    let failure = anna.device().failure(&["wait", "docs", "--peers", "3", "--timeout", "0.5"]);
    check(failure, 4, "TIMED_OUT", "docs");
}

/// UI-11: a key file that others can read is refused, by name.
#[test]
fn a_key_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let net = net();
    let device = net.device("anna");
    device.share("docs");
    device.stop();
    let keys = device.home().join("keys");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = device.spawn(&[]).wait().expect("it ends");
    assert_eq!(ended.code(), Some(1));
    assert!(device.log().contains("chmod 600"), "{}", device.log());
}

/// CR-08 in small: a file that does not fit is named, never shown in part, and holds up nothing else.
/// When there is room, or it is gone where it came from, all goes on.
#[test]
fn a_full_disk_is_named_and_nothing_is_lost() {
    if !is_root() {
        return;
    }
    let net = net();
    let anna = net.device("anna").share("docs");
    anna.write("old", "old");
    let device = net.device("ben");
    let root = device.data().join("docs");
    fs::create_dir(&root).unwrap();
    let _disk = harness::Mount::small(&root, "4m");
    let ben = device.join_in("docs", anna.writer_key());
    harness::in_sync(&[&anna, &ben]);
    anna.write("big", harness::Seed::new(14).bytes(8 << 20));
    anna.write("small", "fits");
    harness::eventually("what fits arrives", || ben.says("small", "fits").then_some(()));
    harness::eventually("the trouble is told", || (ben.number("problems") == 1).then_some(()));
    assert_eq!(ben.word("reason"), "NO_SPACE");
    let said = String::from_utf8(device.cli(&["status", ben.id()]).stdout).unwrap();
    assert!(said.contains("NO_SPACE") && said.contains("big"), "{said}");
    assert_eq!(ben.tree().files(), ["old", "small"], "no part is shown");
    ben.write("here", "of ben");
    harness::eventually("the other way is open", || anna.says("here", "of ben").then_some(()));
    anna.remove("big");
    harness::in_sync(&[&anna, &ben]);
    assert_eq!((ben.number("problems"), ben.word("reason").as_str()), (0, ""));
}

/// CR-08: what did not fit comes by itself once it does.
#[test]
fn a_file_that_did_not_fit_arrives_when_there_is_room() {
    if !is_root() {
        return;
    }
    let net = net();
    let anna = net.device("anna").share("docs");
    let device = net.device("ben");
    let root = device.data().join("docs");
    fs::create_dir(&root).unwrap();
    let disk = harness::Mount::small(&root, "4m");
    let ben = device.join_in("docs", anna.writer_key());
    harness::in_sync(&[&anna, &ben]);
    anna.write("big", harness::Seed::new(16).bytes(8 << 20));
    harness::eventually("the trouble is told", || (ben.number("problems") == 1).then_some(()));
    disk.grow("64m");
    harness::in_sync(&[&anna, &ben]);
    assert_eq!(ben.number("problems"), 0);
}

/// CR-08: where nothing fits any more the folder is held, until there is room.
#[test]
fn a_disk_without_any_room_holds_the_folder_until_there_is_some() {
    if !is_root() {
        return;
    }
    let net = net();
    let anna = net.device("anna").share("docs");
    anna.write("old", "old");
    let device = net.device("ben");
    let root = device.data().join("docs");
    fs::create_dir(&root).unwrap();
    let _disk = harness::Mount::small(&root, "4m");
    let ben = device.join_in("docs", anna.writer_key());
    harness::in_sync(&[&anna, &ben]);
    let filler = root.join(".syncd/filler");
    let full = fs::write(&filler, vec![1; 8 << 20]);
    assert!(full.is_err(), "the disk is full");
    anna.write("new", harness::Seed::new(15).bytes(50_000));
    ben.wait_held("NO_SPACE");
    fs::remove_file(&filler).unwrap();
    ben.wait_freed();
    harness::in_sync(&[&anna, &ben]);
}
