//! A device in a folder, as the folder sees it: to send to, and to ask.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use keystore::{Capability, DeviceId, FolderId};
use parking_lot::Mutex;
use protocol::NodeId;
use protocol::frame::{FrameDecoder, MAX_FRAME_BYTES};
use protocol::message::{
    CHUNK_HEADER_BYTES, ChunkHeader, ChunkWanted, MAX_REQUEST_NODES, Message, MessageError, NodeReply,
    Request,
};
use quinn::{ReadError, RecvStream, VarInt};
use tokio::time::{Instant, timeout, timeout_at};

use super::dial::FoundBy;
use super::link::{Command, Link, Reason};
use super::serve::BUSY;

/// A peer that sends nothing for this long while it owes an answer is not waited for.
const STALLED_AFTER: Duration = Duration::from_secs(30);
/// An answer of nodes has come whole by then, however it trickles in. As many as are asked of one
/// peer at once, 8 times 256 of some 6 KiB, are here in 126 s at 100 kB/s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(180);
/// How long peers are waited for.
const DEADLINES: Deadlines = Deadlines { progress: STALLED_AFTER, whole: ANSWERED_WITHIN };
/// Packets' worth of bytes that are taken out of a stream at once.
const PARTS: usize = 128;

/// Who a peer is.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Its device key, proved.
    pub device_id: DeviceId,
    /// What it calls itself; not to be printed raw.
    pub name: String,
    /// What it says its key allows; nothing depends on it.
    pub capability: Capability,
    /// Where it is.
    pub address: SocketAddr,
    /// How that address became known.
    pub found_by: FoundBy,
    /// Whether packets go straight to it; else they go through a relay, at that address.
    pub direct: bool,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer is gone, or reads too slowly and was dropped")]
pub struct SendError;

/// Why an answer did not come, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The link has ended, or the peer has cut the answer.
    #[error("the peer is gone")]
    Gone,
    /// The peer serves so many others that it has no place for this question now.
    #[error("the peer has no place for this question now")]
    Busy,
    /// Nothing has come for too long.
    #[error("the peer does not answer")]
    Stalled,
    /// What came is not an answer. The link was closed.
    #[error(transparent)]
    Malformed(#[from] MessageError),
}

/// The answer for one chunk. Its bytes are not verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkAnswer {
    /// Its bytes, as many as were asked for.
    Here(Bytes),
    /// The peer does not have it.
    Gone,
}

/// How long a peer is waited for: whoever wants nodes can ask others only when it has failed.
#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    /// For a question to be written, and from one whole node to the next. Single bytes do not count:
    /// they would keep us waiting for ever.
    pub(super) progress: Duration,
    /// For one answer in all: nodes can trickle as well.
    pub(super) whole: Duration,
}

/// One device in one folder. Clones are the same peer.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    link: Arc<Link>,
    folder: FolderId,
    /// The number that the peer gave the folder.
    channel: u32,
    info: PeerInfo,
    down: AtomicU64,
    up: AtomicU64,
    /// When the last node came whole, in whichever answer: a slow line brings one answer after the
    /// other.
    last_node: Mutex<Instant>,
}

