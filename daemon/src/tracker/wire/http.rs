//! Announces and scrapes over HTTP: query strings, and the dictionaries that answer them.
//!
//! Hashes and peer ids are raw bytes, percent-encoded. Addresses come as compact lists, `peers` of
//! IPv4 (BEP 23) and `peers6` of IPv6 (BEP 7); the older list of dictionaries is read as well, never
//! written. What a client claims of its own address (`ip=`, `ipv4=`, `ipv6=`) is not read: nobody
//! may enlist somebody else.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::bencode::{BencodeError, Reader, Token, put_bytes, put_number};
use super::{Announce, Event, InfoHash, Totals, peers_v4, peers_v6};

/// The longest text that is taken over from an answer.
const MAX_TEXT_BYTES: usize = 300;

/// Why a query cannot be answered; it is what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Without it there is no question.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It cannot be understood.
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

/// The query of an announce.
pub fn announce_query(announce: &Announce) -> String {
    let Announce { info_hash, peer_id, downloaded, left, uploaded, event, key, want, port } = announce;
    let mut query = String::from("info_hash=");
    push_percent(&mut query, info_hash);
    query.push_str("&peer_id=");
    push_percent(&mut query, peer_id);
    // Writing to a string cannot fail.
    let _ = write!(query, "&port={port}&uploaded={uploaded}&downloaded={downloaded}&left={left}");
    let _ = write!(query, "&key={key:08x}&compact=1&no_peer_id=1");
    if let Some(want) = want {
        let _ = write!(query, "&numwant={want}");
    }
    query.push_str(match event {
        Event::None => "",
        Event::Completed => "&event=completed",
        Event::Started => "&event=started",
        Event::Stopped => "&event=stopped",
    });
    query
}

/// The query of a scrape; a tracker that is asked of no hash tells of all its swarms.
pub fn scrape_query(hashes: &[InfoHash]) -> String {
    let mut query = String::new();
    for hash in hashes {
        query.push_str(if query.is_empty() { "info_hash=" } else { "&info_hash=" });
        push_percent(&mut query, hash);
    }
    query
}

/// Reads the query of an announce (what follows `?`). Lists are compact whether the client asks for
/// that or not.
///
/// # Errors
/// When a hash, peer id or port is missing, or something is no number.
pub fn parse_announce(query: &[u8]) -> Result<Announce, QueryError> {
    let (mut info_hash, mut peer_id, mut port) = (None, None, None);
    let (mut downloaded, mut left, mut uploaded) = (0, 0, 0);
    let (mut event, mut key, mut want) = (Event::None, 0, None);
    for (name, value) in fields(query) {
        match name {
            b"info_hash" => info_hash = Some(hash(value).ok_or(QueryError::Invalid("info_hash"))?),
            b"peer_id" => peer_id = Some(hash(value).ok_or(QueryError::Invalid("peer_id"))?),
            b"port" => port = Some(number(value).ok_or(QueryError::Invalid("port"))?),
            b"downloaded" => downloaded = number(value).ok_or(QueryError::Invalid("downloaded"))?,
            b"left" => left = number(value).ok_or(QueryError::Invalid("left"))?,
            b"uploaded" => uploaded = number(value).ok_or(QueryError::Invalid("uploaded"))?,
            // Some send -1 for «as you like».
            b"numwant" => want = number(value),
            b"key" => key = hex_key(value),
            b"event" => event = parse_event(value),
            _ => {}
        }
    }
    Ok(Announce {
        info_hash: info_hash.ok_or(QueryError::Missing("info_hash"))?,
        peer_id: peer_id.ok_or(QueryError::Missing("peer_id"))?,
        downloaded,
        left,
        uploaded,
        event,
        key,
        want,
        port: port.ok_or(QueryError::Missing("port"))?,
    })
}

/// The hashes in the query of a scrape, one after the other.
pub fn scrape_hashes(query: &[u8]) -> impl Iterator<Item = Result<InfoHash, QueryError>> {
    fields(query)
        .filter(|(name, _)| *name == b"info_hash")
        .map(|(_, value)| hash(value).ok_or(QueryError::Invalid("info_hash")))
}

