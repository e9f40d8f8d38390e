//! The words between the scheduler and its caller.

use crate::message::ChunkWanted;

/// A connected peer, by a number of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u64);

/// A request; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Smaller is sooner.
pub type Priority = u64;

/// What a peer can serve, beside what it [says](super::Scheduler::handle_have) to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// All that is wanted.
    Everything,
    /// Nobody knows: it is asked for what no complete peer can serve.
    Perhaps,
    /// Nothing.
    Nothing,
}

/// Bounds of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one request.
    pub request_bytes: u64,
    /// Most chunks of one request.
    pub request_chunks: usize,
    /// Most chunks that are wanted at a time, of several contents together; bounds the memory.
    pub wanted_chunks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes: 4 << 20, request_chunks: 1024, wanted_chunks: 1 << 18 }
    }
}

/// Ask this peer for these chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Whom.
    pub peer: PeerKey,
    /// By what name the outcome is told.
    pub request: RequestId,
    /// What, at least one.
    pub refs: Vec<ChunkWanted>,
}
