//! The real ways behind one interface.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use keystore::FolderId;
use tokio::sync::{mpsc, watch};

use super::plan::{Source, Wish};
use super::{Running, Start};
use crate::discovery::dht::{Dht, DhtConfig};
use crate::discovery::lan::{self, Lan, LanConfig, LanMode};
use crate::discovery::tracker::{Trackers, TrackersConfig};
use crate::discovery::{Hint, Reachable, WayStatus};

/// Starts the real ways of a daemon.
pub(in crate::daemon) struct Real {
    /// Where this daemon answers QUIC.
    pub(in crate::daemon) listen: Vec<SocketAddr>,
    /// Under which ports the world reaches it.
    pub(in crate::daemon) reachable: watch::Receiver<Reachable>,
    /// Where files of the daemon lie.
    pub(in crate::daemon) home: PathBuf,
}

impl Start for Real {
    fn start(&self, source: &Source, hints: mpsc::Sender<Hint>) -> Result<Arc<dyn Running>, String> {
        match source {
            Source::Lan => Ok(self.lan(LanMode::On, hints)),
            Source::LanOnLoopback => Ok(self.lan(LanMode::Loopback, hints)),
            Source::Dht(bootstrap) => self.dht(bootstrap, hints),
            Source::Trackers => Ok(self.trackers(hints)),
        }
    }
}

impl Real {
    fn lan(&self, mode: LanMode, hints: mpsc::Sender<Hint>) -> Arc<dyn Running> {
        let (listen, seed) = (self.listen.clone(), crate::random::bytes());
        Arc::new(Lan::start(LanConfig { mode, port: lan::PORT, listen, seed, hints }))
    }

    fn trackers(&self, hints: mpsc::Sender<Hint>) -> Arc<dyn Running> {
        let (seed, reachable) = (crate::random::bytes(), self.reachable.clone());
        Arc::new(Trackers::start(TrackersConfig { seed, hints, reachable }))
    }

    fn dht(&self, bootstrap: &[String], hints: mpsc::Sender<Hint>) -> Result<Arc<dyn Running>, String> {
        let config = DhtConfig {
            bootstrap: bootstrap.to_vec(),
            state_file: self.home.join(nodes_file(bootstrap)),
            seed: crate::random::bytes(),
            hints,
            reachable: self.reachable.clone(),
        };
        Dht::start(config).map(|dht| Arc::new(dht) as Arc<dyn Running>).map_err(|error| error.to_string())
    }
}

/// Where the nodes of a DHT are kept; each entrance leads to a DHT of its own.
fn nodes_file(bootstrap: &[String]) -> String {
    if bootstrap.is_empty() {
        return "dht".to_owned();
    }
    let hash = blake3::hash(bootstrap.join("\n").as_bytes()).to_hex();
    format!("dht-{}", &hash[..16])
}

impl Running for Trackers {
    fn set_folder(&self, folder: FolderId, wish: &Wish) {
        Trackers::set_folder(self, folder, wish.discovery, &wish.trackers);
    }

    fn remove_folder(&self, folder: FolderId) {
        Trackers::remove_folder(self, folder);
    }

    fn status(&self, folder: FolderId) -> Vec<WayStatus> {
        Trackers::status(self, folder)
    }

    fn look_again(&self) {
        Trackers::look_again(self);
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(Trackers::close(self))
    }
}

impl Running for Dht {
    fn set_folder(&self, folder: FolderId, wish: &Wish) {
        self.add_folder(folder, wish.discovery);
    }

    fn remove_folder(&self, folder: FolderId) {
        Dht::remove_folder(self, folder);
    }

    fn status(&self, folder: FolderId) -> Vec<WayStatus> {
        vec![Dht::status(self, folder)]
    }

    fn look_again(&self) {
        Dht::look_again(self);
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(())) // nodes forget by themselves
    }
}

impl Running for Lan {
    fn set_folder(&self, folder: FolderId, wish: &Wish) {
        self.add_folder(folder, wish.discovery);
    }

    fn remove_folder(&self, folder: FolderId) {
        Lan::remove_folder(self, folder);
    }

    fn status(&self, folder: FolderId) -> Vec<WayStatus> {
        vec![Lan::status(self, folder)]
    }

    fn look_again(&self) {} // it looks at the interfaces every few seconds anyway

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}