/// The answer to an announce, to be written. Its lists are compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceAnswer<'a> {
    /// Seconds until the client should announce again.
    pub interval: u32,
    /// Seconds before which it may not.
    pub min_interval: u32,
    /// How many there are.
    pub totals: Totals,
    /// The compact list of IPv4.
    pub peers: &'a [u8],
    /// The compact list of IPv6; left out when empty.
    pub peers6: &'a [u8],
}

impl AnnounceAnswer<'_> {
    /// Appends the answer's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(b'd');
        put_bytes(out, b"complete");
        put_number(out, self.totals.seeders.into());
        put_bytes(out, b"downloaded");
        put_number(out, self.totals.completed.into());
        put_bytes(out, b"incomplete");
        put_number(out, self.totals.leechers.into());
        put_bytes(out, b"interval");
        put_number(out, self.interval.into());
        put_bytes(out, b"min interval");
        put_number(out, self.min_interval.into());
        put_bytes(out, b"peers");
        put_bytes(out, self.peers);
        if !self.peers6.is_empty() {
            put_bytes(out, b"peers6");
            put_bytes(out, self.peers6);
        }
        out.push(b'e');
    }
}

/// Appends a refusal, of an announce or a scrape.
pub fn encode_failure(out: &mut Vec<u8>, reason: &str) {
    out.push(b'd');
    put_bytes(out, b"failure reason");
    put_bytes(out, reason.as_bytes());
    out.push(b'e');
}

/// Appends the answer to a scrape. Hashes must come in ascending order, each once.
pub fn encode_scrape_answer(out: &mut Vec<u8>, swarms: impl IntoIterator<Item = (InfoHash, Totals)>) {
    out.push(b'd');
    put_bytes(out, b"files");
    out.push(b'd');
    for (hash, totals) in swarms {
        put_bytes(out, &hash);
        out.push(b'd');
        put_bytes(out, b"complete");
        put_number(out, totals.seeders.into());
        put_bytes(out, b"downloaded");
        put_number(out, totals.completed.into());
        put_bytes(out, b"incomplete");
        put_number(out, totals.leechers.into());
        out.push(b'e');
    }
    out.extend_from_slice(b"ee");
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The tracker says no, and why; nobody vouches for the text.
    #[error("{0}")]
    Refused(String),
    /// It is not bencoded.
    #[error(transparent)]
    Bencode(#[from] BencodeError),
}

/// What was read of an answer to an announce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Seconds until the client should announce again.
    pub interval: Option<u32>,
    /// Seconds before which it may not.
    pub min_interval: Option<u32>,
    /// How many have everything.
    pub seeders: Option<u32>,
    /// How many lack something.
    pub leechers: Option<u32>,
    /// Where we are, as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// The others, and perhaps we ourselves.
    pub peers: Vec<SocketAddr>,
}

/// Reads the answer to an announce, and at most `most` addresses of it.
///
/// # Errors
/// When the tracker refuses, or answers something else.
pub fn parse_announce_answer(answer: &[u8], most: usize) -> Result<Announced, AnswerError> {
    let mut reader = Reader::new(answer);
    let mut read = Announced::default();
    reader.dictionary()?;
    while let Some(key) = reader.key()? {
        match key {
            b"failure reason" => return Err(AnswerError::Refused(text(reader.bytes()?))),
            b"interval" => read.interval = count(&mut reader)?,
            b"min interval" => read.min_interval = count(&mut reader)?,
            b"complete" => read.seeders = count(&mut reader)?,
            b"incomplete" => read.leechers = count(&mut reader)?,
            b"external ip" => read.external_ip = ip_of_bytes(reader.bytes()?),
            b"peers" => parse_peers(&mut reader, &mut read.peers, most)?,
            b"peers6" => {
                let room = most.saturating_sub(read.peers.len());
                read.peers.extend(peers_v6(reader.bytes()?).take(room));
            }
            _ => reader.skip()?,
        }
    }
    Ok(read)
}

/// Reads what the answer to a scrape says of one swarm; `None` when it does not name it.
///
/// # Errors
/// When the tracker refuses, or answers something else.
pub fn parse_scrape_answer(answer: &[u8], swarm: &InfoHash) -> Result<Option<Totals>, AnswerError> {
    let mut reader = Reader::new(answer);
    let mut found = None;
    reader.dictionary()?;
    while let Some(key) = reader.key()? {
        match key {
            b"failure reason" => return Err(AnswerError::Refused(text(reader.bytes()?))),
            b"files" => {
                reader.dictionary()?;
                while let Some(hash) = reader.key()? {
                    if hash == swarm {
                        found = Some(parse_totals(&mut reader)?);
                    } else {
                        reader.skip()?;
                    }
                }
            }
            _ => reader.skip()?,
        }
    }
    Ok(found)
}

