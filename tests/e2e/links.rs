//! Links that carry the way, and what `status` and `doctor` say of it.

use harness::{Device, Folder, Net, eventually, in_sync};
use serde_json::Value;

use crate::net;

/// Two devices that hear no beacons.
fn apart(net: &Net) -> (std::rc::Rc<Device>, std::rc::Rc<Device>) {
    let (first, second) = (net.device("anna"), net.device("ben"));
    for device in [&first, &second] {
        device.json(&["config", "set", "discovery.lan", "false"]);
    }
    (first, second)
}

fn link(folder: &Folder) -> String {
    let keys = folder.device().json(&["keys", folder.id()]);
    keys["link"].as_str().expect("a link").to_owned()
}

fn findings(folder: &Folder) -> Vec<Value> {
    let found = folder.device().json(&["doctor", folder.id()]);
    found["findings"].as_array().expect("a list").clone()
}

/// The finding with that code, as soon as there is one.
fn found(folder: &Folder, code: &str) -> Value {
    eventually(&format!("doctor finds {code}"), || {
        findings(folder).into_iter().find(|finding| finding["code"] == code)
    })
}

fn way(folder: &Folder, way: &str) -> Value {
    let row = folder.row();
    let rows = row["discovery"].as_array().expect("a list");
    rows.iter().find(|row| row["way"] == way).unwrap_or_else(|| panic!("no {way}: {row}")).clone()
}

/// A link names the device that it was made on; nothing is pinned by it, and it is remembered.
#[test]
fn a_link_is_enough_to_find_its_maker() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (first, second) = apart(&net);
    let anna = first.share("docs");
    anna.write("file", "file");
    anna.settle();
    let ben = second.join(&link(&anna));
    in_sync(&[&anna, &ben]);
    let peers = second.json(&["peers", ben.id()]);
    assert_eq!(peers[0]["found_by"], "link");
    second.restart();
    anna.write("more", "more");
    in_sync(&[&anna, &ben]);
}

/// The link says how large the folder is, and gives the same key as `keys`; the other one only reads.
#[test]
fn a_link_names_the_folder_its_size_and_its_trackers() {
    let net = net();
    let device = net.device("anna");
    let anna = device.share("docs");
    anna.write("file", [7; 1000]);
    anna.settle();
    let tracker = "udp://192.0.2.1:6969";
    device.json(&["config", "set", "--folder", anna.id(), "discovery.trackers", tracker]);
    let link = link(&anna);
    assert!(link.starts_with(&format!("syncd://{}?n=docs&s=1000&", anna.writer_key())), "{link}");
    assert!(link.contains("&t=udp://192.0.2.1:6969"), "{link}");
    let printed = device.cli(&["keys", "docs", "--link", "--read-only"]);
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.starts_with(&format!("syncd://{}?n=docs&", anna.reader_key())), "{printed}");

    // The QR code, and below it the same as text.
    let drawn = String::from_utf8(device.cli(&["keys", "docs", "--qr"]).stdout).unwrap();
    let (picture, below) = drawn.trim_end().rsplit_once('\n').expect("two parts");
    assert_eq!(below, link);
    assert!(harness::read_qr(picture).is_none_or(|read| read == link), "{drawn}");

    let ben = net.device("ben").join(&link);
    in_sync(&[&anna, &ben]);
    let kept = ben.device().json(&["config", "get", "--folder", ben.id(), "discovery.trackers"]);
    assert_eq!((&kept["value"][0], &kept["set"]), (&Value::from(tracker), &Value::from(true)));
    assert_eq!(way(&ben, "tracker")["source"], tracker);
}

/// Each way can be switched off for one folder, while the daemon runs and finds others.
#[test]
fn a_way_that_is_switched_off_for_a_folder_finds_nobody_for_it() {
    let net = net();
    let anna = net.device("anna").share("docs");
    let ben = net.device("ben").join(anna.writer_key());
    let set = |folder: &Folder, value: &str| {
        folder.device().json(&["config", "set", "--folder", folder.id(), "discovery.lan", value]);
    };
    let (quiet, carl) = (anna.device().share("quiet"), net.device("carl"));
    set(&quiet, "false");
    let joined = carl.join(quiet.writer_key());
    in_sync(&[&anna, &ben]);
    assert_eq!(way(&quiet, "lan")["enabled"], false);
    assert_eq!(found(&quiet, "NO_WAY")["severity"], "problem");
    assert_eq!((quiet.number("peers"), joined.number("peers")), (0, 0));
    set(&quiet, if net.has_wires() { "true" } else { "\"loopback\"" });
    in_sync(&[&quiet, &joined]);
    assert!(findings(&quiet).iter().all(|finding| finding["severity"] != "problem"));
}

/// A key that nobody has, a peer that is not there, a daemon that does not run: `doctor` says so.
#[test]
fn doctor_says_why_there_are_no_peers() {
    let net = net();
    let device = net.device("anna");
    let anna = device.share("docs");
    let fingerprint = device.json(&["keys", anna.id()])["fingerprint"].clone();
    let nobody = found(&anna, "NOBODY_THERE");
    let next = nobody["next"].as_str().expect("a next step");
    assert!(next.contains(fingerprint.as_str().expect("text")), "{next}");
    device.json(&["peer", "add", anna.id(), "127.0.0.1:9"]);
    let silent = found(&anna, "NOBODY_ANSWERS");
    assert!(silent["message"].as_str().is_some_and(|text| text.contains("127.0.0.1:9 (pinned)")), "{silent}");
    device.stop();
    assert_eq!(device.failure(&["doctor"]).exit, 3);
}

/// Without any network the daemon starts, says what is wrong, and finds its peer within seconds after
/// there is one.
#[test]
fn a_network_that_appears_later_is_used() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    ben.device().disconnect();
    ben.device().restart();
    assert_eq!(found(&ben, "NO_NETWORK")["severity"], "problem");
    anna.write("meanwhile", "meanwhile");
    ben.device().connect();
    in_sync(&[&anna, &ben]);
    assert!(findings(&ben).iter().all(|finding| finding["severity"] != "problem"), "{:?}", findings(&ben));
}
