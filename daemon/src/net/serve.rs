//! Answers what proven peers ask: nodes and chunks.
//!
//! Reading blocks, so it happens on tokio's blocking threads, a bounded number of reads at a time
//! over all links; what was read is written to the peer before more is read for it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keystore::FolderId;
use protocol::NodeId;
use protocol::frame::FrameDecoder;
use protocol::message::{ChunkHeader, ChunkWanted, MAX_REQUEST_BYTES, Message, NodeReply, Request};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::hub::Hub;
use super::link::{Command, Link, Reason};
use super::peer::Peer;
use super::slots::HELD_FOR;

/// Where answers come from. All calls may block, on threads meant for it.
pub trait Serve: Send + Sync {
    /// The bytes of nodes, in the order of `ids`; `None` for what is not here.
    fn nodes(&self, ids: &[NodeId]) -> Vec<Option<Bytes>>;
    /// What is told to a peer as soon as it has proved the folder, before it has joined: two messages
    /// at most.
    fn greeting(&self) -> Vec<Message>;
    /// The bytes of chunks in the order of `wanted`, of each exactly as many as are wanted; `None` for
    /// what is not here. There are so few of them that their bytes may be held at once.
    fn chunks(&self, wanted: &[ChunkWanted]) -> Vec<Option<Bytes>>;
}

/// A question is small and is sent whole.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// A peer that takes nothing for this long does not want the answer.
const TAKE_WITHIN: Duration = Duration::from_secs(60);
/// Answers to one peer that are read and written at once; more questions wait.
const PER_LINK: usize = 16;
/// How much is read before it is written: with [`PER_LINK`], 16 MiB for each peer.
const READ_AHEAD: u64 = 1 << 20;
const NODES_AT_ONCE: usize = 64;
/// Shorter chunks are copied together: for each packet quinn goes through all the pieces of the
/// stream that are not acknowledged yet.
const SHORT_BYTES: usize = 16 << 10;
/// How long a piece of short chunks becomes, about.
const PIECE_BYTES: usize = 64 << 10;

/// With what the stream of an answer ends for which there is no place now. Who does not know it sees
/// an answer that was cut, and asks again elsewhere too.
pub(super) const BUSY: u32 = 16;

/// Why there is no answer; the number is what the other side sees.
enum Refusal {
    Malformed,
    Cut,
    Busy,
}

/// Accepts questions until the link ends.
pub(super) async fn accept_requests(hub: Arc<Hub>, link: Arc<Link>) {
    let places = Arc::new(Semaphore::new(PER_LINK));
    while let Ok((mut send, mut ask)) = link.connection.accept_bi().await {
        let (hub, link, places) = (Arc::clone(&hub), Arc::clone(&link), Arc::clone(&places));
        tokio::spawn(async move {
            let Ok(_place) = places.acquire().await else { return };
            match answer(&hub, &link, &mut send, &mut ask).await {
                Ok(()) => {}
                Err(Refusal::Busy) => {
                    let _ = send.reset(VarInt::from_u32(BUSY));
                }
                Err(Refusal::Malformed) => link.close(Reason::Misbehaved),
                Err(Refusal::Cut) => {
                    let _ = send.reset(VarInt::from_u32(Reason::NothingShared as u32));
                }
            }
        });
    }
}

/// Tells a peer that has proved a folder what it would ask for first: over a long path that saves
/// more than it costs.
pub(super) async fn greet(hub: Arc<Hub>, link: Arc<Link>, folder: FolderId) {
    let Some(server) = hub.server(folder) else { return };
    let Ok(messages) = blocking(&hub, move || server.greeting()).await else { return };
    if !messages.is_empty() {
        link.command(Command::Greet(folder, messages));
    }
}

