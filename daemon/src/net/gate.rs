//! How many strangers may stand at the door: connections on which nothing is proven yet.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Unproven connections in all; each may cost 64 KiB and a handshake.
pub(super) const MAX_PENDING: usize = 64;
/// Unproven connections from one address (a /64 of IPv6). Two devices behind one NAT are few.
const MAX_PENDING_PER_IP: usize = 16;
/// From here on, who comes must first show that packets reach him where he says he is.
const RETRY_FROM: usize = 16;

/// Counts strangers.
#[derive(Clone, Default)]
pub(super) struct Gate {
    pending: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// A place at the door; it is free again when this is dropped.
pub(super) struct Place {
    gate: Gate,
    key: IpAddr,
}

/// What to do with one who knocks.
pub(super) enum Admission {
    Admit(Place),
    /// Ask him to prove his address first.
    Retry,
    Refuse,
}

impl Gate {
    pub(super) fn knock(&self, from: IpAddr, is_validated: bool) -> Admission {
        let key = match from.to_canonical() {
            IpAddr::V6(ip) if !ip.is_loopback() => {
                let [a, b, c, d, ..] = ip.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            ip => ip,
        };
        let mut pending = self.pending.lock();
        let total: usize = pending.values().sum();
        let from_there = pending.get(&key).copied().unwrap_or(0);
        if !is_validated && (total >= RETRY_FROM || from_there >= MAX_PENDING_PER_IP / 2) {
            return Admission::Retry;
        }
        if total >= MAX_PENDING || from_there >= MAX_PENDING_PER_IP {
            return Admission::Refuse;
        }
        *pending.entry(key).or_insert(0) += 1;
        Admission::Admit(Place { gate: self.clone(), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pending = self.gate.pending.lock();
        if let Some(count) = pending.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(gate: &Gate, ip: impl Fn(u8) -> IpAddr, validated: bool) -> Vec<Place> {
        (0..200)
            .filter_map(|n| match gate.knock(ip(n), validated) {
                Admission::Admit(place) => Some(place),
                Admission::Retry | Admission::Refuse => None,
            })
            .collect()
    }

    #[test]
    fn one_address_does_not_fill_the_door() {
        let gate = Gate::default();
        assert_eq!(crowd(&gate, |_| IpAddr::from([10, 0, 0, 1]), true).len(), 16);
        assert!(matches!(gate.knock(IpAddr::from([10, 0, 0, 2]), true), Admission::Admit(_)));
    }

    #[test]
    fn a_crowd_is_bounded_and_its_places_come_free() {
        let gate = Gate::default();
        let places = crowd(&gate, |n| IpAddr::from([10, 0, 0, n]), true);
        assert_eq!(places.len(), 64);
        drop(places);
        assert!(gate.pending.lock().is_empty());
    }

    #[test]
    fn under_load_an_address_must_be_proven_first() {
        let gate = Gate::default();
        let _places = crowd(&gate, |n| IpAddr::from([10, 0, 0, n]), false);
        assert!(matches!(gate.knock(IpAddr::from([10, 0, 1, 1]), false), Admission::Retry));
        assert!(matches!(gate.knock(IpAddr::from([10, 0, 1, 1]), true), Admission::Admit(_)));
    }
}
