//! What becomes of addresses of former times, on a clock of our own.

use super::super::tests::{BOB, FOLDER, address, at, book, dials};
use super::*;

const CARL: DeviceId = DeviceId([3; 32]);

#[test]
fn where_a_device_was_reached_is_dialled_often_at_first_and_then_every_ten_minutes() {
    let mut book = book();
    book.remember(FOLDER, address(1), BOB, at(0));
    let times = dials(&mut book, 0..36_000);
    assert!(times.iter().filter(|second| **second < 600).count() > 10, "{times:?}");
    let last: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).rev().take(30).collect();
    assert!(last.iter().all(|pause| (450..=601).contains(pause)), "{last:?}");
}

#[test]
fn a_device_that_is_connected_is_not_dialled_where_it_was_before() {
    let mut book = book();
    book.remember(FOLDER, address(1), BOB, at(0));
    book.handle_owner(None, address(2), BOB, at(0));
    book.handle_connected(BOB);
    assert_eq!(dials(&mut book, 0..7200), Vec::<u64>::new());
    book.handle_disconnected(BOB, at(7200));
    assert_eq!(dials(&mut book, 7200..7202).len(), 1);
}

#[test]
fn another_device_that_is_said_to_be_there_is_dialled_though_the_former_one_is_connected() {
    let mut book = book();
    book.remember(FOLDER, address(1), BOB, at(0));
    book.handle_connected(BOB);
    book.add(FOLDER, Target::Address(address(1)), FoundBy::Tracker, at(0));
    assert_eq!(dials(&mut book, 0..1).len(), 1);
}

#[test]
fn four_addresses_of_a_device_are_dialled_the_latest_ones() {
    let mut book = book();
    for n in 0..6 {
        book.remember(FOLDER, address(n), BOB, at(n.into()));
    }
    book.remember(FOLDER, address(9), CARL, at(0));
    let dialled: Vec<_> = std::iter::from_fn(|| book.poll(at(6))).map(|(target, _)| target).collect();
    assert_eq!(dialled, [9, 2, 3, 4, 5].map(|n| Target::Address(address(n))));
}

#[test]
fn an_address_in_vain_is_told_after_hours_while_others_are_reached() {
    let mut book = book();
    book.remember(FOLDER, address(1), BOB, at(0));
    dials(&mut book, 0..36_000);
    assert_eq!(book.poll_unreached(), None, "it may be our own network that is down");
    book.handle_connected(CARL);
    dials(&mut book, 36_000..52_000);
    assert_eq!(book.poll_unreached(), None);
    dials(&mut book, 52_000..58_000);
    assert_eq!(book.poll_unreached(), Some((FOLDER, address(1))));
    assert_eq!(book.poll_unreached(), None);
    book.forget(FOLDER, address(1));
    assert_eq!(dials(&mut book, 58_000..68_000), Vec::<u64>::new());
}

#[test]
fn a_folder_that_is_removed_takes_its_memory_along() {
    let mut book = book();
    book.remember(FOLDER, address(1), BOB, at(0));
    book.remove(FOLDER, None);
    assert_eq!(dials(&mut book, 0..100), Vec::<u64>::new());
}

#[test]
fn many_dead_addresses_of_former_times_leave_room_for_a_pinned_peer_and_for_hints() {
    let mut book = book();
    for n in 0..200 {
        book.remember(FOLDER, address(n), DeviceId([n; 32]), at(0));
    }
    let dialing: Vec<_> = std::iter::from_fn(|| book.poll(at(0))).collect();
    assert_eq!(dialing.len(), 8);
    book.add(FOLDER, Target::Address(address(201)), FoundBy::Exchange, at(1));
    book.add(FOLDER, Target::Address(address(202)), FoundBy::Pinned, at(1));
    let next: Vec<_> = std::iter::from_fn(|| book.poll(at(1))).map(|(_, by)| by).collect();
    assert_eq!(next, [FoundBy::Pinned, FoundBy::Exchange]);
}

#[test]
fn when_the_network_has_changed_all_is_dialled_at_once() {
    let mut book = book();
    book.add(FOLDER, Target::Address(address(1)), FoundBy::Pinned, at(0));
    book.remember(FOLDER, address(2), BOB, at(0));
    book.add(FOLDER, Target::Address(address(3)), FoundBy::Tracker, at(0));
    dials(&mut book, 0..10_000);
    book.handle_network_changed(at(10_000));
    let again: Vec<_> = std::iter::from_fn(|| book.poll(at(10_000))).map(|(_, by)| by).collect();
    assert_eq!(again, [FoundBy::Pinned, FoundBy::Remembered], "a hint of hours ago is believed no more");
}
