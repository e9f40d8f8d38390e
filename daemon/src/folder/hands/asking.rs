//! Asking peers, and answering them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::engine::{Event, FolderStore, Ticket};
use protocol::head::SignedHead;
use protocol::message::{ChunkWanted, MAX_HEADS, Message};
use protocol::{NodeId, NodeStore};
use tokio::sync::oneshot;

use super::Hands;
use crate::folder::runner::Input;
use crate::net::{ChunkAnswer, FetchError, Peer, Serve};

impl Hands {
    /// Asks a peer for nodes.
    pub fn fetch_nodes(&self, ticket: Ticket, peer: Peer, ids: Vec<NodeId>) {
        let inputs = self.inputs.clone();
        self.runtime.spawn(async move {
            let answer =
                peer.nodes(&ids).await.map_err(|error| tracing::debug!(%error, "nodes did not come"));
            inputs.send_from_async(Input::Event(Event::Nodes(ticket, answer))).await;
        });
    }

    /// Asks a peer for chunks and writes what comes.
    pub fn fetch_chunks(self: &Arc<Self>, ticket: Ticket, peer: Peer, refs: Vec<ChunkWanted>) {
        let hands = Arc::clone(self);
        let cancelled = self.cancels.watch(ticket);
        self.runtime.spawn(async move {
            let _room = hands.intake.room_for(&refs).await;
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<(ChunkWanted, ChunkAnswer)>();
            let wanted = refs.clone();
            let asking = async {
                let chunks = peer.chunks(&wanted, |number, answer| {
                    // Bounded by what one request may ask for.
                    if let Some(chunk) = wanted.get(number) {
                        let _ = sender.send((*chunk, answer));
                    }
                });
                let result = tokio::select! {
                    result = chunks => result,
                    () = cancelled => Ok(()),
                };
                drop(sender);
                result
            };
            let writing = async {
                let mut batch = Vec::new();
                while receiver.recv_many(&mut batch, 64).await > 0 {
                    let writing = hands.write(ticket, std::mem::take(&mut batch));
                    hands.intake.write(writing).await;
                }
            };
            let (result, ()) = tokio::join!(asking, writing);
            hands.cancels.forget(ticket);
            let ended = match result {
                Err(FetchError::Busy) => Event::Busy(ticket),
                Err(error) => {
                    tracing::debug!(%error, "chunks did not come");
                    Event::FetchEnded(ticket)
                }
                Ok(()) => Event::FetchEnded(ticket),
            };
            hands.inputs.send_from_async(Input::Event(ended)).await;
        });
    }

    /// Takes back what is left of a question for chunks.
    pub fn cancel_fetch(&self, ticket: Ticket) {
        self.cancels.cancel(ticket);
    }

    /// Leaves all links of the folder and joins again.
    pub fn rejoin(self: &Arc<Self>) {
        let opening = crate::folder::opening_of(&self.secret, &self.kept);
        self.net.rejoin_folder(self.secret.clone(), opening, Arc::clone(self) as Arc<dyn Serve>);
    }
}

/// Questions that can be taken back.
#[derive(Default)]
pub(super) struct Cancels(Mutex<BTreeMap<Ticket, oneshot::Sender<()>>>);

impl Cancels {
    /// Ends when the question is taken back, and not before.
    fn watch(&self, ticket: Ticket) -> impl Future<Output = ()> + use<> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().insert(ticket, sender);
        async move {
            if receiver.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn cancel(&self, ticket: Ticket) {
        if let Some(sender) = self.0.lock().remove(&ticket) {
            // Who has just got its answer need not know.
            let _ = sender.send(());
        }
    }

    fn forget(&self, ticket: Ticket) {
        self.0.lock().remove(&ticket);
    }
}

/// First nodes are told once in this time: who joins again and again after a break has them, and it
/// is not known yet who it is.
const BETWEEN_NODES: Duration = Duration::from_secs(10);

/// What everyone who joins is told; kept up to date by the loop.
#[derive(Default)]
pub(super) struct Greeting {
    heads: Vec<SignedHead>,
    complete: Option<NodeId>,
    /// When first nodes were told last.
    nodes_at: Option<Instant>,
}

impl Greeting {
    /// Whether first nodes are told now.
    fn takes_turn(&mut self, now: Instant) -> bool {
        let is_due = self.nodes_at.is_none_or(|at| now.duration_since(at) >= BETWEEN_NODES);
        if is_due {
            self.nodes_at = Some(now);
        }
        is_due
    }
}

impl Hands {
    /// Who joins from now on is told this.
    pub fn set_greeting(&self, heads: &[SignedHead], complete: Option<NodeId>) {
        let mut greeting = self.greeting.lock();
        greeting.complete = complete;
        if greeting.heads != heads {
            greeting.heads = heads.to_vec();
        }
    }

    /// The first nodes of what the head vouches for.
    fn first_nodes(&self) -> Option<Vec<Bytes>> {
        let saved = self.kept.saved().ok()??;
        protocol::first_nodes(&self.kept, saved.context, saved.entries).ok()
    }
}

impl Serve for Hands {
    fn nodes(&self, ids: &[NodeId]) -> Vec<Option<Bytes>> {
        ids.iter().map(|id| self.kept.load(id).ok().flatten()).collect()
    }

    fn greeting(&self) -> Vec<Message> {
        let (heads, complete, with_nodes) = {
            let mut greeting = self.greeting.lock();
            let with_nodes = greeting.heads.len() == 1 && greeting.takes_turn(Instant::now());
            (greeting.heads.clone(), greeting.complete, with_nodes)
        };
        let told = match &heads[..] {
            [] => return Vec::new(),
            [head] => {
                let nodes = if with_nodes { self.first_nodes() } else { None };
                Message::NewHead { head: head.clone(), nodes: nodes.unwrap_or_default() }
            }
            heads => Message::Heads { heads: heads.iter().take(MAX_HEADS).cloned().collect() },
        };
        let complete = complete.map(|entries| Message::Complete { entries });
        [Some(told), complete].into_iter().flatten().collect()
    }

    fn chunks(&self, wanted: &[ChunkWanted]) -> Vec<Option<Bytes>> {
        self.opened().and_then(|open| open.server.chunks(wanted).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_joins_again_and_again_is_not_told_everything_each_time() {
        let (mut greeting, start) = (Greeting::default(), Instant::now());
        assert!(greeting.takes_turn(start));
        assert!(!greeting.takes_turn(start + BETWEEN_NODES / 2));
        assert!(greeting.takes_turn(start + BETWEEN_NODES));
    }
}
