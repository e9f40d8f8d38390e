//! What those who help a dial along want to know of the book, and tell it.

use std::net::SocketAddr;
use std::time::Duration;

use keystore::{DeviceId, FolderId};

use super::{DialBook, Target};

impl DialBook {
    /// The folders for which a target is wanted.
    pub(in crate::net) fn folders(&self, target: &Target) -> Vec<FolderId> {
        let Some(entry) = self.entries.get(target) else { return Vec::new() };
        let mut folders: Vec<FolderId> = entry.wanted.keys().map(|(folder, _)| *folder).collect();
        folders.dedup();
        folders
    }

    /// The device that an address was last known to lead to.
    pub(in crate::net) fn owner(&self, address: SocketAddr) -> Option<DeviceId> {
        self.owners.get(&address).map(|(id, _)| *id)
    }

    /// Whether the device at an address has a direct link.
    pub(in crate::net) fn is_connected_at(&self, address: SocketAddr) -> bool {
        self.owner(address).is_some_and(|id| self.connected.contains(&id))
    }

    /// What was in vain may succeed now: there a way has opened. The limits for hints stay.
    pub(in crate::net) fn handle_opened(&mut self, target: &Target, now: Duration) {
        if let Some(entry) = self.entries.get_mut(target).filter(|entry| !entry.in_flight) {
            (entry.failures, entry.due) = (0, now);
        }
    }
}
