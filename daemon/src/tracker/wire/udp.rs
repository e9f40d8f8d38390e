//! Datagrams of BEP 15. Everything is big-endian and at a fixed place.
//!
//! A list of addresses is of the family of the datagram that carries it; read it with
//! [`peers_v4`](super::peers_v4) or [`peers_v6`](super::peers_v6). Options of BEP 41 behind an
//! announce are skipped when read.

use super::{Announce, Event, InfoHash, Totals};

/// What a connect request begins with.
pub const PROTOCOL_ID: u64 = 0x0417_2710_1980;

/// Bytes of a connect request, and of its answer.
pub const CONNECT_BYTES: usize = 16;
/// Bytes of an announce without options.
pub const ANNOUNCE_BYTES: usize = 98;
/// Bytes before the hashes of a scrape.
pub const SCRAPE_HEAD_BYTES: usize = 16;
/// Bytes before the addresses of an answer to an announce.
pub const ANNOUNCED_HEAD_BYTES: usize = 20;
/// Bytes before the totals of an answer to a scrape, and before the text of an error.
pub const ANSWER_HEAD_BYTES: usize = 8;
/// Bytes of one swarm's totals.
pub const TOTALS_BYTES: usize = 12;
/// As many hashes fit into one scrape.
pub const MAX_SCRAPE_HASHES: usize = 74;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Let me prove that I am where I seem to be.
    Connect {
        /// Comes back with the answer.
        transaction: u32,
    },
    /// Here I am; who else is?
    Announce {
        /// What the answer to a connect request gave.
        connection: u64,
        /// Comes back with the answer.
        transaction: u32,
        /// What it tells.
        announce: Announce,
    },
    /// How many are there?
    Scrape {
        /// What the answer to a connect request gave.
        connection: u64,
        /// Comes back with the answer.
        transaction: u32,
        /// The swarms, at most [`MAX_SCRAPE_HASHES`], at least one.
        hashes: &'a [InfoHash],
    },
}

impl<'a> Request<'a> {
    /// Reads a datagram; `None` when it is no request of BEP 15, which deserves no answer.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(datagram);
        let connection = bytes.u64()?;
        let action = bytes.u32()?;
        let transaction = bytes.u32()?;
        match action {
            CONNECT => (connection == PROTOCOL_ID).then_some(Self::Connect { transaction }),
            ANNOUNCE => {
                let announce = parse_announce(&mut bytes)?;
                Some(Self::Announce { connection, transaction, announce })
            }
            SCRAPE => {
                let (hashes, _) = bytes.0.as_chunks();
                let is_sane = (1..=MAX_SCRAPE_HASHES).contains(&hashes.len());
                is_sane.then_some(Self::Scrape { connection, transaction, hashes })
            }
            _ => None,
        }
    }
}

fn parse_announce(bytes: &mut Bytes<'_>) -> Option<Announce> {
    let info_hash = bytes.array()?;
    let peer_id = bytes.array()?;
    let (downloaded, left, uploaded) = (bytes.u64()?, bytes.u64()?, bytes.u64()?);
    let event = match bytes.u32()? {
        1 => Event::Completed,
        2 => Event::Started,
        3 => Event::Stopped,
        _ => Event::None,
    };
    // An address that the client claims: never believed, or anyone could enlist anyone.
    bytes.u32()?;
    let key = bytes.u32()?;
    let want = i32::from_be_bytes(bytes.array()?);
    let port = u16::from_be_bytes(bytes.array()?);
    let want = u32::try_from(want).ok();
    Some(Announce { info_hash, peer_id, downloaded, left, uploaded, event, key, want, port })
}

/// A request to connect.
pub fn connect_request(transaction: u32) -> [u8; CONNECT_BYTES] {
    let mut out = [0; CONNECT_BYTES];
    let mut at = Place(&mut out);
    at.put(PROTOCOL_ID.to_be_bytes());
    at.put(CONNECT.to_be_bytes());
    at.put(transaction.to_be_bytes());
    out
}

/// An announce, without options.
pub fn announce_request(connection: u64, transaction: u32, announce: &Announce) -> [u8; ANNOUNCE_BYTES] {
    let event: u32 = match announce.event {
        Event::None => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
    };
    let want = announce.want.map_or(-1, |want| i32::try_from(want).unwrap_or(i32::MAX));
    let mut out = [0; ANNOUNCE_BYTES];
    let mut at = Place(&mut out);
    at.put(connection.to_be_bytes());
    at.put(ANNOUNCE.to_be_bytes());
    at.put(transaction.to_be_bytes());
    at.put(announce.info_hash);
    at.put(announce.peer_id);
    at.put(announce.downloaded.to_be_bytes());
    at.put(announce.left.to_be_bytes());
    at.put(announce.uploaded.to_be_bytes());
    at.put(event.to_be_bytes());
    at.put([0; 4]);
    at.put(announce.key.to_be_bytes());
    at.put(want.to_be_bytes());
    at.put(announce.port.to_be_bytes());
    out
}

/// The option of BEP 41 that names the path and query of the tracker's URL, to be put behind an
/// announce; what follows 255 bytes takes further options of the same kind.
pub fn url_option(path_and_query: &str) -> Vec<u8> {
    const URL_DATA: u8 = 2;
    let mut out = Vec::with_capacity(path_and_query.len() + 2);
    for part in path_and_query.as_bytes().chunks(usize::from(u8::MAX)) {
        out.push(URL_DATA);
        out.push(u8::try_from(part.len()).expect("chunks of 255 at most"));
        out.extend_from_slice(part);
    }
    out
}