fn parse_totals(reader: &mut Reader<'_>) -> Result<Totals, BencodeError> {
    let mut totals = Totals::default();
    reader.dictionary()?;
    while let Some(key) = reader.key()? {
        match key {
            b"complete" => totals.seeders = count(reader)?.unwrap_or_default(),
            b"downloaded" => totals.completed = count(reader)?.unwrap_or_default(),
            b"incomplete" => totals.leechers = count(reader)?.unwrap_or_default(),
            _ => reader.skip()?,
        }
    }
    Ok(totals)
}

/// A compact list, or the list of dictionaries that was used before.
fn parse_peers(
    reader: &mut Reader<'_>,
    peers: &mut Vec<SocketAddr>,
    most: usize,
) -> Result<(), BencodeError> {
    let room = most.saturating_sub(peers.len());
    match reader.token()? {
        Token::Bytes(bytes) => peers.extend(peers_v4(bytes).take(room)),
        Token::List => loop {
            match reader.token()? {
                Token::Dictionary => {
                    if let Some(peer) = parse_peer(reader)?
                        && peers.len() < most
                    {
                        peers.push(peer);
                    }
                }
                Token::End => break,
                _ => return Err(BencodeError::Unexpected),
            }
        },
        _ => return Err(BencodeError::Unexpected),
    }
    Ok(())
}

/// One dictionary's address; none when it has a host name in it, since we resolve nothing for strangers.
fn parse_peer(reader: &mut Reader<'_>) -> Result<Option<SocketAddr>, BencodeError> {
    let (mut ip, mut port) = (None, None);
    while let Some(key) = reader.key()? {
        match key {
            b"ip" => {
                let text = std::str::from_utf8(reader.bytes()?).ok();
                ip = text.and_then(|text| text.parse::<IpAddr>().ok());
            }
            b"port" => port = u16::try_from(reader.number()?).ok(),
            _ => reader.skip()?,
        }
    }
    Ok(ip.zip(port).map(SocketAddr::from))
}

fn count(reader: &mut Reader<'_>) -> Result<Option<u32>, BencodeError> {
    reader.number().map(|number| u32::try_from(number).ok())
}

fn ip_of_bytes(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// A text of others, short.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT_BYTES)]).into_owned()
}

/// Names and values of a query, as they are.
fn fields(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&byte| byte == b'&').filter_map(|field| {
        let at = field.iter().position(|&byte| byte == b'=')?;
        Some((&field[..at], &field[at + 1..]))
    })
}

/// Twenty bytes, percent-encoded. As in a form, `+` is a space.
fn hash(value: &[u8]) -> Option<InfoHash> {
    let mut hash = [0; 20];
    let mut rest = value;
    for byte in &mut hash {
        (*byte, rest) = match rest {
            [b'%', high, low, rest @ ..] => (hex_digit(*high)? << 4 | hex_digit(*low)?, rest),
            [b'%', ..] | [] => return None,
            [b'+', rest @ ..] => (b' ', rest),
            [byte, rest @ ..] => (*byte, rest),
        };
    }
    rest.is_empty().then_some(hash)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn number<N: std::str::FromStr>(value: &[u8]) -> Option<N> {
    let is_plain = value.iter().all(u8::is_ascii_digit);
    is_plain.then_some(value).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
}

/// Most clients send eight hexadecimal digits; of other keys nothing is made.
fn hex_key(value: &[u8]) -> u32 {
    let text = std::str::from_utf8(value).unwrap_or_default();
    u32::from_str_radix(text, 16).unwrap_or_default()
}

fn parse_event(value: &[u8]) -> Event {
    match value {
        b"started" => Event::Started,
        b"stopped" => Event::Stopped,
        b"completed" => Event::Completed,
        _ => Event::None,
    }
}

/// Appends bytes with all but the unreserved ones (RFC 3986) percent-encoded.
pub fn push_percent(out: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests;
