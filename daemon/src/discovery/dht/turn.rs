//! One turn of one folder: a lookup, and the announcement to the nodes that it has found.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keystore::{DiscoveryId, FolderId};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::answers::{Answers, namer};
use super::node::{Node, NodeError};
use crate::discovery::{Hint, Way};

/// What a turn needs.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) folder: FolderId,
    pub(super) discovery: DiscoveryId,
    /// The port to announce.
    pub(super) port: u16,
    /// Any number, to choose among many addresses.
    pub(super) chance: usize,
    pub(super) hints: mpsc::Sender<Hint>,
}

/// What came of a turn.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Addresses that were named, without our own.
    pub(super) found: usize,
    /// Whether the announcement was taken.
    pub(super) announced: Result<(), NodeError>,
}

impl Turn {
    /// Takes the turn.
    pub(super) async fn take(self, node: &Node) -> Outcome {
        let found = Arc::new(AtomicUsize::new(0));
        let looked_up = self.look_up(node, &found).await;
        let announced = match looked_up {
            Ok(()) => node.announce(self.discovery, self.port).await,
            Err(error) => Err(error),
        };
        Outcome { found: found.load(Ordering::Relaxed), announced }
    }

    async fn look_up(&self, node: &Node, found: &Arc<AtomicUsize>) -> Result<(), NodeError> {
        let namer = namer(&node.contacts().await?).into();
        let own = node.public_ip().await?.map(|ip| SocketAddrV4::new(ip, self.port));
        let answers = Arc::new(Mutex::new(Answers::new(own, self.chance)));
        let (turn, heard, count) = (self.clone(), Arc::clone(&answers), Arc::clone(found));
        node.lookup(self.discovery, move |answer| {
            let public = heard.lock().handle(&answer);
            turn.tell(&public, namer, &count);
        })
        .await?;
        let contacts = node.contacts().await?;
        let answers = std::mem::replace(&mut *answers.lock(), Answers::new(None, 0));
        self.tell(&answers.finish(&contacts), super::answers::namer(&contacts).into(), found);
        Ok(())
    }

    fn tell(&self, addresses: &[SocketAddrV4], namer: IpAddr, found: &AtomicUsize) {
        found.fetch_add(addresses.len(), Ordering::Relaxed);
        for address in addresses {
            let address = SocketAddr::V4(*address);
            // A full queue drops the hint: the next lookup brings it again.
            let _ = self.hints.try_send(Hint { folder: self.folder, address, namer, way: Way::Dht });
        }
    }
}