impl Peer {
    pub(super) fn new(link: Arc<Link>, folder: FolderId, channel: u32, info: PeerInfo) -> Self {
        let (down, up) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { link, folder, channel, info, down, up, last_node: Mutex::new(Instant::now()) }))
    }

    /// Who it is.
    pub fn info(&self) -> &PeerInfo {
        &self.0.info
    }

    /// The folder that this is about.
    pub fn folder(&self) -> FolderId {
        self.0.folder
    }

    /// The current estimate of the round trip.
    pub fn rtt(&self) -> Duration {
        self.0.link.connection.rtt()
    }

    /// Bytes of nodes and chunks that came from this peer for this folder.
    pub fn bytes_down(&self) -> u64 {
        self.0.down.load(Ordering::Relaxed)
    }

    /// Bytes of nodes and chunks that went to this peer for this folder.
    pub fn bytes_up(&self) -> u64 {
        self.0.up.load(Ordering::Relaxed)
    }

    /// Puts a message on its way; returns at once. Messages arrive in order, or the peer leaves.
    ///
    /// # Errors
    /// When the link has ended. A peer that leaves too much unread is dropped here.
    pub fn send(&self, message: Message) -> Result<(), SendError> {
        if self.0.link.command(Command::Send(self.0.folder, message)) { Ok(()) } else { Err(SendError) }
    }

    /// Fetches nodes, in the order of `ids`; `None` where the peer does not have one. Not verified.
    ///
    /// # Errors
    /// When the link ends, the peer stalls or its answer is malformed.
    pub async fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Option<Bytes>>, FetchError> {
        self.nodes_within(ids, DEADLINES).await
    }

    pub(super) async fn nodes_within(
        &self,
        ids: &[NodeId],
        deadlines: Deadlines,
    ) -> Result<Vec<Option<Bytes>>, FetchError> {
        let mut nodes = Vec::with_capacity(ids.len());
        for ids in ids.chunks(MAX_REQUEST_NODES) {
            let request = Request::Nodes { channel: self.0.channel, ids: ids.to_vec() };
            let answer = self.ask(&request, deadlines.progress).await?;
            self.judge(self.read_nodes(answer, ids.len(), &mut nodes, deadlines).await)?;
        }
        Ok(nodes)
    }

    /// Fetches chunks of one bundle; `on_chunk` hears of each, in order, as it arrives. To drop the
    /// future takes back the question.
    ///
    /// # Errors
    /// As for [`Self::nodes`]; the chunks that were passed on are good to use.
    pub async fn chunks(
        &self,
        wanted: &[ChunkWanted],
        mut on_chunk: impl FnMut(usize, ChunkAnswer),
    ) -> Result<(), FetchError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let request = Request::Chunks { channel: self.0.channel, chunks: wanted.to_vec() };
        let mut answer = Answer::new(self.ask(&request, STALLED_AFTER).await?);
        for (number, wanted) in wanted.iter().enumerate() {
            let chunk = self.judge(self.read_chunk(&mut answer, wanted).await)?;
            on_chunk(number, chunk);
        }
        Ok(())
    }

    /// Ends the link to a device that has done what no honest one does, in all folders; its
    /// address rests for a while.
    pub fn drop_liar(&self) {
        self.0.link.close(Reason::Misbehaved);
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.0.link
    }

    pub(super) fn count_up(&self, bytes: usize) {
        self.0.up.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    async fn ask(&self, request: &Request, within: Duration) -> Result<RecvStream, FetchError> {
        let by = Instant::now() + within;
        let opened = timeout_at(by, self.0.link.connection.open_bi()).await;
        let (mut send, answer) = opened.map_err(|_| FetchError::Stalled)?.map_err(|_| FetchError::Gone)?;
        let Ok(written) = timeout_at(by, send.write_chunk(request.encode().encode())).await else {
            // Else it would end here like a whole one.
            let _ = send.reset(VarInt::from_u32(Reason::TooSlow as u32));
            return Err(FetchError::Stalled);
        };
        written.map_err(|_| FetchError::Gone)?;
        send.finish().map_err(|_| FetchError::Gone)?;
        Ok(answer)
    }

    /// Closes the link of a peer that has answered what no peer may.
    fn judge<T>(&self, result: Result<T, FetchError>) -> Result<T, FetchError> {
        if matches!(result, Err(FetchError::Malformed(_))) {
            self.0.link.close(Reason::Misbehaved);
        }
        result
    }

    async fn read_nodes(
        &self,
        mut answer: RecvStream,
        count: usize,
        nodes: &mut Vec<Option<Bytes>>,
        deadlines: Deadlines,
    ) -> Result<(), FetchError> {
        let asked = Instant::now();
        let mut decoder = FrameDecoder::new(MAX_FRAME_BYTES);
        let end = nodes.len() + count;
        while nodes.len() < end {
            while let Some(frame) = decoder.next_frame().map_err(|_| MessageError::TooMany)? {
                nodes.push(match NodeReply::parse(&frame)? {
                    NodeReply::Node(bytes) => Some(bytes),
                    NodeReply::Gone => None,
                });
                *self.0.last_node.lock() = Instant::now();
                if nodes.len() == end {
                    return Ok(());
                }
            }
            let bytes = self.read_some(&mut answer, asked, deadlines).await?;
            self.0.down.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            decoder.push(&bytes);
        }
        Ok(())
    }

    /// What has come of an answer of nodes, unless that is overdue.
    async fn read_some(
        &self,
        answer: &mut RecvStream,
        asked: Instant,
        deadlines: Deadlines,
    ) -> Result<Bytes, FetchError> {
        loop {
            let is_slow_at = asked.max(*self.0.last_node.lock()) + deadlines.progress;
            let by = is_slow_at.min(asked + deadlines.whole);
            if by <= Instant::now() {
                return Err(FetchError::Stalled);
            }
            // Nodes that came meanwhile in other answers count.
            let Ok(read) = timeout_at(by, answer.read_chunk(64 << 10, true)).await else { continue };
            return Ok(read.map_err(|_| FetchError::Gone)?.ok_or(FetchError::Gone)?.bytes);
        }
    }

    async fn read_chunk(&self, answer: &mut Answer, wanted: &ChunkWanted) -> Result<ChunkAnswer, FetchError> {
        let mut header = [0; CHUNK_HEADER_BYTES];
        header.copy_from_slice(&answer.read(CHUNK_HEADER_BYTES).await?);
        let ChunkHeader::Here { len } = ChunkHeader::parse(&header, wanted)? else {
            return Ok(ChunkAnswer::Gone);
        };
        let bytes = answer.read(len as usize).await?;
        self.0.down.fetch_add(u64::from(len), Ordering::Relaxed);
        Ok(ChunkAnswer::Here(bytes))
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("folder", &self.0.folder).field("info", &self.0.info).finish()
    }
}

