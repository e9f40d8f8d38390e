//! Devices without a daemon: they have a folder, ask trackers, and listen to what is found.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keystore::{DiscoveryId, FolderId};
use syncd::discovery::tracker::{Trackers, TrackersConfig};
use syncd::discovery::{Hint, Reachable, Way, WayStatus};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// The folder that all devices have.
pub(crate) const DOCS: (FolderId, DiscoveryId) = (FolderId([1; 16]), DiscoveryId([0xd0; 20]));
/// Longer than a dead tracker is asked.
const PATIENCE: Duration = Duration::from_secs(120);

/// A device that asks trackers; of what it would say on QUIC there is only the port.
pub(crate) struct Device {
    pub(crate) trackers: Trackers,
    pub(crate) hints: mpsc::Receiver<Hint>,
    _reachable: watch::Sender<Reachable>,
    port: u16,
}

impl Device {
    pub(crate) fn new(port: u16, trackers: &[String]) -> Self {
        let (hints_out, hints) = mpsc::channel(1000);
        let (reachable, reachable_in) = watch::channel(Reachable { v4: Some(port), v6: Some(port) });
        let seed = *blake3::hash(&port.to_be_bytes()).as_bytes();
        let config = TrackersConfig { seed, hints: hints_out, reachable: reachable_in };
        let device = Self { trackers: Trackers::start(config), hints, _reachable: reachable, port };
        device.trackers.set_folder(DOCS.0, DOCS.1, trackers);
        device
    }

    /// The first status that `wanted` holds for.
    pub(crate) async fn status(&self, wanted: impl Fn(&[WayStatus]) -> bool) -> Vec<WayStatus> {
        let look = async {
            loop {
                let status = self.trackers.status(DOCS.0);
                if wanted(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let Ok(status) = timeout(PATIENCE, look).await else { panic!("{:?}", self.trackers.status(DOCS.0)) };
        status
    }

    pub(crate) async fn is_announced(&self) {
        self.status(|rows| rows.iter().any(|row| row.last_announce.is_some())).await;
    }

    /// Asks again and again, as after changes of the network, until the list has been read.
    pub(crate) async fn is_listed(&self) {
        let asking = async {
            while self.trackers.status(DOCS.0).iter().any(|row| row.last_announce.is_none()) {
                self.trackers.look_again();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let listed = timeout(PATIENCE, asking).await;
        assert!(listed.is_ok(), "{:?}", self.trackers.status(DOCS.0));
    }

    /// The next hint is the other one, and comes from the tracker on loopback that `namer` is.
    pub(crate) async fn finds(&mut self, other: &Self, namer: IpAddr) {
        let hint = timeout(PATIENCE, self.hints.recv()).await.expect("a hint comes").unwrap();
        let address = SocketAddr::from((namer, other.port));
        assert_eq!(hint, Hint { folder: DOCS.0, address, namer, way: Way::Tracker });
    }
}
