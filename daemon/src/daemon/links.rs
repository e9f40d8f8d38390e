//! What a link says beside the key: what the folder is called, how large it is, where it is, and which
//! trackers know of it.
//!
//! A link is made when somebody wants to join, and is used minutes or months later, next door or on
//! another continent. So it names a few addresses of each kind, those that last longest first: what
//! others see us at, what a person has pinned (a server that is up when this machine is not), public
//! addresses of interfaces, and private ones for whoever is in the same network.

use std::net::{IpAddr, SocketAddr};

use keystore::{FolderSecret, Link};

use crate::discovery::tracker;

/// Addresses in a link: each costs some 30 characters, and four dials that fail.
const MAX_ADDRESSES: usize = 6;
/// Of one kind, so that one kind does not push out the others.
const MAX_OF_A_KIND: usize = 2;
/// What the interfaces of containers and virtual machines are called: others cannot reach these.
const VIRTUAL: [&str; 8] = ["docker", "veth", "br-", "virbr", "cni", "flannel", "lxc", "podman"];

/// One address of an interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) address: IpAddr,
}

/// The interfaces that are up, without loopback.
pub(super) fn interfaces() -> Vec<Interface> {
    let found = if_addrs::get_if_addrs().unwrap_or_default().into_iter();
    let up = found.filter(|interface| interface.is_oper_up() && !interface.is_loopback());
    let mut all: Vec<_> =
        up.map(|interface| Interface { address: interface.ip(), name: interface.name }).collect();
    all.sort();
    all
}

/// Where a folder's device may be.
#[derive(Debug, Clone, Default)]
pub(super) struct Whereabouts {
    /// At which addresses others see us, or the router lets them in.
    pub(super) seen: Vec<SocketAddr>,
    /// What a person has pinned for the folder.
    pub(super) pinned: Vec<String>,
    /// What the daemon listens on.
    pub(super) listen: Vec<SocketAddr>,
    /// The interfaces of this machine.
    pub(super) interfaces: Vec<Interface>,
}

impl Whereabouts {
    /// The few that are worth a place in a link, best first.
    pub(super) fn best(&self) -> Vec<String> {
        let (public, private): (Vec<_>, Vec<_>) =
            self.reached_here().into_iter().partition(|at| is_public(at.ip()));
        let seen = self.seen.iter().copied().filter(|at| is_public(at.ip()));
        let kinds: [Vec<String>; 4] =
            [texts(seen), self.pinned.clone(), texts(public.into_iter()), texts(private.into_iter())];
        let mut best: Vec<String> = Vec::new();
        for kind in kinds {
            let new: Vec<_> = kind.into_iter().filter(|at| !best.contains(at)).take(MAX_OF_A_KIND).collect();
            best.extend(new);
        }
        best.truncate(MAX_ADDRESSES);
        best
    }

    /// What is listened on; `0.0.0.0` and `[::]` are all interfaces.
    fn reached_here(&self) -> Vec<SocketAddr> {
        let mut all = Vec::new();
        for listen in &self.listen {
            if !listen.ip().is_unspecified() {
                all.push(*listen);
                continue;
            }
            // `[::]` serves both families.
            let fits = |address: &IpAddr| listen.is_ipv6() || address.is_ipv4();
            let real = self.interfaces.iter().filter(|interface| !is_virtual(&interface.name));
            let addresses = real.map(|interface| interface.address).filter(|address| fits(address));
            all.extend(addresses.filter(|ip| travels(*ip)).map(|ip| SocketAddr::new(ip, listen.port())));
        }
        all
    }
}

fn texts(addresses: impl Iterator<Item = SocketAddr>) -> Vec<String> {
    addresses.map(|address| address.to_string()).collect()
}

fn is_virtual(name: &str) -> bool {
    VIRTUAL.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether an address means the same elsewhere in the network: a link-local one does not.
fn travels(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_loopback(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_loopback(),
    }
}

/// Whether an address is reached from anywhere, as far as the address alone can tell.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || is_shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback() || ip.is_unspecified())
        }
    }
}

/// The link of a key. **Secret.**
pub(super) fn link(
    secret: FolderSecret,
    name: &str,
    size_bytes: u64,
    addresses: &[String],
    trackers: &[String],
) -> String {
    let link = Link {
        secret,
        name: Some(name.to_owned()),
        // Not known yet, or nothing there: either way it says nothing.
        size_bytes: (size_bytes > 0).then_some(size_bytes),
        addresses: addresses.to_vec(),
        trackers: trackers.to_vec(),
    };
    link.to_text().to_string()
}

