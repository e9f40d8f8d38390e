//! What nodes answer to one lookup, made into addresses to dial. Pure.
//!
//! The crate does not say which node has named an address, and the dial policy wants to know: one of
//! a private network is dialled only when whoever named it was reached at such an address itself.
//! Public addresses pass at once, whoever has named them. Private ones wait for the end of the
//! lookup and count only if *all* nodes that we then know are at private addresses: that is a DHT
//! within a private network. As soon as one node is public, this may be the DHT of the world, where
//! anybody may name our printer.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Addresses taken of one answer; a node that knows a large swarm names a hundred.
const PER_ANSWER: usize = 16;
/// Addresses taken of one lookup, so that who answers with many crowds out nothing for long.
const PER_LOOKUP: usize = 128;

/// The answers to one lookup.
#[derive(Debug)]
pub(super) struct Answers {
    own: Option<SocketAddrV4>,
    chance: usize,
    seen: BTreeSet<SocketAddrV4>,
    private: Vec<SocketAddrV4>,
}

impl Answers {
    /// `own` is where others see us; `chance` chooses among the addresses of a long answer.
    pub(super) fn new(own: Option<SocketAddrV4>, chance: usize) -> Self {
        Self { own, chance, seen: BTreeSet::new(), private: Vec::new() }
    }

    /// Takes an answer, and returns the public addresses that are new.
    pub(super) fn handle(&mut self, answer: &[SocketAddrV4]) -> Vec<SocketAddrV4> {
        let mut public = Vec::new();
        let first = self.chance.checked_rem(answer.len()).unwrap_or_default();
        for address in answer.iter().cycle().skip(first).take(answer.len().min(PER_ANSWER)) {
            let is_new = self.seen.len() < PER_LOOKUP && is_peer(*address) && self.seen.insert(*address);
            match (is_new && self.own != Some(*address), is_private(*address.ip())) {
                (true, true) => self.private.push(*address),
                (true, false) => public.push(*address),
                (false, _) => {}
            }
        }
        public
    }

    /// The lookup has ended: the private addresses, if the nodes that we know allow them.
    pub(super) fn finish(self, contacts: &[SocketAddrV4]) -> Vec<SocketAddrV4> {
        let is_private_network = !contacts.is_empty() && contacts.iter().all(|c| is_private(*c.ip()));
        if is_private_network { self.private } else { Vec::new() }
    }
}

/// In whose name hints of a lookup are given: any node of the DHT that the answers come from.
pub(super) fn namer(contacts: &[SocketAddrV4]) -> Ipv4Addr {
    let public = contacts.iter().find(|contact| !is_private(*contact.ip()));
    public.or(contacts.first()).map_or(Ipv4Addr::UNSPECIFIED, |contact| *contact.ip())
}

fn is_peer(address: SocketAddrV4) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast()
}

fn is_private(ip: Ipv4Addr) -> bool {
    let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
    ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_shared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    #[test]
    fn public_addresses_pass_at_once_and_once() {
        let mut answers = Answers::new(Some(at("198.51.100.9:4455")), 0);
        let answer = [at("198.51.100.1:4455"), at("198.51.100.9:4455"), at("198.51.100.2:4455")];
        assert_eq!(answers.handle(&answer), [answer[0], answer[2]]);
        assert_eq!(answers.handle(&answer), []);
    }

    #[test]
    fn a_private_address_counts_only_in_a_dht_of_private_nodes() {
        let told = |contacts: &[&str]| {
            let mut answers = Answers::new(None, 0);
            assert_eq!(answers.handle(&[at("192.168.1.5:4455")]), []);
            let contacts: Vec<_> = contacts.iter().map(|contact| at(contact)).collect();
            answers.finish(&contacts)
        };
        assert_eq!(told(&["10.0.0.1:6881", "10.0.0.2:6881"]), [at("192.168.1.5:4455")]);
        assert_eq!(told(&["10.0.0.1:6881", "198.51.100.1:6881"]), []);
        assert_eq!(told(&["198.51.100.1:6881"]), []);
        assert_eq!(told(&[]), []);
    }

    #[test]
    fn hints_are_given_in_the_name_of_a_public_node_if_there_is_one() {
        let nodes = [at("10.0.0.1:6881"), at("198.51.100.1:6881")];
        assert_eq!(namer(&nodes), Ipv4Addr::new(198, 51, 100, 1));
        assert_eq!(namer(&nodes[..1]), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(namer(&[]), Ipv4Addr::UNSPECIFIED);
    }

    #[test]
    fn a_node_that_names_thousands_is_not_believed_in_all() {
        let flood: Vec<_> = (0..5000u32).map(|n| SocketAddrV4::new((0x0800_0000 + n).into(), 4455)).collect();
        let mut answers = Answers::new(None, 4990);
        assert_eq!(answers.handle(&flood).len(), 16);
        assert_eq!(answers.handle(&[at("198.51.100.1:4455")]).len(), 1);
        let taken: usize = flood.chunks(100).map(|answer| answers.handle(answer).len()).sum();
        assert!(taken <= 128, "{taken}");
    }

    #[test]
    fn what_cannot_be_dialled_is_dropped() {
        let mut answers = Answers::new(None, 7);
        let nonsense = [at("0.0.0.0:1"), at("198.51.100.1:0"), at("239.1.2.3:4"), at("255.255.255.255:5")];
        assert_eq!(answers.handle(&nonsense), []);
        assert_eq!(answers.handle(&[]), []);
    }
}
