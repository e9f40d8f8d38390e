//! What the dial book says of a folder's targets, for `status` and `doctor`.

use std::time::Duration;

use keystore::FolderId;

use super::{DialBook, Entry, FoundBy, Target};

/// An address or name at which peers of a folder are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAddress {
    /// `host:port`.
    pub address: String,
    /// How it became known; the most trusted way, if there are several.
    pub found_by: FoundBy,
    /// Dials in a row that have not led to a peer.
    pub failures: u32,
    /// The device there is connected, over this address or another.
    pub is_connected: bool,
}

impl DialBook {
    /// What is known for a folder and still believed, the most trusted first.
    pub(in crate::net) fn known(&self, folder: FolderId, now: Duration) -> Vec<KnownAddress> {
        let known = self.entries.iter().filter_map(|(target, entry)| {
            Some(KnownAddress {
                found_by: entry.found_for(folder, now)?,
                failures: entry.failures,
                is_connected: self.is_connected(target, entry, now),
                address: match target {
                    Target::Address(address) => address.to_string(),
                    Target::Name(name) => name.clone(),
                },
            })
        });
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|known| known.found_by);
        known
    }

    fn is_connected(&self, target: &Target, entry: &Entry, now: Duration) -> bool {
        let owner = super::owner(&self.owners, target, entry, now);
        entry.is_linked || owner.is_some_and(|id| self.connected.contains(&id))
    }
}
