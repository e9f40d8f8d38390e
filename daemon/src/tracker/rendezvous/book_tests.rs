//! Who may be introduced to whom, told on a clock of our own.

use super::*;

const DOCS: DiscoveryId = DiscoveryId([1; 20]);
const PICS: DiscoveryId = DiscoveryId([2; 20]);
const NOW: Duration = Duration::from_secs(1);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn enter(book: &mut Book, text: &str, discoveries: &[DiscoveryId]) -> DeviceNumber {
    let number = book.enter(address(text), NOW).unwrap();
    book.handle_verified(number);
    book.register(number, discoveries.to_vec());
    number
}

#[test]
fn two_of_a_swarm_find_each_other_by_address_or_by_ip_alone() {
    let mut book = Book::new(Limits::default());
    let anna = enter(&mut book, "11.0.0.1:4455", &[DOCS]);
    let ben = enter(&mut book, "11.0.0.2:4455", &[PICS, DOCS]);
    let other = enter(&mut book, "11.0.0.2:5000", &[DOCS]);
    assert_eq!(book.find(anna, DOCS, address("11.0.0.2:4455"), NOW), Ok(ben));
    assert_eq!(book.find(anna, DOCS, address("11.0.0.2:5000"), NOW), Ok(other));
    assert_eq!(book.find(anna, DOCS, address("11.0.0.2:9999"), NOW), Ok(other));
    assert_eq!(book.find(other, DOCS, address("11.0.0.2:9999"), NOW), Ok(ben));
}

#[test]
fn who_is_not_of_the_swarm_is_neither_introduced_nor_told_who_is() {
    let mut book = Book::new(Limits::default());
    let anna = enter(&mut book, "11.0.0.1:4455", &[DOCS]);
    enter(&mut book, "11.0.0.2:4455", &[PICS]);
    let there = address("11.0.0.2:4455");
    for discovery in [DOCS, PICS] {
        assert_eq!(book.find(anna, discovery, there, NOW), Err(Refusal::NotThere));
    }
    assert_eq!(book.find(anna, DOCS, address("11.0.0.1:4455"), NOW), Err(Refusal::NotThere));
    assert_eq!(book.find(anna, DOCS, address("11.0.0.3:4455"), NOW), Err(Refusal::NotThere));
    assert_eq!(book.find(anna, DOCS, address("[2001:db8::1]:4455"), NOW), Err(Refusal::NotThere));
}

#[test]
fn who_has_left_is_not_found_and_takes_no_room() {
    let mut book = Book::new(Limits::default());
    let anna = enter(&mut book, "11.0.0.1:4455", &[DOCS]);
    let ben = enter(&mut book, "11.0.0.2:4455", &[DOCS, PICS]);
    book.register(ben, vec![PICS]);
    assert_eq!(book.find(anna, DOCS, address("11.0.0.2:4455"), NOW), Err(Refusal::NotThere));
    book.leave(ben);
    book.leave(anna);
    assert_eq!((book.connections(), book.registrations()), (0, 0));
    assert!(book.members.is_empty() && book.per_household.is_empty() && book.by_address.is_empty());
}

#[test]
fn connections_are_bounded_in_all_and_per_household() {
    let limits = Limits { connections: 5, connections_per_ip: 3, ..Limits::default() };
    let mut book = Book::new(limits);
    let mut enters = |text: &str| book.enter(address(text), NOW).is_some();
    let same_net = ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", "[2001:db8::4]:1"];
    assert_eq!(same_net.map(&mut enters), [true, true, true, false]);
    assert_eq!(["11.0.0.1:1", "11.0.0.2:1", "11.0.0.3:1"].map(&mut enters), [true, true, false]);
}

#[test]
fn registrations_are_bounded_in_all() {
    let mut book = Book::new(Limits { registrations: 3, ..Limits::default() });
    enter(&mut book, "11.0.0.1:1", &[DOCS, PICS]);
    let ben = enter(&mut book, "11.0.0.2:1", &[DOCS, PICS]);
    assert_eq!(book.registrations(), 3);
    book.leave(ben);
    assert_eq!(book.registrations(), 2);
}

#[test]
fn nobody_asks_or_is_asked_for_too_often() {
    let limits = Limits { asks_per_minute: 10, introductions_per_minute: 15, ..Limits::default() };
    let mut book = Book::new(limits);
    let ben = address("11.0.9.9:1");
    enter(&mut book, "11.0.9.9:1", &[DOCS]);
    let found =
        |book: &mut Book, asker, now| (0..30).filter(|_| book.find(asker, DOCS, ben, now).is_ok()).count();
    let (anna, carl) = (enter(&mut book, "11.0.0.1:1", &[DOCS]), enter(&mut book, "11.0.0.2:1", &[DOCS]));
    assert_eq!(found(&mut book, anna, NOW), 10);
    assert_eq!(found(&mut book, carl, NOW), 5);
    assert_eq!(found(&mut book, anna, NOW + Duration::from_secs(60)), 10);
}
