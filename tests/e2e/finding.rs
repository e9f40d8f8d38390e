//! How devices find each other, and who is refused.

use harness::{Device, Folder, Net, eventually, in_sync};

use crate::net;

/// Three devices that know nothing but a key find each other by beacon; the third gets all though
/// the first has gone.
#[test]
fn three_devices_find_each_other_by_beacon_alone() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("from-anna", "anna");
    ben.write("from-ben", "ben");
    in_sync(&[&anna, &ben]);
    anna.device().stop();
    let carl = net.device("carl").join(ben.writer_key());
    in_sync(&[&ben, &carl]);
    anna.device().start();
    carl.write("from-carl", "carl");
    in_sync(&[&anna, &ben, &carl]);
    assert_eq!(anna.tree().files(), ["from-anna", "from-ben", "from-carl"]);
}

/// The document of `peers`.
#[test]
fn peers_say_who_is_there() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    let peers = anna.device().json(&["peers", anna.id()]);
    let [peer] = peers.as_array().expect("a list").as_slice() else { panic!("one peer: {peers}") };
    let status = rita.device().json(&["status"]);
    assert_eq!(peer["device_id"], status["device_id"]);
    assert_eq!((peer["name"].as_str(), peer["capability"].as_str()), (Some("rita"), Some("read")));
    assert_eq!((peer["complete"].as_bool(), peer["direct"].as_bool()), (Some(true), Some(true)));
    assert!(peer["address"].is_string() && peer["found_by"].is_string(), "{peer}");
    assert!(peer["down_rate"].is_u64() && peer["up_rate"].is_u64(), "{peer}");
    rita.device().stop();
    eventually("nobody is there", || (anna.number("peers") == 0).then_some(()));
}

/// KR: whoever has another key is nobody here, though they share a wire and a folder's name.
#[test]
fn a_stranger_with_another_key_gets_nothing() {
    let net = net();
    let anna = net.device("anna").share("docs");
    anna.write("secret", "secret");
    let mallory = net.device("mallory").share("docs");
    mallory.write("own", "own");
    let ben = net.device("ben").join(anna.writer_key());
    in_sync(&[&anna, &ben]);
    mallory.settle();
    assert_ne!(anna.id(), mallory.id());
    assert_eq!(mallory.tree().files(), ["own"]);
    assert_eq!((mallory.number("peers"), anna.number("peers")), (0, 1));
}

/// A peer whose beacons are not heard is dialled where a person says it is.
#[test]
fn a_pinned_peer_is_dialled_without_beacons() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (first, second) = (net.device("anna"), net.device("ben"));
    for device in [&first, &second] {
        device.json(&["config", "set", "discovery.lan", "false"]);
    }
    let anna = first.share("docs");
    anna.write("file", "file");
    let ben = second.join(anna.writer_key());
    second.json(&["peer", "add", ben.id(), "10.77.0.1:4455"]);
    in_sync(&[&anna, &ben]);
    ben.device().restart();
    ben.write("more", "more");
    in_sync(&[&anna, &ben]);
}

/// Devices share several folders at once, and each keeps to its own.
#[test]
fn two_folders_of_the_same_two_devices_do_not_mix() {
    let net = net();
    let (docs_anna, docs_ben) = net.two_writers();
    let pics_ben = docs_ben.device().share("pics");
    let pics_anna = docs_anna.device().join_in("pics", pics_ben.reader_key());
    pics_ben.write("same-name", "picture");
    docs_anna.write("same-name", "document");
    in_sync(&[&docs_anna, &docs_ben]);
    in_sync(&[&pics_ben, &pics_anna]);
    assert_eq!(
        (docs_ben.text("same-name"), pics_anna.text("same-name")),
        ("document".into(), "picture".into())
    );
}

/// Several daemons on one machine share the port of the beacons.
#[test]
fn two_daemons_on_one_machine_find_each_other() {
    let net = net();
    let anna = net.device("anna").share("docs");
    anna.write("file", "file");
    let second = net.neighbour("ben", anna.device());
    second.start();
    let ben = second.join(anna.writer_key());
    in_sync(&[&anna, &ben]);
}

/// Neither device has IPv6.
#[test]
fn two_devices_on_a_segment_without_ipv6_find_each_other() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = meet(&net, Device::disable_ipv6);
    let found = found_at(&anna, &ben);
    assert!(found.starts_with("10.77.0."), "{found}");
}

/// Neither device has an IPv4 address, and no IPv6 address but the link-local one, which cannot be
/// dialled without its interface.
#[test]
fn two_devices_with_nothing_but_link_local_addresses_find_each_other() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = meet(&net, Device::drop_ipv4);
    let found = found_at(&anna, &ben);
    assert!(found.starts_with("[fe80::"), "{found}");
    ben.device().restart();
    ben.write("more", "more");
    in_sync(&[&anna, &ben]);
}

/// The devices run without a network in common; then there is one, it goes, and another comes.
#[test]
fn an_interface_that_appears_later_is_used_and_one_that_goes_is_not_missed() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (first, second, third) = (net.device("anna"), net.device("ben"), net.device("carl"));
    second.disconnect();
    third.disconnect();
    let anna = first.share("docs");
    anna.write("file", "file");
    let ben = second.join(anna.writer_key());
    first.wire_to(&third, "x1"); // to somebody else
    first.wire_to(&second, "x2");
    in_sync(&[&anna, &ben]);

    first.remove_wire("x2");
    first.remove_wire("x1");
    ben.write("more", "more");
    first.wire_to(&second, "x3");
    in_sync(&[&anna, &ben]);
}

/// Two devices whose networks are changed before they start meet in a folder.
fn meet(net: &Net, change: impl Fn(&Device)) -> (Folder, Folder) {
    let (first, second) = (net.stopped_device("anna"), net.stopped_device("ben"));
    for device in [&first, &second] {
        change(device);
        device.start();
    }
    let anna = first.share("docs");
    anna.write("file", "file");
    let ben = second.join(anna.writer_key());
    in_sync(&[&anna, &ben]);
    (anna, ben)
}

/// Where the one that has dialled the other has found it by beacon.
fn found_at(one: &Folder, other: &Folder) -> String {
    eventually("one of them has dialled the other", || {
        [one, other].into_iter().find_map(|folder| {
            let peers = folder.device().json(&["peers", folder.id()]);
            let peer = peers.as_array()?.first()?.clone();
            (peer["found_by"] == "lan").then(|| peer["address"].as_str().map(str::to_owned))?
        })
    })
}
