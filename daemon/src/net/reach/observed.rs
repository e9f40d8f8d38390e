//! Who sees us at which address, and what that says of the networks between. Pure.
//!
//! A namer may lie, or sit behind the same gateway as we; so what most say counts, and trackers and
//! peers count alike.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::OBSERVATION_LIFE;

/// Namers remembered; a few would do.
const MAX_NAMERS: usize = 64;

/// What is between us and others, as far as can be told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// Others see the address that we have.
    Open,
    /// A NAT, which shows everybody the same address: packets can be let in.
    EndpointIndependent,
    /// A NAT that shows everybody another port: a relay will be needed, or a mapped port.
    Symmetric,
    /// A NAT, of which only one has told us; or nobody has told anything.
    Unknown,
}

/// The latest that each namer has said.
#[derive(Default)]
pub(super) struct Observations {
    /// By IP family of what they see, so that a namer of both counts for both.
    by_namer: BTreeMap<(bool, IpAddr), (SocketAddr, Duration)>,
}

impl Observations {
    pub(super) fn insert(&mut self, namer: IpAddr, address: SocketAddr, now: Duration) {
        self.by_namer.retain(|_, (_, at)| now < *at + OBSERVATION_LIFE);
        let key = (address.is_ipv4(), namer);
        let is_sane = !address.ip().is_unspecified() && !address.ip().is_multicast() && address.port() > 0;
        if is_sane && (self.by_namer.len() < MAX_NAMERS || self.by_namer.contains_key(&key)) {
            self.by_namer.insert(key, (address, now));
        }
    }

    pub(super) fn clear(&mut self) {
        self.by_namer.clear();
    }

    pub(super) fn list(&self) -> Vec<(IpAddr, SocketAddr)> {
        self.by_namer.iter().map(|((_, namer), (address, _))| (*namer, *address)).collect()
    }

    /// The port that most see; with equal numbers the one that is told already, so that it does not
    /// go back and forth, else the latest.
    pub(super) fn port(&self, is_v4: bool, current: Option<u16>) -> Option<u16> {
        self.ranked(is_v4, current).map(|address| address.port())
    }

    /// The address of each family that most see.
    pub(super) fn most_seen(&self) -> Vec<SocketAddr> {
        [true, false].into_iter().filter_map(|is_v4| self.ranked(is_v4, None)).collect()
    }

    fn ranked(&self, is_v4: bool, current: Option<u16>) -> Option<SocketAddr> {
        let mut votes: BTreeMap<SocketAddr, (usize, bool, Duration)> = BTreeMap::new();
        for ((_, namer), (address, at)) in self.by_namer.iter().filter(|((v4, _), _)| *v4 == is_v4) {
            // A namer in our own network does not see what the world sees.
            let is_near = is_inside(namer) && is_inside(&address.ip());
            let vote = votes.entry(*address).or_insert((0, current == Some(address.port()), *at));
            vote.0 += if is_near { 0 } else { 1 };
            vote.2 = vote.2.max(*at);
        }
        votes.into_iter().max_by_key(|(_, vote)| *vote).map(|(address, _)| address)
    }

    /// What is between us and others; `own` are the addresses of our interfaces.
    pub(super) fn nat(&self, own: &BTreeSet<IpAddr>) -> NatKind {
        let seen = |is_outside: bool| {
            let of_kind =
                move |(address, _): &&(SocketAddr, Duration)| own.contains(&address.ip()) != is_outside;
            self.by_namer.values().filter(of_kind).map(|(address, _)| *address)
        };
        // IPv6 rarely has a NAT, so it says nothing of the one for IPv4.
        let outside: Vec<SocketAddr> = seen(true).filter(SocketAddr::is_ipv4).collect();
        let distinct: BTreeSet<SocketAddr> = outside.iter().copied().collect();
        match (outside.len(), distinct.len()) {
            (0, _) if seen(false).next().is_some() => NatKind::Open,
            (0 | 1, _) => NatKind::Unknown,
            (_, 1) => NatKind::EndpointIndependent,
            _ => NatKind::Symmetric,
        }
    }
}

fn is_inside(ip: &IpAddr) -> bool {
    crate::net::dial::is_private(*ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn told(list: &[(&str, &str)]) -> Observations {
        let mut observations = Observations::default();
        for (namer, address) in list {
            observations.insert(namer.parse().unwrap(), address.parse().unwrap(), NOW);
        }
        observations
    }

    fn nat(list: &[(&str, &str)]) -> NatKind {
        told(list).nat(&BTreeSet::from(["192.168.1.5".parse().unwrap(), "9.9.9.9".parse().unwrap()]))
    }

    #[test]
    fn the_kind_of_nat_follows_from_what_others_see() {
        assert_eq!(nat(&[]), NatKind::Unknown);
        assert_eq!(nat(&[("8.8.8.8", "9.9.9.9:4455")]), NatKind::Open);
        assert_eq!(nat(&[("8.8.8.8", "7.7.7.7:4455")]), NatKind::Unknown);
        let same = [("8.8.8.8", "7.7.7.7:4455"), ("8.8.4.4", "7.7.7.7:4455")];
        assert_eq!(nat(&same), NatKind::EndpointIndependent);
        let differing = [("8.8.8.8", "7.7.7.7:4455"), ("8.8.4.4", "7.7.7.7:60001")];
        assert_eq!(nat(&differing), NatKind::Symmetric);
        let near = [("192.168.1.9", "192.168.1.5:4455"), ("8.8.8.8", "7.7.7.7:60001")];
        assert_eq!(nat(&near), NatKind::Unknown);
    }

    #[test]
    fn the_port_that_most_see_is_told_and_stays_while_as_many_see_it() {
        let two = told(&[("8.8.8.8", "7.7.7.7:1000"), ("8.8.4.4", "7.7.7.7:2000")]);
        assert_eq!(two.port(true, Some(1000)), Some(1000));
        assert_eq!(two.port(true, Some(2000)), Some(2000));
        assert_eq!(two.port(false, None), None);
        let three = [("8.8.8.8", "7.7.7.7:1000"), ("8.8.4.4", "7.7.7.7:2000"), ("1.1.1.1", "7.7.7.7:2000")];
        assert_eq!(told(&three).port(true, Some(1000)), Some(2000));
    }

    #[test]
    fn who_is_in_our_own_network_has_no_say_when_others_have() {
        let list = [
            ("192.168.1.8", "192.168.1.5:4455"),
            ("192.168.1.9", "192.168.1.5:4455"),
            ("8.8.8.8", "7.7.7.7:1"),
        ];
        assert_eq!(told(&list).port(true, Some(4455)), Some(1));
        assert_eq!(told(&list[..2]).port(true, None), Some(4455));
    }

    #[test]
    fn a_flood_of_namers_is_bounded_and_old_ones_are_forgotten() {
        let mut observations = Observations::default();
        for n in 0..1000_u32 {
            observations.insert(IpAddr::from(n.to_be_bytes()), "7.7.7.7:1".parse().unwrap(), NOW);
        }
        assert_eq!(observations.list().len(), MAX_NAMERS);
        observations.insert("8.8.8.8".parse().unwrap(), "7.7.7.7:2".parse().unwrap(), NOW + OBSERVATION_LIFE);
        assert_eq!(observations.list().len(), 1);
    }
}
