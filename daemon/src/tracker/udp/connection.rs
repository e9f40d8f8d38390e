//! Connection ids: who shows one has received a datagram at its address a minute or two ago.
//!
//! Nothing is remembered: an id is a keyed hash of the address and the time. It is bound to the IP
//! address alone, since some gateways give each datagram another port.

use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// An id is good in the slot in which it was given out and in the next: one to two slots.
const SLOT_SECONDS: u64 = 64;
/// Ids begin with a byte below 0x40, and so are never taken for QUIC.
const HASH_BITS: u64 = 0x3fff_ffff_ffff_fffe;

/// Gives out ids and knows them again.
#[derive(Debug, Clone)]
pub(super) struct ConnectionIds {
    hasher: SipHasher24,
}

impl ConnectionIds {
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self { hasher: SipHasher24::new_with_key(&key) }
    }

    /// The id for who is there now.
    pub(super) fn give(&self, address: IpAddr, seconds: u64) -> u64 {
        self.of_slot(address, seconds / SLOT_SECONDS)
    }

    /// Whether the id was given to who is there, not long ago. Its last bit says in which of the two
    /// slots that would have been.
    pub(super) fn is_good(&self, id: u64, address: IpAddr, seconds: u64) -> bool {
        let slot = seconds / SLOT_SECONDS;
        let given = slot - ((slot ^ id) & 1).min(slot);
        self.of_slot(address, given) == id
    }

    fn of_slot(&self, address: IpAddr, slot: u64) -> u64 {
        let mut bytes = [0; 24];
        match address {
            IpAddr::V4(address) => bytes[12..16].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes[..16].copy_from_slice(&address.octets()),
        }
        bytes[16..].copy_from_slice(&slot.to_le_bytes());
        self.hasher.hash(&bytes) & HASH_BITS | slot & 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_good_for_a_minute_at_least_and_for_two_at_most() {
        let ids = ConnectionIds::new([1; 16]);
        let address = IpAddr::from([192, 0, 2, 1]);
        for given in 0..300 {
            let id = ids.give(address, given);
            assert!((given..=given + 60).all(|now| ids.is_good(id, address, now)), "{given}");
            assert!((given + 128..given + 300).all(|now| !ids.is_good(id, address, now)), "{given}");
        }
    }

    #[test]
    fn an_id_is_good_at_its_address_alone_and_for_its_tracker_alone() {
        let ids = ConnectionIds::new([1; 16]);
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let id = ids.give(here, 100);
        assert!(!ids.is_good(id, there, 100));
        assert!(!ConnectionIds::new([2; 16]).is_good(id, here, 100));
        assert!((0..64).all(|bit| !ids.is_good(id ^ 1 << bit, here, 100)));
    }

    #[test]
    fn no_id_looks_like_quic() {
        let ids = ConnectionIds::new([3; 16]);
        let given = (0..2_000_u32).map(|number| ids.give(IpAddr::from(number.to_be_bytes()), 5));
        assert!(given.into_iter().all(|id| id.to_be_bytes()[0] < 0x40));
    }
}
