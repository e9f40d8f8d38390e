//! Why a session ends.

use crate::frame::FrameError;
use crate::message::MessageError;

/// Why a session ends, as a sentence for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The stream is no sequence of frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame is no message, or one of a newer version.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The peer speaks a version that is no longer, or not yet, understood.
    #[error("the peer speaks version {0} of the protocol, which this version does not")]
    Version(u32),
    /// A message that has no place here: not proved, not asked for, or twice.
    #[error("the peer sent a message of kind {0} where it has no place")]
    Unexpected(u16),
    /// More than a join takes, without any proof.
    #[error("the peer proves no folder and goes on talking")]
    TooMuchBeforeProof,
    /// The device id that the peer shows is not its own.
    #[error("the peer does not have the device key that it claims to have")]
    WrongSignature,
    /// One connection, two devices.
    #[error("the peer claims to be two devices")]
    OtherDevice,
    /// Both ends have the same device key.
    #[error("the peer is this device itself, or a copy of it")]
    Ourselves,
    /// A peer that knows the folder told who its writers are, and it is not true.
    #[error("what the peer told about the folder's writers does not fit the key")]
    WrongOpening,
    /// A channel that was never given.
    #[error("the peer speaks of a folder by a number that it was not given")]
    UnknownChannel,
}

impl SessionError {
    /// Whether the peer has done what no honest peer of any version does: it is dropped and
    /// remembered for a while. Else it may well be tried again later.
    pub fn is_misbehaviour(&self) -> bool {
        !matches!(self, Self::Version(_) | Self::Ourselves | Self::Message(MessageError::UnknownKind(_)))
    }
}
