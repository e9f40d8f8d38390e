//! What the folders follow: settings, hints, changes of the network, and what peers tell.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use keystore::FolderId;
use parking_lot::RwLock;
use protocol::engine::Event;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::folders::Folders;
use super::links::{Interface, interfaces};
use crate::discovery::{Hint, Way};
use crate::folder::Folder;
use crate::net::{FoundBy, NetEvent};

/// How often the interfaces are listed: one system call.
const LOOK_AT_NETWORK: Duration = Duration::from_secs(3);
/// So many looks later, what could not be started is tried again: half a minute.
const LOOKS_UNTIL_RETRY: u32 = 10;
/// The wall clock may run ahead by so much between two looks; by more, the machine has slept.
const SLEPT: Duration = Duration::from_secs(15);

impl Folders {
    /// Obeys changes of the settings for as long as the daemon runs.
    pub(super) fn follow_settings(self: &Arc<Self>) {
        let folders = Arc::clone(self);
        let mut settings = self.config.subscribe();
        tokio::spawn(async move {
            loop {
                let config = settings.borrow_and_update().clone();
                for folder in folders.all() {
                    let settings = config.effective(&folder.secret().folder_id().to_string());
                    folders.look_for_peers(&folder, settings.discovery.clone());
                    folder.set_settings(settings);
                }
                if settings.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Brings hints to the network, until the daemon ends.
pub(super) async fn forward(mut hints: mpsc::Receiver<Hint>, folders: Weak<Folders>) {
    while let Some(Hint { folder, address, namer, way }) = hints.recv().await {
        let Some(folders) = folders.upgrade() else { return };
        if !folders.ways.has_folder(folder) {
            continue;
        }
        match way {
            Way::Lan => folders.net.dial(folder, address, FoundBy::Lan),
            Way::Tracker => folders.net.hint(folder, address, FoundBy::Tracker, namer),
            Way::Dht => folders.net.hint(folder, address, FoundBy::Dht, namer),
        }
    }
}

/// Lets everyone look again when the network has changed, until the daemon ends.
pub(super) async fn watch_network(folders: Weak<Folders>) {
    let mut watch = NetworkWatch::new(interfaces(), Instant::now().into_std(), SystemTime::now());
    for looks in 1.. {
        tokio::time::sleep(LOOK_AT_NETWORK).await;
        let Some(folders) = folders.upgrade() else { return };
        if watch.has_changed(interfaces(), Instant::now().into_std(), SystemTime::now()) {
            tracing::info!("the network has changed: looking for peers again");
            folders.ways.look_again();
        } else if looks % LOOKS_UNTIL_RETRY == 0 {
            folders.ways.retry();
        }
    }
}

/// Notices new addresses of this machine, and that it has slept.
struct NetworkWatch {
    interfaces: Vec<Interface>,
    at: std::time::Instant,
    wall: SystemTime,
}

impl NetworkWatch {
    fn new(interfaces: Vec<Interface>, at: std::time::Instant, wall: SystemTime) -> Self {
        Self { interfaces, at, wall }
    }

    /// What is gone changes nothing for the better; what is new may.
    fn has_changed(&mut self, interfaces: Vec<Interface>, at: std::time::Instant, wall: SystemTime) -> bool {
        let is_new = interfaces.iter().any(|interface| !self.interfaces.contains(interface));
        // The monotonic clock stands still while the machine sleeps.
        let awake = at.saturating_duration_since(self.at);
        let has_slept = wall.duration_since(self.wall).is_ok_and(|passed| passed > awake + SLEPT);
        *self = Self { interfaces, at, wall };
        is_new || has_slept
    }
}

/// Brings what the network says to the folders.
pub(super) async fn deliver(
    mut events: mpsc::Receiver<NetEvent>,
    folders: Arc<RwLock<BTreeMap<FolderId, Arc<Folder>>>>,
) {
    let of = |id: &FolderId| folders.read().get(id).cloned();
    while let Some(event) = events.recv().await {
        match event {
            NetEvent::Joined { folder, peer } => of(&folder).iter().for_each(|f| f.joined(peer.clone())),
            NetEvent::Left { folder, peer } => of(&folder).iter().for_each(|f| f.event(Event::Left(peer))),
            NetEvent::Message { folder, peer, message } => {
                if let Some(folder) = of(&folder) {
                    folder.event(Event::Message(peer, message));
                }
            }
            NetEvent::Opening { folder, opening } => {
                of(&folder).iter().for_each(|f| f.opened(&opening));
            }
            NetEvent::DuplicateDevice { address } => {
                tracing::error!(%address, "another daemon runs with this device's key: its home was copied");
                for folder in folders.read().values() {
                    folder.duplicate_device(address);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_addresses_and_sleep_are_noticed_and_lost_addresses_are_not() {
        let interface = |last| Interface { name: "e0".into(), address: [10, 0, 0, last].into() };
        let (at, wall) = (std::time::Instant::now(), SystemTime::now());
        let after = |seconds| (at + Duration::from_secs(seconds), wall + Duration::from_secs(seconds));
        let mut watch = NetworkWatch::new(vec![interface(1)], at, wall);
        let mut look = |interfaces: &[u8], (at, wall)| {
            watch.has_changed(interfaces.iter().map(|last| interface(*last)).collect(), at, wall)
        };
        assert!(!look(&[1], after(3)), "all as before");
        assert!(look(&[1, 2], after(6)), "a new address");
        assert!(!look(&[2], after(9)), "one less");
        assert!(look(&[1, 2], after(12)), "and back");
        assert!(look(&[1, 2], (after(15).0, after(4_000).1)), "an hour's sleep");
        assert!(!look(&[1, 2], (after(18).0, after(100).1)), "a clock that was put back");
    }
}
