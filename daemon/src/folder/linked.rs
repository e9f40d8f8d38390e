//! Where the link by which a folder was joined says that its peers are.
//!
//! Nobody has asked for these addresses to be dialled for ever, so they are not pinned. They are kept
//! until something better is known: when a peer was reached, where it was is remembered by itself, and
//! what the link said of addresses goes. Host names stay, since they may lead elsewhere tomorrow.

use std::net::SocketAddr;

use super::Folder;
use crate::net::FoundBy;
use crate::store::DatabaseError;

/// Names and addresses of a folder; more come from peers.
const MAX_LINKED: usize = keystore::link::MAX_ENTRIES;

impl Folder {
    /// Looks for peers where a link says, also after a restart. Later links come first.
    ///
    /// # Errors
    /// When the database fails; then they are dialled until the end of this run.
    pub fn linked(&self, addresses: &[String]) -> Result<(), DatabaseError> {
        if addresses.is_empty() {
            return Ok(());
        }
        let mut all = addresses.to_vec();
        all.extend(self.kept.0.linked()?.into_iter().filter(|old| !addresses.contains(old)));
        all.truncate(MAX_LINKED);
        self.dial(&all);
        self.kept.0.set_linked(&all)
    }

    /// Dials what links have said.
    pub(super) fn dial_linked(&self) {
        self.dial(&self.kept.0.linked().unwrap_or_default());
    }

    fn dial(&self, addresses: &[String]) {
        for address in addresses {
            self.net.dial_named(self.secret.folder_id(), address.clone(), FoundBy::Link);
        }
    }

    /// A peer was reached, and where is remembered: what links said of addresses is forgotten.
    pub fn outgrow_link(&self) {
        if !self.settings().discovery.unnamed {
            return; // where it was is not dialled
        }
        let linked = self.kept.0.linked().unwrap_or_default();
        let names: Vec<String> =
            linked.iter().filter(|address| address.parse::<SocketAddr>().is_err()).cloned().collect();
        if names.len() == linked.len() {
            return;
        }
        if let Err(error) = self.kept.0.set_linked(&names) {
            tracing::debug!(%error, "what a link said is kept");
        }
        self.net.forget_found(self.secret.folder_id(), FoundBy::Link);
        self.dial(&names);
    }
}
