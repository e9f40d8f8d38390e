//! What goes into an engine and what comes out.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

use keystore::{DeviceId, FolderVerifier};

use super::rules::Rules;
use crate::commit::Observation;
use crate::entry::ContentId;
use crate::message::ChunkWanted;
use crate::message::Message;
use crate::path::RelPath;
use crate::record::{Record, Seen, Shown};
use crate::scheduler::Limits;
use crate::store::NodeId;

/// Names a request until its answer.
pub type Ticket = u64;

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// The watcher, or a person, says that something may have changed.
    Noticed(Noticed),
    /// A part of a running scan: what does not show its record.
    Scanned {
        /// Whose disk paths do not show their records, or show them with another stat.
        observations: Vec<Observation>,
        /// Paths that cannot be synced from here, and why.
        unsynced: Vec<(RelPath, String)>,
    },
    /// The scan has ended; `Err` discards what is not committed yet.
    ScanEnded(Result<(), Hold>),
    /// A peer has proved the folder's key.
    Joined(DeviceId),
    /// A peer has gone.
    Left(DeviceId),
    /// How long a peer's answer takes to begin, as its link has measured it.
    RoundTrip(DeviceId, Duration),
    /// A peer told a reader the verifying key, and it was checked against the secret.
    Opened(FolderVerifier),
    /// News from a peer.
    Message(DeviceId, Message),
    /// Answer to [`Effect::FetchNodes`], in its order; `None`: the peer has it no more. `Err`: the
    /// request failed as a whole.
    Nodes(Ticket, Result<Vec<Option<Bytes>>, ()>),
    /// Answer to [`Effect::Prepare`]: what is staged and what is missing.
    Prepared(Vec<Prepared>),
    /// Part of the answer to [`Effect::FetchChunks`]: these were verified and written.
    Arrived(Ticket, Vec<ChunkWanted>),
    /// Part of the answer: the peer has these no more.
    Gone(Ticket, Vec<ChunkWanted>),
    /// Part of the answer: these did not verify.
    Bad(Ticket, Vec<ChunkWanted>),
    /// The peer serves so many others that it has no place for this request now. It has ended.
    Busy(Ticket),
    /// The answer has ended; whatever was asked for and has not come is open again.
    FetchEnded(Ticket),
    /// Answer to [`Effect::Apply`], in its order.
    Applied(Vec<(RelPath, Outcome)>),
    /// Answer to [`Effect::Revert`]: at these paths is nothing any more.
    Reverted(Vec<RelPath>),
    /// Files that had been replaced or removed were written to since, by programs that still had
    /// them open: edits of their paths. Their bytes are staged as the contents that they hold.
    Edited(Vec<(RelPath, Seen)>),
    /// What is not wanted here: told before the first scan, and when it changes. The same snapshot
    /// again is no news.
    Rules(Arc<dyn Rules>),
    /// The folder has to stop, or may go on.
    Root(Option<Hold>),
    /// What a person asks for.
    Command(Command),
    /// Time has passed.
    Tick,
}

/// Paths that may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noticed {
    /// These paths, and whatever is below them.
    Paths(Vec<RelPath>),
    /// The same, and the last that was heard of each is that something was removed from it.
    Removed(Vec<RelPath>),
    /// Anything.
    Everything,
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Stop committing and applying.
    Pause,
    /// Go on.
    Resume,
    /// Go on with what a hold is about.
    Approve,
    /// Give up local changes at and below a path, or everywhere.
    Revert(Option<RelPath>),
}

