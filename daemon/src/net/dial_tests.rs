//! The dial policy, told as small stories on a clock of our own.

use super::*;

impl DialBook {
    /// What was found this way, for tests of whoever finds.
    pub(in crate::net) fn targets_found_by(&self, by: FoundBy) -> Vec<Target> {
        let found = self.entries.iter().filter(|(_, entry)| entry.wanted.keys().any(|(_, way)| *way == by));
        found.map(|(target, _)| target.clone()).collect()
    }
}

pub(super) const FOLDER: FolderId = FolderId([1; 16]);
pub(super) const BOB: DeviceId = DeviceId([2; 32]);

pub(super) const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, n], 4455))
}

pub(super) fn book() -> DialBook {
    DialBook::new(Backoff::default(), &[7; 32])
}

/// Lets every dial fail at once; the seconds at which there was one.
pub(super) fn dials(book: &mut DialBook, seconds: std::ops::Range<u64>) -> Vec<u64> {
    let mut times = Vec::new();
    for second in seconds {
        while let Some((target, _)) = book.poll(at(second)) {
            times.push(second);
            book.handle_ended(&target, false, at(second));
        }
    }
    times
}

#[test]
fn a_pinned_peer_is_tried_for_ever_at_longer_and_longer_pauses() {
    let mut book = book();
    book.add(FOLDER, Target::Name("bob.example:4455".into()), FoundBy::Pinned, at(0));
    let times = dials(&mut book, 0..3600);
    let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(&pauses[..2], [1, 2]);
    assert!(pauses[6..].iter().all(|pause| (45..=60).contains(pause)), "{pauses:?}");
}

#[test]
fn a_beacon_is_worth_one_dial_until_a_device_has_proved_itself_there() {
    let mut book = book();
    let target = Target::Address(address(1));
    book.add(FOLDER, target.clone(), FoundBy::Lan, at(0));
    assert_eq!(dials(&mut book, 0..60), [0]);
    book.add(FOLDER, target.clone(), FoundBy::Lan, at(60));
    assert_eq!(dials(&mut book, 60..200), [60]);

    book.add(FOLDER, target.clone(), FoundBy::Lan, at(200));
    assert!(book.poll(at(200)).is_some());
    book.handle_owner(Some(&target), address(1), BOB, at(200));
    book.handle_connected(BOB);
    book.handle_disconnected(BOB, at(210));
    book.handle_ended(&target, true, at(210));
    assert!(dials(&mut book, 210..240).len() > 3, "it is likely to come back");
}

#[test]
fn a_hint_is_dialled_three_times_in_ten_minutes_however_often_it_is_named() {
    let mut book = book();
    let mut times = Vec::new();
    for second in 0..600 {
        book.add(FOLDER, Target::Address(address(1)), FoundBy::Tracker, at(second));
        times.extend(dials(&mut book, second..second + 1));
    }
    assert_eq!(times.len(), 3);
    assert_eq!(dials(&mut book, 600..700).len(), 3);
}

#[test]
fn of_many_hints_twenty_are_dialled_a_minute_and_a_pinned_peer_does_not_wait_for_them() {
    let mut book = book();
    for n in 0..100 {
        book.add(FOLDER, Target::Address(address(n)), FoundBy::Dht, at(0));
        book.add(FOLDER, Target::Address(address(n + 100)), FoundBy::Tracker, at(0));
    }
    assert_eq!(dials(&mut book, 0..60).len(), 20);
    book.add(FOLDER, Target::Address(address(200)), FoundBy::Pinned, at(59));
    assert_eq!(book.poll(at(59)), Some((Target::Address(address(200)), FoundBy::Pinned)));
}

