//! What peers of a folder tell and ask each other, and its bytes.
//!
//! News ([`Message`]) travel on the one control stream of a connection, each for the folder whose
//! channel it names; the [session](crate::session) knows channels. Questions ([`Request`]) have a
//! stream each, which carries the answers back. Payloads are CBOR maps with integer keys; fields
//! that are not known are skipped, so every field that is added later must be optional. Bytes that
//! are hashed or signed are carried as they were received, never encoded again.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::entry::ContentId;
use crate::frame::Frame;
use crate::head::SignedHead;
use crate::path::RelPath;
use crate::store::NodeId;
use cbor::{Reader, Writer, Written, read_array, read_list, read_map, write_map};

pub(crate) mod cbor;
mod have;
mod reach;
mod request;

pub use have::{ContentPrefix, HavePart, MAX_HAVE_PARTS, MAX_HAVE_RUNS, MAX_HAVE_WHOLE, Run};
pub use request::{
    CHUNK_HEADER_BYTES, ChunkHeader, ChunkWanted, MAX_BUNDLE_BYTES, MAX_REQUEST_BYTES, MAX_REQUEST_CHUNKS,
    MAX_REQUEST_NODES, NodeReply, Request,
};

/// Most heads in a message. Heads that no other dominates are as many as there are writers that
/// have not met; a device that holds more merges before it tells.
pub const MAX_HEADS: usize = 64;
/// Most bytes of nodes pushed along with a new head: a big commit's news must not hold up others on
/// the control stream, and can be fetched.
pub const MAX_PUSHED_BYTES: usize = 256 * 1024;
/// Most nodes pushed along with a new head; nodes are rarely under 256 bytes.
pub const MAX_PUSHED_NODES: usize = 1024;
/// Most addresses in a message.
pub const MAX_ADDRESSES: usize = 64;
/// Longest address: the longest host name and a port.
pub const MAX_ADDRESS_BYTES: usize = 260;

/// Kinds of frames. A number is never given to something else.
pub(crate) mod kind {
    pub(crate) const HELLO: u16 = 1;
    pub(crate) const JOIN: u16 = 2;
    pub(crate) const ANSWER: u16 = 3;
    pub(crate) const WELCOME: u16 = 4;
    pub(crate) const LEAVE: u16 = 5;
    pub(crate) const OPENING: u16 = 6;
    pub(crate) const GREETING: u16 = 7;
    pub(super) const HEADS: u16 = 16;
    pub(super) const NEW_HEAD: u16 = 17;
    pub(super) const COMPLETE: u16 = 18;
    pub(super) const GONE: u16 = 19;
    pub(super) const PEERS: u16 = 20;
    pub(super) const OBSERVED: u16 = 21;
    pub(super) const REACHABLE: u16 = 22;
    pub(super) const INTRODUCE: u16 = 23;
    pub(super) const INTRODUCED: u16 = 24;
    pub(super) const HAVE: u16 = 25;
    pub(super) const HAVE_UP_TO: u16 = 26;
    pub(super) const REQUEST_NODES: u16 = 32;
    pub(super) const REQUEST_CHUNKS: u16 = 33;
    pub(super) const NODE: u16 = 40;
    pub(super) const NODE_GONE: u16 = 41;
}

