//! Hundreds of downloaders in virtual time: schedulers alone, on lines with a capacity.
//!
//! What a device sends leaves through its uplink, one chunk after the other, the askers taking turns;
//! what it gets comes through its downlink. Who fetches tells as many others as an engine would what it
//! has. Nothing here is random: a run can be repeated.

mod line;
mod node;

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::ContentId;
use protocol::message::{ChunkWanted, ContentPrefix, Message};
use protocol::scheduler::{Assignment, Availability, PeerKey, RequestId, neighbours};

pub use node::{Manner, Member};
use node::{Node, device};

/// One way, between any two.
const LATENCY: Duration = Duration::from_millis(20);

/// A file, as far as its fetching goes.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// How many chunks it has.
    pub chunks: u64,
    /// How long each is.
    pub len: u32,
}

/// What happens.
enum Happening {
    Joins(usize),
    Leaves(usize),
    Asked { of: usize, by: usize, request: RequestId, refs: Vec<ChunkWanted> },
    Cancelled { of: usize, by: usize, request: RequestId },
    HasSent { of: usize },
    Arrives { at: usize, from: usize, request: RequestId, chunk: ChunkWanted, answer: Answer },
    Told { to: usize, from: usize, message: Message },
    IsComplete { to: usize, from: usize },
    Wakes(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Good,
    Bad,
    Gone,
}

/// Devices that share files.
pub struct Swarm {
    files: Vec<File>,
    nodes: Vec<Node>,
    now: Duration,
    happenings: BTreeMap<(Duration, u64), Happening>,
    count: u64,
    /// How often somebody has come, gone or finished.
    changes: u64,
}

impl Swarm {
    /// Nobody is there yet.
    pub fn new(files: impl Into<Vec<File>>) -> Self {
        Self {
            files: files.into(),
            nodes: Vec::new(),
            now: Duration::ZERO,
            happenings: BTreeMap::new(),
            count: 0,
            changes: 1,
        }
    }

    /// Somebody will be there; its number.
    pub fn add(&mut self, member: Member) -> usize {
        let number = self.nodes.len();
        self.at(member.joins_at, Happening::Joins(number));
        if let Some(leaves_at) = member.leaves_at {
            self.at(leaves_at, Happening::Leaves(number));
        }
        self.nodes.push(Node::new(number, member, &self.files));
        number
    }

    /// Lets time pass until every honest device that stays has everything. How long that took.
    pub fn run(&mut self, limit: Duration) -> Duration {
        while self.nodes.iter().any(Node::is_waited_for) {
            let Some(((at, _), what)) = self.happenings.pop_first() else {
                panic!("nothing will ever happen; lacking: {:?}", self.lacking());
            };
            self.now = at;
            assert!(at <= limit, "it takes longer than {limit:?}; lacking: {:?}", self.lacking());
            self.happen(what);
        }
        self.now
    }

    /// Bytes of the files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.chunks * u64::from(file.len)).sum()
    }

    /// Bytes of chunks that a device has sent.
    pub fn sent(&self, number: usize) -> u64 {
        self.nodes[number].line.sent
    }

    /// Bytes of chunks that a device has received.
    pub fn received(&self, number: usize) -> u64 {
        self.nodes[number].received
    }

    /// When a device had everything.
    pub fn finished_at(&self, number: usize) -> Option<Duration> {
        self.nodes[number].finished_at
    }

    /// What a device's scheduler has looked at.
    pub fn work(&self, number: usize) -> u64 {
        self.nodes[number].scheduler.work()
    }

    fn lacking(&self) -> Vec<(usize, usize)> {
        let waited = self.nodes.iter().enumerate().filter(|(_, node)| node.is_waited_for());
        waited.map(|(number, node)| (number, node.lacking)).take(10).collect()
    }

    fn at(&mut self, at: Duration, what: Happening) {
        self.count += 1;
        self.happenings.insert((at, self.count), what);
    }

    fn soon(&mut self, what: Happening) {
        self.at(self.now + LATENCY, what);
    }