#[test]
fn an_address_is_dialled_once_though_it_was_found_in_many_ways() {
    let mut book = book();
    for by in [FoundBy::Lan, FoundBy::Tracker, FoundBy::Pinned] {
        book.add(FOLDER, Target::Address(address(1)), by, at(0));
        book.add(FolderId([9; 16]), Target::Address(address(1)), by, at(0));
    }
    assert_eq!(book.poll(at(0)), Some((Target::Address(address(1)), FoundBy::Pinned)));
    assert_eq!(book.poll(at(100)), None);
}

#[test]
fn a_connected_device_is_not_dialled_at_any_of_its_addresses_until_it_is_lost() {
    let mut book = book();
    book.add(FOLDER, Target::Address(address(1)), FoundBy::Lan, at(0));
    book.add(FOLDER, Target::Address(address(2)), FoundBy::Pinned, at(0));
    for n in [1, 2] {
        book.handle_owner(None, address(n), BOB, at(0));
    }
    book.handle_connected(BOB);
    assert_eq!(book.poll(at(1)), None);
    assert_eq!(book.next_due(at(1)), None);
    book.handle_disconnected(BOB, at(2));
    assert_eq!(dials(&mut book, 2..4).len(), 2);
}

#[test]
fn what_a_removed_folder_wanted_is_not_dialled() {
    let mut book = book();
    let other = FolderId([9; 16]);
    book.add(FOLDER, Target::Address(address(1)), FoundBy::Pinned, at(0));
    book.add(FOLDER, Target::Address(address(2)), FoundBy::Pinned, at(0));
    book.add(other, Target::Address(address(2)), FoundBy::Lan, at(0));
    book.remove(FOLDER, None);
    assert_eq!(book.poll(at(0)), Some((Target::Address(address(2)), FoundBy::Lan)));
    assert_eq!(book.poll(at(0)), None);
}

#[test]
fn a_barred_address_rests() {
    let mut book = book();
    book.add(FOLDER, Target::Address(address(1)), FoundBy::Pinned, at(0));
    book.bar(address(1), at(300));
    assert_eq!(dials(&mut book, 0..300), Vec::<u64>::new());
    assert_eq!(dials(&mut book, 300..301).len(), 1);
}

#[test]
fn a_beacon_that_fell_silent_is_not_dialled_any_more() {
    let mut book = book();
    book.add(FOLDER, Target::Address(address(1)), FoundBy::Lan, at(0));
    assert!(dials(&mut book, 0..3600).iter().all(|second| *second < 120));
}

#[test]
fn a_flood_of_hints_is_bounded_and_leaves_room_for_what_the_user_names() {
    let mut book = book();
    for n in 0..10_000_u32 {
        let address = SocketAddr::from(((0x0800_0000 + n).to_be_bytes(), 4455));
        book.add(FOLDER, Target::Address(address), FoundBy::Exchange, at(0));
    }
    assert_eq!(book.entries.len(), MAX_HINTS_OF_WAY);
    book.add(FOLDER, Target::Address(address(1)), FoundBy::Pinned, at(0));
    assert_eq!(book.poll(at(0)), Some((Target::Address(address(1)), FoundBy::Pinned)));
}

#[test]
fn what_others_name_is_filtered() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let (public, private) = (ip("8.8.8.8"), ip("192.168.1.1"));
    for never in ["127.0.0.1:4455", "[::1]:4455", "169.254.1.1:4455", "[fe80::1]:4455", "224.0.0.1:4455"]
        .into_iter()
        .chain(["[ff02::1]:4455", "0.0.0.0:4455", "[::ffff:127.0.0.1]:4455", "9.9.9.9:53", "9.9.9.9:0"])
    {
        assert!(!is_dialable(never.parse().unwrap(), private), "{never}");
    }
    for inside in ["192.168.7.7:4455", "10.0.0.1:4455", "[fd00::1]:4455", "100.64.0.1:4455"] {
        assert!(!is_dialable(inside.parse().unwrap(), public), "{inside}");
        assert!(is_dialable(inside.parse().unwrap(), private), "{inside}");
    }
    assert!(is_dialable("9.9.9.9:4455".parse().unwrap(), public));
}
