//! Questions of one stream each, and their answers: nodes and chunks by what they hash to.

use bytes::Bytes;

use super::cbor::{Reader, read_array, read_list, read_map, write_map};
use super::{MessageError, kind};
use crate::chunk::MAX_CHUNK_BYTES;
use crate::entry::ContentId;
use crate::frame::Frame;
use crate::store::NodeId;

/// Most nodes in a request: at some 4 KiB each an answer of 4 MiB, as for chunks.
pub const MAX_REQUEST_NODES: usize = 1024;
/// Most chunks in a request: small files of 4 KiB then fill a bundle of 4 MiB.
pub const MAX_REQUEST_CHUNKS: usize = 1024;
/// Most bytes of chunks in a request.
pub const MAX_BUNDLE_BYTES: u64 = 4 * 1024 * 1024;
/// An answer of at most this many bytes is sent at once, whoever else is being served: a save of a
/// small file does not wait behind a film.
const BULKY_BYTES: u64 = 64 * 1024;
/// Longest request: 1,024 chunks of at most 50 bytes each, and room for later fields. The limit of
/// the decoder of a request's stream.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Before the bytes of each chunk in an answer: one byte of status, four of length.
pub const CHUNK_HEADER_BYTES: usize = 5;

/// A question, the first and only frame that its asker sends on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// For each id, in order, a frame that is a [`NodeReply`].
    Nodes {
        /// The folder, by the number that whoever is asked gave it.
        channel: u32,
        /// 1 to [`MAX_REQUEST_NODES`].
        ids: Vec<NodeId>,
    },
    /// For each chunk, in order, a [`ChunkHeader`] and, if it is there, its raw bytes.
    Chunks {
        /// The folder, by the number that whoever is asked gave it.
        channel: u32,
        /// 1 to [`MAX_REQUEST_CHUNKS`], together at most [`MAX_BUNDLE_BYTES`].
        chunks: Vec<ChunkWanted>,
    },
}

/// A chunk by where it lies, which is how it is found in the files of who serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkWanted {
    /// The file.
    pub content: ContentId,
    /// Which of its chunks, counted from 0.
    pub number: u64,
    /// How long it is.
    pub len: u32,
}

impl Request {
    /// The frame to send. More than the limits is a mistake of the caller, and will be refused.
    pub fn encode(&self) -> Frame {
        match self {
            Self::Nodes { channel, ids } => {
                debug_assert!((1..=MAX_REQUEST_NODES).contains(&ids.len()));
                let payload = write_map(2, |e| {
                    e.u8(0)?.u32(*channel)?.u8(1)?.array(ids.len() as u64)?;
                    ids.iter().try_for_each(|id| e.bytes(&id.0).map(|_| ()))
                });
                Frame::new(kind::REQUEST_NODES, payload)
            }
            Self::Chunks { channel, chunks } => {
                debug_assert!(check_chunks(chunks).is_ok());
                let payload = write_map(2, |e| {
                    e.u8(0)?.u32(*channel)?.u8(1)?.array(chunks.len() as u64)?;
                    chunks.iter().try_for_each(|chunk| {
                        e.array(3)?.bytes(&chunk.content.0)?.u64(chunk.number)?.u32(chunk.len).map(|_| ())
                    })
                });
                Frame::new(kind::REQUEST_CHUNKS, payload)
            }
        }
    }

