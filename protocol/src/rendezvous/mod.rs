//! What a device and an introducer say to each other, and its bytes.
//!
//! An introducer (a tracker, reached by QUIC) is trusted with nothing: it sees addresses and the
//! discovery ids that it sees as a tracker anyway, and never a key or a name. A device *registers*
//! the swarms that it belongs to and is told the address that it is seen at. It may ask to be
//! *introduced* to another device of a swarm, by the address under which it has heard of it, and,
//! when no direct way is found, for a *relay*: a UDP port that passes packets between the two.
//!
//! [`Ask`] goes to the introducer, [`Tell`] comes from it, both as frames on one stream that the
//! device opens. Kinds that may be skipped are, so that later versions can say more.
//!
//! [`datagram`] has the packets that are no QUIC: they go beside it, from and to the same ports.
//!
//! Not here: who may be introduced, limits in time, sockets.

use std::net::SocketAddr;

use keystore::DiscoveryId;

use crate::frame::Frame;
use crate::message::MessageError;
use crate::message::cbor::{
    Reader, Writer, Written, read_address, read_array, read_list, read_map, write_address, write_map,
};

pub mod datagram;

/// The application protocol of the connection.
pub const ALPN: &[u8] = b"syncd-tracker/1";
/// Most swarms that a device registers: a laptop has some folders, a server some dozens.
pub const MAX_REGISTERED: usize = 256;
/// Longest payload in either direction: the greatest registration, 23 bytes a swarm, and room.
pub const MAX_RENDEZVOUS_BYTES: usize = 8 * 1024;
/// The bytes that prove to a relay that the sender is one of the two.
pub const TOKEN_BYTES: usize = 16;

mod kind {
    pub(super) const REGISTER: u16 = 1;
    pub(super) const INTRODUCE: u16 = 2;
    pub(super) const RELAY: u16 = 3;
    pub(super) const END_RELAY: u16 = 4;
    pub(super) const OBSERVED: u16 = 16;
    pub(super) const INTRODUCED: u16 = 17;
    pub(super) const RELAYED: u16 = 18;
    pub(super) const RELAY_READY: u16 = 19;
    pub(super) const REFUSED: u16 = 20;
}

/// What proves to a relay that the sender is one of the two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub [u8; TOKEN_BYTES]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// From a device to an introducer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// These are all the swarms in which I can be introduced.
    Register {
        /// At most [`MAX_REGISTERED`].
        discoveries: Vec<DiscoveryId>,
    },
    /// I cannot reach this device of the swarm: introduce us.
    Introduce {
        /// Chosen by the asker, and in the answer.
        number: u64,
        /// The swarm.
        discovery: DiscoveryId,
        /// Where the device is said to be.
        address: SocketAddr,
    },
    /// No direct way to this device was found: relay for us.
    Relay {
        /// Chosen by the asker, and in the answer.
        number: u64,
        /// The swarm.
        discovery: DiscoveryId,
        /// Where the device is said to be.
        address: SocketAddr,
    },
    /// The relay at this port of yours is not needed any more.
    EndRelay {
        /// As in [`Tell::Relayed`].
        port: u16,
    },
}

/// From an introducer to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tell {
    /// Your packets come from this address.
    Observed {
        /// What the networks between make of your address.
        address: SocketAddr,
    },
    /// You and another device are to reach each other now.
    Introduced {
        /// The asker's number, for the asker; the other has not asked.
        number: Option<u64>,
        /// The swarm.
        discovery: DiscoveryId,
        /// Where the other device's packets come from.
        address: SocketAddr,
        /// Whether you dial; else you send small packets there.
        dial: bool,
    },
    /// A relay waits for both of you to send their tokens to it.
    Relayed {
        /// The asker's number, for the asker.
        number: Option<u64>,
        /// The swarm.
        discovery: DiscoveryId,
        /// Where the other device's packets come from: whom the relay leads to.
        address: SocketAddr,
        /// The relay's port, at the introducer's address.
        port: u16,
        /// What you send to it; the other device has another.
        token: Token,
        /// Whether you dial, once it is ready.
        dial: bool,
    },
    /// Both tokens have arrived: packets pass.
    RelayReady {
        /// Which relay.
        port: u16,
    },
    /// The answer to a question is no.
    Refused {
        /// The asker's number.
        number: u64,
        /// Why.
        why: Refusal,
    },
}

