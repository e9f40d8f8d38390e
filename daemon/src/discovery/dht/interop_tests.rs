//! Our part of the DHT among nodes of libtorrent, in namespaces: a DHT that nobody here has written.

use std::net::SocketAddr;
use std::time::Duration;

use harness::{Host, Lab, Libtorrent};
use keystore::{DiscoveryId, FolderId};
use tokio::sync::{mpsc, watch};

use super::{Dht, DhtConfig};
use crate::discovery::{Hint, Reachable, WayStatus};

const PATIENCE: Duration = Duration::from_secs(120);
const FOLDER: FolderId = FolderId([1; 16]);
const DISCOVERY: DiscoveryId = DiscoveryId([0x5a; 20]);

/// Twenty nodes on one host.
fn start_libtorrent(host: &Host) -> Libtorrent {
    let mut python = host.command("setpriv");
    python.args(["--pdeathsig", "KILL", "--", "python3"]);
    Libtorrent::start(python, |address| host.run(&format!("ip addr add {address} dev e0")))
}

/// Waits until libtorrent finds a peer.
fn finds(libtorrent: &mut Libtorrent, peer: &str) {
    harness::wait::eventually_within(PATIENCE, "libtorrent finds a peer", || {
        libtorrent.peers(&DISCOVERY.to_string()).split(' ').any(|found| found == peer).then_some(())
    });
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
                bootstrap: vec![Libtorrent::ENTRANCE.to_owned()],
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
    let mut libtorrent = start_libtorrent(&others);

    let mut anna = Device::start(&anna_host, 40_001);
    let status = anna.is_announced();
    assert_eq!(status.error, None);
    finds(&mut libtorrent, "10.77.0.2:40001");

    let mut ben = Device::start(&ben_host, 40_002);
    let hint = ben.finds("10.77.0.2:40001");
    assert!(hint.namer.to_string().starts_with("10.1"), "a node of a private network: {hint:?}");
    ben.is_announced();
    anna.dht.look_again();
    anna.finds("10.77.0.3:40002");

    libtorrent.announce(&DISCOVERY.to_string(), 40_003);
    finds(&mut libtorrent, "10.102.0.1:40003");
    ben.dht.look_again();
    ben.finds("10.102.0.1:40003");
}
