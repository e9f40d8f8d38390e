//! One folder in a session, from being offered to being left.

use keystore::{FolderSecret, Opening};

use super::proof::{Binding, FolderProof};

/// How far a folder has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The peer has proved nothing.
    Offered,
    /// The peer has proved that it knows the folder. Nothing before tells it that we do; from here
    /// on it has a channel, and may ask.
    Proven {
        /// The number that we gave it.
        channel: u32,
    },
    /// It has told who it is.
    Joined {
        /// The number that we gave it.
        channel: u32,
        /// The number that it gave us.
        peer_channel: u32,
    },
}

/// One folder in a session. While a join is under way it cannot just go: the peer may already count
/// on it. Then it is `leaving`, and goes when it is known what to say.
pub(super) struct Member {
    pub(super) secret: FolderSecret,
    pub(super) proof: FolderProof,
    /// Known from the start to writers, told by peers to readers.
    pub(super) opening: Option<Opening>,
    /// Whether the peer has told us the opening, or we it.
    pub(super) opening_shared: bool,
    pub(super) stage: Stage,
    /// Named in the join that has not been answered yet.
    pub(super) asked: bool,
    /// Withdrawn: goes as soon as the join under way has ended.
    pub(super) leaving: bool,
    /// Offered again while it was leaving.
    pub(super) again: Option<(FolderSecret, Option<Opening>)>,
}

impl Member {
    pub(super) fn new(binding: &Binding, secret: &FolderSecret, opening: Option<Opening>) -> Self {
        Self {
            proof: FolderProof::new(binding, secret.swarm_key()),
            opening: secret.opening().or(opening),
            secret: secret.clone(),
            opening_shared: false,
            stage: Stage::Offered,
            asked: false,
            leaving: false,
            again: None,
        }
    }

    /// The number that we gave to the peer.
    pub(super) fn channel(&self) -> Option<u32> {
        match self.stage {
            Stage::Offered => None,
            Stage::Proven { channel } | Stage::Joined { channel, .. } => Some(channel),
        }
    }

    /// The number that the peer gave to us.
    pub(super) fn peer_channel(&self) -> Option<u32> {
        match self.stage {
            Stage::Joined { peer_channel, .. } => Some(peer_channel),
            Stage::Offered | Stage::Proven { .. } => None,
        }
    }
}
