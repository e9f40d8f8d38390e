//! What the folders follow: settings, beacons, and what the network tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use keystore::FolderId;
use parking_lot::RwLock;
use protocol::engine::Event;
use tokio::sync::mpsc;

use super::folders::Folders;
use crate::config::Lan as LanSetting;
use crate::discovery::Hint;
use crate::discovery::lan::{self, Lan, LanConfig, LanMode};
use crate::folder::Folder;
use crate::net::{FoundBy, NetEvent};

/// Hints that nobody has taken yet; beyond, they are dropped, and come again.
const HINTS: usize = 256;

impl Folders {
    /// Obeys changes of the settings for as long as the daemon runs.
    pub(super) fn follow_settings(self: &Arc<Self>) {
        let folders = Arc::clone(self);
        let mut settings = self.config.subscribe();
        tokio::spawn(async move {
            let mut hints = None;
            loop {
                let config = settings.borrow_and_update().clone();
                hints = folders.set_lan(config.daemon().discovery.lan, hints);
                for (id, folder) in folders.folders.read().iter() {
                    folder.set_settings(config.effective(&id.to_string()));
                }
                tokio::select! {
                    changed = settings.changed() => if changed.is_err() { return },
                    () = forward(&mut hints, &folders) => {}
                }
            }
        });
    }

    /// Starts, stops or changes the beacons.
    fn set_lan(&self, wish: LanSetting, hints: Option<Hints>) -> Option<Hints> {
        if let Some(running) = hints.filter(|running| running.wish == wish) {
            return Some(running);
        }
        *self.lan.lock() = None;
        let mode = match wish {
            LanSetting::Off => return None,
            LanSetting::On => LanMode::On,
            LanSetting::Loopback => LanMode::Loopback,
        };
        let (hints, receiver) = mpsc::channel(HINTS);
        let (listen, seed) = (self.net.local_addresses(), crate::random::bytes());
        let lan = Lan::start(LanConfig { mode, port: lan::PORT, listen, seed, hints });
        for (id, folder) in self.folders.read().iter() {
            lan.add_folder(*id, folder.secret().discovery_id());
        }
        *self.lan.lock() = Some(lan);
        Some(Hints { wish, receiver })
    }
}

/// Beacons' hints, and what was wished when they were started.
struct Hints {
    wish: LanSetting,
    receiver: mpsc::Receiver<Hint>,
}

/// Dials what beacons name, for ever; without beacons it waits for ever.
async fn forward(hints: &mut Option<Hints>, folders: &Folders) {
    let Some(hints) = hints else { return std::future::pending().await };
    while let Some(hint) = hints.receiver.recv().await {
        folders.net.dial(hint.folder, hint.address, FoundBy::Lan);
    }
    std::future::pending::<()>().await;
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
            NetEvent::Reached { folder, device, address } => {
                of(&folder).iter().for_each(|f| f.reached(device, address));
            }
            NetEvent::Unreached { folder, address } => of(&folder).iter().for_each(|f| f.unreached(address)),
            NetEvent::DuplicateDevice { address } => {
                tracing::error!(%address, "another daemon runs with this device's key: its home was copied");
                for folder in folders.read().values() {
                    folder.duplicate_device(address);
                }
            }
        }
    }
}
