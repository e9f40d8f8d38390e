//! Nodes that answered earlier, kept over restarts, so that the well-known ones are rarely asked.
//!
//! ```text
//! syncd DHT contacts 1
//! 192.0.2.1:6881
//! ```
//!
//! The file is read as if a stranger had written it: bounded, line by line, and only addresses that
//! a packet may be sent to. A damaged one is as good as none.

use std::fmt::Write;
use std::io::Read;
use std::net::SocketAddrV4;
use std::path::Path;

use crate::home::{HomeError, write_atomic};

const HEADER: &str = "syncd DHT contacts 1";
/// Contacts kept; at least some of so many are there a week later.
pub(super) const MAX_KEPT: usize = 64;
/// The longest line is an address with its port, 21 bytes.
const MAX_FILE: u64 = 64 + 22 * MAX_KEPT as u64;

/// The contacts in the file, none if there is no such file or it is not one of ours.
pub(super) fn load(path: &Path) -> Vec<SocketAddrV4> {
    let mut text = String::new();
    let Ok(file) = std::fs::File::open(path) else { return Vec::new() };
    match file.take(MAX_FILE).read_to_string(&mut text) {
        Ok(_) => parse(&text),
        Err(_) => Vec::new(),
    }
}

/// Writes those that answer now, and behind them, as far as there is room, those kept before.
pub(super) fn save(path: &Path, now: &[SocketAddrV4], before: &[SocketAddrV4]) -> Result<(), HomeError> {
    let mut text = format!("{HEADER}\n");
    for contact in merge(now, before) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{contact}");
    }
    write_atomic(path, text.as_bytes())
}

/// The first of both lists, without repetition.
pub(super) fn merge(now: &[SocketAddrV4], before: &[SocketAddrV4]) -> Vec<SocketAddrV4> {
    let mut kept = Vec::new();
    for contact in now.iter().chain(before) {
        if kept.len() < MAX_KEPT && is_contact(*contact) && !kept.contains(contact) {
            kept.push(*contact);
        }
    }
    kept
}

/// Whether a node may be there. Nodes on privileged ports are somebody's name server.
pub(super) fn is_contact(address: SocketAddrV4) -> bool {
    let ip = address.ip();
    let is_nobody = ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.octets()[0] == 0;
    !is_nobody && address.port() >= 1024
}

fn parse(text: &str) -> Vec<SocketAddrV4> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Vec::new();
    }
    let contacts: Vec<_> = lines.filter_map(|line| line.parse().ok()).collect();
    merge(&contacts, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(n: u8) -> SocketAddrV4 {
        SocketAddrV4::new([192, 0, 2, n].into(), 6881)
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dht");
        assert_eq!(load(&path), []);
        save(&path, &[contact(1), contact(2)], &[contact(2), contact(3)]).unwrap();
        assert_eq!(load(&path), [contact(1), contact(2), contact(3)]);
    }

    #[test]
    fn new_contacts_push_out_old_ones() {
        let old: Vec<_> = (0..64).map(contact).collect();
        let kept = merge(&[contact(200)], &old);
        assert_eq!((kept.len(), kept[0], kept[63]), (MAX_KEPT, contact(200), contact(62)));
    }

    #[test]
    fn of_a_hostile_file_only_addresses_of_nodes_are_read() {
        let text = format!(
            "{HEADER}\n192.0.2.1:53\n0.0.0.0:6881\n239.1.1.1:6881\n255.255.255.255:6881\n[::1]:6881\n\
             router.example:6881\n192.0.2.1:99999\n\n192.0.2.7:6881\n{}",
            "192.0.2.8:6881 ".repeat(10)
        );
        assert_eq!(parse(&text), [contact(7)]);
        assert_eq!(parse("syncd DHT contacts 2\n192.0.2.7:6881"), []);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dht");
        for bad in [vec![0xff; 100], vec![b'\n'; 1 << 20], format!("{HEADER}\n").into_bytes()] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(load(&path), []);
        }
        std::fs::write(&path, format!("{HEADER}\n{}", "192.0.2.7:6881\n".repeat(100_000))).unwrap();
        assert_eq!(load(&path), [contact(7)]);
    }
}
