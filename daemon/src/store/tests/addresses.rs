//! What is remembered of where peers were.

use std::net::SocketAddr;

use super::{FOLDER, Home};
use crate::store::KnownAddress;

const DAY: i64 = 24 * 3600;

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1000 + n))
}

fn device(n: u16) -> [u8; 32] {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    id
}

fn addresses(known: &[KnownAddress]) -> Vec<SocketAddr> {
    known.iter().map(|known| known.address).collect()
}

#[test]
fn where_a_device_was_reached_is_known_after_reopening_the_latest_first() {
    let home = Home::new();
    home.folder().note_reached(&device(1), address(1), 10).expect("saves");
    home.folder().note_reached(&device(2), "[2001:db8::1]:4455".parse().unwrap(), 20).expect("saves");
    home.folder().note_reached(&device(1), address(1), 30).expect("saves");
    let known = home.folder().known_addresses(40).expect("reads");
    assert_eq!(known[0], KnownAddress { device: device(1), address: address(1) });
    assert_eq!(addresses(&known[1..]), ["[2001:db8::1]:4455".parse().unwrap()]);
}

#[test]
fn four_addresses_of_a_device_are_kept_and_the_oldest_goes() {
    let folder = Home::new().folder();
    for n in 0..6 {
        folder.note_reached(&device(1), address(n), i64::from(n)).expect("saves");
    }
    folder.note_reached(&device(2), address(9), 0).expect("saves");
    let known = addresses(&folder.known_addresses(9).expect("reads"));
    assert_eq!(known, [address(5), address(4), address(3), address(2), address(9)]);
}

#[test]
fn an_address_belongs_to_the_device_that_answered_there_last() {
    let folder = Home::new().folder();
    folder.note_reached(&device(1), address(1), 1).expect("saves");
    folder.note_reached(&device(2), address(1), 2).expect("saves");
    let known = folder.known_addresses(3).expect("reads");
    assert_eq!(known, [KnownAddress { device: device(2), address: address(1) }]);
}

#[test]
fn sixty_four_devices_are_kept_and_the_oldest_goes() {
    let folder = Home::new().folder();
    for n in 0..70 {
        folder.note_reached(&device(n), address(n), i64::from(n)).expect("saves");
    }
    let known = addresses(&folder.known_addresses(70).expect("reads"));
    assert_eq!((known.len(), known[0], known[63]), (64, address(69), address(6)));
}

#[test]
fn after_ninety_days_an_address_is_forgotten() {
    let folder = Home::new().folder();
    folder.note_reached(&device(1), address(1), 0).expect("saves");
    folder.note_reached(&device(2), address(2), 80 * DAY).expect("saves");
    assert_eq!(folder.known_addresses(89 * DAY).expect("reads").len(), 2);
    assert_eq!(addresses(&folder.known_addresses(90 * DAY).expect("reads")), [address(2)]);
}

#[test]
fn an_address_is_forgotten_when_it_was_dialled_in_vain_for_weeks() {
    let folder = Home::new().folder();
    folder.note_reached(&device(1), address(1), 0).expect("saves");
    let vain = |times: usize| (0..times).map(|_| folder.note_unreached(address(1)).expect("saves"));
    assert!(vain(55).all(|forgotten| !forgotten));
    folder.note_reached(&device(1), address(1), 1).expect("saves");
    assert!(vain(55).all(|forgotten| !forgotten));
    assert!(folder.note_unreached(address(1)).expect("saves"));
    assert_eq!(folder.known_addresses(2).expect("reads"), []);
}

#[test]
fn what_is_told_of_a_folder_that_was_forgotten_is_not_kept_for_the_next_one() {
    let home = Home::new();
    let store = home.open();
    let folder = store.folder(&FOLDER).expect("a folder");
    folder.note_reached(&device(1), address(1), 0).expect("saves");
    store.forget(&FOLDER).expect("forgets");
    folder.note_reached(&device(1), address(2), 0).expect("is no error");
    assert_eq!(store.folder(&FOLDER).expect("a folder").known_addresses(1).expect("reads"), []);
}

#[test]
fn an_address_that_is_forgotten_is_gone_and_no_other() {
    let folder = Home::new().folder();
    for n in 1..=2 {
        folder.note_reached(&device(n), address(n), 10).expect("saves");
    }
    folder.forget_address(address(1)).expect("forgets");
    assert_eq!(addresses(&folder.known_addresses(20).expect("reads")), [address(2)]);
}
