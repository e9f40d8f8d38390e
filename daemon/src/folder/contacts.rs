//! Where a folder's peers may be: what a person pinned, where they were reached before, and whether
//! they tell each other.

use std::net::SocketAddr;
use std::sync::Arc;

use keystore::{DeviceId, FolderId};

use super::Folder;
use super::kept::{Kept, seconds_since_1970};
use crate::config::Settings;
use crate::net::Net;
use crate::store::{DatabaseError, KnownAddress};

/// Lets the network dial all that is known of a folder's peers. What cannot be read is not known:
/// there are other ways to find them.
pub(super) fn dial_known(net: &Net, folder: FolderId, kept: &Kept) {
    net.set_pinned(folder, kept.0.pinned().unwrap_or_default());
    for known in kept.0.known_addresses(seconds_since_1970()).unwrap_or_default() {
        let KnownAddress { device, address } = known;
        net.remember(folder, DeviceId(device), address);
    }
}

impl Folder {
    /// Pins an address, or forgets it, also that somebody was reached there.
    ///
    /// # Errors
    /// When the database fails; then what is not changed yet stays.
    pub fn pin(&self, address: &str, pinned: bool) -> Result<(), DatabaseError> {
        self.kept.0.pin(address, pinned)?;
        if let Ok(address) = address.parse::<SocketAddr>() {
            self.net.set_disowned(self.secret.folder_id(), address, !pinned);
            if !pinned {
                self.kept.0.forget_address(address)?;
            }
        }
        self.net.set_pinned(self.secret.folder_id(), self.kept.0.pinned().unwrap_or_default());
        Ok(())
    }

    /// A peer was reached: its address is kept over restarts. Needs a tokio runtime.
    pub fn reached(&self, device: DeviceId, address: SocketAddr) {
        let kept = self.kept.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = kept.0.note_reached(&device.0, address, seconds_since_1970()) {
                tracing::debug!(%error, "a peer's address is not kept");
            }
        });
    }

    /// A kept address is dialled in vain: in the end it is forgotten. Needs a tokio runtime.
    pub fn unreached(&self, address: SocketAddr) {
        let (kept, net, folder) = (self.kept.clone(), Arc::clone(&self.net), self.secret.folder_id());
        tokio::task::spawn_blocking(move || match kept.0.note_unreached(address) {
            Ok(true) => net.forget(folder, address),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "a peer's address is kept though nobody is there"),
        });
    }

    pub(super) fn exchange_peers(&self, settings: &Settings) {
        let folder = self.secret.folder_id();
        self.net.set_peer_exchange(folder, settings.discovery.peer_exchange);
        self.net.set_unnamed(folder, settings.discovery.unnamed);
    }
}
