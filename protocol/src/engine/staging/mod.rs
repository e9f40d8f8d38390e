//! Gathering the bytes of a step: chunk lists, what this disk has already, chunks from peers.
//!
//! Each content that the step wants goes one way: its chunk list (if it is longer than one chunk),
//! then [`Effect::Prepare`] (reuse what is here), then the scheduler, then it is ready. A content
//! that nobody can serve for [`PATIENCE`] is given up, so that one file holds up nothing else.

mod gathering;
mod holding;

use std::collections::{BTreeMap, BTreeSet, Bound};
use std::time::Duration;

use bytes::Bytes;
use keystore::DeviceId;

use super::fetch::NodeFetch;
use super::{Prepare, Ticket};
use crate::chunk::MIN_CHUNK_BYTES;
use crate::chunk_list::{ChunkListKind, ExpectedPart};
use crate::entry::ContentId;
use crate::message::ChunkWanted;
use crate::path::RelPath;
use crate::scheduler::{Availability, Limits, PeerKey, RequestId, Scheduler};
use crate::store::NodeId;
use crate::tree::Pull;

/// How long a content may have nobody who serves it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The contents of the running step.
pub(super) struct Staging {
    contents: BTreeMap<ContentId, Box<Content>>,
    /// Those that have [too many chunks](Progress::Waiting) for now, and perhaps some that no longer do.
    waiting: BTreeSet<ContentId>,
    /// Those whose chunk lists are on their way, and perhaps some of which they no longer are.
    listing: BTreeSet<ContentId>,
    /// How many are wanted for windows to come alone.
    ahead: usize,
    /// How many windows have wanted something.
    windows: u64,
    /// The content that was found open last.
    open: Option<ContentId>,
    lists: NodeFetch,
    /// Nodes that came unasked with the last head, chunk lists perhaps. Not verified yet.
    pushed: BTreeMap<NodeId, Bytes>,
    scheduler: Scheduler,
    requests: BTreeMap<Ticket, (RequestId, DeviceId)>,
    peers: BTreeMap<DeviceId, PeerKey>,
    devices: BTreeMap<PeerKey, DeviceId>,
    last_key: u64,
    /// Peers of which the scheduler knows that they have everything.
    complete: BTreeSet<PeerKey>,
    /// Users' edits that came out when their path was replaced: here and nowhere else.
    displaced: BTreeSet<ContentId>,
    /// Given up for lack of a peer with some of it here: the rest may come later.
    partial: BTreeSet<ContentId>,
    /// Since when chunk lists have had nobody who serves them.
    stuck_since: Option<Duration>,
}

struct Content {
    wish: Prepare,
    /// One that is to show it.
    path: RelPath,
    /// No window has wanted it yet, only one to come.
    is_ahead: bool,
    /// The last window for which it was [retained](Staging::retain).
    window: u64,
    /// It was found at another path since it was looked for.
    is_found: bool,
    progress: Progress,
}

impl Content {
    /// Whether the window waits for it.
    fn is_open(&self) -> bool {
        !self.is_ahead && !matches!(self.progress, Progress::Ready | Progress::Failed(_))
    }
}

enum Progress {
    List(Pull<ChunkListKind>),
    Preparing,
    /// So many chunks are missing that they must wait until others have come.
    Waiting(usize),
    Fetching(BTreeMap<u64, u32>),
    Ready,
    Failed(Failure),
}

/// Why a content cannot be had now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody who is connected has it.
    Nobody,
    /// This disk cannot take it.
    Disk(String),
}

/// A first guess at a round trip, until the connection has measured it.
const FIRST_RTT: Duration = Duration::from_millis(50);

impl Staging {
    /// Nothing is wanted yet, and never more than so many chunks of several contents at once.
    pub(super) fn new(wanted_chunks: usize) -> Self {
        Self {
            contents: BTreeMap::new(),
            waiting: BTreeSet::new(),
            listing: BTreeSet::new(),
            ahead: 0,
            windows: 0,
            open: None,
            lists: NodeFetch::default(),
            pushed: BTreeMap::new(),
            scheduler: Scheduler::new(Limits { wanted_chunks, ..Limits::default() }),
            requests: BTreeMap::new(),
            peers: BTreeMap::new(),
            devices: BTreeMap::new(),
            last_key: 0,
            complete: BTreeSet::new(),
            displaced: BTreeSet::new(),
            partial: BTreeSet::new(),
            stuck_since: None,
        }
    }