    /// Parses the first frame of a stream that the peer has opened.
    pub fn parse(frame: &Frame) -> Result<Self, MessageError> {
        let (mut channel, mut ids, mut chunks) = (None, Vec::new(), Vec::new());
        let of_nodes = match frame.kind {
            kind::REQUEST_NODES => true,
            kind::REQUEST_CHUNKS => false,
            unknown => return Err(MessageError::UnknownKind(unknown)),
        };
        read_map(&frame.payload, |key, d| {
            match key {
                0 => channel = Some(d.u32()?),
                1 if of_nodes => ids = read_list(d, MAX_REQUEST_NODES, |d| Ok(NodeId(read_array(d)?)))?,
                1 => chunks = read_list(d, MAX_REQUEST_CHUNKS, read_chunk)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let channel = channel.ok_or(MessageError::Malformed)?;
        if !of_nodes {
            check_chunks(&chunks)?;
            return Ok(Self::Chunks { channel, chunks });
        }
        if ids.is_empty() { Err(MessageError::Malformed) } else { Ok(Self::Nodes { channel, ids }) }
    }

    /// Whether the answer takes up the line for long enough that askers take turns.
    pub fn is_bulky(&self) -> bool {
        let bytes = |chunks: &[ChunkWanted]| chunks.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>();
        matches!(self, Self::Chunks { chunks, .. } if bytes(chunks) > BULKY_BYTES)
    }

    /// The folder that it is about, by the number that whoever is asked gave it.
    pub fn channel(&self) -> u32 {
        match self {
            Self::Nodes { channel, .. } | Self::Chunks { channel, .. } => *channel,
        }
    }
}

fn read_chunk(d: &mut Reader<'_>) -> Result<ChunkWanted, MessageError> {
    // Longer arrays are from later versions.
    let fields = d.array()?.filter(|fields| (3..=16).contains(fields)).ok_or(MessageError::Malformed)?;
    let chunk = ChunkWanted { content: ContentId(read_array(d)?), number: d.u64()?, len: d.u32()? };
    for _ in 3..fields {
        d.skip()?;
    }
    Ok(chunk)
}

fn check_chunks(chunks: &[ChunkWanted]) -> Result<(), MessageError> {
    let sum: u64 = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
    let too_long = chunks.iter().any(|chunk| chunk.len > MAX_CHUNK_BYTES as u32);
    match chunks.len() {
        0 => Err(MessageError::Malformed),
        1..=MAX_REQUEST_CHUNKS if sum <= MAX_BUNDLE_BYTES && !too_long => Ok(()),
        _ => Err(MessageError::TooMany),
    }
}

/// The answer for one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeReply {
    /// Its bytes, to be verified against its id.
    Node(Bytes),
    /// It is not here.
    Gone,
}

impl NodeReply {
    /// The frame to send.
    pub fn encode(&self) -> Frame {
        match self {
            Self::Node(bytes) => Frame::new(kind::NODE, bytes.clone()),
            Self::Gone => Frame::new(kind::NODE_GONE, Bytes::new()),
        }
    }

    /// Parses a frame of an answer.
    pub fn parse(frame: &Frame) -> Result<Self, MessageError> {
        match frame.kind {
            kind::NODE => Ok(Self::Node(frame.payload.clone())),
            kind::NODE_GONE => Ok(Self::Gone),
            unknown => Err(MessageError::UnknownKind(unknown)),
        }
    }
}

/// What comes before the bytes of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkHeader {
    /// So many bytes follow: the chunk, to be verified against its id.
    Here {
        /// As many as were asked for.
        len: u32,
    },
    /// Nothing follows: the file is not here, or has changed.
    Gone,
}

impl ChunkHeader {
    /// The bytes to send.
    pub fn encode(&self) -> [u8; CHUNK_HEADER_BYTES] {
        let (status, len) = match self {
            Self::Here { len } => (0, *len),
            Self::Gone => (1, 0),
        };
        let [a, b, c, d] = len.to_be_bytes();
        [status, a, b, c, d]
    }

    /// Parses the header of the answer to `wanted`. Any other length than was asked for is refused.
    pub fn parse(bytes: &[u8; CHUNK_HEADER_BYTES], wanted: &ChunkWanted) -> Result<Self, MessageError> {
        let [status, len @ ..] = *bytes;
        match (status, u32::from_be_bytes(len)) {
            (0, len) if len == wanted.len => Ok(Self::Here { len }),
            (1, 0) => Ok(Self::Gone),
            _ => Err(MessageError::Malformed),
        }
    }
}
