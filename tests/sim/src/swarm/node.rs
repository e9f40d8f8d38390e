//! One device of a swarm.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use keystore::DeviceId;
use protocol::message::{ChunkWanted, ContentPrefix, HavePart, Message, Run};
use protocol::scheduler::{Availability, Limits, News, PeerKey, RequestId, Scheduler, Share, Telling};

use super::line::{Line, time};
use super::{Answer, File, content};

/// How a device behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Honest,
    /// Says to have everything, and has nothing.
    Boasts,
    /// Says to have everything, and never answers.
    Silent,
    /// Sends what does not verify.
    Corrupts,
}

/// Who will be there.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Bytes a second that it can send.
    pub up: u64,
    /// Bytes a second that it can receive.
    pub down: u64,
    /// It has everything.
    pub is_seed: bool,
    /// When it comes.
    pub joins_at: Duration,
    /// When it goes, if it does.
    pub leaves_at: Option<Duration>,
    /// How it behaves.
    pub manner: Manner,
}

impl Member {
    /// An honest downloader that is there from the beginning.
    pub fn leech(up: u64, down: u64) -> Self {
        Self { up, down, is_seed: false, joins_at: Duration::ZERO, leaves_at: None, manner: Manner::Honest }
    }

    /// Somebody who has everything from the beginning.
    pub fn seed(up: u64) -> Self {
        Self { is_seed: true, ..Self::leech(up, up) }
    }
}

pub(super) struct Node {
    number: usize,
    pub(super) member: Member,
    pub(super) is_here: bool,
    pub(super) scheduler: Scheduler,
    pub(super) news: News,
    pub(super) line: Line,
    down_free_at: Duration,
    pub(super) received: u64,
    pub(super) finished_at: Option<Duration>,
    pub(super) wake: Option<Duration>,
    /// Whom it has asked, and how many chunks are to come.
    pub(super) asked: BTreeMap<RequestId, (usize, usize)>,
    /// Which chunks of each file are here.
    here: BTreeMap<protocol::ContentId, Vec<bool>>,
    pub(super) lacking: usize,
    /// The others that are not complete, in the order of their devices.
    sharers: Vec<PeerKey>,
    share_changed: bool,
    taking_part: BTreeSet<usize>,
    /// Whom it tells what it has, unless that is to be drawn anew.
    pub(super) listeners: Option<Rc<[usize]>>,
}

