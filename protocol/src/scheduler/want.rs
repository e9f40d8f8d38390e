//! One content that is to be fetched: which of its chunks wait, and who cannot help.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{PeerKey, Priority};
use crate::entry::ContentId;

/// The order of contents: urgent, then started, then small ones first.
pub(super) type Rank = (Priority, bool, u64, ContentId);

pub(super) struct Want {
    pub(super) priority: Priority,
    pub(super) size: u64,
    /// Chunks that nobody is asked for, by number, with their lengths.
    pub(super) waiting: BTreeMap<u64, u32>,
    /// Chunks that a peer is asked for.
    pub(super) asked: BTreeMap<u64, u32>,
    /// Something was asked for before.
    pub(super) started: bool,
    /// Peers that do not have this content.
    pub(super) gone: BTreeSet<PeerKey>,
    /// Peers that failed to deliver a chunk: others are asked first.
    pub(super) failed: BTreeMap<u64, BTreeSet<PeerKey>>,
    /// Since when nobody can serve it.
    pub(super) unservable_since: Option<Duration>,
}

impl Want {
    pub(super) fn rank(&self, content: ContentId) -> Rank {
        (self.priority, !self.started, self.size, content)
    }

    /// Whether `peer` should be asked for this chunk: it has not failed, or all that could serve
    /// it have.
    pub(super) fn suits(&self, number: u64, peer: PeerKey, servers: &BTreeSet<PeerKey>) -> bool {
        self.failed.get(&number).is_none_or(|failed| {
            !failed.contains(&peer) || servers.iter().all(|other| failed.contains(other))
        })
    }

    /// A chunk that was asked for is to be asked for again. Does nothing if it has arrived.
    pub(super) fn put_back(&mut self, number: u64, failed: Option<PeerKey>) {
        if let Some(len) = self.asked.remove(&number) {
            self.waiting.insert(number, len);
            if let Some(peer) = failed {
                self.failed.entry(number).or_default().insert(peer);
            }
        }
    }
}
