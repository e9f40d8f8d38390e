//! What people and programs say to a daemon, and what it says to them.

use std::fs;

use harness::{eventually, in_sync};

use crate::net;

/// Fields that other programs read are there, and of the kind that is promised.
#[test]
fn status_has_the_fields_of_the_contract() {
    let net = net();
    let (anna, _ben) = net.two_writers();
    let status = anna.device().json(&["status"]);
    assert!(status["device_id"].is_string() && status["version"].is_string(), "{status}");
    assert!(!status["listen"].as_array().expect("a list").is_empty(), "{status}");
    let row = &status["folders"][0];
    for field in ["folder_id", "name", "path", "capability", "state", "head"] {
        assert!(row[field].is_string(), "{field}: {row}");
    }
    for field in
        ["files", "bytes", "need_files", "need_bytes", "peers", "seeds", "leeches", "down_rate", "up_rate"]
    {
        assert!(row[field].is_u64(), "{field}: {row}");
    }
    for field in ["problems", "local_changes", "conflicts"] {
        assert!(row[field].is_u64(), "{field}: {row}");
    }
    assert!(row["reason"].is_null() && row["message"].is_null(), "{row}");
    assert_eq!(row["folder_id"].as_str().map(str::len), Some(26));
    let list = anna.device().json(&["list"]);
    assert_eq!((&list[0]["folder_id"], &list[0]["state"]), (&row["folder_id"], &row["state"]));
}

/// A folder is named by id, prefix, name or path.
#[test]
fn a_folder_is_named_in_four_ways() {
    let net = net();
    let anna = net.device("anna").share("docs");
    let path = anna.root().to_str().expect("text").to_owned();
    for name in [anna.id(), &anna.id()[..6], "docs", &path] {
        assert_eq!(anna.device().json(&["status", name])["folders"][0]["folder_id"], anna.id(), "{name}");
    }
}

/// A paused folder stops, also over a restart, and catches up when it goes on.
#[test]
fn a_paused_folder_stops_until_it_is_resumed() {
    let net = net();
    let (anna, ben) = net.two_writers();
    ben.tell("pause");
    ben.wait_state("paused");
    assert_eq!(ben.device().failure(&["wait", ben.id()]).exit, 5);
    anna.write("file", "file");
    anna.settle();
    ben.write("of-ben", "ben");
    ben.device().restart();
    assert_eq!((ben.word("state").as_str(), ben.has("file")), ("paused", false));
    anna.settle();
    assert!(!anna.has("of-ben"));
    ben.tell("resume");
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.tree().files(), ["file", "of-ben"]);
}

/// What was replaced and removed is in the archive, readable without us, and comes back.
#[test]
fn the_archive_has_what_was_replaced_and_brings_it_back() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("dir/edited", "first");
    anna.write("deleted", "deleted");
    in_sync(&[&anna, &ben]);
    anna.write("dir/edited", "second");
    anna.remove("deleted");
    in_sync(&[&anna, &ben]);
    let list = ben.device().json(&["archive", "list", ben.id()]);
    let rows = list.as_array().expect("a list");
    assert_eq!(rows.len(), 2, "{list}");
    let row = rows.iter().find(|row| row["path"] == "dir/edited").expect("the edited one");
    let stored = row["stored"].as_str().expect("where it lies");
    assert_eq!(fs::read_to_string(ben.path(stored)).expect("readable without us"), "first");
    let restored = ben.device().json(&["archive", "restore", ben.id(), "deleted"]);
    assert_eq!(restored["restored"][0], "deleted");
    in_sync(&[&ben, &anna]);
    assert_eq!((anna.text("deleted").as_str(), anna.text("dir/edited").as_str()), ("deleted", "second"));
}

/// A setting takes effect without a restart, and is there after one.
#[test]
fn a_setting_takes_effect_at_once() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let set = ben.device().json(&["config", "set", "name", "benjamin"]);
    assert_eq!((set["key"].as_str(), set["value"].as_str()), (Some("name"), Some("benjamin")));
    ben.device().restart();
    assert_eq!(ben.device().json(&["config", "get", "name"])["value"], "benjamin");
    eventually("the other hears the name", || {
        let peers = anna.device().json(&["peers", anna.id()]);
        (peers[0]["name"] == "benjamin").then_some(())
    });
    ben.device().json(&["config", "set", "discovery.lan", "false"]);
    ben.device().json(&["config", "set", "--folder", ben.id(), "hold.deletions", "0"]);
    let own = ben.device().json(&["config", "get", "--folder", ben.id(), "hold.deletions"]);
    assert_eq!((own["value"].as_u64(), own["set"].as_bool()), (Some(0), Some(true)));
}

