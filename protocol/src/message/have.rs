//! News of what an incomplete device has, so that others can take it from there.
//!
//! Hints, not promises: whoever is asked may answer «gone». They are told in bundles a few times a
//! second, and may be skipped by who does not know them. A content is named by the first bytes of its
//! id: a chance hit of two is a question more, and a whole small file costs nine bytes.

use bytes::Bytes;

use super::cbor::{Reader, Writer, Written, read_array, read_list, read_map, write_map};
use super::{Message, MessageError, kind};
use crate::entry::ContentId;
use crate::frame::Frame;
use crate::path::RelPath;
use crate::store::NodeId;

/// Most contents that are said to be here whole: 36 KiB of message.
pub const MAX_HAVE_WHOLE: usize = 4096;
/// Most contents that are said to be here in part: as many as are under way at a time.
pub const MAX_HAVE_PARTS: usize = 256;
/// Most runs of chunks in a message: each is two numbers, so some 64 KiB at most.
pub const MAX_HAVE_RUNS: usize = 8192;

/// The first bytes of a [`ContentId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentPrefix(pub [u8; 8]);

impl ContentPrefix {
    /// Of a content.
    pub fn of(content: &ContentId) -> Self {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&content.0[..8]);
        Self(prefix)
    }

    /// The first id that begins so.
    pub fn first(&self) -> ContentId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&self.0);
        ContentId(id)
    }
}

/// Chunks that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The number of the first.
    pub first: u32,
    /// How many, at least one. The end may lie beyond that of the content.
    pub count: u32,
}

impl Run {
    /// One more than the number of the last.
    pub fn end(&self) -> u32 {
        self.first.saturating_add(self.count)
    }
}

/// Some chunks of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HavePart {
    /// Which content.
    pub content: ContentPrefix,
    /// Which chunks: ascending, none touching another.
    pub runs: Vec<Run>,
}

pub(super) fn encode(message: &Message, channel: u32) -> Frame {
    match message {
        Message::Have { whole, parts } => {
            debug_assert!(whole.len() <= MAX_HAVE_WHOLE && parts.len() <= MAX_HAVE_PARTS);
            let payload = write_map(3, |e| {
                let joined: Vec<u8> = whole.iter().flat_map(|prefix| prefix.0).collect();
                e.u8(0)?.u32(channel)?.u8(1)?.bytes(&joined)?.u8(2)?.array(parts.len() as u64)?;
                parts.iter().try_for_each(|part| write_part(e, part))
            });
            Frame::ignorable(kind::HAVE, payload)
        }
        Message::HaveUpTo { entries, path } => {
            let payload = write_map(3, |e| {
                e.u8(0)?.u32(channel)?.u8(1)?.bytes(&entries.0)?.u8(2)?.bytes(path.as_bytes()).map(|_| ())
            });
            Frame::ignorable(kind::HAVE_UP_TO, payload)
        }
        _ => unreachable!("the caller asks for news of this kind only"),
    }
}

/// The prefix, then how many chunks are skipped and how many are there, in turn.
fn write_part(e: &mut Writer, part: &HavePart) -> Written {
    e.array(1 + 2 * part.runs.len() as u64)?.bytes(&part.content.0)?;
    let mut at = 0;
    for run in &part.runs {
        e.u32(run.first.saturating_sub(at))?.u32(run.count)?;
        at = run.end();
    }
    Ok(())
}

pub(super) fn parse_have(payload: &Bytes) -> Result<(u32, Message), MessageError> {
    let (mut channel, mut whole, mut parts) = (None, Vec::new(), Vec::new());
    let mut runs_left = MAX_HAVE_RUNS;
    read_map(payload, |key, d| {
        match key {
            0 => channel = Some(d.u32()?),
            1 => whole = read_whole(d)?,
            2 => parts = read_list(d, MAX_HAVE_PARTS, |d| read_part(d, &mut runs_left))?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((channel.ok_or(MessageError::Malformed)?, Message::Have { whole, parts }))
}

fn read_whole(d: &mut Reader<'_>) -> Result<Vec<ContentPrefix>, MessageError> {
    let joined = d.bytes()?;
    let (prefixes, rest) = joined.as_chunks::<8>();
    match prefixes.len() {
        _ if !rest.is_empty() => Err(MessageError::Malformed),
        0..=MAX_HAVE_WHOLE => Ok(prefixes.iter().map(|prefix| ContentPrefix(*prefix)).collect()),
        _ => Err(MessageError::TooMany),
    }
}

fn read_part(d: &mut Reader<'_>, runs_left: &mut usize) -> Result<HavePart, MessageError> {
    let length = d.array()?.filter(|length| length % 2 == 1).ok_or(MessageError::Malformed)?;
    let count = length / 2;
    if count > *runs_left as u64 {
        return Err(MessageError::TooMany);
    }
    *runs_left -= count as usize;
    let content = ContentPrefix(read_array(d)?);
    // Each run has two bytes at least; what is claimed beyond that is not reserved.
    let mut runs = Vec::with_capacity((count as usize).min(d.input().len() - d.position()));
    let mut at = 0u32;
    for n in 0..count {
        let (skip, take) = (d.u32()?, d.u32()?);
        if take == 0 || (n > 0 && skip == 0) {
            return Err(MessageError::Malformed);
        }
        let first = at.checked_add(skip).ok_or(MessageError::Malformed)?;
        at = first.checked_add(take).ok_or(MessageError::Malformed)?;
        runs.push(Run { first, count: take });
    }
    Ok(HavePart { content, runs })
}

pub(super) fn parse_have_up_to(payload: &Bytes) -> Result<(u32, Message), MessageError> {
    let (mut channel, mut entries, mut path) = (None, None, None);
    read_map(payload, |key, d| {
        match key {
            0 => channel = Some(d.u32()?),
            1 => entries = Some(NodeId(read_array(d)?)),
            2 => path = Some(RelPath::parse(d.bytes()?).map_err(|_| MessageError::Malformed)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let ((channel, entries), path) = channel.zip(entries).zip(path).ok_or(MessageError::Malformed)?;
    Ok((channel, Message::HaveUpTo { entries, path }))
}