/// Something is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Tell a peer.
    Send(DeviceId, Message),
    /// Close the link to a peer that does what no honest one does, and remember it for a while.
    Drop(DeviceId, &'static str),
    /// Look at the disk; answered by [`Event::Scanned`], several times, and [`Event::ScanEnded`].
    Scan(Scan),
    /// Ask a peer for nodes.
    FetchNodes(Ticket, DeviceId, Vec<NodeId>),
    /// Open or make staged files, from what is on this disk already.
    Prepare(Vec<Prepare>),
    /// Ask a peer for chunks, verify them and write them to their staged files.
    FetchChunks(Ticket, DeviceId, Vec<ChunkWanted>),
    /// Nobody waits for the rest of this answer: all of it has come from elsewhere, or it takes too
    /// long. What still comes is taken.
    CancelFetch(Ticket),
    /// Nobody waits for this staged content any more.
    Forget(Vec<ContentId>),
    /// Change the disk.
    Apply(Vec<Op>),
    /// Put what is at these paths into the archive; answered by [`Event::Reverted`].
    Revert(Vec<RelPath>),
    /// Close all links and join again: what peers told us is forgotten.
    Rejoin,
}

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// Everything.
    Full,
    /// These paths and what is below them, sorted, none below another.
    Paths(Vec<RelPath>),
}

/// A content that is wanted in staging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepare {
    /// Which.
    pub content: ContentId,
    /// Its length.
    pub size: u64,
    /// The mode that a path wants of it: what is made with it needs no change of it later.
    pub mode: u16,
    /// Paths that hold, or held, the same content; tried first.
    pub same: Vec<RelPath>,
    /// An earlier version whose chunks may serve: its path and content.
    pub earlier: Option<(RelPath, ContentId)>,
}

/// How far a content is staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Which.
    pub content: ContentId,
    /// What the network has to bring; none: it is complete. `Err`: it cannot be staged here.
    pub missing: Result<Vec<ChunkWanted>, String>,
}

/// One change of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Where.
    pub path: RelPath,
    /// What the path must show beforehand.
    pub before: Option<Record>,
    /// What it shall show.
    pub after: Option<Shown>,
    /// Where the bytes come from.
    pub source: Source,
}

impl Op {
    /// The content that the operation takes out of staging.
    pub(super) fn staged(&self) -> Option<ContentId> {
        self.source.staged()
    }
}

/// Where the bytes of an [`Op`] come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// None are needed: a directory, a link, a removal, metadata alone.
    None,
    /// The staged file of the content.
    Staged(ContentId),
    /// A path that gives the content up in the same step; it has to show this record.
    Moved(RelPath, Box<Record>),
}

impl Source {
    pub(super) fn staged(&self) -> Option<ContentId> {
        match self {
            Self::Staged(content) => Some(*content),
            _ => None,
        }
    }

    /// The path that gives its content up.
    pub(super) fn left(&self) -> Option<&RelPath> {
        match self {
            Self::Moved(from, _) => Some(from),
            _ => None,
        }
    }
}

/// What became of an [`Op`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done; the new record.
    Done(Option<Record>),
    /// The path does not show `before`: it is the user's. Nothing was done.
    Touched,
    /// Done, but what came out was a user's edit: it is staged as the content it holds.
    Displaced {
        /// The new record of the path.
        record: Option<Record>,
        /// What the user had there.
        edit: Seen,
    },
    /// Something else must happen first.
    Waits,
    /// A directory that shall go holds nothing but what is ignored here.
    HoldsIgnored,
    /// This disk does not tell the name from one that is there; a sentence that names both.
    Collision(String),
    /// This disk cannot.
    Problem(String),
}

/// Why a folder neither commits nor applies; the codes of `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// `MASS_DELETE`, `ROOT_MARKER_MISSING` …
    pub code: &'static str,
    /// What happened, and what to do, for people.
    pub message: String,
}

/// How the engine is set up; changed at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Percentage of the files whose deletion at once is a hold; 0 is off.
    pub hold_deletions: u8,
    /// Whether a reader gives up its local changes by itself.
    pub revert_local_changes: bool,
    /// How long a joined folder waits for a first head before it commits what it found.
    pub first_head_wait: Duration,
    /// Most differing entries that are worked off at once: some seconds of work, some MiB of memory.
    pub window: usize,
    /// Most chunks of several contents that are wanted at once; fixed once the engine is made.
    pub wanted_chunks: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hold_deletions: 30,
            revert_local_changes: false,
            first_head_wait: Duration::from_secs(30),
            window: 2_048,
            wanted_chunks: Limits::default().wanted_chunks,
        }
    }
}
