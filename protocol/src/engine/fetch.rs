//! Asking peers for nodes: who is asked for what, and who else is asked when one cannot answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use keystore::DeviceId;

use super::Ticket;
use crate::store::NodeId;

/// Nodes in one request: at some 6 KiB each well under a frame's worth of answers in flight.
const NODES_A_REQUEST: usize = 256;
/// Requests on their way at once: enough to fill a long path, little enough to stop soon.
const REQUESTS: usize = 8;

/// Nodes that are wanted, each asked of one peer at a time.
#[derive(Debug, Default)]
pub(super) struct NodeFetch {
    waiting: VecDeque<NodeId>,
    asked: BTreeMap<Ticket, (DeviceId, Vec<NodeId>)>,
    /// Who has answered that it has a node no more.
    refused: BTreeMap<NodeId, BTreeSet<DeviceId>>,
}

/// What an answer brought.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Who answered.
    pub(super) from: Option<DeviceId>,
    /// Bytes as sent; nobody has verified them yet.
    pub(super) arrived: Vec<(NodeId, Bytes)>,
}

impl NodeFetch {
    /// These nodes are wanted; each is named once.
    pub(super) fn want(&mut self, ids: impl IntoIterator<Item = NodeId>) {
        self.waiting.extend(ids);
    }

    /// The next request to one of `peers`, if one can be made. Nodes that all of them have refused
    /// go on waiting.
    pub(super) fn poll(
        &mut self,
        peers: &[DeviceId],
        ticket: impl FnOnce() -> Ticket,
    ) -> Option<(Ticket, DeviceId, Vec<NodeId>)> {
        if self.asked.len() >= REQUESTS || self.waiting.is_empty() {
            return None;
        }
        let busy = |peer: &DeviceId| self.asked.values().filter(|(p, _)| p == peer).count();
        let mut peers: Vec<_> = peers.to_vec();
        peers.sort_by_key(busy);
        for peer in peers {
            let (ids, rest) = self.split(&peer);
            if !ids.is_empty() {
                self.waiting = rest;
                let ticket = ticket();
                self.asked.insert(ticket, (peer, ids.clone()));
                return Some((ticket, peer, ids));
            }
        }
        None
    }

    /// The waiting nodes that `peer` can be asked for, and the others.
    fn split(&self, peer: &DeviceId) -> (Vec<NodeId>, VecDeque<NodeId>) {
        let mut ids = Vec::new();
        let mut rest = VecDeque::new();
        for id in &self.waiting {
            let refused = self.refused.get(id).is_some_and(|by| by.contains(peer));
            if refused || ids.len() == NODES_A_REQUEST {
                rest.push_back(*id);
            } else {
                ids.push(*id);
            }
        }
        (ids, rest)
    }

    /// Whether this ticket is ours.
    pub(super) fn has(&self, ticket: Ticket) -> bool {
        self.asked.contains_key(&ticket)
    }

    /// Takes in an answer; what it lacks waits for another peer.
    pub(super) fn answer(&mut self, ticket: Ticket, answer: Result<Vec<Option<Bytes>>, ()>) -> Answer {
        let Some((peer, ids)) = self.asked.remove(&ticket) else { return Answer::default() };
        let nodes = answer.unwrap_or_default();
        let mut arrived = Vec::new();
        for (at, id) in ids.into_iter().enumerate() {
            match nodes.get(at) {
                Some(Some(bytes)) => arrived.push((id, bytes.clone())),
                _ => {
                    self.refused.entry(id).or_default().insert(peer);
                    self.waiting.push_back(id);
                }
            }
        }
        Answer { from: Some(peer), arrived }
    }

    /// A peer has gone: what it was asked for waits again, and its refusals do not count.
    pub(super) fn forget_peer(&mut self, peer: &DeviceId) {
        let gone: Vec<_> = self.asked.iter().filter(|(_, (p, _))| p == peer).map(|(t, _)| *t).collect();
        for ticket in gone {
            if let Some((_, ids)) = self.asked.remove(&ticket) {
                self.waiting.extend(ids);
            }
        }
        for by in self.refused.values_mut() {
            by.remove(peer);
        }
    }

    /// Whether nothing is on its way and nobody of `peers` can be asked for what waits.
    pub(super) fn is_stuck(&self, peers: &[DeviceId]) -> bool {
        self.asked.is_empty()
            && !self.waiting.is_empty()
            && self
                .waiting
                .iter()
                .all(|id| self.refused.get(id).is_some_and(|by| peers.iter().all(|peer| by.contains(peer))))
    }
}