/// Which of a link's trackers are added to those that a folder has: the whole new list, or `None` if
/// nothing is new. Who made the link is not known, so a tracker gets in only if it looks like one:
/// another URL could make us ask some machine of this network for something.
pub(super) fn with_linked_trackers(have: &[String], linked: &[String]) -> Option<Vec<String>> {
    let is_new = |url: &String| !tracker::urls(have).any(|known| known == url);
    let new: Vec<&String> = linked.iter().filter(|url| is_tracker(url) && is_new(url)).collect();
    (!new.is_empty()).then(|| {
        let all = have.iter().chain(new);
        all.take(keystore::link::MAX_ENTRIES.max(have.len())).cloned().collect()
    })
}

fn is_tracker(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    match scheme.to_ascii_lowercase().as_str() {
        "udp" => true,
        // By BEP 48 the last part of a tracker's path begins with this word; that of all in use does.
        "http" | "https" => {
            let path = rest.split(['?', '#']).next().unwrap_or_default();
            path.split_once('/').is_some_and(|(_, path)| is_announce(path))
        }
        _ => false,
    }
}

fn is_announce(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|last| last.starts_with("announce"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(listen: &[&str], interfaces: &[(&str, &str)]) -> Whereabouts {
        let parse = |(name, address): &(&str, &str)| Interface {
            name: (*name).to_owned(),
            address: address.parse().unwrap(),
        };
        Whereabouts {
            listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
            interfaces: interfaces.iter().map(parse).collect(),
            ..Whereabouts::default()
        }
    }

    #[test]
    fn a_link_names_what_others_can_dial_and_the_longest_lived_first() {
        let mut place = at(
            &["[::]:4455"],
            &[
                ("docker0", "172.17.0.1"),
                ("wlan0", "192.168.1.17"),
                ("wlan0", "fe80::1"),
                ("wlan0", "2001:db8::7"),
                ("wlan0", "2001:db8::8"),
                ("wlan0", "2001:db8::9"),
                ("eth0", "10.0.0.3"),
            ],
        );
        place.seen = vec!["203.0.113.7:40000".parse().unwrap(), "10.9.9.9:4455".parse().unwrap()];
        place.pinned = vec!["server.example:4455".to_owned()];
        let best = [
            "203.0.113.7:40000",
            "server.example:4455",
            "[2001:db8::7]:4455",
            "[2001:db8::8]:4455",
            "192.168.1.17:4455",
            "10.0.0.3:4455",
        ];
        assert_eq!(place.best(), best);
    }

    #[test]
    fn what_is_listened_on_is_named_as_it_is() {
        assert_eq!(at(&["127.0.0.1:7"], &[("eth0", "10.0.0.3")]).best(), ["127.0.0.1:7"]);
        assert_eq!(at(&["0.0.0.0:7"], &[("e", "10.0.0.3"), ("e", "2001:db8::7")]).best(), ["10.0.0.3:7"]);
        assert!(at(&["[::]:7"], &[]).best().is_empty());
    }

    #[test]
    fn an_address_that_is_seen_and_pinned_is_named_once() {
        let mut place = at(&["203.0.113.7:4455"], &[]);
        place.seen = vec!["203.0.113.7:4455".parse().unwrap()];
        place.pinned = vec!["203.0.113.7:4455".to_owned()];
        assert_eq!(place.best(), ["203.0.113.7:4455"]);
    }

    #[test]
    fn a_link_adds_trackers_and_nothing_that_only_claims_to_be_one() {
        let list = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        let ours = list(&["udp://ours.example:6969"]);
        let linked = list(&[
            "udp://ours.example:6969",
            "udp://theirs.example:6969",
            "https://t.example/x/announce?key=1",
            "http://192.168.1.1/reboot?now",
            "http://192.168.1.1/reboot#/announce",
            "http://announce",
            "wss://t.example/announce",
            "file:///announce",
        ]);
        let all =
            ["udp://ours.example:6969", "udp://theirs.example:6969", "https://t.example/x/announce?key=1"];
        assert_eq!(with_linked_trackers(&ours, &linked), Some(list(&all)));
        assert_eq!(with_linked_trackers(&ours, &ours), None);
        let alternatives = list(&["udp://spare.example:1 udp://ours.example:6969"]);
        assert_eq!(with_linked_trackers(&alternatives, &ours), None);
        assert_eq!(with_linked_trackers(&[], &list(&["http://192.168.1.1/"])), None);
    }
}
