//! TR-01 and TR-02: trackers and peers that name strangers, or leave out what matters.

use std::collections::BTreeMap;

use keystore::FolderId;

use super::super::tests::{BOB, FOLDER, address, at, book};
use super::*;

/// Some of ten thousand addresses of strangers.
fn victim(n: u32) -> SocketAddr {
    SocketAddr::from(((0x0800_0000 + n).to_be_bytes(), 4455))
}

fn liar() -> Option<IpAddr> {
    Some(IpAddr::from([203, 0, 113, 1]))
}

/// Lets dials fail after the ten seconds of a handshake; who was dialled when.
fn dials(
    book: &mut DialBook,
    seconds: std::ops::Range<u64>,
    mut each: impl FnMut(&mut DialBook, u64),
) -> Vec<(u64, Target, FoundBy)> {
    let mut under_way: Vec<(u64, Target)> = Vec::new();
    let mut dials = Vec::new();
    for second in seconds {
        for (_, target) in under_way.extract_if(.., |(begun, _)| *begun + 10 <= second) {
            book.handle_ended(&target, false, at(second));
        }
        each(book, second);
        while let Some((target, by)) = book.poll(at(second)) {
            under_way.push((second, target.clone()));
            dials.push((second, target, by));
        }
    }
    dials
}

/// Of the victims: three dials an IP in any ten minutes, twenty in any minute.
fn assert_harmless(dials: &[(u64, Target, FoundBy)]) {
    let mut of_ip: BTreeMap<IpAddr, Vec<u64>> = BTreeMap::new();
    for (second, target, _) in dials {
        of_ip.entry(target.ip().unwrap()).or_default().push(*second);
        let of_minute = dials.iter().filter(|(other, ..)| (*second..second + 60).contains(other));
        assert!(of_minute.count() <= 20, "in the minute after {second}");
    }
    for (ip, times) in of_ip {
        assert!(times.windows(4).all(|four| four[3] - four[0] >= 600), "{ip}: {times:?}");
    }
}

#[test]
fn ten_thousand_addresses_of_strangers_are_dialled_at_twenty_a_minute() {
    for by in [FoundBy::Tracker, FoundBy::Dht, FoundBy::Exchange] {
        let mut book = book();
        let dials = dials(&mut book, 0..1800, |book, second| {
            if second % 600 == 0 {
                for n in 0..10_000 {
                    book.add_named(FOLDER, Target::Address(victim(n)), by, liar(), at(second));
                }
            }
        });
        assert!(dials.len() > 100);
        assert_harmless(&dials);
        assert!(book.entries.len() <= MAX_HINTS_OF_WAY);
    }
}

#[test]
fn a_few_strangers_named_again_and_again_by_everyone_are_dialled_three_times_in_ten_minutes() {
    let mut book = book();
    let dials = dials(&mut book, 0..3600, |book, second| {
        for by in [FoundBy::Tracker, FoundBy::Dht, FoundBy::Exchange] {
            for n in 0..5 {
                book.add_named(
                    FolderId([second as u8; 16]),
                    Target::Address(victim(n)),
                    by,
                    liar(),
                    at(second),
                );
            }
        }
    });
    assert_harmless(&dials);
}

#[test]
fn a_thousand_ports_of_one_stranger_are_one_stranger() {
    let mut book = book();
    let dials = dials(&mut book, 0..1800, |book, second| {
        for port in (0..1000).filter(|_| second % 300 == 0) {
            let address = SocketAddr::from(([8, 8, 8, 8], 2000 + port));
            book.add_named(FOLDER, Target::Address(address), FoundBy::Tracker, liar(), at(second));
        }
    });
    assert_eq!(dials.len(), 9);
    assert_harmless(&dials);
}

#[test]
fn devices_behind_one_address_are_all_dialled_once_one_of_them_has_answered() {
    let mut book = book();
    let port = |n: u16| SocketAddr::from(([8, 8, 8, 8], 2000 + n));
    book.handle_owner(None, port(0), BOB, at(0));
    for n in 1..10 {
        book.add_named(FOLDER, Target::Address(port(n)), FoundBy::Tracker, liar(), at(0));
    }
    let dialled: std::collections::BTreeSet<_> =
        dials(&mut book, 0..60, |_, _| {}).into_iter().map(|(_, target, _)| target).collect();
    assert_eq!(dialled.len(), 9);
}

#[test]
fn a_flood_from_a_tracker_does_not_hold_up_what_was_found_otherwise_for_a_minute() {
    let mut book = book();
    let found = [FoundBy::Pinned, FoundBy::Lan, FoundBy::Remembered, FoundBy::Dht, FoundBy::Exchange];
    let of = |by: FoundBy| address(200 + by as u8);
    let dials = dials(&mut book, 0..200, |book, second| {
        for n in 0..100 {
            let n = second as u32 * 100 + n;
            book.add_named(FOLDER, Target::Address(victim(n)), FoundBy::Tracker, liar(), at(second));
        }
        if second == 100 {
            for by in found {
                match by {
                    FoundBy::Remembered => book.remember(FOLDER, of(by), BOB, at(100)),
                    _ => book.add_named(FOLDER, Target::Address(of(by)), by, None, at(100)),
                }
            }
            // The tracker knows some of them as well, and names them as its own.
            let exchanged = Target::Address(of(FoundBy::Exchange));
            book.add_named(FOLDER, exchanged, FoundBy::Tracker, liar(), at(100));
        }
    });
    for by in found {
        let first = dials.iter().find(|(_, target, _)| *target == Target::Address(of(by)));
        assert!(first.is_some_and(|(second, ..)| *second < 120), "{by:?}: {first:?}");
    }
}

#[test]
fn a_peer_that_names_strangers_does_not_hold_up_what_another_names() {
    let mut book = book();
    let honest = Some(IpAddr::from([203, 0, 113, 2]));
    let dials = dials(&mut book, 0..200, |book, second| {
        for n in 0..64 {
            let n = second as u32 * 64 + n;
            book.add_named(FOLDER, Target::Address(victim(n)), FoundBy::Exchange, liar(), at(second));
        }
        if second == 100 {
            book.add_named(FOLDER, Target::Address(address(1)), FoundBy::Exchange, honest, at(100));
        }
    });
    let first = dials.iter().find(|(_, target, _)| *target == Target::Address(address(1)));
    assert!(first.is_some_and(|(second, ..)| *second <= 160), "{first:?}");
}

#[test]
fn what_was_reached_before_is_no_licence_for_what_others_name() {
    let mut book = book();
    book.remember(FOLDER, address(1), BOB, at(0));
    book.forget(FOLDER, address(1));
    book.add_named(FOLDER, Target::Address(address(1)), FoundBy::Exchange, liar(), at(0));
    assert_harmless(&dials(&mut book, 0..1800, |_, _| {}));
}