/// Why an answer has ended early.
fn cut(error: ReadError) -> FetchError {
    match error {
        ReadError::Reset(code) if code == VarInt::from_u32(BUSY) => FetchError::Busy,
        _ => FetchError::Gone,
    }
}

/// A stream of chunks that is being read.
struct Answer {
    stream: RecvStream,
    /// What has come and is not taken yet.
    parts: VecDeque<Bytes>,
}

impl Answer {
    fn new(stream: RecvStream) -> Self {
        Self { stream, parts: VecDeque::new() }
    }

    /// The next bytes, as long as something keeps coming. They are put together here: what is in one
    /// piece is hashed several times faster than what is in packets.
    async fn read(&mut self, len: usize) -> Result<Bytes, FetchError> {
        let mut bytes = BytesMut::with_capacity(len);
        while bytes.len() < len {
            let Some(part) = self.parts.front_mut() else {
                self.receive().await?;
                continue;
            };
            let fits = part.len().min(len - bytes.len());
            bytes.extend_from_slice(&part.split_to(fits));
            if part.is_empty() {
                self.parts.pop_front();
            }
        }
        Ok(bytes.freeze())
    }

    /// Takes what has come as it is: nothing is copied while the connection is locked.
    async fn receive(&mut self) -> Result<(), FetchError> {
        let mut parts = [const { Bytes::new() }; PARTS];
        let read = timeout(STALLED_AFTER, self.stream.read_chunks(&mut parts)).await;
        let read = read.map_err(|_| FetchError::Stalled)?.map_err(cut)?;
        let read = read.ok_or(FetchError::Gone)?;
        self.parts.extend(parts.into_iter().take(read));
        Ok(())
    }
}