    /// These came with a head; in place of what came with the one before.
    pub(super) fn keep_pushed(&mut self, nodes: BTreeMap<NodeId, Bytes>) {
        self.pushed = nodes;
    }

    /// Wants a content, unless it is wanted already.
    pub(super) fn want(&mut self, path: &RelPath, wish: Prepare) {
        let long = wish.size > MIN_CHUNK_BYTES as u64;
        if long && !self.has(&wish.content) {
            self.listing.insert(wish.content);
        }
        let progress = if long {
            Progress::List(Pull::new(NodeId(wish.content.0), ExpectedPart::Root { size: wish.size }))
        } else {
            Progress::Preparing
        };
        self.partial.remove(&wish.content);
        let id = wish.content;
        let content = || {
            Box::new(Content {
                wish,
                path: path.clone(),
                is_ahead: false,
                window: 0,
                is_found: false,
                progress,
            })
        };
        self.contents.entry(id).or_insert_with(content);
    }

    /// Wants a content for a window to come.
    pub(super) fn want_ahead(&mut self, path: &RelPath, wish: Prepare) {
        let id = wish.content;
        if !self.has(&id) {
            self.want(path, wish);
            self.contents.get_mut(&id).into_iter().for_each(|content| content.is_ahead = true);
            self.ahead += 1;
        }
    }

    /// How many contents are wanted for windows to come.
    pub(super) fn count_ahead(&self) -> usize {
        self.ahead
    }

    /// Whether a content is wanted already.
    pub(super) fn has(&self, content: &ContentId) -> bool {
        self.contents.contains_key(content)
    }

    /// What this disk could not take is wanted anew, if it is wanted still.
    pub(super) fn forget_failures(&mut self) {
        self.contents.retain(|_, content| !matches!(content.progress, Progress::Failed(Failure::Disk(_))));
        self.ahead = self.contents.values().filter(|content| content.is_ahead).count();
    }

    /// Whether nothing is wanted.
    pub(super) fn is_empty(&self) -> bool {
        self.contents.is_empty() && self.partial.is_empty()
    }

    /// What are chunk lists of wanted contents, or would be if these were long.
    pub(super) fn roots(&self) -> impl Iterator<Item = NodeId> {
        self.contents.keys().chain(&self.partial).map(|content| NodeId(content.0))
    }

    /// These have been taken out of staging; whoever wants them again prepares them again.
    pub(super) fn take(&mut self, contents: &[ContentId]) {
        for content in contents {
            if self.contents.remove(content).is_some_and(|known| known.is_ahead) {
                self.ahead -= 1;
            }
            self.scheduler.forget(*content);
        }
    }

    /// A user's edit is staged as this content, and nowhere else.
    pub(super) fn keep_displaced(&mut self, content: ContentId) {
        self.displaced.insert(content);
    }

    /// A content is shown somewhere.
    pub(super) fn is_shown(&mut self, content: &ContentId) {
        self.displaced.remove(content);
    }

    /// Nobody waits for what could be had only in part.
    pub(super) fn take_partial(&mut self) -> Vec<ContentId> {
        std::mem::take(&mut self.partial).into_iter().collect()
    }

    /// A window wants these. Forgets what neither it nor a later one does; answers what that was.
    pub(super) fn retain(&mut self, wanted: impl Iterator<Item = ContentId>) -> Vec<ContentId> {
        self.windows += 1;
        let mut found = 0;
        for id in wanted {
            if let Some(content) = self.contents.get_mut(&id) {
                self.ahead -= usize::from(std::mem::take(&mut content.is_ahead));
                found += usize::from(std::mem::replace(&mut content.window, self.windows) != self.windows);
            }
        }
        let mut others = Vec::new();
        if found + self.ahead < self.contents.len() {
            let is_other = |content: &Content| !content.is_ahead && content.window != self.windows;
            let unwanted = self.contents.iter().filter(|(_, content)| is_other(content));
            others.extend(unwanted.map(|(id, _)| *id));
        }
        self.take(&others);
        others
    }

    /// Whether every content that the window wants is ready or has failed. Asked after every event: the search goes on at
    /// the content that was open last.
    pub(super) fn is_settled(&mut self) -> bool {
        let from = self.open.map_or(Bound::Unbounded, Bound::Included);
        let mut later = self.contents.range((from, Bound::Unbounded));
        let open = later.find(|(_, content)| content.is_open());
        let open = open.or_else(|| self.contents.iter().find(|(_, content)| content.is_open()));
        self.open = open.map(|(id, _)| *id);
        self.open.is_none()
    }

