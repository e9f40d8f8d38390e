//! Commands as a person and as a program see them.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::fake::{NOTES, PHOTOS, READ_KEY, Stage, WORK};

/// What a command has printed, and its exit code.
async fn run(stage: &Stage, arguments: &[&str]) -> (i32, String, String) {
    run_with(stage, arguments, "").await
}

async fn run_with(stage: &Stage, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncd"));
    command.args(arguments).env_clear().env("SYNCD_HOME", stage.home.directory());
    command.current_dir(stage.place.path()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    let Output { status, stdout, stderr } = child.wait_with_output().await.unwrap();
    let home = stage.home.directory().to_str().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(home, "HOME");
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// The same as one text to keep as a snapshot.
async fn shown(stage: &Stage, arguments: &[&str]) -> String {
    let (code, out, error) = run(stage, arguments).await;
    format!("exit code {code}\n--- stdout\n{out}--- stderr\n{error}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_help_text_is_as_reviewed() {
    let stage = Stage::start();
    insta::assert_snapshot!("help", shown(&stage, &["--help"]).await);
    let commands = [
        "up", "daemon", "tracker", "add", "get", "status", "wait", "keys", "peer", "doctor", "revert",
        "archive", "config",
    ];
    for command in commands {
        insta::assert_snapshot!(format!("help_{command}"), shown(&stage, &[command, "--help"]).await);
    }
    insta::assert_snapshot!("help_config_set", shown(&stage, &["config", "set", "--help"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_for_people_are_as_reviewed() {
    let stage = Stage::start();
    insta::assert_snapshot!("status", shown(&stage, &["status"]).await);
    insta::assert_snapshot!("status_of_one", shown(&stage, &["status", NOTES]).await);
    insta::assert_snapshot!("list", shown(&stage, &["list"]).await);
    insta::assert_snapshot!("peers", shown(&stage, &["peers", "photos"]).await);
    insta::assert_snapshot!("keys", shown(&stage, &["keys", "photos"]).await);
    insta::assert_snapshot!("keys_link", shown(&stage, &["keys", "photos", "--link", "--read-only"]).await);
    insta::assert_snapshot!("keys_qr", shown(&stage, &["keys", "photos", "--qr"]).await);
    insta::assert_snapshot!("doctor", shown(&stage, &["doctor"]).await);
    insta::assert_snapshot!("up", shown(&stage, &["up"]).await);
    insta::assert_snapshot!("up_with_directory", shown(&stage, &["up", "."]).await);
    insta::assert_snapshot!("archive_list", shown(&stage, &["archive", "list", "photos"]).await);
    insta::assert_snapshot!("config_get", shown(&stage, &["config", "get"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_sentences_with_a_next_step() {
    let stage = Stage::start();
    let mut text = String::new();
    let cases: [&[&str]; 12] = [
        &["keys", "nope"],
        &["keys", "aaaa"],
        &["add", "missing"],
        &["add", "--key", READ_KEY],
        &["add", "x", "--key", "BLZAUABVOPOBJ5AUGKSQIRE7EMFK7QDA1"],
        &["add"],
        &["wait", "work"],
        &["wait", NOTES, "--timeout", "0.5"],
        &["wait", "photos", "--timeout", "-1"],
        &["config", "set", "hold.deletions", "many"],
        &["config", "get", "hold.deletion"],
        &["daemon", "--api", "0.0.0.0:4456"],
    ];
    for arguments in cases {
        let place = stage.place.path().to_str().unwrap();
        let answer = shown(&stage, arguments).await.replace(place, "HERE");
        text.push_str(&format!("$ syncd {}\n{answer}\n", arguments.join(" ")));
    }
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_happened() {
    let stage = Stage::start();
    let nobody = stage.place.path().join("nobody").to_str().unwrap().to_owned();
    let cases: [(&[&str], i32); 9] = [
        (&["list"], 0),
        (&["--version"], 0),
        (&["keys", "nope"], 1),
        (&["nonsense"], 2),
        (&["keys", "aaaa"], 2),
        (&["--home", &nobody, "status"], 3),
        (&["wait", NOTES], 4),
        (&["wait", "work"], 5),
        (&["wait", "photos"], 0),
    ];
    for (arguments, expected) in cases {
        assert_eq!(run(&stage, arguments).await.0, expected, "{arguments:?}");
        let json: Vec<&str> = [arguments, &["--json"]].concat();
        assert_eq!(run(&stage, &json).await.0, expected, "{json:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_document_on_standard_output_before_or_after_the_command() {
    let stage = Stage::start();
    let before = run(&stage, &["--json", "add", "."]).await;
    let after = run(&stage, &["add", ".", "--json"]).await;
    assert_eq!(before, after);
    assert_eq!(before.2, "");
    let document: serde_json::Value = serde_json::from_str(&before.1).unwrap();
    for field in ["folder_id", "name", "path", "keys", "link", "fingerprint", "discovery_id"] {
        assert!(document.get(field).is_some(), "{field}");
    }
    let (_, out, _) = run(&stage, &["status", "--json"]).await;
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["folders"][0]["state"], "idle");
    assert_eq!(document["folders"][1]["reason"], "MASS_DELETE");
    for failing in [&["keys", "nope", "--json"][..], &["--json", "keys"], &["--json", "wait", "work"]] {
        let (_, out, error) = run(&stage, failing).await;
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        let fields: Vec<&String> = document["error"].as_object().unwrap().keys().collect();
        assert_eq!(fields, ["code", "message", "next", "path"]);
        assert_eq!(error, "", "{failing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_the_folder_that_they_name() {
    let stage = Stage::start();
    let cases: [&[&str]; 11] = [
        &["pause", "photos"],
        &["resume", "aaaab"],
        &["rescan", "/data/photos"],
        &["approve", WORK],
        &["revert", "work", "a/b c"],
        &["revert", "work"],
        &["remove", "photos"],
        &["peer", "add", "photos", "192.0.2.1:4455"],
        &["peer", "remove", "photos", "192.0.2.1:4455"],
        &["archive", "restore", "photos", "a b.txt"],
        &["wait", "photos", "--timeout", "1.5", "--peers", "2"],
    ];
    for arguments in cases {
        let (code, _, error) = run(&stage, arguments).await;
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
    }
    let expected = [
        format!("pause {PHOTOS}"),
        format!("resume {PHOTOS}"),
        format!("rescan {PHOTOS}"),
        format!("approve {WORK}"),
        format!("revert {WORK} Some(\"a/b c\")"),
        format!("revert {WORK} None"),
        format!("remove {PHOTOS}"),
        format!("peer_add {PHOTOS} 192.0.2.1:4455"),
        format!("peer_remove {PHOTOS} 192.0.2.1:4455"),
        format!("restore {PHOTOS} Some(\"a b.txt\")"),
        format!("wait {PHOTOS} Some(1.5s) 2"),
    ];
    assert_eq!(*stage.fake.asked.lock().unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_read_from_standard_input_or_a_file_and_a_link_names_the_directory() {
    let stage = Stage::start();
    let here = stage.place.path().canonicalize().unwrap();
    std::fs::write(here.join("key"), format!("  {READ_KEY}\n")).unwrap();
    let link = format!("syncd://{READ_KEY}?n=my%20photos");
    assert_eq!(run_with(&stage, &["add", "p", "--key", "-"], &format!("{READ_KEY}\n")).await.0, 0);
    assert_eq!(run(&stage, &["add", "p", "--key-file", "key"]).await.0, 0);
    let (code, _, error) = run(&stage, &["add", "--key", &link]).await;
    assert_eq!((code, error.as_str()), (0, ""));
    let here = here.display();
    let expected = [
        format!("add {here}/p key Some(\"{READ_KEY}\")"),
        format!("add {here}/p key Some(\"{READ_KEY}\")"),
        format!("add {here}/my photos key Some(\"{link}\")"),
    ];
    assert_eq!(*stage.fake.asked.lock().unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_is_changed_for_the_daemon_and_for_one_folder() {
    let stage = Stage::start();
    let (code, out, _) = run(&stage, &["config", "set", "hold.deletions", "0"]).await;
    assert_eq!((code, out.as_str()), (0, "hold.deletions = 0\n"));
    assert_eq!(run(&stage, &["config", "set", "--folder", "photos", "limits.up", "2M"]).await.0, 0);
    let (_, out, _) = run(&stage, &["config", "get", "--folder", "photos", "limits.up", "--json"]).await;
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((document["value"].as_str(), document["set"].as_bool()), (Some("2M"), Some(true)));
}
