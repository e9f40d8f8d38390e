//! Hundreds of downloaders in virtual time: schedulers alone, on lines with a capacity.
//!
//! What a device sends leaves through its uplink, one chunk after the other, the askers taking turns for
//! a few places; what it gets comes through its downlink. Who fetches tells as many others as an engine
//! would what it has. Nothing here is random: a run can be repeated.

mod line;
mod node;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use protocol::ContentId;
use protocol::message::{ChunkWanted, ContentPrefix, Message};
use protocol::scheduler::{Assignment, RequestId, Telling, neighbours};

use line::{Sending, WAIT};
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
    Asked {
        of: usize,
        by: usize,
        request: RequestId,
        refs: Vec<ChunkWanted>,
    },
    Cancelled {
        of: usize,
        by: usize,
        request: RequestId,
    },
    /// It is time to say that there is no place, if there was none.
    NoPlace {
        of: usize,
        by: usize,
        request: RequestId,
    },
    Refused {
        at: usize,
        request: RequestId,
    },
    HasSent {
        of: usize,
        number: u64,
    },
    Arrives {
        at: usize,
        from: usize,
        request: RequestId,
        chunk: ChunkWanted,
        answer: Answer,
    },
    Told {
        to: usize,
        from: usize,
        messages: Rc<[Message]>,
    },
    IsComplete {
        to: usize,
        from: usize,
    },
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
    /// Honest devices that stay and lack something.
    waited_for: usize,
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
            waited_for: 0,
        }
    }

    /// Somebody will be there; its number.
    pub fn add(&mut self, member: Member) -> usize {
        let number = self.nodes.len();
        self.at(member.joins_at, Happening::Joins(number));
        if let Some(leaves_at) = member.leaves_at {
            self.at(leaves_at, Happening::Leaves(number));
        }
        let node = Node::new(number, member, &self.files);
        self.waited_for += usize::from(node.is_waited_for());
        self.nodes.push(node);
        number
    }

    /// Lets time pass until every honest device that stays has everything. How long that took.
    pub fn run(&mut self, limit: Duration) -> Duration {
        while self.waited_for > 0 {
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
                self.be_asked(of, by, request, refs);
            }
            Happening::Cancelled { of, by, request } => {
                self.nodes[by].received += self.nodes[of].line.forget(self.now, by, request);
                self.send(of);
            }
            Happening::NoPlace { of, by, request } => {
                self.nodes[of].line.admit(self.now);
                if self.nodes[of].line.waits(by, request) {
                    self.nodes[of].line.forget(self.now, by, request);
                    self.soon(Happening::Refused { at: by, request });
                }
                self.send(of);
            }
            Happening::Refused { at, request } => {
                if self.nodes[at].asked.remove(&request).is_some() {
                    self.nodes[at].scheduler.handle_busy(self.now, request);
                    self.pump(at);
                }
            }
            Happening::HasSent { of, number } => self.has_sent(of, number),
            Happening::Arrives { at, from, request, chunk, answer } => {
                self.arrive(at, from, request, chunk, answer);
            }
            Happening::Told { to, from, messages } => {
                if self.nodes[from].is_here && !self.nodes[to].is_complete() {
                    self.nodes[to].hear(self.now, from, &messages);
                    self.pump(to);
                }
            }
            Happening::IsComplete { to, from } => {
                if self.nodes[from].is_here && !self.nodes[to].is_complete() {
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
        for other in self.present(number) {
            for (one, two) in [(number, other), (other, number)] {
                let is_complete = self.nodes[two].is_complete();
                self.nodes[one].meet(two, is_complete, 2 * LATENCY);
            }
            self.nodes[other].listeners = None;
            // Who was there before tells the newcomer what it has.
            let messages = self.nodes[other].have();
            if !messages.is_empty() {
                self.soon(Happening::Told { to: number, from: other, messages: messages.into() });
            }
        }
        match self.nodes[number].member.manner {
            Manner::Honest | Manner::Corrupts => self.nodes[number].begin(&self.files),
            Manner::Boasts | Manner::Silent => {
                let whole = (0..self.files.len()).map(|n| ContentPrefix::of(&content(n))).collect();
                self.tell(
                    number,
                    Telling { messages: vec![Message::Have { whole, parts: Vec::new() }], has_begun: false },
                );
            }
        }
        self.pump(number);
    }

    fn leave(&mut self, number: usize) {
        self.nodes[number].is_here = false;
        self.nodes[number].line.clear();
        self.is_no_listener(number);
        for other in self.present(number) {
            self.nodes[other].lose(number);
            self.nodes[other].line.forget_asker(number);
            self.send(other);
            self.pump(other);
        }
    }

    fn be_asked(&mut self, of: usize, by: usize, request: RequestId, refs: Vec<ChunkWanted>) {
        let node = &mut self.nodes[of];
        if !node.is_here || node.member.manner == Manner::Silent {
            return;
        }
        if !node.line.ask(self.now, by, request, refs) {
            self.soon(Happening::Refused { at: by, request });
        } else if node.line.waits(by, request) {
            self.at(self.now + WAIT, Happening::NoPlace { of, by, request });
        }
        self.send(of);
    }

    /// The uplink takes the next chunk, if it is free.
    fn send(&mut self, of: usize) {
        let node = &mut self.nodes[of];
        let Some(next) = node.line.next(self.now) else { return };
        let bytes = if node.answer(&next.2) == Answer::Gone { 0 } else { u64::from(next.2.len) };
        let (leaves, number) = node.line.send(self.now, next, bytes);
        self.at(leaves, Happening::HasSent { of, number });
    }

    fn has_sent(&mut self, of: usize, number: u64) {
        let Some(sent) = self.nodes[of].line.has_sent(number) else { return };
        let Sending { by, request, chunk, begun, bytes, .. } = sent;
        let answer = self.nodes[of].answer(&chunk);
        let arrives = self.nodes[by].downlink(begun + LATENCY, self.now + LATENCY, bytes);
        self.at(arrives, Happening::Arrives { at: by, from: of, request, chunk, answer });
        self.send(of);
    }

    fn arrive(&mut self, at: usize, from: usize, request: RequestId, chunk: ChunkWanted, answer: Answer) {
        let (now, node) = (self.now, &mut self.nodes[at]);
        let was_waited_for = node.is_waited_for();
        if answer != Answer::Gone {
            node.received += u64::from(chunk.len);
        }
        if !node.is_here || !node.settle(request) {
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
        self.waited_for -= usize::from(was_waited_for && !node.is_waited_for());
        if node.has_just_finished() {
            node.finished_at = Some(now);
            self.is_no_listener(at);
            for other in self.present(at) {
                self.soon(Happening::IsComplete { to: other, from: at });
            }
        }
        self.pump(at);
    }

    /// Carries out what a device's scheduler says, and tells its news.
    fn pump(&mut self, number: usize) {
        let now = self.now;
        self.nodes[number].judge_share();
        for request in self.nodes[number].scheduler.handle_timeout(now) {
            let of = self.nodes[number].asked.remove(&request);
            of.into_iter().for_each(|(of, _)| self.soon(Happening::Cancelled { of, by: number, request }));
        }
        while let Some(request) = self.nodes[number].scheduler.poll_cancel() {
            let of = self.nodes[number].asked.remove(&request);
            of.into_iter().for_each(|(of, _)| self.soon(Happening::Cancelled { of, by: number, request }));
        }
        while let Some(Assignment { peer, request, refs }) = self.nodes[number].scheduler.poll_request(now) {
            let of = peer.0 as usize;
            self.nodes[number].asked.insert(request, (of, refs.len()));
            self.soon(Happening::Asked { of, by: number, request, refs });
        }
        let telling = self.nodes[number].news.poll(now);
        self.tell(number, telling);
        if let Some(at) = self.nodes[number].next_wake(now) {
            self.nodes[number].wake = Some(at);
            self.at(at, Happening::Wakes(number));
        }
    }

    fn tell(&mut self, from: usize, Telling { messages, has_begun }: Telling) {
        if has_begun {
            let messages: Rc<[_]> = [Telling::begun()].into();
            for to in self.leeches(from) {
                self.soon(Happening::Told { to, from, messages: Rc::clone(&messages) });
            }
        }
        if messages.is_empty() {
            return;
        }
        let messages: Rc<[_]> = messages.into();
        for to in self.listeners(from).iter() {
            self.soon(Happening::Told { to: *to, from, messages: Rc::clone(&messages) });
        }
    }

    fn leeches(&self, but: usize) -> Vec<usize> {
        self.present(but).into_iter().filter(|other| !self.nodes[*other].is_complete()).collect()
    }

    /// Whom a device tells what it has; drawn again only when somebody comes, or one of them goes or
    /// is done.
    fn listeners(&mut self, from: usize) -> Rc<[usize]> {
        if let Some(listeners) = &self.nodes[from].listeners {
            return Rc::clone(listeners);
        }
        let leeches: BTreeMap<_, _> =
            self.leeches(from).into_iter().map(|other| (device(other), other)).collect();
        let told = neighbours(&device(from), leeches.keys().copied());
        let told: Rc<[_]> = told.iter().map(|device| leeches[device]).collect();
        self.nodes[from].listeners = Some(Rc::clone(&told));
        told
    }

    fn is_no_listener(&mut self, number: usize) {
        for node in &mut self.nodes {
            node.listeners.take_if(|listeners| listeners.contains(&number));
        }
    }
}

/// The id of a file.
fn content(file: usize) -> ContentId {
    let mut id = device(file + 1_000_000).0;
    id[31] = 1;
    ContentId(id)
}