    /// Why a content is not there; `None` if it is.
    pub(super) fn failure(&self, content: &ContentId) -> Option<Failure> {
        match self.contents.get(content).map(|c| &c.progress) {
            Some(Progress::Ready) => None,
            Some(Progress::Failed(failure)) => Some(failure.clone()),
            _ => Some(Failure::Nobody),
        }
    }

    /// Bytes that have not arrived yet.
    pub(super) fn need_bytes(&self) -> u64 {
        self.contents
            .values()
            .map(|content| match &content.progress {
                Progress::Fetching(missing) => missing.values().map(|len| u64::from(*len)).sum(),
                Progress::Ready => 0,
                _ => content.wish.size,
            })
            .sum()
    }

    /// Forgets everything; answers what had been wanted.
    pub(super) fn clear(&mut self) -> Vec<ContentId> {
        for content in self.contents.keys() {
            self.scheduler.forget(*content);
        }
        self.lists = NodeFetch::default();
        self.listing.clear();
        self.waiting.clear();
        self.ahead = 0;
        std::mem::take(&mut self.contents).into_keys().collect()
    }

    pub(super) fn add_peer(&mut self, peer: DeviceId) {
        self.last_key += 1;
        let key = PeerKey(self.last_key);
        self.peers.insert(peer, key);
        self.devices.insert(key, peer);
        self.scheduler.add_peer(key, Availability::Perhaps, FIRST_RTT);
    }

    pub(super) fn remove_peer(&mut self, peer: &DeviceId) {
        self.lists.forget_peer(peer);
        if let Some(key) = self.peers.remove(peer) {
            self.scheduler.remove_peer(key);
            self.devices.remove(&key);
            self.complete.remove(&key);
        }
        self.requests.retain(|_, (_, asked)| asked != peer);
    }

    /// Whether a peer has all content of our state.
    pub(super) fn set_complete(&mut self, peer: DeviceId, is_complete: bool) {
        let Some(key) = self.peers.get(&peer) else { return };
        if is_complete != self.complete.contains(key) {
            let availability = if is_complete { Availability::Everything } else { Availability::Perhaps };
            self.scheduler.set_availability(*key, availability);
            if is_complete {
                self.complete.insert(*key)
            } else {
                self.complete.remove(key)
            };
        }
    }

    pub(super) fn forget_source(&mut self, peer: &DeviceId, content: &ContentId) {
        if let Some(key) = self.peers.get(peer) {
            self.scheduler.content_gone(*key, *content);
        }
    }

    /// When something is to be asked for again, or (if `gives_up`) given up.
    pub(super) fn wake_at(&self, now: Duration, gives_up: bool) -> Option<Duration> {
        let lists = self.stuck_since.map(|since| since + PATIENCE);
        let lost = [lists, self.scheduler.unservable_at()].into_iter().flatten().min();
        [lost.filter(|_| gives_up), self.scheduler.poll_timeout(now)].into_iter().flatten().min()
    }

    /// Who a peer of the scheduler is.
    fn device(&self, key: PeerKey) -> Option<DeviceId> {
        self.devices.get(&key).copied()
    }

    fn request(&self, ticket: Ticket) -> Option<RequestId> {
        self.requests.get(&ticket).map(|(request, _)| *request)
    }

    /// A chunk is here. `None` if it was not missing, else whether it was the last.
    fn done(&mut self, chunk: &ChunkWanted) -> Option<bool> {
        let content = self.contents.get_mut(&chunk.content)?;
        let Progress::Fetching(missing) = &mut content.progress else { return None };
        missing.remove(&chunk.number)?;
        let is_last = missing.is_empty();
        if is_last {
            content.progress = Progress::Ready;
        }
        Some(is_last)
    }

    /// What has come of a content is kept.
    fn keep_partial(&mut self, content: &ContentId) {
        if let Some(Content { wish, progress: Progress::Fetching(missing), .. }) =
            self.contents.get(content).map(Box::as_ref)
            && missing.values().map(|len| u64::from(*len)).sum::<u64>() < wish.size
        {
            self.partial.insert(*content);
        }
    }

    fn fail_lists(&mut self) -> bool {
        for id in std::mem::take(&mut self.listing) {
            if let Some(content) = self.contents.get_mut(&id)
                && matches!(content.progress, Progress::List(_))
            {
                content.progress = Progress::Failed(Failure::Nobody);
            }
        }
        self.lists = NodeFetch::default();
        self.stuck_since = None;
        true
    }
}
