//! What the folders follow: settings, hints, and what the network tells.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use keystore::FolderId;
use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::folders::Folders;
use crate::discovery::{Hint, Way};
use crate::folder::Folder;
use crate::net::{Events, FoundBy, NetEvent};

impl Folders {
    /// Obeys changes of the settings for as long as the daemon runs.
    pub(super) fn follow_settings(self: &Arc<Self>) {
        let folders = Arc::clone(self);
        let mut settings = self.config.subscribe();
        tokio::spawn(async move {
            loop {
                let config = settings.borrow_and_update().clone();
                folders.map_port(&config.daemon().discovery);
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

/// Brings what the network says to the folders. Waits for none of them.
pub(super) async fn deliver(mut events: Events, folders: Arc<RwLock<BTreeMap<FolderId, Arc<Folder>>>>) {
    while let Some(underway) = events.next().await {
        if let NetEvent::DuplicateDevice { address } = underway.event {
            tracing::error!(%address, "another daemon runs with this device's key: its home was copied");
            for folder in folders.read().values() {
                folder.duplicate_device(address);
            }
        } else if let Some(folder) = underway.event.folder() {
            let folder = folders.read().get(&folder).cloned();
            if let Some(folder) = folder {
                folder.arrived(underway);
            }
        }
    }
}
