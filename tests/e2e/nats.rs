//! Devices at home behind gateways, who know a key and a tracker: they reach each other directly
//! where gateways let them, through the tracker's relay where not.

use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use harness::{
    Device, Folder, Internet, Nat, Net, Place, Seed, assert_same, eventually, in_sync_within, skipped,
};

use crate::net;

/// A relay passes on four megabytes a second.
const PATIENCE: Duration = Duration::from_secs(300);
const TRACKER_PORT: u16 = 6969;

/// A tracker, and two homes.
struct World {
    anna: Folder,
    ben: Folder,
    ben_home: Place,
    anna_home: Place,
    tracker_host: Place,
    tracker: Child,
    net: Net,
    _internet: Internet,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.tracker.kill();
        let _ = self.tracker.wait();
    }
}

impl World {
    /// Anna shares a tree of that size, and Ben has joined; none where it cannot be made.
    fn new(nat: Nat, megabytes: usize) -> Option<Self> {
        let world = Self::empty(nat)?;
        world.fill(megabytes);
        Some(world)
    }

    /// The same without files.
    fn empty(nat: Nat) -> Option<Self> {
        let Some(internet) = Internet::new() else {
            skipped("it needs network namespaces and nft, that is, root");
            return None;
        };
        let net = net();
        let tracker_host = internet.host();
        let address = format!("{}:{TRACKER_PORT}", tracker_host.public());
        let mut tracker = tracker_host.command(env!("CARGO_BIN_EXE_syncd"));
        let tracker = tracker.args(["tracker", "--listen", &address]).spawn().unwrap();
        let (anna_home, ben_home) = (internet.home(nat), internet.home(nat));
        let start = |name: &str, host: &Place| {
            let device = net.device_at(name, host);
            let discovery =
                format!("lan = false\ndht = false\nrelay = true\ntrackers = [\"udp://{address}\"]\n");
            let settings = format!("name = \"{name}\"\n\n[discovery]\n{discovery}");
            std::fs::write(device.home().join("config.toml"), settings).unwrap();
            device.start();
            device
        };
        let anna = start("anna", &anna_home).share("docs");
        let ben = start("ben", &ben_home).join(anna.writer_key());
        Some(Self { anna, ben, ben_home, anna_home, tracker_host, tracker, net, _internet: internet })
    }

    fn fill(&self, megabytes: usize) {
        let mut seed = Seed::new(7);
        for number in 0..megabytes {
            self.anna.write(format!("file-{number}"), seed.bytes(1 << 20));
        }
    }

    /// Whether packets between the two go directly, once they are linked.
    fn is_direct(&self) -> Option<bool> {
        let is_direct = |folder: &Folder| {
            let peers = peers(folder.device(), folder.id());
            peers.as_array()?.first()?["direct"].as_bool()
        };
        Some(is_direct(&self.anna)? && is_direct(&self.ben)?)
    }

    fn wait_linked(&self) -> bool {
        eventually("they are linked", || self.is_direct())
    }

    fn wait_direct(&self) {
        eventually("they are linked directly", || self.is_direct()?.then_some(()));
    }

    fn wait_same(&self) {
        in_sync_within(PATIENCE, &[&self.anna, &self.ben]);
        assert_same(&self.anna, &self.ben);
    }
}

fn peers(device: &Rc<Device>, folder: &str) -> serde_json::Value {
    device.json(&["peers", folder])
}

fn directly(megabytes: usize) {
    let Some(world) = World::empty(Nat::Preserving) else { return };
    // On a busy machine the relay may be quicker, and gives way.
    world.wait_direct();
    world.fill(megabytes);
    world.wait_same();
    assert!(world.tracker_host.sent_bytes() < 1 << 20, "the tracker has passed nothing on");
}

fn relayed(megabytes: usize) {
    let Some(world) = World::new(Nat::Random, megabytes) else { return };
    assert!(!world.wait_linked());
    world.wait_same();
    assert!(world.tracker_host.sent_bytes() > (megabytes as u64) << 20, "the tracker has passed all on");
}

/// First relayed; then Ben's gateway lets a port in and Anna is told of it, in the middle of the
/// transfer.
fn relayed_then_direct(megabytes: usize) {
    let Some(world) = World::new(Nat::Random, megabytes) else { return };
    assert!(!world.wait_linked());
    world.ben_home.forward(4455);
    let address = format!("{}:4455", world.ben_home.public());
    world.anna.device().json(&["peer", "add", world.anna.id(), &address]);
    world.wait_direct();
    let before = world.tracker_host.sent_bytes();
    world.anna.write("after", Seed::new(8).bytes(4 << 20));
    world.wait_same();
    assert!(world.tracker_host.sent_bytes() - before < 1 << 20, "the tracker passes nothing on any more");
    assert_ne!(world.anna_home.public(), world.ben_home.public());
}

/// G.3: both gateways keep ports; the tracker introduces the two, and packets go directly.
#[test]
fn behind_gateways_that_keep_ports_packets_go_directly() {
    directly(12);
}

/// TR-07: both gateways show each destination another port; the tracker relays.
#[test]
fn behind_gateways_that_change_ports_a_tree_arrives_through_the_relay() {
    relayed(12);
}

/// TR-07: who runs the relay, or listens at its wire, reads neither names nor keys nor content.
#[test]
fn what_goes_through_the_relay_cannot_be_read_there() {
    if Command::new("tcpdump").arg("--version").output().is_err() {
        return skipped("tcpdump is not installed");
    }
    let Some(world) = World::new(Nat::Random, 1) else { return };
    let capture = world.net.directory().join("capture");
    let mut tcpdump = world.tracker_host.command("tcpdump");
    tcpdump.args(["--immediate-mode", "-U", "-Z", "root", "-i", "e0", "-s", "0", "-w"]).arg(&capture);
    let mut tcpdump = tcpdump.stderr(Stdio::null()).spawn().unwrap();
    let begun = || std::fs::metadata(&capture).is_ok_and(|file| file.len() > 0).then_some(());
    eventually("the capture has begun", begun);
    // He announces himself, is introduced and relayed anew, all of it read along.
    world.ben.device().stop();
    world.ben.device().start();
    assert!(!world.wait_linked());
    let content = "what only those with the key shall read\n".repeat(10_000);
    world.anna.write("a name that nobody else shall read", &content);
    world.wait_same();
    let captured = |least: u64| std::fs::metadata(&capture).is_ok_and(|file| file.len() > least);
    eventually("all is captured", || captured(content.len() as u64).then_some(()));
    tcpdump.kill().unwrap();
    tcpdump.wait().unwrap();
    let captured = std::fs::read(&capture).unwrap();
    let keys = world.anna.device().json(&["keys", world.anna.id()]);
    let texts = [
        "a name that nobody",
        "what only those with the key",
        &keys["keys"]["read_write"].as_str().unwrap()[1..],
        &keys["keys"]["read_only"].as_str().unwrap()[1..],
        "anna",
    ];
    for text in texts {
        assert!(!memory_contains(&captured, text.as_bytes()), "{text} is on the relay's wire");
    }
}

fn memory_contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// A port opens during the transfer: it goes on directly.
#[test]
fn a_relayed_transfer_becomes_direct_when_a_port_opens() {
    relayed_then_direct(40);
}

/// The three at full size.
#[test]
#[ignore = "takes minutes"]
fn two_hundred_megabytes_arrive_directly_relayed_and_in_between() {
    directly(200);
    relayed(200);
    relayed_then_direct(200);
}