/// Why an introducer does not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No device of that swarm is registered at that address, or the asker is not of the swarm.
    #[error("no such device is registered with the introducer")]
    NotThere,
    /// Asked too often.
    #[error("the introducer was asked too often")]
    TooOften,
    /// All relays that may be are in use, or this introducer has none.
    #[error("the introducer has no free relay")]
    NoRelay,
    /// The two have a relay already.
    #[error("the introducer relays for these two already")]
    AlreadyRelayed,
    /// A reason of a later version.
    #[error("the introducer refuses (reason {0})")]
    Other(u8),
}

impl Refusal {
    fn number(self) -> u8 {
        match self {
            Self::NotThere => 0,
            Self::TooOften => 1,
            Self::NoRelay => 2,
            Self::AlreadyRelayed => 3,
            Self::Other(number) => number,
        }
    }

    fn of(number: u8) -> Self {
        match number {
            0 => Self::NotThere,
            1 => Self::TooOften,
            2 => Self::NoRelay,
            3 => Self::AlreadyRelayed,
            other => Self::Other(other),
        }
    }
}

/// The fields that questions and their answers have in common.
#[derive(Default)]
struct Fields {
    number: Option<u64>,
    discovery: Option<DiscoveryId>,
    address: Option<SocketAddr>,
    port: Option<u16>,
    token: Option<Token>,
    dial: bool,
    why: Option<u8>,
}