/// News about one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// All heads that I know and that no other dominates: on joining, and after a merge.
    Heads {
        /// At most [`MAX_HEADS`].
        heads: Vec<SignedHead>,
    },
    /// A head that I did not have before.
    NewHead {
        /// The head.
        head: SignedHead,
        /// Nodes that the peer probably lacks, within [`MAX_PUSHED_BYTES`] and [`MAX_PUSHED_NODES`].
        nodes: Vec<Bytes>,
    },
    /// I hold all contents of the state with these entries.
    Complete {
        /// Their root: two heads can be merged by readers, who cannot sign the result.
        entries: NodeId,
    },
    /// I no longer hold this content.
    Gone {
        /// Which.
        content: ContentId,
    },
    /// I am fetching, and have verified these; told to those who may want them. Empty: I begin.
    Have {
        /// Contents of which all is here, at most [`MAX_HAVE_WHOLE`].
        whole: Vec<ContentPrefix>,
        /// Contents of which some is here, at most [`MAX_HAVE_PARTS`] with [`MAX_HAVE_RUNS`] in all.
        parts: Vec<HavePart>,
    },
    /// Of the state with these entries I hold the contents of most paths up to this one.
    HaveUpTo {
        /// Their root.
        entries: NodeId,
        /// The last of the paths, in the order of paths.
        path: RelPath,
    },
    /// Where other peers of the folder may be. Hints, to be judged before they are dialled.
    Peers {
        /// `host:port`, at most [`MAX_ADDRESSES`].
        addresses: Vec<String>,
    },
    /// Your packets come to me from this address.
    Observed {
        /// What the network between makes of your address.
        address: SocketAddr,
    },
    /// I may be reached at these addresses now. Hints, as for `Peers`.
    Reachable {
        /// At most [`MAX_ADDRESSES`].
        addresses: Vec<SocketAddr>,
    },
    /// I cannot reach this peer of the folder, which may be linked with you: introduce us.
    Introduce {
        /// Where it is said to be.
        address: SocketAddr,
    },
    /// Another peer of the folder and you are to reach each other now: one dials, the other sends
    /// small packets, so that the gateways on both sides let packets through.
    Introduced {
        /// Where it is.
        address: SocketAddr,
        /// Whether you are the one that dials.
        dial: bool,
    },
}

/// Why a frame is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not what this kind of message looks like.
    #[error("the peer sent a malformed message")]
    Malformed,
    /// More items or bytes than may be.
    #[error("the peer sent more in one message than is allowed")]
    TooMany,
    /// A kind that this version does not know, and that must not be skipped.
    #[error("the peer sent a message of kind {0}, which this version does not know; is it newer?")]
    UnknownKind(u16),
}

impl Message {
    /// The frame that tells this on a channel. What is too much is left out where that is harmless
    /// (nodes, addresses), else the other side will refuse it.
    pub fn encode(&self, channel: u32) -> Frame {
        let payload = |fields: u64, write: &dyn Fn(&mut Writer) -> Written| {
            write_map(fields + 1, |e| {
                e.u8(0)?.u32(channel)?;
                write(e)
            })
        };
        match self {
            Self::Heads { heads } => {
                debug_assert!(heads.len() <= MAX_HEADS);
                Frame::new(
                    kind::HEADS,
                    payload(1, &|e| write_list(e.u8(1)?, heads.iter().map(SignedHead::encode))),
                )
            }
            Self::NewHead { head, nodes } => {
                let nodes = fitting(nodes);
                let write = |e: &mut Writer| {
                    e.u8(1)?.bytes(&head.encode())?.u8(2)?;
                    write_list(e, nodes.iter())
                };
                Frame::new(kind::NEW_HEAD, payload(2, &write))
            }
            Self::Complete { entries } => {
                Frame::new(kind::COMPLETE, payload(1, &|e| e.u8(1)?.bytes(&entries.0).map(|_| ())))
            }
            Self::Gone { content } => {
                Frame::new(kind::GONE, payload(1, &|e| e.u8(1)?.bytes(&content.0).map(|_| ())))
            }
            Self::Peers { addresses } => {
                let fitting = addresses.iter().filter(|a| a.len() <= MAX_ADDRESS_BYTES).take(MAX_ADDRESSES);
                let fitting: Vec<_> = fitting.collect();
                let write = |e: &mut Writer| {
                    e.u8(1)?.array(fitting.len() as u64)?;
                    fitting.iter().try_for_each(|address| e.str(address).map(|_| ()))
                };
                Frame::ignorable(kind::PEERS, payload(1, &write))
            }
            Self::Have { .. } | Self::HaveUpTo { .. } => have::encode(self, channel),
            Self::Observed { .. }
            | Self::Reachable { .. }
            | Self::Introduce { .. }
            | Self::Introduced { .. } => reach::encode(self, channel),
        }
    }

