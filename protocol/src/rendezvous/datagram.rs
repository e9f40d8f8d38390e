//! Packets beside QUIC: each begins with a byte below 0x40, which no QUIC packet does (its fixed
//! bit is set, since nobody here greases it).
//!
//! The first byte is none that STUN (0x00 to 0x03) or a UDP tracker's packets begin with.

use super::{TOKEN_BYTES, Token};

/// QUIC packets have this bit set in their first byte.
pub const QUIC_BIT: u8 = 0x40;
/// First byte of a packet that only opens the way through a gateway.
const PUNCH: u8 = 0x28;
/// First byte of a packet that joins a relay.
const JOIN: u8 = 0x29;
/// Length of a packet that joins a relay.
pub const JOIN_BYTES: usize = 1 + TOKEN_BYTES;

/// A packet that opens the way through our gateway. It means nothing to who receives it.
pub const PUNCH_PACKET: [u8; 6] = [PUNCH, b's', b'y', b'n', b'c', b'd'];

/// Whether a packet can be one of QUIC's.
pub fn is_quic(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & QUIC_BIT != 0)
}

/// The packet by which a device joins a relay.
pub fn encode_join(token: &Token) -> [u8; JOIN_BYTES] {
    let mut packet = [JOIN; JOIN_BYTES];
    packet[1..].copy_from_slice(&token.0);
    packet
}

/// The token in a packet that joins a relay; none if it is another packet.
pub fn parse_join(packet: &[u8]) -> Option<Token> {
    let (first, token) = packet.split_first()?;
    (*first == JOIN).then_some(())?;
    token.try_into().ok().map(Token)
}
