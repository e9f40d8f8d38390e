//! Asking peers, and answering them.

use std::sync::Arc;

use bytes::Bytes;
use protocol::engine::{Event, Ticket};
use protocol::message::ChunkWanted;
use protocol::{NodeId, NodeStore};

use super::Hands;
use crate::folder::runner::Input;
use crate::net::{ChunkAnswer, Peer, Serve};

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
        self.runtime.spawn(async move {
            let _room = hands.intake.room_for(&refs).await;
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<(ChunkWanted, ChunkAnswer)>();
            let wanted = refs.clone();
            let asking = async {
                let result = peer
                    .chunks(&wanted, |number, answer| {
                        // Bounded by what one request may ask for.
                        if let Some(chunk) = wanted.get(number) {
                            let _ = sender.send((*chunk, answer));
                        }
                    })
                    .await;
                if let Err(error) = result {
                    tracing::debug!(%error, "chunks did not come");
                }
                drop(sender);
            };
            let writing = async {
                let mut batch = Vec::new();
                while receiver.recv_many(&mut batch, 64).await > 0 {
                    let writing = hands.write(ticket, std::mem::take(&mut batch));
                    hands.intake.write(writing).await;
                }
            };
            tokio::join!(asking, writing);
            hands.inputs.send_from_async(Input::Event(Event::FetchEnded(ticket))).await;
        });
    }

    /// Leaves all links of the folder and joins again.
    pub fn rejoin(self: &Arc<Self>) {
        let opening = crate::folder::opening_of(&self.secret, &self.kept);
        self.net.rejoin_folder(self.secret.clone(), opening, Arc::clone(self) as Arc<dyn Serve>);
    }
}

impl Serve for Hands {
    fn nodes(&self, ids: &[NodeId]) -> Vec<Option<Bytes>> {
        ids.iter().map(|id| self.kept.load(id).ok().flatten()).collect()
    }

    fn chunk(&self, wanted: &ChunkWanted) -> Option<Bytes> {
        self.opened()?.server.chunk(wanted).ok().flatten()
    }
}
