//! The parameters of a link, behind its question mark.

use super::{LinkError, MAX_ADDRESS_BYTES, MAX_ENTRIES, MAX_NAME_BYTES, MAX_TRACKER_BYTES};
use crate::percent;

/// What is wrong with one parameter. It says not which value: a key may have slipped in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// A `%` without two hexadecimal digits, or bytes that are no UTF-8.
    #[error("is badly encoded")]
    Encoding,
    /// A name, a size or a checksum for the second time.
    #[error("is there twice")]
    Repeated,
    /// The name is longer than [`MAX_NAME_BYTES`].
    #[error("is a name of more than {MAX_NAME_BYTES} bytes")]
    Name,
    /// The size is no number of bytes.
    #[error("is no size in bytes")]
    Size,
    /// The address is none.
    #[error("is no address (host:port)")]
    Address,
    /// The tracker is none.
    #[error("is no tracker (udp://… or http://…)")]
    Tracker,
    /// More than [`MAX_ENTRIES`] addresses or trackers.
    #[error("is one too many: {MAX_ENTRIES} addresses and trackers each are the most")]
    TooMany,
}

/// The values of known parameters, as they were sent.
#[derive(Default)]
pub(super) struct Parameters {
    pub(super) name: Option<String>,
    pub(super) size_bytes: Option<u64>,
    pub(super) addresses: Vec<String>,
    pub(super) trackers: Vec<String>,
    pub(super) check: Option<String>,
}

impl Parameters {
    /// Parses `n=…&s=…`; the length is bounded by the link's.
    pub(super) fn parse(query: &str) -> Result<Self, LinkError> {
        let mut found = Self::default();
        for (parameter, number) in query.split('&').zip(1..) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            found.take(name, value).map_err(|error| LinkError::Parameter { number, error })?;
        }
        Ok(found)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), ParameterError> {
        match name {
            "n" => set(&mut self.name, decode(value, MAX_NAME_BYTES, ParameterError::Name)?),
            "s" => set(&mut self.size_bytes, parse_size(value)?),
            "a" => {
                let address = decode(value, MAX_ADDRESS_BYTES, ParameterError::Address)?;
                push(&mut self.addresses, address, is_address, ParameterError::Address)
            }
            "t" => {
                let tracker = decode(value, MAX_TRACKER_BYTES, ParameterError::Tracker)?;
                push(&mut self.trackers, tracker, is_tracker, ParameterError::Tracker)
            }
            "c" => set(&mut self.check, value.to_owned()),
            _ => Ok(()),
        }
    }
}

fn set<T>(place: &mut Option<T>, value: T) -> Result<(), ParameterError> {
    if place.replace(value).is_some() { Err(ParameterError::Repeated) } else { Ok(()) }
}

fn push(
    values: &mut Vec<String>,
    value: String,
    is_good: fn(&str) -> bool,
    error: ParameterError,
) -> Result<(), ParameterError> {
    if !is_good(&value) {
        return Err(error);
    }
    if values.len() == MAX_ENTRIES {
        return Err(ParameterError::TooMany);
    }
    values.push(value);
    Ok(())
}

fn decode(value: &str, most: usize, too_long: ParameterError) -> Result<String, ParameterError> {
    let bytes = percent::decode(value).ok_or(ParameterError::Encoding)?;
    if bytes.len() > most {
        return Err(too_long);
    }
    String::from_utf8(bytes).map_err(|_| ParameterError::Encoding)
}

fn parse_size(value: &str) -> Result<u64, ParameterError> {
    // `parse` alone would take a plus sign.
    let is_number = value.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| value.parse().ok()).flatten().ok_or(ParameterError::Size)
}

/// Whether `text` has the form `host:port`: an IPv6 address in brackets, an IPv4 address or a name.
pub(super) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    };
    text.len() <= MAX_ADDRESS_BYTES && is_host && is_port
}

/// Whether `text` has the form of a URL. Which schemes can be used is the daemon's affair.
pub(super) fn is_tracker(text: &str) -> bool {
    text.len() <= MAX_TRACKER_BYTES
        && text.bytes().all(|b| b.is_ascii_graphic())
        && text.split_once("://").is_some_and(|(scheme, rest)| {
            !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) && !rest.is_empty()
        })
}

/// Makes a name that others chose fit to be shown on one line: what a terminal would obey, what is
/// invisible or turns the direction of text, and `/` become `-`. `None` if nothing is left.
pub fn clean_name(name: &str) -> Option<String> {
    let shown = |c: char| if c == '/' || is_unfit(c) { '-' } else { c };
    let mut clean: String = name.trim().chars().map(shown).collect();
    while clean.len() > MAX_NAME_BYTES {
        clean.pop();
    }
    clean.truncate(clean.trim_end().len());
    let has_mark = clean.chars().any(|c| !matches!(c, '-' | '.' | ' '));
    has_mark.then_some(clean)
}

fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
