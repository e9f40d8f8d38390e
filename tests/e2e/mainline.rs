//! Devices that know a key and one node of the DHT, and nothing else. The DHT is libtorrent's.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use harness::{Device, Internet, Net, Place, eventually, in_sync, skipped};

use crate::net;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/libtorrent_dht.py");
const NODES: u8 = 20;

/// Twenty nodes on one host, each in a network of its own: libtorrent takes one of a neighbourhood. Their
/// addresses are private, for which it asks for no particular node ids.
struct Nodes {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Nodes {
    fn start(host: &Place) -> Self {
        let addresses = || (1..=NODES).map(|n| format!("10.1{n:02}.0.1"));
        addresses().for_each(|address| ip(host, &["addr", "add", &format!("{address}/8"), "dev", "e0"]));
        let mut python = host.command("python3");
        python.arg(SCRIPT).args(addresses()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut nodes = Self { child, input, output };
        assert_eq!(nodes.hears(), "ready");
        nodes
    }

    fn hears(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// What libtorrent finds under that discovery id.
    fn peers(&mut self, discovery: &str) -> String {
        writeln!(self.input, "get_peers {discovery}").unwrap();
        self.hears()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ip(host: &Place, arguments: &[&str]) {
    assert!(host.command("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}

/// A device whose only way is the DHT, at an address that its nodes can see.
fn device(net: &Net, name: &str, host: &Place, address: &str) -> Rc<Device> {
    ip(host, &["addr", "add", &format!("{address}/8"), "dev", "e0"]);
    let device = net.device_at(name, host);
    let discovery = "lan = false\nport_mapping = false\ndht = true\ndht_bootstrap = [\"10.101.0.1:6881\"]\n";
    let settings = format!("name = \"{name}\"\n\n[discovery]\n{discovery}");
    std::fs::write(device.home().join("config.toml"), settings).unwrap();
    device.start();
    device
}

/// They meet through it, and libtorrent finds the port that was announced. Then it is gone, and those who
/// have met find each other without it.
#[test]
fn two_devices_that_know_only_the_key_meet_through_the_dht() {
    let has_libtorrent = Command::new("python3").args(["-c", "import libtorrent"]).output();
    if !has_libtorrent.is_ok_and(|output| output.status.success()) {
        return skipped("it needs libtorrent for Python: pip install libtorrent");
    }
    let Some(internet) = Internet::new() else {
        return skipped("it needs network namespaces and nft, that is, root");
    };
    let net = net().online();
    let (others, anna_host, ben_host) = (internet.host(), internet.host(), internet.host());
    let mut nodes = Nodes::start(&others);

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