/// A removed folder leaves the user's files and takes the marker; the directory can be shared again.
#[test]
fn a_removed_folder_leaves_its_files() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("file", "file");
    in_sync(&[&anna, &ben]);
    ben.tell("remove");
    assert_eq!(ben.device().json(&["list"]).as_array().map(Vec::len), Some(0));
    assert!(ben.has("file") && !ben.has(".syncd/marker"));
    anna.write("more", "more");
    anna.settle();
    eventually("nobody is there", || (anna.number("peers") == 0).then_some(()));
    let name = ben.root().file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    let again = ben.device().join_in(&name, anna.writer_key());
    in_sync(&[&anna, &again]);
    assert_eq!((again.tree().files().len(), again.number("conflicts")), (2, 0));
}

/// `wait` returns when all that was on disk before the call has been seen, though nobody had time yet.
#[test]
fn wait_counts_what_was_written_just_before() {
    let net = net();
    let (anna, ben) = net.two_writers();
    for number in 0..12 {
        anna.write(format!("d{number}/file"), number.to_string());
        anna.device().json(&["wait", anna.id(), "--peers", "1", "--timeout", "120"]);
        assert_eq!(ben.text(format!("d{number}/file")), number.to_string());
    }
}

/// I12: while the process stands still and cannot see changes, `wait` does not say that all is well.
#[test]
fn wait_does_not_return_while_the_daemon_sees_nothing() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.device().freeze();
    anna.write("file", "file");
    std::thread::scope(|scope| {
        let (home, program) = (anna.device().home().to_owned(), env!("CARGO_BIN_EXE_syncd"));
        let id = anna.id().to_owned();
        let waiting = scope.spawn(move || {
            let mut command = std::process::Command::new(program);
            command.arg("--home").arg(home).args(["wait", &id, "--peers", "1", "--timeout", "120"]);
            command.output().expect("it ends")
        });
        assert!(!waiting.is_finished());
        anna.device().thaw();
        let ended = waiting.join().expect("it ends");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    });
    assert_eq!(ben.text("file"), "file");
}

/// `up` starts a daemon, shares, can be repeated, and `down` ends it.
#[test]
fn up_can_be_repeated_and_down_ends_it() {
    let net = net();
    let device = net.stopped_device("anna");
    let docs = device.data().join("docs");
    fs::create_dir(&docs).unwrap();
    let path = docs.to_str().expect("text");
    let first = device.json(&["up", path]);
    let second = device.json(&["up", path]);
    assert_eq!((first["started"].as_bool(), second["started"].as_bool()), (Some(true), Some(false)));
    assert_eq!(first["folder_id"], second["folder_id"]);
    device.json(&["wait", path, "--timeout", "120"]);
    device.json(&["down"]);
    assert_eq!(device.failure(&["status"]).exit, 3);
}

/// UI-11: what is secret is for its owner alone.
#[test]
fn the_home_and_the_control_directory_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let net = net();
    let anna = net.device("anna").share("docs");
    anna.settle();
    let mode = |path: &std::path::Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let home = anna.device().home().to_owned();
    assert_eq!((mode(&home), mode(&home.join("keys")), mode(&anna.path(".syncd"))), (0o700, 0o600, 0o700));
    assert_eq!(mode(&home.join("syncd.db")) & 0o077, 0);
}

/// UI-10 in small: keys are in no log, no status and no database.
#[test]
fn keys_are_neither_logged_nor_in_the_database() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("file", "file");
    in_sync(&[&anna, &ben]);
    anna.device().stop();
    ben.device().stop();
    for folder in [&anna, &ben] {
        let home = fs::read_dir(folder.device().home()).unwrap().map(|found| found.unwrap().path());
        let databases = home.filter(|path| path.to_string_lossy().contains("syncd.db"));
        let mut places: Vec<Vec<u8>> = databases.map(|path| fs::read(path).unwrap()).collect();
        places.push(folder.device().log().into_bytes());
        for key in [folder.writer_key(), folder.reader_key()] {
            let is_there = |place: &Vec<u8>| place.windows(key.len()).any(|part| part == key.as_bytes());
            assert!(!places.iter().any(is_there), "a key of {}", folder.device().name());
        }
    }
}