impl Node {
    pub(super) fn new(number: usize, member: Member, files: &[File]) -> Self {
        let chunks = |file: &File| vec![member.is_seed; file.chunks as usize];
        let here: BTreeMap<_, _> =
            files.iter().enumerate().map(|(n, file)| (content(n), chunks(file))).collect();
        let lacking = here.values().flatten().filter(|is_here| !**is_here).count();
        Self {
            number,
            member,
            is_here: false,
            scheduler: Scheduler::new(Limits::default()),
            news: News::default(),
            line: Line::new(member.up),
            down_free_at: Duration::ZERO,
            received: 0,
            finished_at: None,
            wake: None,
            asked: BTreeMap::new(),
            here,
            lacking,
            sharers: Vec::new(),
            share_changed: false,
            taking_part: BTreeSet::new(),
            listeners: None,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.lacking == 0
    }

    pub(super) fn has_just_finished(&self) -> bool {
        self.is_complete() && self.finished_at.is_none() && !self.member.is_seed
    }

    pub(super) fn is_waited_for(&self) -> bool {
        self.member.manner == Manner::Honest && self.member.leaves_at.is_none() && !self.is_complete()
    }

    /// Wants everything.
    pub(super) fn begin(&mut self, files: &[File]) {
        if self.is_complete() {
            return;
        }
        self.news.begin();
        for (n, file) in files.iter().enumerate() {
            let size = file.chunks * u64::from(file.len);
            assert!(self.scheduler.want(content(n), size, (0..file.chunks).map(|i| (i, file.len)), size));
        }
    }

    /// How it answers.
    pub(super) fn answer(&self, chunk: &ChunkWanted) -> Answer {
        match self.member.manner {
            Manner::Corrupts => Answer::Bad,
            _ if self.here[&chunk.content][chunk.number as usize] => Answer::Good,
            _ => Answer::Gone,
        }
    }

    /// Somebody is connected.
    pub(super) fn meet(&mut self, other: usize, is_complete: bool, rtt: Duration) {
        let availability = if is_complete { Availability::Everything } else { Availability::Perhaps };
        self.scheduler.add_peer(PeerKey(other as u64), availability, rtt);
        if !is_complete {
            self.sharers.insert(self.place(other), PeerKey(other as u64));
            self.share_changed = true;
        }
    }

    pub(super) fn hear(&mut self, now: Duration, from: usize, messages: &[Message]) {
        for message in messages {
            if let Message::Have { whole, parts } = message {
                self.scheduler.handle_have(now, PeerKey(from as u64), whole, parts);
            }
        }
        self.share_changed |= self.taking_part.insert(from);
    }

    pub(super) fn hear_complete(&mut self, from: usize) {
        self.scheduler.set_availability(PeerKey(from as u64), Availability::Everything);
        self.is_no_downloader(from);
    }

    pub(super) fn lose(&mut self, other: usize) {
        self.scheduler.remove_peer(PeerKey(other as u64));
        self.is_no_downloader(other);
    }

    fn is_no_downloader(&mut self, other: usize) {
        self.taking_part.remove(&other);
        let before = self.sharers.len();
        self.sharers.retain(|sharer| *sharer != PeerKey(other as u64));
        self.share_changed |= self.sharers.len() < before;
    }

    /// How many of those that share come before a device.
    fn place(&self, number: usize) -> usize {
        let me = device(number);
        self.sharers.partition_point(|sharer| device(sharer.0 as usize) < me)
    }

    /// As an engine does it.
    pub(super) fn judge_share(&mut self) {
        if !std::mem::take(&mut self.share_changed) {
            return;
        }
        let (index, count) = (self.place(self.number) as u32, 1 + self.sharers.len() as u32);
        let active = self.taking_part.len() as u32;
        self.scheduler.set_share(Share { index, count, active }, self.sharers.clone());
    }

    /// A chunk of a request is answered, whatever it is. Whether it was still waited for.
    pub(super) fn settle(&mut self, request: RequestId) -> bool {
        let Some((_, left)) = self.asked.get_mut(&request) else { return false };
        *left -= 1;
        if *left == 0 {
            self.asked.remove(&request);
        }
        true
    }

    pub(super) fn take(&mut self, now: Duration, request: RequestId, chunk: ChunkWanted) {
        self.scheduler.handle_arrived(now, request, chunk);
        let chunks = self.here.get_mut(&chunk.content).expect("a file of the swarm");
        let is_new = !std::mem::replace(&mut chunks[chunk.number as usize], true);
        if is_new {
            self.lacking -= 1;
            if chunks.len() == 1 {
                self.news.add_whole(&chunk.content);
            } else {
                self.news.add_run(&chunk.content, Run { first: chunk.number as u32, count: 1 });
            }
        }
    }

    /// What a newcomer is told.
    pub(super) fn have(&self) -> Vec<Message> {
        if self.is_complete() || self.member.manner != Manner::Honest {
            return Vec::new();
        }
        let part = |(content, chunks): (&protocol::ContentId, &Vec<bool>)| {
            let here = chunks.iter().enumerate().filter(|(_, is_here)| **is_here);
            let runs: Vec<_> = here.map(|(n, _)| Run { first: n as u32, count: 1 }).collect();
            let runs = runs.chunk_by(|a, b| a.end() == b.first);
            let runs = runs.map(|run| Run { first: run[0].first, count: run.len() as u32 }).collect();
            HavePart { content: ContentPrefix::of(content), runs }
        };
        let parts = self.here.iter().map(part).filter(|part| !part.runs.is_empty());
        let mut messages = News::messages(Vec::new(), parts);
        messages.push(Telling::begun());
        messages
    }

    /// When something is here of which the first byte could be here at `first` and the last at `last`.
    pub(super) fn downlink(&mut self, first: Duration, last: Duration, bytes: u64) -> Duration {
        self.down_free_at = self.down_free_at.max(first) + time(bytes, self.member.down);
        self.down_free_at.max(last)
    }

    /// When it is to be woken, if that is sooner than it will be.
    pub(super) fn next_wake(&self, now: Duration) -> Option<Duration> {
        let next =
            [self.scheduler.poll_timeout(now), self.news.poll_timeout()].into_iter().flatten().min()?;
        let next = next.max(now + Duration::from_millis(1));
        self.wake.is_none_or(|at| next < at).then_some(next)
    }
}

/// The id of the device of this number: ids are in no order.
pub(super) fn device(number: usize) -> DeviceId {
    let mut state = number as u64 + 1;
    let mut id = [0; 32];
    for word in id.chunks_mut(8) {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let mixed = (state ^ state >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word.copy_from_slice(&(mixed ^ mixed >> 32).to_be_bytes());
    }
    DeviceId(id)
}
