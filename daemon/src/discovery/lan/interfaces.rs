//! The addresses of this machine that beacons go out from, and who is on the same link. Pure, but
//! for [`list`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use if_addrs::{IfAddr, Interface};

use super::LanMode;

/// More addresses than this are not spoken from (container hosts have hundreds); Linux lets a socket
/// join twenty groups (`igmp_max_memberships`), and what comes first has been there longest.
const MAX_ADDRESSES: usize = 32;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) ip: IpAddr,
    prefix: u8,
}

/// The addresses to speak from now.
pub(super) fn list(mode: LanMode) -> io::Result<Vec<Local>> {
    let wanted = |interface: &Interface| {
        let is_up = interface.is_oper_up() || interface.is_loopback();
        match (mode, interface.ip()) {
            (LanMode::Loopback, ip) => ip == IpAddr::V4(Ipv4Addr::LOCALHOST),
            (LanMode::On, IpAddr::V4(ip)) => is_up && !ip.is_loopback(),
            (LanMode::On, IpAddr::V6(ip)) => is_up && ip.is_unicast_link_local(),
        }
    };
    let mut locals: Vec<_> =
        if_addrs::get_if_addrs()?.into_iter().filter(wanted).filter_map(Local::of).collect();
    locals.sort_by_key(|local| (local.index, local.ip));
    locals.truncate(MAX_ADDRESSES);
    Ok(locals)
}

impl Local {
    fn of(interface: Interface) -> Option<Self> {
        let prefix = match &interface.addr {
            IfAddr::V4(v4) => v4.prefixlen,
            IfAddr::V6(v6) => v6.prefixlen,
        };
        Some(Self { index: interface.index?, ip: interface.ip(), name: interface.name, prefix })
    }

    /// Whether a beacon from there can have come over this address's link.
    fn is_on_link(&self, from: SocketAddr) -> bool {
        match (self.ip, from) {
            (IpAddr::V4(here), SocketAddr::V4(there)) => {
                let there = *there.ip();
                // At the end of a tunnel there is no network, only whoever is at the other end.
                let is_tunnel = self.prefix >= 31 && there.is_private();
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                is_tunnel || here.to_bits() & mask == there.to_bits() & mask
            }
            (IpAddr::V6(_), SocketAddr::V6(there)) => {
                there.ip().is_unicast_link_local() && there.scope_id() == self.index
            }
            _ => false,
        }
    }
}

/// Whether a beacon may have come from there. Otherwise its source is forged: it is not dialled, and
/// so nobody in the local network can make us knock at a door of the world.
pub(super) fn is_on_some_link(locals: &[Local], from: SocketAddr) -> bool {
    locals.iter().any(|local| local.is_on_link(from))
}

/// The port at which QUIC answers at this address, if it does.
pub(super) fn quic_port(listen: &[SocketAddr], ip: IpAddr) -> Option<u16> {
    let fitness = |listening: IpAddr| match (listening == ip, listening.is_unspecified()) {
        (true, _) => 3,
        (false, true) if listening.is_ipv4() == ip.is_ipv4() => 2,
        (false, true) if listening.is_ipv6() => 1, // `[::]` serves both families
        _ => 0,
    };
    let best = listen.iter().max_by_key(|listening| fitness(listening.ip()));
    best.filter(|listening| fitness(listening.ip()) > 0).map(SocketAddr::port)
}

/// What a person reads of them: `eth0 (IPv4 and IPv6), wlan0 (IPv6)`.
pub(super) fn describe<'a>(locals: impl Iterator<Item = &'a Local>) -> Vec<String> {
    let mut names: Vec<(&str, bool, bool)> = Vec::new();
    for local in locals {
        let (v4, v6) = (local.ip.is_ipv4(), local.ip.is_ipv6());
        match names.iter_mut().find(|(name, ..)| *name == local.name) {
            Some((_, has_v4, has_v6)) => (*has_v4, *has_v6) = (*has_v4 || v4, *has_v6 || v6),
            None => names.push((&local.name, v4, v6)),
        }
    }
    let families = |v4, v6| match (v4, v6) {
        (true, true) => "IPv4 and IPv6",
        (true, false) => "IPv4",
        _ => "IPv6",
    };
    names.into_iter().map(|(name, v4, v6)| format!("{name} ({})", families(v4, v6))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(index: u32, name: &str, ip: &str, prefix: u8) -> Local {
        Local { index, name: name.to_owned(), ip: ip.parse().unwrap(), prefix }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_port_is_the_one_at_which_quic_answers_in_that_family() {
        let port = |listen: &[&str], ip: &str| {
            let listen: Vec<_> = listen.iter().map(|address| at(address)).collect();
            quic_port(&listen, ip.parse().unwrap())
        };
        assert_eq!(port(&["[::]:1"], "192.0.2.1"), Some(1));
        assert_eq!(port(&["[::]:1"], "fe80::1"), Some(1));
        assert_eq!(port(&["[::]:1", "0.0.0.0:2"], "192.0.2.1"), Some(2));
        assert_eq!(port(&["0.0.0.0:2", "[::]:1"], "fe80::1"), Some(1));
        assert_eq!(port(&["0.0.0.0:2"], "fe80::1"), None);
        assert_eq!(port(&["[::]:1", "192.0.2.1:3"], "192.0.2.1"), Some(3));
        assert_eq!(port(&["192.0.2.1:3"], "192.0.2.9"), None);
        assert_eq!(port(&["127.0.0.1:4"], "127.0.0.1"), Some(4));
        assert_eq!(port(&[], "127.0.0.1"), None);
    }

    #[test]
    fn only_who_is_on_a_link_of_ours_can_have_sent_a_beacon() {
        let locals = [
            local(2, "eth0", "192.168.1.5", 24),
            local(2, "eth0", "fe80::5", 64),
            local(3, "wlan0", "10.9.0.5", 16),
        ];
        for there in ["192.168.1.77:1", "10.9.200.1:1", "[fe80::9%2]:1"] {
            assert!(is_on_some_link(&locals, at(there)), "{there}");
        }
        for elsewhere in ["192.168.2.77:1", "198.51.100.1:1", "[fe80::9%7]:1", "[2001:db8::1]:1"] {
            assert!(!is_on_some_link(&locals, at(elsewhere)), "{elsewhere}");
        }
        let tunnel = [local(4, "wg0", "10.20.0.1", 32)];
        assert!(is_on_some_link(&tunnel, at("10.20.0.2:1")));
        assert!(!is_on_some_link(&tunnel, at("198.51.100.1:1")));
        assert!(is_on_some_link(&[local(5, "ppp0", "192.0.2.1", 0)], at("198.51.100.1:1")));
    }

    #[test]
    fn interfaces_are_named_with_what_they_speak() {
        let locals = [
            local(2, "eth0", "192.168.1.5", 24),
            local(2, "eth0", "fe80::5", 64),
            local(3, "wlan0", "fe80::6", 64),
        ];
        assert_eq!(describe(locals.iter()), ["eth0 (IPv4 and IPv6)", "wlan0 (IPv6)"]);
    }
}
