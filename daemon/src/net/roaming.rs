//! When the network under us has changed: other addresses, or the machine has slept.
//!
//! Links may be dead without our knowing, and what could not be dialled may be reachable now. So
//! every link is asked for a sign of life, and everything else is dialled at once.

use std::sync::Arc;

use super::Net;
use super::hub::Hub;
use super::link::{Link, Reason};

/// How often a link may fail to answer: the new network may still be coming up.
const TRIES: u32 = 3;

impl Net {
    /// The network has changed: addresses of this machine have come or gone, or it was asleep. Peers
    /// are dialled at once, and links that no longer carry anything are given up within seconds. Needs
    /// a tokio runtime.
    pub fn network_changed(&self) {
        self.hub.handle_network_changed();
    }
}

impl Hub {
    fn handle_network_changed(&self) {
        self.book.lock().handle_network_changed(self.now());
        self.book_changed.notify_one();
        self.reach.handle_network_changed();
        for link in self.links() {
            tokio::spawn(end_if_dead(link));
        }
    }
}

async fn end_if_dead(link: Arc<Link>) {
    for _ in 0..TRIES {
        if link.is_alive().await {
            return;
        }
    }
    link.close(Reason::Dead);
}
