//! Our part of the DHT among nodes of libtorrent, in namespaces: a DHT that nobody here has written.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Host, Lab, skipped};
use keystore::{DiscoveryId, FolderId};
use tokio::sync::{mpsc, watch};

use super::{Dht, DhtConfig};
use crate::discovery::{Hint, Reachable, WayStatus};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/libtorrent_dht.py");
const NODES: u8 = 20;
const PATIENCE: Duration = Duration::from_secs(120);
const FOLDER: FolderId = FolderId([1; 16]);
const DISCOVERY: DiscoveryId = DiscoveryId([0x5a; 20]);

/// Twenty nodes on one host, each at an address of its own; they end when it is dropped.
struct Libtorrent {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Libtorrent {
    fn is_installed() -> bool {
        let found = Command::new("python3").args(["-c", "import libtorrent"]).output();
        let is_installed = found.is_ok_and(|output| output.status.success());
        if !is_installed {
            skipped("it needs libtorrent for Python: pip install libtorrent");
        }
        is_installed
    }

    fn start(host: &Host) -> Self {
        let mut command = host.command("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "python3", SCRIPT]);
        for n in 1..=NODES {
            // Each in a network of its own: libtorrent takes one node of a neighbourhood.
            host.run(&format!("ip addr add 10.1{n:02}.0.1/8 dev e0"));
            command.arg(format!("10.1{n:02}.0.1"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
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

    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    fn finds(&mut self, discovery: DiscoveryId, peer: &str) {
        let begun = Instant::now();
        loop {
            self.tell(&format!("get_peers {discovery}"));
            let peers = self.hears();
            if peers.split(' ').any(|found| found == peer) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "libtorrent finds {peers:?}, not {peer}");
        }
    }
}

impl Drop for Libtorrent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A device of ours on a host of its own, with the runtime that it lives in.
struct Device {
    runtime: tokio::runtime::Runtime,
    dht: Dht,
    hints: mpsc::Receiver<Hint>,
    _reachable: watch::Sender<Reachable>,
    _home: tempfile::TempDir,
}

impl Device {
    fn start(host: &Host, port: u16) -> Self {
        host.run("ip route add 10.0.0.0/8 dev e0");
        host.inside(|| {
            // Its worker begins in this thread's namespace, and all threads that it starts.
            let runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
            let home = tempfile::tempdir().unwrap();
            let (out, hints) = mpsc::channel(64);
            let (reachable, receiver) = watch::channel(Reachable { v4: Some(port), v6: None });
            let config = DhtConfig {
                bootstrap: vec!["10.101.0.1:6881".to_owned()],
                state_file: home.path().join("dht"),
                seed: [u8::try_from(port % 256).unwrap(); 32],
                hints: out,
                reachable: receiver,
            };
            let dht = runtime.block_on(async { Dht::start(config).unwrap() });
            dht.add_folder(FOLDER, DISCOVERY);
            Self { runtime, dht, hints, _reachable: reachable, _home: home }
        })
    }

    fn is_announced(&self) -> WayStatus {
        harness::wait::eventually_within(PATIENCE, "an announcement", || {
            Some(self.dht.status(FOLDER)).filter(|status| status.last_announce.is_some())
        })
    }

    fn finds(&mut self, peer: &str) -> Hint {
        let (peer, hints): (SocketAddr, _) = (peer.parse().unwrap(), &mut self.hints);
        let search = async {
            loop {
                let hint = hints.recv().await.unwrap();
                if hint.address == peer {
                    return hint;
                }
            }
        };
        let found = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, search).await });
        found.unwrap_or_else(|_| panic!("{peer} is not found: {:?}", self.dht.status(FOLDER)))
    }
}

#[test]
fn among_libtorrents_nodes_two_devices_find_each_other_and_libtorrent_and_are_found_by_it() {
    if !Libtorrent::is_installed() {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    let (others, anna_host, ben_host) = (lab.host(1), lab.host(2), lab.host(3));
    let mut libtorrent = Libtorrent::start(&others);

    let mut anna = Device::start(&anna_host, 40_001);
    let status = anna.is_announced();
    assert_eq!(status.error, None);
    libtorrent.finds(DISCOVERY, "10.77.0.2:40001");

    let mut ben = Device::start(&ben_host, 40_002);
    let hint = ben.finds("10.77.0.2:40001");
    assert!(hint.namer.to_string().starts_with("10.1"), "a node of a private network: {hint:?}");
    ben.is_announced();
    anna.dht.look_again();
    anna.finds("10.77.0.3:40002");

    libtorrent.tell(&format!("announce {DISCOVERY} 40003"));
    libtorrent.finds(DISCOVERY, "10.102.0.1:40003");
    ben.dht.look_again();
    ben.finds("10.102.0.1:40003");
}
