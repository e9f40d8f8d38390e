//! Why links end.

/// Why a link is closed; the number is what the other side sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Reason {
    /// The daemon ends.
    ShuttingDown = 0,
    /// Nothing was proven in time, or the connection is to ourselves.
    Unproven = 1,
    /// Another link to the same device stays.
    Duplicate = 2,
    /// The peer broke the protocol.
    Misbehaved = 3,
    /// The peer does not read what we send.
    TooSlow = 4,
    /// No folder is shared any more.
    NothingShared = 5,
    /// It no longer answers.
    Dead = 7,
    /// The other side speaks another version, or is this device.
    Incompatible = 8,
}