    /// Parses a frame: the channel and what is told on it. None for a kind that may be skipped.
    pub fn parse(frame: &Frame) -> Result<Option<(u32, Self)>, MessageError> {
        let parse = match frame.kind {
            kind::HEADS => parse_heads,
            kind::NEW_HEAD => parse_new_head,
            kind::COMPLETE => parse_complete,
            kind::GONE => parse_gone,
            kind::PEERS => parse_peers,
            kind::OBSERVED => reach::parse_observed,
            kind::REACHABLE => reach::parse_reachable,
            kind::INTRODUCE => reach::parse_introduce,
            kind::INTRODUCED => reach::parse_introduced,
            kind::HAVE => have::parse_have,
            kind::HAVE_UP_TO => have::parse_have_up_to,
            _ if frame.ignorable => return Ok(None),
            unknown => return Err(MessageError::UnknownKind(unknown)),
        };
        parse(&frame.payload).map(Some)
    }
}

/// As many of the first nodes as may be pushed.
fn fitting(nodes: &[Bytes]) -> &[Bytes] {
    let mut sum = 0;
    let fits = |node: &&Bytes| {
        sum += node.len();
        sum <= MAX_PUSHED_BYTES
    };
    let count = nodes.iter().take(MAX_PUSHED_NODES).take_while(fits).count();
    &nodes[..count]
}

fn write_list(e: &mut Writer, items: impl ExactSizeIterator<Item = impl AsRef<[u8]>>) -> Written {
    e.array(items.len() as u64)?;
    for item in items {
        e.bytes(item.as_ref())?;
    }
    Ok(())
}

/// Reads a message of a channel and one further field.
fn parse_with<'b, T>(
    payload: &'b [u8],
    mut value: impl FnMut(&mut Reader<'b>) -> Result<T, MessageError>,
) -> Result<(u32, T), MessageError> {
    let (mut channel, mut found) = (None, None);
    read_map(payload, |key, d| {
        match key {
            0 => channel = Some(d.u32()?),
            1 => found = Some(value(d)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    channel.zip(found).ok_or(MessageError::Malformed)
}

fn read_head(d: &mut Reader<'_>) -> Result<SignedHead, MessageError> {
    SignedHead::decode(d.bytes()?).map_err(|_| MessageError::Malformed)
}

fn parse_heads(payload: &Bytes) -> Result<(u32, Message), MessageError> {
    let (channel, heads) = parse_with(payload, |d| read_list(d, MAX_HEADS, read_head))?;
    Ok((channel, Message::Heads { heads }))
}

fn parse_new_head(payload: &Bytes) -> Result<(u32, Message), MessageError> {
    let (mut channel, mut head, mut nodes) = (None, None, Vec::new());
    read_map(payload, |key, d| {
        match key {
            0 => channel = Some(d.u32()?),
            1 => head = Some(read_head(d)?),
            2 => nodes = read_list(d, MAX_PUSHED_NODES, |d| Ok(payload.slice_ref(d.bytes()?)))?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if nodes.iter().map(Bytes::len).sum::<usize>() > MAX_PUSHED_BYTES {
        return Err(MessageError::TooMany);
    }
    let (channel, head) = channel.zip(head).ok_or(MessageError::Malformed)?;
    Ok((channel, Message::NewHead { head, nodes }))
}

fn parse_complete(payload: &Bytes) -> Result<(u32, Message), MessageError> {
    let (channel, entries) = parse_with(payload, |d| Ok(NodeId(read_array(d)?)))?;
    Ok((channel, Message::Complete { entries }))
}

fn parse_gone(payload: &Bytes) -> Result<(u32, Message), MessageError> {
    let (channel, content) = parse_with(payload, |d| Ok(ContentId(read_array(d)?)))?;
    Ok((channel, Message::Gone { content }))
}

fn parse_peers(payload: &Bytes) -> Result<(u32, Message), MessageError> {
    let address = |d: &mut Reader<'_>| match d.str()? {
        text if text.len() <= MAX_ADDRESS_BYTES => Ok(text.to_owned()),
        _ => Err(MessageError::TooMany),
    };
    let (channel, addresses) = parse_with(payload, |d| read_list(d, MAX_ADDRESSES, address))?;
    Ok((channel, Message::Peers { addresses }))
}

#[cfg(test)]
mod tests;
