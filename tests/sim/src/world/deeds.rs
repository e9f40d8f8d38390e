//! What devices ask the world for, and what comes of it.

use protocol::NodeStore;
use protocol::engine::{Effect, Event, Scan, Ticket};
use protocol::message::ChunkWanted;

use super::{Action, World};
use crate::look::look;

impl World {
    pub(super) fn begin(&mut self, n: usize, effect: Effect) {
        let run = self.devices[n].run;
        match effect {
            Effect::Send(peer, message) => {
                self.count(n, "send");
                self.devices[n].sent += 1;
                let to = self.number(peer);
                let at = self.lanes.get(&(n, to)).copied().unwrap_or_default().max(self.now + self.delay());
                self.lanes.insert((n, to), at);
                self.push(at, Action::Deliver { from: n, to, message }, Some((n, to)));
            }
            Effect::Drop(peer, why) => panic!("device {n} drops {}: {why}", self.number(peer)),
            Effect::Scan(scan) => {
                self.count(n, if scan == Scan::Full { "full scan" } else { "scan" });
                let rules = self.devices[n].rules.clone();
                self.handle(n, Event::Rules(rules));
                let mut found = look(&self.devices[n], &scan);
                if self.deletions_last {
                    found.sort_by_key(|observation| observation.seen.is_none());
                }
                self.devices[n].scan = found.chunks(self.part).map(<[_]>::to_vec).collect();
                self.soon(Action::ScanPart { of: n, run }, None);
            }
            Effect::FetchNodes(ticket, peer, ids) => {
                self.count(n, "nodes");
                self.devices[n].sent += 1;
                let of = self.number(peer);
                self.open.insert((n, ticket), (of, true));
                self.soon(Action::AskNodes { by: n, of, ticket, ids }, Some((n, of)));
            }
            Effect::FetchChunks(ticket, peer, chunks) => {
                self.count(n, "chunks");
                self.devices[n].sent += 1;
                let of = self.number(peer);
                self.open.insert((n, ticket), (of, false));
                self.soon(Action::AskChunks { by: n, of, ticket, chunks }, Some((n, of)));
            }
            // What is on its way comes all the same.
            Effect::CancelFetch(_) => {}
            Effect::Prepare(wishes) => {
                self.count(n, "prepare");
                let prepared = wishes.iter().map(|wish| self.devices[n].prepare(wish)).collect();
                self.soon(Action::Event { to: n, run, event: Event::Prepared(prepared) }, None);
            }
            Effect::Forget(contents) => {
                self.count(n, "forget");
                contents.iter().for_each(|content| drop(self.devices[n].staged.remove(content)));
            }
            Effect::Apply(ops) => {
                self.count(n, "apply");
                assert!(!ops.is_empty(), "the disk is given something to do");
                let device = &mut self.devices[n];
                if device.is_applying {
                    device.batches.push_back(ops);
                    return;
                }
                (device.ops, device.is_applying) = (ops.into(), true);
                self.soon(Action::ApplyStep { of: n, run }, None);
            }
            Effect::Revert(paths) => {
                self.count(n, "revert");
                let done = self.devices[n].give_up(&paths);
                self.soon(Action::Event { to: n, run, event: Event::Reverted(done) }, None);
            }
            Effect::Rejoin => self.rejoin(n),
        }
    }

    fn rejoin(&mut self, n: usize) {
        for other in 0..self.devices.len() {
            if self.linked(n, other) {
                self.disconnect(n, other);
                self.soon(Action::Connect(n, other), None);
            }
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Deliver { from, to, message } => {
                let peer = self.devices[from].id();
                self.handle(to, Event::Message(peer, message));
            }
            Action::Event { to, run, event } if self.devices[to].run == run => self.handle(to, event),
            Action::AskNodes { by, of, ticket, ids } => {
                let store = &self.devices[of].store;
                let nodes = ids.iter().map(|id| store.load(id).expect("memory does not fail")).collect();
                let nodes = if self.rng.chance(self.failing) { Err(()) } else { Ok(nodes) };
                self.soon(Action::AnswerNodes { by, ticket, nodes }, Some((by, of)));
            }
            Action::AnswerNodes { by, ticket, nodes } => {
                self.open.remove(&(by, ticket));
                self.handle(by, Event::Nodes(ticket, nodes));
            }
            Action::AskChunks { by, of, ticket, chunks } => {
                let chunks =
                    chunks.into_iter().map(|chunk| (chunk, self.devices[of].serve(&chunk))).collect();
                self.soon(Action::AnswerChunks { by, of, ticket, chunks }, Some((by, of)));
            }
            Action::AnswerChunks { by, of, ticket, mut chunks } => {
                let rest = chunks.split_off(chunks.len().min(4));
                self.take_chunks(by, ticket, chunks);
                if rest.is_empty() {
                    self.open.remove(&(by, ticket));
                    self.handle(by, Event::FetchEnded(ticket));
                } else {
                    self.soon(Action::AnswerChunks { by, of, ticket, chunks: rest }, Some((by, of)));
                }
            }
            Action::ScanPart { of, run } if self.devices[of].run == run => {
                match self.devices[of].scan.pop_front() {
                    Some(observations) => {
                        self.soon(Action::ScanPart { of, run }, None);
                        self.handle(of, Event::Scanned { observations, unsynced: Vec::new() });
                    }
                    None => self.handle(of, Event::ScanEnded(Ok(()))),
                }
            }
            Action::ApplyStep { of, run } if self.devices[of].run == run => self.apply_step(of, run),
            Action::Wake { of, run } if self.devices[of].run == run => {
                self.devices[of].wake = None;
                self.handle(of, Event::Tick);
            }
            Action::Connect(a, b) => self.connect(a, b),
            _ => {}
        }
    }

    fn take_chunks(&mut self, by: usize, ticket: Ticket, chunks: Vec<(ChunkWanted, Option<bytes::Bytes>)>) {
        let (mut arrived, mut gone) = (Vec::new(), Vec::new());
        for (chunk, bytes) in chunks {
            match bytes {
                Some(bytes) if self.devices[by].take_chunk(&chunk, &bytes) => arrived.push(chunk),
                Some(_) => panic!("an honest peer sent a bad chunk"),
                None => gone.push(chunk),
            }
        }
        if !arrived.is_empty() {
            self.handle(by, Event::Arrived(ticket, arrived));
        }
        if !gone.is_empty() {
            self.handle(by, Event::Gone(ticket, gone));
        }
    }

    fn apply_step(&mut self, n: usize, run: u64) {
        if let Some(between) = self.between {
            between(self, n);
            if self.devices[n].run != run {
                return;
            }
        }
        let device = &mut self.devices[n];
        let Some(op) = device.ops.pop_front() else {
            let outcomes = std::mem::take(&mut device.outcomes);
            match device.batches.pop_front() {
                Some(next) => {
                    device.ops = next.into();
                    self.soon(Action::ApplyStep { of: n, run }, None);
                }
                None => device.is_applying = false,
            }
            return self.handle(n, Event::Applied(outcomes));
        };
        let later: Vec<_> = device.ops.iter().cloned().collect();
        let outcome = match device.refused.contains(&op.path) {
            true => protocol::engine::Outcome::Problem("refused".into()),
            false => device.carry_out(&op, &later),
        };
        device.outcomes.push((op.path.clone(), outcome));
        self.notice(n, vec![op.path]);
        self.soon(Action::ApplyStep { of: n, run }, None);
    }
}
