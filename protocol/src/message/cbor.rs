//! CBOR maps with integer keys, read with bounds and written by hand.
//!
//! Why not the derive macros: they let lists grow as far as the frame does, one byte of it making
//! dozens in memory, and they take maps of indefinite length and trailing bytes.

use bytes::Bytes;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::Error as EncodeError;
use minicbor::{Decoder, Encoder};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::MessageError;

/// Most fields of a map, known or not: no message has a tenth of them.
const MAX_FIELDS: u64 = 64;

pub(crate) type Written = Result<(), EncodeError<Infallible>>;
pub(crate) type Writer = Encoder<Vec<u8>>;
pub(crate) type Reader<'b> = Decoder<'b>;

/// Writes a map of `fields` fields; `write` writes keys and values.
pub(crate) fn write_map(fields: u64, write: impl FnOnce(&mut Writer) -> Written) -> Bytes {
    let mut e = Encoder::new(Vec::new());
    let written = e.map(fields).map(|_| ()).and_then(|()| write(&mut e));
    written.expect("writing to a vector cannot fail");
    e.into_writer().into()
}

/// Reads one map that is all of `bytes`. `field` reads the value of a key that it knows, and returns
/// false, having read nothing, for one that it does not.
pub(crate) fn read_map<'b>(
    bytes: &'b [u8],
    mut field: impl FnMut(u64, &mut Reader<'b>) -> Result<bool, MessageError>,
) -> Result<(), MessageError> {
    let mut d = Decoder::new(bytes);
    let fields = d.map()?.ok_or(MessageError::Malformed)?;
    if fields > MAX_FIELDS {
        return Err(MessageError::TooMany);
    }
    for _ in 0..fields {
        let key = d.u64()?;
        if !field(key, &mut d)? {
            d.skip()?;
        }
    }
    if d.position() == bytes.len() { Ok(()) } else { Err(MessageError::Malformed) }
}

/// Reads a list of at most `most` items.
pub(crate) fn read_list<'b, T>(
    d: &mut Reader<'b>,
    most: usize,
    mut item: impl FnMut(&mut Reader<'b>) -> Result<T, MessageError>,
) -> Result<Vec<T>, MessageError> {
    let length = d.array()?.ok_or(MessageError::Malformed)?;
    if length > most as u64 {
        return Err(MessageError::TooMany);
    }
    // Each item has a byte at least; what is claimed beyond that is not reserved.
    let room = (length as usize).min(d.input().len() - d.position());
    let mut list = Vec::with_capacity(room);
    for _ in 0..length {
        list.push(item(d)?);
    }
    Ok(list)
}

/// Reads exactly `N` bytes.
pub(crate) fn read_array<const N: usize>(d: &mut Reader<'_>) -> Result<[u8; N], MessageError> {
    d.bytes()?.try_into().map_err(|_| MessageError::Malformed)
}

/// An address and port as 6 or 18 bytes, big-endian; a scope is of no use to others.
pub(crate) fn write_address(e: &mut Writer, address: SocketAddr) -> Written {
    let mut bytes = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend(address.port().to_be_bytes());
    e.bytes(&bytes).map(|_| ())
}

/// Reads what [`write_address`] wrote.
pub(crate) fn read_address(d: &mut Reader<'_>) -> Result<SocketAddr, MessageError> {
    let (ip, port) = d.bytes()?.split_last_chunk::<2>().ok_or(MessageError::Malformed)?;
    let ip = if let Ok(octets) = <[u8; 4]>::try_from(ip) {
        IpAddr::V4(Ipv4Addr::from(octets))
    } else {
        let octets: [u8; 16] = ip.try_into().map_err(|_| MessageError::Malformed)?;
        IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
    };
    Ok(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

impl From<DecodeError> for MessageError {
    fn from(_: DecodeError) -> Self {
        Self::Malformed
    }
}
