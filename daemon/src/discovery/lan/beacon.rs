//! The bytes of a beacon.
//!
//! ```text
//! magic "SYNB" · version 1 · nonce (8) · QUIC port (u16, big endian) · tags (8 each, to the end)
//! ```
//!
//! A tag is a MAC of the nonce under a folder's discovery id, and each round of beacons draws a
//! new nonce. So who knows the folder recognises it, and who does not can link neither two devices
//! nor two rounds of one device by its folders.

use std::collections::BTreeMap;

use keystore::{DiscoveryId, FolderId};

/// The bytes before the tags.
const HEADER_LEN: usize = MAGIC.len() + 1 + NONCE_LEN + 2;
const MAGIC: &[u8; 4] = b"SYNB";
const VERSION: u8 = 1;
const NONCE_LEN: usize = 8;
const TAG_LEN: usize = 8;
/// No datagram is longer, so that it passes every link of IPv6's minimum (1,280 less headers).
pub(super) const MAX_BEACON: usize = 1200;
const TAGS_PER_BEACON: usize = (MAX_BEACON - HEADER_LEN) / TAG_LEN;
/// Keys the tags; the discovery id is the key material.
const TAG_CONTEXT: &str = "syncd 2026-11 LAN beacon tag";

pub(super) type Nonce = [u8; NONCE_LEN];
type Tag = [u8; TAG_LEN];

/// A beacon as received.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beacon {
    pub(super) nonce: Nonce,
    pub(super) quic_port: u16,
    tags: Vec<Tag>,
}

impl Beacon {
    /// Reads a datagram; `None` if it is not a beacon of a version that we speak.
    pub(super) fn parse(datagram: &[u8]) -> Option<Self> {
        if datagram.len() > MAX_BEACON {
            return None;
        }
        let rest = datagram.strip_prefix(MAGIC)?.strip_prefix(&[VERSION])?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let (tags, []) = rest.as_chunks::<TAG_LEN>() else { return None };
        let quic_port = u16::from_be_bytes(*port);
        (quic_port != 0).then(|| Self { nonce: *nonce, quic_port, tags: tags.to_vec() })
    }
}

/// The folders that beacons speak of, with the keys of their tags.
#[derive(Default)]
pub(super) struct TagBook {
    keys: BTreeMap<FolderId, [u8; 32]>,
}

impl TagBook {
    /// Adds a folder; says whether it is new.
    pub(super) fn insert(&mut self, folder: FolderId, discovery: &DiscoveryId) -> bool {
        self.keys.insert(folder, blake3::derive_key(TAG_CONTEXT, &discovery.0)).is_none()
    }

    pub(super) fn remove(&mut self, folder: FolderId) {
        self.keys.remove(&folder);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn folders(&self) -> Vec<FolderId> {
        self.keys.keys().copied().collect()
    }

    /// The datagrams of one round, several where the folders do not fit in one.
    pub(super) fn encode(&self, nonce: Nonce, quic_port: u16) -> Vec<Vec<u8>> {
        let tags: Vec<Tag> = self.keys.values().map(|key| tag(key, &nonce)).collect();
        tags.chunks(TAGS_PER_BEACON)
            .map(|tags| {
                let mut datagram = Vec::with_capacity(HEADER_LEN + TAG_LEN * tags.len());
                datagram.extend_from_slice(MAGIC);
                datagram.push(VERSION);
                datagram.extend_from_slice(&nonce);
                datagram.extend_from_slice(&quic_port.to_be_bytes());
                datagram.extend(tags.iter().flatten());
                datagram
            })
            .collect()
    }

    /// The folders of ours that the beacon speaks of.
    pub(super) fn recognise(&self, beacon: &Beacon) -> Vec<FolderId> {
        self.keys
            .iter()
            .filter(|(_, key)| beacon.tags.contains(&tag(key, &beacon.nonce)))
            .map(|(folder, _)| *folder)
            .collect()
    }
}

fn tag(key: &[u8; 32], nonce: &Nonce) -> Tag {
    let mut tag = [0; TAG_LEN];
    blake3::Hasher::new_keyed(key).update(nonce).finalize_xof().fill(&mut tag);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(folders: impl IntoIterator<Item = u8>) -> TagBook {
        let mut book = TagBook::default();
        for n in folders {
            book.insert(FolderId([n; 16]), &DiscoveryId([n; 20]));
        }
        book
    }

    #[test]
    fn a_beacon_names_the_folders_in_common_and_no_others() {
        let datagrams = book([1, 2, 3]).encode([7; 8], 4455);
        let beacon = Beacon::parse(&datagrams[0]).unwrap();
        assert_eq!(beacon.quic_port, 4455);
        assert_eq!(book([2, 9]).recognise(&beacon), vec![FolderId([2; 16])]);
        assert_eq!(book([8, 9]).recognise(&beacon), vec![]);
    }

    #[test]
    fn another_nonce_makes_other_tags() {
        let (one, two) = (book([1]).encode([1; 8], 1), book([1]).encode([2; 8], 1));
        assert_ne!(one[0][HEADER_LEN..], two[0][HEADER_LEN..]);
    }

    #[test]
    fn nothing_of_a_folder_can_be_read_in_a_beacon() {
        let datagram = book([0x41]).encode([7; 8], 4455).remove(0);
        assert!(!datagram.windows(3).any(|bytes| bytes == [0x41; 3]));
    }

    #[test]
    fn many_folders_take_several_beacons_none_too_long() {
        let datagrams = book(0..=255).encode([7; 8], 4455);
        assert_eq!(datagrams.len(), 2);
        assert!(datagrams.iter().all(|datagram| datagram.len() <= MAX_BEACON));
        let named: usize =
            datagrams.iter().map(|d| book(0..=255).recognise(&Beacon::parse(d).unwrap()).len()).sum();
        assert_eq!(named, 256);
    }

    #[test]
    fn what_is_not_a_beacon_is_not_read() {
        let good = book([1]).encode([7; 8], 4455).remove(0);
        let mut newer = good.clone();
        newer[4] = 2;
        let mut no_port = good.clone();
        no_port[13..15].fill(0);
        for bad in [&good[..10], &good[..good.len() - 1], &newer, &no_port, b"d1:ad2:id20:", &[0; 1201]] {
            assert_eq!(Beacon::parse(bad), None);
        }
    }
}
