//! The messages with which sessions join folders, and their bytes.

use bytes::Bytes;
use keystore::{Capability, DeviceId, FolderId, Opening};

use super::proof::{PROOF_BYTES, TAG_BYTES};
use super::{MAX_NAME_BYTES, MAX_SLOTS};
use crate::frame::{Frame, FrameDecoder, MAX_FRAME_BYTES};
use crate::message::cbor::{read_array, read_map, write_map};
use crate::message::{Message, MessageError, kind};

/// Joins are padded to a multiple of this, so that they do not tell how many folders there are.
pub(super) const SLOT_STEP: usize = 8;
const SLOT_BYTES: usize = TAG_BYTES + PROOF_BYTES;
/// Messages in a greeting: heads, and that all content is here.
const MAX_GREETING: usize = 2;

/// The first frame of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    /// Raised when something changes that feature bits cannot say.
    pub(super) version: u32,
    /// What the sender can do beyond the version; bits that are not known mean nothing.
    pub(super) features: u64,
}

/// One folder in a join, or random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) tag: [u8; TAG_BYTES],
    pub(super) proof: [u8; PROOF_BYTES],
}

/// Who is there, for those who have proved that they know the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) folder: FolderId,
    /// The number by which the receiver is to name the folder from now on.
    pub(super) channel: u32,
    pub(super) device: DeviceId,
    pub(super) signature: [u8; 64],
    pub(super) name: String,
    pub(super) capability: Capability,
    pub(super) opening: Option<Opening>,
}

impl Hello {
    pub(super) fn encode(&self) -> Frame {
        let payload = write_map(2, |e| e.u8(0)?.u32(self.version)?.u8(1)?.u64(self.features).map(|_| ()));
        Frame::new(kind::HELLO, payload)
    }

    pub(super) fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        let mut hello = Self { version: 0, features: 0 };
        read_map(payload, |key, d| {
            match key {
                0 => hello.version = d.u32()?,
                1 => hello.features = d.u64()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(hello)
    }
}

/// A frame of one byte string: slots, or the answers to them.
fn encode_blocks(kind: u16, blocks: &[u8]) -> Frame {
    Frame::new(kind, write_map(1, |e| e.u8(0)?.bytes(blocks).map(|_| ())))
}

/// The byte string, in blocks of `size`.
fn parse_blocks(payload: &[u8], size: usize) -> Result<std::slice::ChunksExact<'_, u8>, MessageError> {
    let mut bytes = None;
    read_map(payload, |key, d| {
        if key == 0 {
            bytes = Some(d.bytes()?);
        }
        Ok(key == 0)
    })?;
    let bytes = bytes.ok_or(MessageError::Malformed)?;
    if bytes.len() > MAX_SLOTS * size {
        return Err(MessageError::TooMany);
    }
    if bytes.is_empty() || !bytes.len().is_multiple_of(SLOT_STEP * size) {
        return Err(MessageError::Malformed);
    }
    Ok(bytes.chunks_exact(size))
}

pub(super) fn encode_join(slots: &[Slot]) -> Frame {
    let blocks: Vec<u8> = slots.iter().flat_map(|slot| slot.tag.into_iter().chain(slot.proof)).collect();
    encode_blocks(kind::JOIN, &blocks)
}

pub(super) fn parse_join(payload: &[u8]) -> Result<Vec<Slot>, MessageError> {
    let slot = |block: &[u8]| {
        let (tag, proof) = block.split_first_chunk()?;
        Some(Slot { tag: *tag, proof: proof.try_into().ok()? })
    };
    let slots: Option<Vec<_>> = parse_blocks(payload, SLOT_BYTES)?.map(slot).collect();
    slots.ok_or(MessageError::Malformed)
}

pub(super) fn encode_answer(proofs: &[[u8; PROOF_BYTES]]) -> Frame {
    encode_blocks(kind::ANSWER, proofs.as_flattened())
}

pub(super) fn parse_answer(payload: &[u8]) -> Result<Vec<[u8; PROOF_BYTES]>, MessageError> {
    let proofs: Result<Vec<_>, _> = parse_blocks(payload, PROOF_BYTES)?.map(TryInto::try_into).collect();
    proofs.map_err(|_| MessageError::Malformed)
}

impl Welcome {
    pub(super) fn encode(&self) -> Frame {
        let fields = if self.opening.is_some() { 8 } else { 6 };
        let payload = write_map(fields, |e| {
            e.u8(0)?.bytes(&self.folder.0)?.u8(1)?.u32(self.channel)?;
            e.u8(2)?.bytes(&self.device.0)?.u8(3)?.bytes(&self.signature)?;
            e.u8(4)?.str(&self.name)?.u8(5)?.u8(capability_number(self.capability))?;
            if let Some(opening) = &self.opening {
                e.u8(6)?.bytes(&opening.verifying_key)?.u8(7)?.bytes(&opening.blinding)?;
            }
            Ok(())
        });
        Frame::new(kind::WELCOME, payload)
    }