    fn present(&self, but: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|n| *n != but && self.nodes[*n].is_here).collect()
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Joins(number) => self.join(number),
            Happening::Leaves(number) => self.leave(number),
            Happening::Asked { of, by, request, refs } => {
                let node = &mut self.nodes[of];
                if node.is_here && node.member.manner != Manner::Silent {
                    node.line.ask(by, refs.into_iter().map(|chunk| (request, chunk)));
                    self.send(of);
                }
            }
            Happening::Cancelled { of, by, request } => self.nodes[of].line.forget(by, request),
            Happening::HasSent { of } => {
                self.nodes[of].line.is_busy = false;
                self.send(of);
            }
            Happening::Arrives { at, from, request, chunk, answer } => {
                self.arrive(at, from, request, chunk, answer);
            }
            Happening::Told { to, from, message } => {
                if self.nodes[from].is_here {
                    self.nodes[to].hear(self.now, from, &message);
                    self.pump(to);
                }
            }
            Happening::IsComplete { to, from } => {
                if self.nodes[from].is_here {
                    self.nodes[to].hear_complete(from);
                    self.pump(to);
                }
            }
            Happening::Wakes(number) => {
                if self.nodes[number].wake == Some(self.now) {
                    self.nodes[number].wake = None;
                    self.pump(number);
                }
            }
        }
    }

    fn join(&mut self, number: usize) {
        self.nodes[number].is_here = true;
        self.changes += 1;
        for other in self.present(number) {
            for (one, two) in [(number, other), (other, number)] {
                let is_seed = self.nodes[two].is_complete();
                let availability = if is_seed { Availability::Everything } else { Availability::Perhaps };
                self.nodes[one].scheduler.add_peer(PeerKey(two as u64), availability, 2 * LATENCY);
            }
            // Who was there before tells the newcomer what it has.
            for message in self.nodes[other].have() {
                self.soon(Happening::Told { to: number, from: other, message });
            }
        }
        match self.nodes[number].member.manner {
            Manner::Honest | Manner::Corrupts => self.nodes[number].begin(&self.files),
            Manner::Boasts | Manner::Silent => {
                let whole = (0..self.files.len()).map(|n| ContentPrefix::of(&content(n))).collect();
                self.tell(number, &[Message::Have { whole, parts: Vec::new() }]);
            }
        }
        self.pump(number);
    }

    fn leave(&mut self, number: usize) {
        self.nodes[number].is_here = false;
        self.changes += 1;
        self.nodes[number].line.clear();
        for other in self.present(number) {
            self.nodes[other].lose(number);
            self.nodes[other].line.forget_asker(number);
            self.pump(other);
        }
    }

    /// The uplink takes the next chunk.
    fn send(&mut self, of: usize) {
        while !self.nodes[of].line.is_busy {
            let Some((by, request, chunk)) = self.nodes[of].line.next() else { return };
            let answer = match self.nodes[of].member.manner {
                Manner::Corrupts => Answer::Bad,
                _ if self.nodes[of].has(&chunk) => Answer::Good,
                _ => Answer::Gone,
            };
            let bytes = if answer == Answer::Gone { 0 } else { u64::from(chunk.len) };
            let leaves = self.now + self.nodes[of].line.send(bytes);
            self.at(leaves, Happening::HasSent { of });
            let arrives = self.nodes[by].downlink(leaves + LATENCY, bytes);
            self.at(arrives, Happening::Arrives { at: by, from: of, request, chunk, answer });
        }
    }

    fn arrive(&mut self, at: usize, from: usize, request: RequestId, chunk: ChunkWanted, answer: Answer) {
        let (now, node) = (self.now, &mut self.nodes[at]);
        if !node.is_here {
            return;
        }
        match answer {
            Answer::Good => node.take(now, request, chunk),
            Answer::Gone => node.scheduler.handle_gone(now, request, chunk),
            Answer::Bad => {
                if node.scheduler.handle_bad(now, request, chunk) {
                    node.lose(from);
                }
            }
        }
        if node.has_just_finished() {
            node.finished_at = Some(now);
            self.changes += 1;
            for other in self.present(at) {
                self.soon(Happening::IsComplete { to: other, from: at });
            }
        }
        self.pump(at);
    }

    /// Carries out what a device's scheduler says, and tells its news.
    fn pump(&mut self, number: usize) {
        let now = self.now;
        for request in self.nodes[number].scheduler.handle_timeout(now) {
            self.nodes[number].asked.remove(&request);
        }
        while let Some(request) = self.nodes[number].scheduler.poll_cancel() {
            let of = self.nodes[number].asked.remove(&request);
            of.into_iter().for_each(|of| self.soon(Happening::Cancelled { of, by: number, request }));
        }
        while let Some(Assignment { peer, request, refs }) = self.nodes[number].scheduler.poll_request(now) {
            let of = peer.0 as usize;
            self.nodes[number].asked.insert(request, of);
            self.soon(Happening::Asked { of, by: number, request, refs });
        }
        let messages = self.nodes[number].news.poll(now);
        self.tell(number, &messages);
        if let Some(at) = self.nodes[number].next_wake(now) {
            self.nodes[number].wake = Some(at);
            self.at(at, Happening::Wakes(number));
        }
    }

    fn tell(&mut self, from: usize, messages: &[Message]) {
        if messages.is_empty() {
            return;
        }
        for to in self.listeners(from) {
            for message in messages {
                self.soon(Happening::Told { to, from, message: message.clone() });
            }
        }
    }

    /// Whom a device tells what it has; drawn again only when somebody comes, goes or is done.
    fn listeners(&mut self, from: usize) -> Vec<usize> {
        if self.nodes[from].listeners.0 != self.changes {
            let leeches = self.present(from).into_iter().filter(|other| !self.nodes[*other].is_complete());
            let leeches: BTreeMap<_, _> = leeches.map(|other| (device(other), other)).collect();
            let told = neighbours(&device(from), leeches.keys().copied());
            let told = told.iter().map(|device| leeches[device]).collect();
            self.nodes[from].listeners = (self.changes, told);
        }
        self.nodes[from].listeners.1.clone()
    }
}

/// The id of a file.
fn content(file: usize) -> ContentId {
    let mut id = device(file + 1_000_000).0;
    id[31] = 1;
    ContentId(id)
}
