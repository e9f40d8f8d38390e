//! Answers what proven peers ask: nodes and chunks.
//!
//! Reading blocks, so it happens on tokio's blocking threads, a bounded number of reads at a time
//! for each folder; what was read is written to the peer before more is read for it. A read may never
//! return: then nothing but what that folder's disk is to answer waits for it.

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
use super::places::Places;
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
/// Blocking reads of one kind for peers under way at once, for each folder: a few for its disk.
const READS: usize = 8;
/// How much is read before it is written: with [`PLACES`](super::places::PLACES), 32 MiB for each peer,
/// and half of it for one folder.
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

/// What bounds the reads of a folder, over all links. Nodes come from the database: they must not
/// wait for a disk that hangs.
pub(super) struct Reads {
    nodes: Arc<Semaphore>,
    chunks: Arc<Semaphore>,
}

impl Default for Reads {
    fn default() -> Self {
        let reads = || Arc::new(Semaphore::new(READS));
        Self { nodes: reads(), chunks: reads() }
    }
}

/// Where a folder's answers come from, and what bounds the reads for them.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) server: Arc<dyn Serve>,
    pub(super) reads: Arc<Reads>,
}

/// What a link's answers take up while they are put together. Each kind has places of its own, so
/// that small answers wait for no bulky ones, and nodes for no chunks.
#[derive(Default)]
struct LinkPlaces {
    nodes: Places,
    short: Places,
    bulky: Places,
}

impl LinkPlaces {
    fn of(&self, request: &Request) -> &Places {
        match request {
            Request::Nodes { .. } => &self.nodes,
            request if request.is_bulky() => &self.bulky,
            Request::Chunks { .. } => &self.short,
        }
    }
}

/// Why there is no answer; the number is what the other side sees.
enum Refusal {
    Malformed,
    Cut,
    Busy,
}

/// Accepts questions until the link ends.
pub(super) async fn accept_requests(hub: Arc<Hub>, link: Arc<Link>) {
    let places = Arc::new(LinkPlaces::default());
    while let Ok((mut send, mut ask)) = link.connection.accept_bi().await {
        let (hub, link, places) = (Arc::clone(&hub), Arc::clone(&link), Arc::clone(&places));
        tokio::spawn(async move {
            // Whoever has gone or does not want the answer any more gives its place to others.
            let stopped = send.stopped();
            let answered = tokio::select! {
                biased;
                answered = answer(&hub, &link, &places, &mut send, &mut ask) => answered,
                _ = stopped => Err(Refusal::Cut),
            };
            match answered {
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
    let Some(Source { server, reads }) = hub.source(folder) else { return };
    let Ok(messages) = blocking(&reads.nodes, move || server.greeting()).await else { return };
    if !messages.is_empty() {
        link.command(Command::Greet(folder, messages));
    }
}

async fn answer(
    hub: &Hub,
    link: &Link,
    places: &LinkPlaces,
    send: &mut SendStream,
    ask: &mut RecvStream,
) -> Result<(), Refusal> {
    let request = read_question(ask).await?;
    // The folder may just have been left here: no fault of the peer's.
    let folder = link.session.lock().folder_of(request.channel()).ok_or(Refusal::Cut)?;
    let source = hub.source(folder).ok_or(Refusal::Cut)?;
    // None while the peer's welcome is still on its way.
    let peer = link.peers.lock().get(&folder).cloned();
    let _place = places.of(&request).take(folder).await;
    let slot = match request.is_bulky() {
        true => Some(hub.slots.acquire(link.id).await.ok_or(Refusal::Busy)?),
        false => None,
    };
    let has_slot = slot.is_some();
    let sending = async {
        send_answer(&source, request, send, peer.as_ref()).await?;
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

async fn read_question(ask: &mut RecvStream) -> Result<Request, Refusal> {
    let bytes = timeout(ASK_WITHIN, ask.read_to_end(MAX_REQUEST_BYTES)).await;
    let bytes = bytes.map_err(|_| Refusal::Cut)?.map_err(|error| match error {
        quinn::ReadToEndError::TooLong => Refusal::Malformed,
        quinn::ReadToEndError::Read(_) => Refusal::Cut,
    })?;
    let mut decoder = FrameDecoder::new(MAX_REQUEST_BYTES);
    decoder.push(&bytes);
    let frame = decoder.next_frame().ok().flatten().ok_or(Refusal::Malformed)?;
    Request::parse(&frame).map_err(|_| Refusal::Malformed)
}

async fn send_answer(
    source: &Source,
    request: Request,
    send: &mut SendStream,
    peer: Option<&Peer>,
) -> Result<(), Refusal> {
    match request {
        Request::Nodes { ids, .. } => {
            // They lead to what can be asked for next.
            let _ = send.set_priority(1);
            for ids in ids.chunks(NODES_AT_ONCE) {
                let (server, ids) = (Arc::clone(&source.server), ids.to_vec());
                let frames = blocking(&source.reads.nodes, move || node_frames(&*server, &ids)).await?;
                write(send, frames, peer).await?;
            }
        }
        Request::Chunks { mut chunks, .. } => {
            while !chunks.is_empty() {
                let rest = chunks.split_off(batch_len(&chunks));
                let server = Arc::clone(&source.server);
                let batch = std::mem::replace(&mut chunks, rest);
                let parts = blocking(&source.reads.chunks, move || chunk_parts(&*server, &batch)).await?;
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
    reads: &Arc<Semaphore>,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let slot = Arc::clone(reads).acquire_owned().await.map_err(|_| Refusal::Cut)?;
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
