//! Frames: how a QUIC stream becomes a sequence of messages.
//!
//! A frame is its payload's length (u32), a kind (u16) and flags (u8), all big-endian, then the
//! payload. What payloads mean is in [`crate::message`] and [`crate::session`]. A kind that the
//! reader does not know is skipped if it is flagged ignorable, and else ends the connection: so old
//! and new versions talk.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before each payload.
pub const HEADER_BYTES: usize = 7;
/// Longest payload: a bundle of 4 MiB, and room for what says what is in it.
pub const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024 + 64 * 1024;

/// Flag: who does not know the kind may skip the frame. Other bits are reserved: sent as zero, not
/// looked at.
const IGNORABLE: u8 = 1;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: u16,
    /// Whether who does not know the kind may skip it.
    pub ignorable: bool,
    /// The rest.
    pub payload: Bytes,
}

/// Why a stream is not a sequence of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A payload is announced that is longer than may be.
    #[error("the peer announced a message of {announced} bytes where at most {limit} are allowed")]
    TooLong {
        /// What the header says.
        announced: usize,
        /// What may be.
        limit: usize,
    },
}

impl Frame {
    /// A frame that the other side must understand.
    pub fn new(kind: u16, payload: impl Into<Bytes>) -> Self {
        Self { kind, ignorable: false, payload: payload.into() }
    }

    /// A frame that the other side may skip.
    pub fn ignorable(kind: u16, payload: impl Into<Bytes>) -> Self {
        Self { kind, ignorable: true, payload: payload.into() }
    }

    /// The bytes on the wire. The payload must not be longer than [`MAX_FRAME_BYTES`].
    pub fn encode(&self) -> Bytes {
        debug_assert!(self.payload.len() <= MAX_FRAME_BYTES, "whoever fills messages keeps their limits");
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.put_u32(self.payload.len() as u32);
        bytes.put_u16(self.kind);
        bytes.put_u8(if self.ignorable { IGNORABLE } else { 0 });
        bytes.put_slice(&self.payload);
        bytes.freeze()
    }
}

/// Turns the bytes of a stream, as they arrive, into frames.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    limit: usize,
}

impl FrameDecoder {
    /// A decoder that refuses payloads longer than `limit`, at most [`MAX_FRAME_BYTES`].
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit: limit.min(MAX_FRAME_BYTES) }
    }

    /// Changes the limit for frames that have not been taken yet.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_FRAME_BYTES);
    }

    /// Takes bytes as they arrived. Take frames out before the next call: only then is no more kept
    /// than one frame and what was pushed at once.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame. A too long one is refused at its header, before there is room for it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let mut header = &header[..];
        let announced = header.get_u32() as usize;
        let kind = header.get_u16();
        let flags = header.get_u8();
        if announced > self.limit {
            return Err(FrameError::TooLong { announced, limit: self.limit });
        }
        if self.buffer.len() < HEADER_BYTES + announced {
            self.buffer.reserve(HEADER_BYTES + announced - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let payload = self.buffer.split_to(announced).freeze();
        Ok(Some(Frame { kind, ignorable: flags & IGNORABLE != 0, payload }))
    }

    /// How many bytes wait for the rest of their frame. Not zero at the end of a stream: it was cut.
    pub fn waiting_bytes(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_whole_however_their_bytes_arrive() {
        let frames =
            [Frame::new(7, &b"hello"[..]), Frame::ignorable(65_535, vec![]), Frame::new(0, vec![1; 300])];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        for piece in [1, 2, 6, 7, 8, 100, bytes.len()] {
            let mut decoder = FrameDecoder::new(MAX_FRAME_BYTES);
            let mut seen = Vec::new();
            for bytes in bytes.chunks(piece) {
                decoder.push(bytes);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames, "pieces of {piece}");
            assert_eq!(decoder.waiting_bytes(), 0);
        }
    }

    #[test]
    fn a_too_long_frame_is_refused_before_there_is_room_for_it() {
        let mut decoder = FrameDecoder::new(1000);
        decoder.push(&[0xff, 0xff, 0xff, 0xff, 0, 1, 0]);
        let capacity = decoder.buffer.capacity();
        let error = FrameError::TooLong { announced: 0xffff_ffff, limit: 1000 };
        assert_eq!(decoder.next_frame(), Err(error));
        assert_eq!(decoder.buffer.capacity(), capacity);
    }

    #[test]
    fn reserved_flags_are_not_looked_at() {
        let mut decoder = FrameDecoder::new(1000);
        decoder.push(&[0, 0, 0, 1, 0, 1, 0xfe, 9]);
        assert_eq!(decoder.next_frame(), Ok(Some(Frame::new(1, &[9][..]))));
    }

    #[test]
    fn the_bytes_are_what_they_have_always_been() {
        assert_eq!(Frame::ignorable(0x0102, &b"ab"[..]).encode()[..], [0, 0, 0, 2, 1, 2, 1, b'a', b'b']);
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_never_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut decoder = FrameDecoder::new(64);
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }
}