    pub(super) fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        let (mut folder, mut channel, mut device, mut signature) = (None, None, None, None);
        let (mut name, mut capability, mut key, mut blinding) = (String::new(), None, None, None);
        read_map(payload, |field, d| {
            match field {
                0 => folder = Some(FolderId(read_array(d)?)),
                1 => channel = Some(d.u32()?),
                2 => device = Some(DeviceId(read_array(d)?)),
                3 => signature = Some(read_array(d)?),
                4 => name = readable_name(d.str()?)?,
                5 => capability = Some(capability_of(d.u8()?)?),
                6 => key = Some(read_array(d)?),
                7 => blinding = Some(read_array(d)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let whole = || {
            let (folder, channel, device) = (folder?, channel?, device?);
            let opening =
                key.zip(blinding).map(|(verifying_key, blinding)| Opening { verifying_key, blinding });
            let (signature, capability) = (signature?, capability?);
            Some(Self { folder, channel, device, signature, name, capability, opening })
        };
        whole().ok_or(MessageError::Malformed)
    }
}

fn capability_number(capability: Capability) -> u8 {
    match capability {
        Capability::Store => 0,
        Capability::Read => 1,
        Capability::Write => 2,
    }
}

fn capability_of(number: u8) -> Result<Capability, MessageError> {
    match number {
        0 => Ok(Capability::Store),
        1 => Ok(Capability::Read),
        2 => Ok(Capability::Write),
        _ => Err(MessageError::Malformed),
    }
}

/// A name as it may be shown: what a terminal would obey is replaced.
fn readable_name(text: &str) -> Result<String, MessageError> {
    if text.len() > MAX_NAME_BYTES {
        return Err(MessageError::TooMany);
    }
    Ok(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
}

/// What is said of a folder before it is known by which number the receiver wants it named. Who does
/// not know this kind hears the same a little later.
pub(super) fn encode_greeting(folder: &FolderId, messages: &[Message]) -> Frame {
    debug_assert!(messages.len() <= MAX_GREETING);
    let frames: Vec<u8> = messages.iter().flat_map(|message| message.encode(0).encode()).collect();
    let payload = write_map(2, |e| e.u8(0)?.bytes(&folder.0)?.u8(1)?.bytes(&frames).map(|_| ()));
    Frame::ignorable(kind::GREETING, payload)
}

pub(super) fn parse_greeting(payload: &Bytes) -> Result<(FolderId, Vec<Message>), MessageError> {
    let (mut folder, mut frames) = (None, None);
    read_map(payload, |key, d| {
        match key {
            0 => folder = Some(FolderId(read_array(d)?)),
            1 => frames = Some(d.bytes()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (folder, frames) = folder.zip(frames).ok_or(MessageError::Malformed)?;
    let mut decoder = FrameDecoder::new(MAX_FRAME_BYTES);
    decoder.push(frames);
    let mut messages = Vec::new();
    while let Some(frame) = decoder.next_frame().map_err(|_| MessageError::TooMany)? {
        // What a later version adds may be skipped, as anywhere.
        let Some((_, message)) = Message::parse(&frame)? else { continue };
        if !matches!(message, Message::Heads { .. } | Message::NewHead { .. } | Message::Complete { .. }) {
            return Err(MessageError::Malformed);
        }
        if messages.len() == MAX_GREETING {
            return Err(MessageError::TooMany);
        }
        messages.push(message);
    }
    Ok((folder, messages))
}

/// Ends a membership; `channel` is the receiver's number.
pub(super) fn encode_leave(channel: u32) -> Frame {
    Frame::new(kind::LEAVE, write_map(1, |e| e.u8(0)?.u32(channel).map(|_| ())))
}

pub(super) fn parse_leave(payload: &[u8]) -> Result<u32, MessageError> {
    let mut channel = None;
    read_map(payload, |key, d| {
        if key == 0 {
            channel = Some(d.u32()?);
        }
        Ok(key == 0)
    })?;
    channel.ok_or(MessageError::Malformed)
}

/// Tells an opening that was not known yet when the folder was joined.
pub(super) fn encode_opening(channel: u32, opening: &Opening) -> Frame {
    let payload = write_map(3, |e| {
        e.u8(0)?.u32(channel)?.u8(1)?.bytes(&opening.verifying_key)?;
        e.u8(2)?.bytes(&opening.blinding).map(|_| ())
    });
    Frame::new(kind::OPENING, payload)
}

pub(super) fn parse_opening(payload: &Bytes) -> Result<(u32, Opening), MessageError> {
    let (mut channel, mut verifying_key, mut blinding) = (None, None, None);
    read_map(payload, |key, d| {
        match key {
            0 => channel = Some(d.u32()?),
            1 => verifying_key = Some(read_array(d)?),
            2 => blinding = Some(read_array(d)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let whole = || Some((channel?, Opening { verifying_key: verifying_key?, blinding: blinding? }));
    whole().ok_or(MessageError::Malformed)
}