/// A request for totals. Hashes beyond [`MAX_SCRAPE_HASHES`] are left out.
pub fn scrape_request(connection: u64, transaction: u32, hashes: &[InfoHash]) -> Vec<u8> {
    let hashes = &hashes[..hashes.len().min(MAX_SCRAPE_HASHES)];
    let mut out = Vec::with_capacity(SCRAPE_HEAD_BYTES + hashes.as_flattened().len());
    out.extend_from_slice(&connection.to_be_bytes());
    out.extend_from_slice(&SCRAPE.to_be_bytes());
    out.extend_from_slice(&transaction.to_be_bytes());
    out.extend_from_slice(hashes.as_flattened());
    out
}

/// What a tracker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// To a connect request.
    Connect {
        /// Of the request.
        transaction: u32,
        /// What further requests must carry; good for a minute.
        connection: u64,
    },
    /// To an announce.
    Announce {
        /// Of the request.
        transaction: u32,
        /// What else it says.
        announced: Announced<'a>,
    },
    /// To a scrape.
    Scrape {
        /// Of the request.
        transaction: u32,
        /// One for each hash of the request, in its order: see [`totals`].
        totals: &'a [[u8; TOTALS_BYTES]],
    },
    /// No.
    Error {
        /// Of the request.
        transaction: u32,
        /// Why, as text that nobody vouches for.
        message: &'a [u8],
    },
    /// Too short for what it is: the way in which opentracker refuses a swarm that is not on its
    /// white list.
    Short {
        /// Of the request.
        transaction: u32,
    },
}

/// The answer to an announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced<'a> {
    /// Seconds until the client should announce again.
    pub interval: u32,
    /// Those who lack something.
    pub leechers: u32,
    /// Those who have everything.
    pub seeders: u32,
    /// A compact list.
    pub peers: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads a datagram; `None` when it is no answer of BEP 15.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(datagram);
        let action = bytes.u32()?;
        let transaction = bytes.u32()?;
        let short = Self::Short { transaction };
        Some(match action {
            CONNECT => bytes.u64().map_or(short, |connection| Self::Connect { transaction, connection }),
            ANNOUNCE => {
                parse_announced(bytes).map_or(short, |announced| Self::Announce { transaction, announced })
            }
            SCRAPE => Self::Scrape { transaction, totals: bytes.0.as_chunks().0 },
            ERROR => Self::Error { transaction, message: bytes.0 },
            _ => return None,
        })
    }

    /// The request that it answers.
    pub fn transaction(&self) -> u32 {
        match *self {
            Self::Connect { transaction, .. }
            | Self::Announce { transaction, .. }
            | Self::Scrape { transaction, .. }
            | Self::Error { transaction, .. }
            | Self::Short { transaction } => transaction,
        }
    }
}

fn parse_announced(mut bytes: Bytes<'_>) -> Option<Announced<'_>> {
    let (interval, leechers, seeders) = (bytes.u32()?, bytes.u32()?, bytes.u32()?);
    Some(Announced { interval, leechers, seeders, peers: bytes.0 })
}

/// One swarm's totals in an answer to a scrape.
pub fn totals(bytes: &[u8; TOTALS_BYTES]) -> Totals {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
    Totals {
        seeders: u32::from_be_bytes([a, b, c, d]),
        completed: u32::from_be_bytes([e, f, g, h]),
        leechers: u32::from_be_bytes([i, j, k, l]),
    }
}

/// One swarm's totals, to be put behind [`scrape_answer_head`].
pub fn encode_totals(totals: Totals) -> [u8; TOTALS_BYTES] {
    let mut out = [0; TOTALS_BYTES];
    let mut at = Place(&mut out);
    at.put(totals.seeders.to_be_bytes());
    at.put(totals.completed.to_be_bytes());
    at.put(totals.leechers.to_be_bytes());
    out
}

/// The answer to a connect request.
pub fn connect_answer(transaction: u32, connection: u64) -> [u8; CONNECT_BYTES] {
    let mut out = [0; CONNECT_BYTES];
    let mut at = Place(&mut out);
    at.put(CONNECT.to_be_bytes());
    at.put(transaction.to_be_bytes());
    at.put(connection.to_be_bytes());
    out
}

/// The answer to an announce, up to the addresses that are to follow.
pub fn announce_answer_head(
    transaction: u32,
    interval: u32,
    leechers: u32,
    seeders: u32,
) -> [u8; ANNOUNCED_HEAD_BYTES] {
    let mut out = [0; ANNOUNCED_HEAD_BYTES];
    let mut at = Place(&mut out);
    at.put(ANNOUNCE.to_be_bytes());
    at.put(transaction.to_be_bytes());
    at.put(interval.to_be_bytes());
    at.put(leechers.to_be_bytes());
    at.put(seeders.to_be_bytes());
    out
}

/// The answer to a scrape, up to the totals that are to follow.
pub fn scrape_answer_head(transaction: u32) -> [u8; ANSWER_HEAD_BYTES] {
    answer_head(SCRAPE, transaction)
}

/// A refusal, up to the text that is to follow.
pub fn error_answer_head(transaction: u32) -> [u8; ANSWER_HEAD_BYTES] {
    answer_head(ERROR, transaction)
}

fn answer_head(action: u32, transaction: u32) -> [u8; ANSWER_HEAD_BYTES] {
    let mut out = [0; ANSWER_HEAD_BYTES];
    let mut at = Place(&mut out);
    at.put(action.to_be_bytes());
    at.put(transaction.to_be_bytes());
    out
}

/// What is left to be read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

/// What is left to be written, of an array whose length is the sum of its fields.
struct Place<'a>(&'a mut [u8]);

impl Place<'_> {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        let (head, rest) = std::mem::take(&mut self.0).split_at_mut(N);
        head.copy_from_slice(&field);
        self.0 = rest;
    }
}

#[cfg(test)]
mod tests;