impl Fields {
    fn read(payload: &[u8]) -> Result<Self, MessageError> {
        let mut fields = Self::default();
        read_map(payload, |key, d| {
            match key {
                0 => fields.number = Some(d.u64()?),
                1 => fields.discovery = Some(DiscoveryId(read_array(d)?)),
                2 => fields.address = Some(read_address(d)?),
                3 => fields.port = Some(d.u16()?),
                4 => fields.token = Some(Token(read_array(d)?)),
                5 => fields.dial = d.bool()?,
                6 => fields.why = Some(d.u8()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(fields)
    }

    fn write(&self, kind: u16) -> Frame {
        let optional = [self.number.is_some(), self.discovery.is_some(), self.address.is_some()];
        let more = [self.port.is_some(), self.token.is_some(), self.dial, self.why.is_some()];
        let count = optional.iter().chain(&more).filter(|is_there| **is_there).count();
        Frame::new(kind, write_map(count as u64, |e| self.write_to(e)))
    }

    fn write_to(&self, e: &mut Writer) -> Written {
        if let Some(number) = self.number {
            e.u8(0)?.u64(number)?;
        }
        if let Some(discovery) = self.discovery {
            e.u8(1)?.bytes(&discovery.0)?;
        }
        if let Some(address) = self.address {
            write_address(e.u8(2)?, address)?;
        }
        if let Some(port) = self.port {
            e.u8(3)?.u16(port)?;
        }
        if let Some(token) = self.token {
            e.u8(4)?.bytes(&token.0)?;
        }
        if self.dial {
            e.u8(5)?.bool(true)?;
        }
        if let Some(why) = self.why {
            e.u8(6)?.u8(why)?;
        }
        Ok(())
    }

    fn question(self) -> Option<(u64, DiscoveryId, SocketAddr)> {
        Some((self.number?, self.discovery?, self.address?))
    }
}

impl Ask {
    /// The frame that asks this.
    pub fn encode(&self) -> Frame {
        let question = |number: &u64, discovery: &DiscoveryId, address: &SocketAddr| Fields {
            number: Some(*number),
            discovery: Some(*discovery),
            address: Some(*address),
            ..Fields::default()
        };
        match self {
            Self::Register { discoveries } => {
                debug_assert!(discoveries.len() <= MAX_REGISTERED, "whoever registers keeps the limit");
                let payload = write_map(1, |e| {
                    e.u8(0)?.array(discoveries.len() as u64)?;
                    discoveries.iter().try_for_each(|discovery| e.bytes(&discovery.0).map(|_| ()))
                });
                Frame::new(kind::REGISTER, payload)
            }
            Self::Introduce { number, discovery, address } => {
                question(number, discovery, address).write(kind::INTRODUCE)
            }
            Self::Relay { number, discovery, address } => {
                question(number, discovery, address).write(kind::RELAY)
            }
            Self::EndRelay { port } => {
                Fields { port: Some(*port), ..Fields::default() }.write(kind::END_RELAY)
            }
        }
    }

    /// Parses a frame; none for a kind that may be skipped.
    ///
    /// # Errors
    /// When it is not what a question looks like.
    pub fn parse(frame: &Frame) -> Result<Option<Self>, MessageError> {
        if frame.kind == kind::REGISTER {
            let discoveries = parse_register(&frame.payload)?;
            return Ok(Some(Self::Register { discoveries }));
        }
        let is_known = matches!(frame.kind, kind::INTRODUCE | kind::RELAY | kind::END_RELAY);
        if !is_known {
            return if frame.ignorable { Ok(None) } else { Err(MessageError::UnknownKind(frame.kind)) };
        }
        let fields = Fields::read(&frame.payload)?;
        if frame.kind == kind::END_RELAY {
            return fields.port.map(|port| Some(Self::EndRelay { port })).ok_or(MessageError::Malformed);
        }
        let (number, discovery, address) = fields.question().ok_or(MessageError::Malformed)?;
        Ok(Some(match frame.kind {
            kind::INTRODUCE => Self::Introduce { number, discovery, address },
            _ => Self::Relay { number, discovery, address },
        }))
    }
}

fn parse_register(payload: &[u8]) -> Result<Vec<DiscoveryId>, MessageError> {
    let mut discoveries = None;
    let discovery = |d: &mut Reader<'_>| Ok(DiscoveryId(read_array(d)?));
    read_map(payload, |key, d| {
        if key == 0 {
            discoveries = Some(read_list(d, MAX_REGISTERED, discovery)?);
        }
        Ok(key == 0)
    })?;
    discoveries.ok_or(MessageError::Malformed)
}

impl Tell {
    /// The frame that tells this.
    pub fn encode(&self) -> Frame {
        let none = Fields::default();
        match *self {
            Self::Observed { address } => Fields { address: Some(address), ..none }.write(kind::OBSERVED),
            Self::Introduced { number, discovery, address, dial } => {
                let (discovery, address) = (Some(discovery), Some(address));
                Fields { number, discovery, address, dial, ..none }.write(kind::INTRODUCED)
            }
            Self::Relayed { number, discovery, address, port, token, dial } => {
                let (discovery, address) = (Some(discovery), Some(address));
                let (port, token) = (Some(port), Some(token));
                Fields { number, discovery, address, port, token, dial, ..none }.write(kind::RELAYED)
            }
            Self::RelayReady { port } => Fields { port: Some(port), ..none }.write(kind::RELAY_READY),
            Self::Refused { number, why } => {
                Fields { number: Some(number), why: Some(why.number()), ..none }.write(kind::REFUSED)
            }
        }
    }

    /// Parses a frame; none for a kind that may be skipped.
    ///
    /// # Errors
    /// When it is not what an answer looks like.
    pub fn parse(frame: &Frame) -> Result<Option<Self>, MessageError> {
        let is_known = (kind::OBSERVED..=kind::REFUSED).contains(&frame.kind);
        if !is_known {
            return if frame.ignorable { Ok(None) } else { Err(MessageError::UnknownKind(frame.kind)) };
        }
        let told = Self::of(frame.kind, &Fields::read(&frame.payload)?);
        told.map(Some).ok_or(MessageError::Malformed)
    }

    fn of(kind: u16, fields: &Fields) -> Option<Self> {
        let Fields { number, dial, .. } = *fields;
        Some(match kind {
            kind::OBSERVED => Self::Observed { address: fields.address? },
            kind::INTRODUCED => {
                let (discovery, address) = (fields.discovery?, fields.address?);
                Self::Introduced { number, discovery, address, dial }
            }
            kind::RELAYED => {
                let (discovery, address) = (fields.discovery?, fields.address?);
                let (port, token) = (fields.port?, fields.token?);
                Self::Relayed { number, discovery, address, port, token, dial }
            }
            kind::RELAY_READY => Self::RelayReady { port: fields.port? },
            _ => Self::Refused { number: number?, why: Refusal::of(fields.why?) },
        })
    }
}

#[cfg(test)]
mod tests;
