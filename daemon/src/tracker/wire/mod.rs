//! What trackers and their clients say to each other, in both directions: pure bytes, no sockets.
//!
//! - [`udp`]: datagrams of BEP 15. Fixed layouts, borrowed when read, arrays when written: a tracker
//!   answers a million of them a second.
//! - [`http`]: query strings of BEP 3, answers of BEP 3, 7 and 23.
//! - [`bencode`]: the encoding of those answers.
//!
//! Everything read here comes from strangers: nothing is allocated before its size is known to be
//! small, nothing recurses, nothing panics.

pub mod bencode;
pub mod http;
pub mod udp;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The name of a swarm: a folder's discovery id, or what other programs announce.
pub type InfoHash = [u8; 20];
/// Drawn by a client at its start.
pub type PeerId = [u8; 20];

/// Bytes of an IPv4 address and port in a compact list.
pub const COMPACT_V4_BYTES: usize = 6;
/// Bytes of an IPv6 address and port in a compact list.
pub const COMPACT_V6_BYTES: usize = 18;

/// Why a client announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its interval has passed.
    #[default]
    None,
    /// It has got everything.
    Completed,
    /// It is new.
    Started,
    /// It goes, and wants nobody named.
    Stopped,
}

/// A client tells of itself and asks for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The client, until its next start.
    pub peer_id: PeerId,
    /// Bytes fetched.
    pub downloaded: u64,
    /// Bytes that are still to be fetched; 0 makes it a seeder.
    pub left: u64,
    /// Bytes served.
    pub uploaded: u64,
    /// Why it announces.
    pub event: Event,
    /// Shows that it is the same client when its address has changed; 0 is none.
    pub key: u32,
    /// How many addresses it wants; `None` leaves it to the tracker.
    pub want: Option<u32>,
    /// Where it can be reached, at the address that the request comes from.
    pub port: u16,
}

/// How many there are in a swarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Those who have everything.
    pub seeders: u32,
    /// Downloads that were completed, ever.
    pub completed: u32,
    /// Those who lack something.
    pub leechers: u32,
}

/// An IPv4 address as in a compact list.
pub fn encode_v4(address: SocketAddrV4) -> [u8; COMPACT_V4_BYTES] {
    let ([a, b, c, d], [high, low]) = (address.ip().octets(), address.port().to_be_bytes());
    [a, b, c, d, high, low]
}

/// An IPv6 address as in a compact list; flow and scope mean nothing to others.
pub fn encode_v6(address: SocketAddrV6) -> [u8; COMPACT_V6_BYTES] {
    let mut bytes = [0; COMPACT_V6_BYTES];
    bytes[..16].copy_from_slice(&address.ip().octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

/// The addresses of a compact list of IPv4; a broken last one is left out.
pub fn peers_v4(bytes: &[u8]) -> impl ExactSizeIterator<Item = SocketAddr> {
    bytes.as_chunks::<COMPACT_V4_BYTES>().0.iter().map(|&[a, b, c, d, high, low]| {
        SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
    })
}

/// The addresses of a compact list of IPv6; a broken last one is left out.
pub fn peers_v6(bytes: &[u8]) -> impl ExactSizeIterator<Item = SocketAddr> {
    bytes.as_chunks::<COMPACT_V6_BYTES>().0.iter().map(|peer| {
        let (ip, port) = peer.split_at(16);
        let ip: [u8; 16] = ip.try_into().expect("16 of 18 bytes");
        SocketAddr::from((Ipv6Addr::from(ip), u16::from_be_bytes([port[0], port[1]])))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn compact_addresses_are_read_back(v4: SocketAddrV4, ip: Ipv6Addr, port: u16, torn in 0..6usize) {
            let mut list = encode_v4(v4).repeat(2);
            list.extend_from_slice(&[0; 6][..torn]);
            prop_assert_eq!(peers_v4(&list).collect::<Vec<_>>(), [v4.into(), SocketAddr::from(v4)]);

            let v6 = SocketAddrV6::new(ip, port, 0, 0);
            let mut list = encode_v6(v6).to_vec();
            list.extend_from_slice(&[0; 6][..torn]);
            prop_assert_eq!(peers_v6(&list).collect::<Vec<_>>(), [SocketAddr::from(v6)]);
        }
    }
}
