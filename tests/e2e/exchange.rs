//! TR-02: devices that have met once, or have an acquaintance in common, need nobody else. No beacons
//! here: each device knows the others only by what the story says.

use std::rc::Rc;

use harness::{Device, Folder, Net, in_sync, wait};

use crate::net;

/// The first device of a network.
const FIRST: &str = "10.77.0.1:4455";

/// A device that hears and sends no beacons.
fn deaf(net: &Net, name: &str) -> Rc<Device> {
    let device = net.device(name);
    device.json(&["config", "set", "discovery.lan", "false"]);
    device
}

/// Joins a folder on a device of its own, pinned to the first device alone.
fn acquaintance(net: &Net, name: &str, key: &str) -> Folder {
    let folder = deaf(net, name).join(key);
    folder.device().json(&["peer", "add", folder.id(), FIRST]);
    folder
}

/// How each of two peers has found the other.
fn found_by(one: &Folder, other: &Folder) -> [String; 2] {
    let found = |here: &Folder, there: &Folder| {
        let peers = here.device().json(&["peers", here.id()]);
        let peer = peers.as_array().unwrap().iter().find(|peer| peer["name"] == there.device().name());
        let by = peer.unwrap_or_else(|| panic!("{} is there: {peers}", there.device().name()));
        by["found_by"].as_str().unwrap().to_owned()
    };
    [found(one, other), found(other, one)]
}

/// Anna, whom both others know, tells them of each other. When she has gone for good, and everyone
/// was off, they still know where the others were.
#[test]
fn a_third_device_learns_of_the_second_from_the_first_and_finds_it_again_without_her() {
    let net = net().online();
    if !net.has_wires() {
        return;
    }
    let anna = deaf(&net, "anna").share("docs");
    anna.write("from-anna", "anna");
    let (ben, carl) =
        (acquaintance(&net, "ben", anna.writer_key()), acquaintance(&net, "carl", anna.writer_key()));
    for folder in [&anna, &ben, &carl] {
        folder.wait_peers(2);
    }
    let found = found_by(&ben, &carl);
    assert!(found.contains(&"exchange".to_owned()), "{found:?}");
    in_sync(&[&anna, &ben, &carl]);

    for folder in [&anna, &ben, &carl] {
        folder.device().stop();
    }
    ben.device().start();
    ben.write("from-ben", "while nobody is there");
    carl.device().start();
    carl.write("from-carl", "carl");
    in_sync(&[&ben, &carl]);
    let found = found_by(&ben, &carl);
    assert!(found.contains(&"remembered".to_owned()), "{found:?}");
}

/// What was reached is forgotten with the folder: a new one in its place starts without.
#[test]
fn a_folder_that_is_removed_leaves_no_addresses_behind() {
    let net = net().online();
    if !net.has_wires() {
        return;
    }
    let anna = deaf(&net, "anna").share("docs");
    let ben = acquaintance(&net, "ben", anna.writer_key());
    in_sync(&[&anna, &ben]);
    for folder in [&anna, &ben] {
        folder.tell("remove");
        folder.device().restart(); // a link stays for a while, and would be used again
    }
    let anna = anna.device().join_in("docs", ben.writer_key());
    let ben = ben.device().join_in("joined-1", anna.writer_key());
    wait::never_within(std::time::Duration::from_secs(8), "nobody is known", || {
        (ben.number("peers") + anna.number("peers") > 0).then(|| format!("{:?}", found_by(&anna, &ben)))
    });
}

/// Dora and Emil are told of each other in the meantime: there was time enough for Ben and Carl.
#[test]
fn where_peer_exchange_is_off_nobody_is_told_of_anybody() {
    let net = net().online();
    if !net.has_wires() {
        return;
    }
    let docs = deaf(&net, "anna").share("docs");
    let pics = docs.device().share("pics");
    let switch = |value| ["config", "set", "--folder", docs.id(), "discovery.peer_exchange", value];
    docs.device().json(&switch("false"));
    let (ben, carl) =
        (acquaintance(&net, "ben", docs.writer_key()), acquaintance(&net, "carl", docs.writer_key()));
    docs.wait_peers(2);
    let (dora, emil) =
        (acquaintance(&net, "dora", pics.writer_key()), acquaintance(&net, "emil", pics.writer_key()));
    for folder in [&dora, &emil] {
        folder.wait_peers(2);
    }
    assert_eq!((ben.number("peers"), carl.number("peers")), (1, 1));
    docs.device().json(&switch("true"));
    for folder in [&ben, &carl] {
        folder.wait_peers(2);
    }
}

/// What the contract says of `SYNCD_OFFLINE`: where a peer was reached is not dialled, nor what peers say,
/// unless the settings file names it.
#[test]
fn an_offline_daemon_dials_what_is_pinned_and_neither_what_it_remembers_nor_what_peers_say() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let anna = deaf(&net, "anna").share("docs");
    let (ben, carl) =
        (acquaintance(&net, "ben", anna.writer_key()), acquaintance(&net, "carl", anna.writer_key()));
    anna.wait_peers(2);
    in_sync(&[&anna, &ben]);
    let ways = ben.row()["discovery"].as_array().unwrap().clone();
    let exchange = ways.iter().find(|row| row["way"] == "exchange").unwrap();
    assert_eq!(exchange["enabled"], false);
    // Anna has reached both, but never dialled them: it is they who come back.
    anna.device().restart();
    anna.wait_peers(2);
    let peers = anna.device().json(&["peers", anna.id()]);
    assert!(peers.as_array().unwrap().iter().all(|peer| peer["found_by"] == "incoming"), "{peers}");
    assert_eq!((ben.number("peers"), carl.number("peers")), (1, 1));

    for folder in [&anna, &ben, &carl] {
        folder.device().json(&["config", "set", "discovery.peer_exchange", "true"]);
    }
    for folder in [&ben, &carl] {
        folder.wait_peers(2);
    }
}

/// A pinned name is looked up at each dial: whoever moves tells the name service, and nobody else.
#[test]
fn a_pinned_name_is_followed_to_another_address() {
    let net = net().online();
    if !net.has_wires() {
        return;
    }
    let anna = deaf(&net, "anna").share("docs");
    let carl = deaf(&net, "carl").join(anna.writer_key());
    let device = net.stopped_device("ben");
    device.write_hosts("10.77.0.1 office\n");
    device.start();
    device.json(&["config", "set", "discovery.lan", "false"]);
    let ben = device.join(anna.writer_key());
    device.json(&["peer", "add", ben.id(), "office:4455"]);
    anna.write("from-anna", "anna");
    in_sync(&[&anna, &ben]);

    device.restart();
    in_sync(&[&anna, &ben]);
    anna.device().stop();
    device.write_hosts("10.77.0.2 office\n");
    carl.write("from-carl", "carl");
    in_sync(&[&ben, &carl]);
    assert_eq!(found_by(&ben, &carl)[0], "pinned");
}
