//! Cutting what a scan finds into parts.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use protocol::commit::Observation;
use protocol::{NodeId, RelPath, Timestamp};

use super::{Part, ScanContext, ScanError};

/// A part ends after so many hashed bytes: receivers see progress.
const PART_BYTES: u64 = 256 * 1024 * 1024;
/// A part ends after so many hashed files.
const PART_FILES: usize = 16_384;
/// No part has more paths: it is held in memory and committed in one transaction.
const PART_PATHS: usize = 65_536;
/// Once a scan is in parts, so many deletions make one.
const PART_REMOVALS: usize = 8_192;
/// A part ends so long after the first thing in it was found.
const PART_TIME: Duration = Duration::from_secs(3);
/// Nodes are saved at the latest when so many wait: about 1 MiB.
const WAITING_NODES: usize = 256;

/// The part that is being filled.
pub(super) struct Parts<'a> {
    cx: &'a ScanContext<'a>,
    sink: &'a mut dyn FnMut(Part) -> ControlFlow<()>,
    part: Part,
    nodes: Vec<(NodeId, Bytes)>,
    hashed_files: usize,
    hashed_bytes: u64,
    removals: usize,
    /// When the first thing in the part was found.
    since: Option<Timestamp>,
    told_any: bool,
}

impl<'a> Parts<'a> {
    pub(super) fn new(cx: &'a ScanContext<'a>, sink: &'a mut dyn FnMut(Part) -> ControlFlow<()>) -> Self {
        Self {
            cx,
            sink,
            part: Part::default(),
            nodes: Vec::new(),
            hashed_files: 0,
            hashed_bytes: 0,
            removals: 0,
            since: None,
            told_any: false,
        }
    }

    pub(super) fn observe(&mut self, observation: Observation) {
        self.part.observations.push(observation);
    }

    pub(super) fn unsynced(&mut self, path: RelPath, why: impl Into<String>) {
        self.part.unsynced.push((path, why.into()));
    }

    pub(super) fn unstable(&mut self, path: RelPath, wait: Duration) {
        self.part.unstable.push((path, wait));
    }

    pub(super) fn racy(&mut self, path: RelPath) {
        self.part.racy.push(path);
    }

    pub(super) fn hashed(&mut self, bytes: u64) {
        self.hashed_files += 1;
        self.hashed_bytes += bytes;
    }

    /// Nodes of a file that is told of later.
    pub(super) fn keep(&mut self, nodes: Vec<(NodeId, Bytes)>) -> Result<(), ScanError> {
        self.nodes.extend(nodes);
        if self.nodes.len() >= WAITING_NODES { self.save_nodes() } else { Ok(()) }
    }

    fn save_nodes(&mut self) -> Result<(), ScanError> {
        if !self.nodes.is_empty() {
            self.cx.nodes.save(&std::mem::take(&mut self.nodes))?;
        }
        Ok(())
    }

    /// Hands on the part if it has become large or old.
    pub(super) fn flush_if_due(&mut self) -> Result<(), ScanError> {
        if self.paths() == 0 {
            return Ok(());
        }
        let now = (self.cx.files.now)();
        let full = self.hashed_bytes >= PART_BYTES
            || self.hashed_files >= PART_FILES
            || self.paths() >= PART_PATHS
            || elapsed(*self.since.get_or_insert(now), now) >= PART_TIME;
        if full { self.flush() } else { Ok(()) }
    }

    /// A deletion. All others have been told; as long as nothing was handed on, they stay with the
    /// rest, however many there are.
    pub(super) fn remove(&mut self, observation: Observation) -> Result<(), ScanError> {
        self.observe(observation);
        self.removals += 1;
        let full = self.told_any && self.removals >= PART_REMOVALS || self.paths() >= PART_PATHS;
        if full { self.flush() } else { Ok(()) }
    }

    fn paths(&self) -> usize {
        let Part { observations, unsynced, unstable, racy } = &self.part;
        observations.len() + unsynced.len() + unstable.len() + racy.len()
    }

    /// Hands on the part, if there is anything in it.
    pub(super) fn flush(&mut self) -> Result<(), ScanError> {
        self.since = None;
        if self.paths() == 0 {
            return Ok(());
        }
        self.save_nodes()?;
        (self.hashed_files, self.hashed_bytes, self.removals) = (0, 0, 0);
        self.told_any = true;
        match (self.sink)(std::mem::take(&mut self.part)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ScanError::Stopped),
        }
    }
}

/// The time between two readings of the clock; nothing if it was set back.
pub(super) fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    since_epoch(to).saturating_sub(since_epoch(from))
}

fn since_epoch(time: Timestamp) -> Duration {
    Duration::new(u64::try_from(time.seconds).unwrap_or(0), time.nanos)
}