async fn answer(hub: &Hub, link: &Link, send: &mut SendStream, ask: &mut RecvStream) -> Result<(), Refusal> {
    let bytes = timeout(ASK_WITHIN, ask.read_to_end(MAX_REQUEST_BYTES)).await;
    let bytes = bytes.map_err(|_| Refusal::Cut)?.map_err(|error| match error {
        quinn::ReadToEndError::TooLong => Refusal::Malformed,
        quinn::ReadToEndError::Read(_) => Refusal::Cut,
    })?;
    let mut decoder = FrameDecoder::new(MAX_REQUEST_BYTES);
    decoder.push(&bytes);
    let frame = decoder.next_frame().ok().flatten().ok_or(Refusal::Malformed)?;
    let request = Request::parse(&frame).map_err(|_| Refusal::Malformed)?;
    // The folder may just have been left here: no fault of the peer's.
    let folder = link.session.lock().folder_of(request.channel()).ok_or(Refusal::Cut)?;
    let server = hub.server(folder).ok_or(Refusal::Cut)?;
    // None while the peer's welcome is still on its way.
    let peer = link.peers.lock().get(&folder).cloned();
    let slot = match request.is_bulky() {
        true => Some(hub.slots.acquire(link.id).await.ok_or(Refusal::Busy)?),
        false => None,
    };
    let has_slot = slot.is_some();
    let sending = async {
        send_answer(hub, &server, request, send, peer.as_ref()).await?;
        send.finish().map_err(|_| Refusal::Cut)?;
        // The place is taken until the peer has everything: what lies in buffers is on the line too.
        if has_slot {
            let _ = send.stopped().await;
        }
        Ok(())
    };
    let mut sending = pin!(sending);
    match timeout(HELD_FOR, &mut sending).await {
        Ok(sent) => sent,
        Err(_) => {
            drop(slot);
            sending.await
        }
    }
}

async fn send_answer(
    hub: &Hub,
    server: &Arc<dyn Serve>,
    request: Request,
    send: &mut SendStream,
    peer: Option<&Peer>,
) -> Result<(), Refusal> {
    match request {
        Request::Nodes { ids, .. } => {
            // They lead to what can be asked for next.
            let _ = send.set_priority(1);
            for ids in ids.chunks(NODES_AT_ONCE) {
                let (server, ids) = (Arc::clone(server), ids.to_vec());
                let frames = blocking(hub, move || node_frames(&*server, &ids)).await?;
                write(send, frames, peer).await?;
            }
        }
        Request::Chunks { mut chunks, .. } => {
            while !chunks.is_empty() {
                let rest = chunks.split_off(batch_len(&chunks));
                let (server, batch) = (Arc::clone(server), std::mem::replace(&mut chunks, rest));
                let parts = blocking(hub, move || chunk_parts(&*server, &batch)).await?;
                write(send, parts, peer).await?;
            }
        }
    }
    Ok(())
}

fn node_frames(server: &dyn Serve, ids: &[NodeId]) -> Vec<Bytes> {
    let mut nodes = server.nodes(ids);
    nodes.resize(ids.len(), None);
    nodes.into_iter().map(|node| node.map_or(NodeReply::Gone, NodeReply::Node).encode().encode()).collect()
}

fn chunk_parts(server: &dyn Serve, batch: &[ChunkWanted]) -> Vec<Bytes> {
    let mut chunks = server.chunks(batch);
    chunks.resize(batch.len(), None);
    let (mut parts, mut piece) = (Vec::new(), Vec::new());
    for (wanted, chunk) in batch.iter().zip(chunks) {
        let Some(bytes) = chunk.filter(|bytes| bytes.len() == wanted.len as usize) else {
            piece.extend_from_slice(&ChunkHeader::Gone.encode());
            continue;
        };
        piece.extend_from_slice(&ChunkHeader::Here { len: wanted.len }.encode());
        if bytes.len() <= SHORT_BYTES {
            piece.extend_from_slice(&bytes);
            if piece.len() >= PIECE_BYTES {
                parts.push(std::mem::take(&mut piece).into());
            }
        } else {
            parts.extend([std::mem::take(&mut piece).into(), bytes]);
        }
    }
    if !piece.is_empty() {
        parts.push(piece.into());
    }
    parts
}

/// How many of the chunks are read at once: one at least.
fn batch_len(chunks: &[ChunkWanted]) -> usize {
    let mut sum = 0;
    let fits = chunks.iter().take_while(|chunk| {
        sum += u64::from(chunk.len);
        sum <= READ_AHEAD
    });
    fits.count().max(1)
}

async fn blocking<T: Send + 'static>(
    hub: &Hub,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let slot = Arc::clone(&hub.serve_slots).acquire_owned().await.map_err(|_| Refusal::Cut)?;
    let task = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        read()
    });
    task.await.map_err(|_| Refusal::Cut)
}

async fn write(send: &mut SendStream, mut parts: Vec<Bytes>, peer: Option<&Peer>) -> Result<(), Refusal> {
    let len: usize = parts.iter().map(Bytes::len).sum();
    let written = timeout(TAKE_WITHIN, send.write_all_chunks(&mut parts)).await;
    written.map_err(|_| Refusal::Cut)?.map_err(|_| Refusal::Cut)?;
    if let Some(peer) = peer {
        peer.count_up(len);
    }
    Ok(())
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
