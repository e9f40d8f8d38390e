//! Devices that know a key and one node of the DHT, and nothing else. The DHT is libtorrent's.

use std::rc::Rc;

use harness::{Device, Internet, Libtorrent, Net, Place, eventually, in_sync, skipped};

use crate::net;

fn add_address(host: &Place, address: &str) {
    let added = host.command("ip").args(["addr", "add", address, "dev", "e0"]).status();
    assert!(added.unwrap().success(), "{address}");
}

/// A device whose only way is the DHT, at an address that its nodes can see.
fn device(net: &Net, name: &str, host: &Place, address: &str) -> Rc<Device> {
    add_address(host, &format!("{address}/8"));
    let device = net.device_at(name, host);
    let entrance = Libtorrent::ENTRANCE;
    let discovery =
        format!("lan = false\nport_mapping = false\ndht = true\ndht_bootstrap = [\"{entrance}\"]\n");
    let settings = format!("name = \"{name}\"\n\n[discovery]\n{discovery}");
    std::fs::write(device.home().join("config.toml"), settings).unwrap();
    device.start();
    device
}

/// They meet through it, and libtorrent finds the port that was announced. Then it is gone, and those who
/// have met find each other without it.
#[test]
fn two_devices_that_know_only_the_key_meet_through_the_dht() {
    if !Libtorrent::is_installed() {
        return;
    }
    let Some(internet) = Internet::new() else {
        return skipped("it needs network namespaces and nft, that is, root");
    };
    let net = net().online();
    let (others, anna_host, ben_host) = (internet.host(), internet.host(), internet.host());
    let mut nodes = Libtorrent::start(others.command("python3"), |address| add_address(&others, address));

    let anna = device(&net, "anna", &anna_host, "10.77.0.2").share("docs");
    anna.write("file", "file");
    let ben = device(&net, "ben", &ben_host, "10.77.0.3").join(anna.writer_key());
    in_sync(&[&anna, &ben]);

    let peers = ben.device().json(&["peers", ben.id()]);
    let ways = ["dht", "incoming"];
    assert!(peers[0]["found_by"].as_str().is_some_and(|way| ways.contains(&way)), "{peers}");
    let keys = anna.device().json(&["keys", anna.id()]);
    let discovery = keys["discovery_id"].as_str().unwrap();
    let announced = "10.77.0.2:4455";
    eventually("libtorrent finds the port that was announced", || {
        nodes.peers(discovery).split(' ').any(|peer| peer == announced).then_some(())
    });
    let rows = ben.row()["discovery"].as_array().expect("a list").clone();
    let row = rows.iter().find(|row| row["way"] == "dht").expect("a row");
    assert!(row["error"].is_null(), "{row}");

    drop(nodes);
    [&anna, &ben].iter().for_each(|folder| folder.device().stop());
    [&anna, &ben].iter().for_each(|folder| folder.device().start());
    ben.write("later", "later");
    in_sync(&[&anna, &ben]);
}
