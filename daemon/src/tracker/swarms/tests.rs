//! Swarms as a whole.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::export::Aged;
use super::*;
use crate::tracker::wire::{peers_v4, peers_v6};

const LIMITS: Limits =
    Limits { peers: 1_000, peers_per_swarm: 500, peers_per_source: 600, interval_minutes: 30 };
const ALL: Wanted = Wanted { v4: 1_000, v6: 1_000 };

struct Tracker {
    swarms: Swarms,
    dice: Dice,
    minute: u64,
}

impl Tracker {
    fn new(limits: Limits) -> Self {
        Self { swarms: Swarms::new(limits, [5; 16]), dice: Dice::new([6; 8]), minute: 1_000 }
    }

    fn now(&self) -> Tick {
        Tick::of_minute(self.minute)
    }

    fn tell(
        &mut self,
        from: &str,
        change: impl FnOnce(&mut Announce),
    ) -> Result<(Totals, Vec<SocketAddr>), Refusal> {
        let address: SocketAddr = from.parse().unwrap();
        let mut announce = announce(1);
        announce.port = address.port();
        change(&mut announce);
        let mut named = Named::default();
        let now = self.now();
        let totals = self.swarms.announce(now, address.ip(), &announce, ALL, &mut self.dice, &mut named)?;
        let mut peers: Vec<SocketAddr> = peers_v4(&named.v4).chain(peers_v6(&named.v6)).collect();
        peers.sort_unstable();
        Ok((totals, peers))
    }

    fn peers(&self) -> usize {
        let Population { v4, v6, .. } = self.swarms.population();
        v4 + v6
    }
}

fn announce(swarm: u32) -> Announce {
    let mut info_hash = [0; 20];
    info_hash[..4].copy_from_slice(&swarm.to_le_bytes());
    Announce {
        info_hash,
        peer_id: [1; 20],
        downloaded: 0,
        left: 1,
        uploaded: 0,
        event: Event::None,
        key: 0,
        want: None,
        port: 1,
    }
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn totals(seeders: u32, completed: u32, leechers: u32) -> Totals {
    Totals { seeders, completed, leechers }
}

#[test]
fn peers_of_both_families_hear_of_each_other_and_never_of_themselves() {
    let mut tracker = Tracker::new(LIMITS);
    assert_eq!(tracker.tell("192.0.2.1:7", |_| ()), Ok((totals(0, 0, 1), vec![])));
    tracker.tell("[2001:db8::1]:7", |announce| announce.left = 0).unwrap();
    let (counts, peers) = tracker.tell("192.0.2.2:7", |_| ()).unwrap();
    assert_eq!(counts, totals(1, 0, 2));
    assert_eq!(peers, addresses(&["192.0.2.1:7", "[2001:db8::1]:7"]));
    let (_, peers) = tracker.tell("[2001:db8::1]:7", |_| ()).unwrap();
    assert_eq!(peers, addresses(&["192.0.2.1:7", "192.0.2.2:7"]));
    let (_, peers) = tracker.tell("[::ffff:192.0.2.1]:7", |_| ()).unwrap();
    assert_eq!(peers, addresses(&["192.0.2.2:7", "[2001:db8::1]:7"]), "mapped is IPv4");
    assert_eq!(tracker.tell("192.0.2.9:0", |_| ()), Err(Refusal::NoPort));
}

#[test]
fn who_stops_is_gone_and_told_of_nobody() {
    let mut tracker = Tracker::new(LIMITS);
    tracker.tell("192.0.2.1:7", |_| ()).unwrap();
    tracker.tell("192.0.2.2:7", |_| ()).unwrap();
    let stopped = tracker.tell("192.0.2.1:7", |announce| announce.event = Event::Stopped);
    assert_eq!(stopped, Ok((totals(0, 0, 1), vec![])));
    tracker.tell("192.0.2.2:7", |announce| announce.event = Event::Stopped).unwrap();
    tracker.tell("192.0.2.2:7", |announce| announce.event = Event::Stopped).unwrap();
    assert_eq!(tracker.swarms.population(), Population { swarms: 0, v4: 0, v6: 0 });
}

#[test]
fn a_download_counts_as_completed_once() {
    let mut tracker = Tracker::new(LIMITS);
    let complete = |announce: &mut Announce| (announce.left, announce.event) = (0, Event::Completed);
    tracker.tell("192.0.2.1:7", |_| ()).unwrap();
    tracker.tell("192.0.2.1:7", complete).unwrap();
    tracker.tell("192.0.2.1:7", complete).unwrap();
    tracker.tell("192.0.2.2:7", complete).unwrap();
    assert_eq!(tracker.swarms.scrape(&announce(1).info_hash), totals(2, 1, 0));
    assert_eq!(tracker.swarms.scrape(&announce(2).info_hash), Totals::default());
}

#[test]
fn who_is_silent_for_two_intervals_is_forgotten() {
    let mut tracker = Tracker::new(LIMITS);
    tracker.tell("192.0.2.1:7", |_| ()).unwrap();
    tracker.tell("192.0.2.2:7", |_| ()).unwrap();
    tracker.minute += 31;
    tracker.tell("192.0.2.2:7", |_| ()).unwrap();
    tracker.minute += 33;
    tracker.swarms.sweep(tracker.now());
    assert_eq!(tracker.peers(), 2);
    tracker.minute += 1;
    tracker.swarms.sweep(tracker.now());
    assert_eq!(tracker.swarms.population(), Population { swarms: 1, v4: 1, v6: 0 });
    tracker.minute += 40;
    tracker.swarms.sweep(tracker.now());
    assert_eq!(tracker.swarms.population(), Population { swarms: 0, v4: 0, v6: 0 });
}

#[test]
fn one_source_cannot_take_all_places() {
    let mut tracker = Tracker::new(Limits { peers_per_source: 3, ..LIMITS });
    for port in 1..=3 {
        tracker.tell(&format!("[2001:db8::{port}]:7"), |_| ()).unwrap();
    }
    assert_eq!(tracker.tell("[2001:db8::4]:7", |_| ()), Err(Refusal::SourceFull));
    tracker.tell("[2001:db8::1]:7", |_| ()).unwrap();
    tracker.tell("[2001:db8:0:1::1]:7", |_| ()).unwrap();
    tracker.tell("[2001:db8::1]:7", |announce| announce.event = Event::Stopped).unwrap();
    tracker.tell("[2001:db8::4]:7", |_| ()).unwrap();
}

#[test]
fn in_a_full_swarm_newcomers_hear_of_others_without_a_place() {
    let mut tracker = Tracker::new(Limits { peers_per_swarm: 2, ..LIMITS });
    tracker.tell("192.0.2.1:7", |_| ()).unwrap();
    tracker.tell("192.0.2.2:7", |_| ()).unwrap();
    let (counts, peers) = tracker.tell("192.0.2.3:7", |_| ()).unwrap();
    assert_eq!((counts, peers), (totals(0, 0, 2), addresses(&["192.0.2.1:7", "192.0.2.2:7"])));
    assert_eq!(tracker.peers(), 2);
}

#[test]
fn a_flood_of_newcomers_displaces_nobody_who_has_shown_to_stay() {
    let mut tracker = Tracker::new(Limits { peers: 100, ..LIMITS });
    let member = |number: u32| format!("192.0.2.{number}:7");
    for _ in 0..2 {
        (1..=50).for_each(|number| _ = tracker.tell(&member(number), |_| ()).unwrap());
        tracker.minute += 30;
    }
    for number in 0..3_000_u32 {
        let [_, b, c, d] = number.to_be_bytes();
        let _ = tracker.tell(&format!("10.{b}.{c}.{d}:9"), |_| ());
        assert!(tracker.peers() <= 100);
    }
    let (_, peers) = tracker.tell("192.0.2.1:7", |_| ()).unwrap();
    let members = peers.iter().filter(|peer| peer.to_string().starts_with("192.0.2.")).count();
    assert_eq!(members, 49);
    // When everybody has shown to stay, newcomers have to wait.
    let mut tracker = Tracker::new(Limits { peers: 50, ..LIMITS });
    for _ in 0..2 {
        (1..=50).for_each(|number| _ = tracker.tell(&member(number), |_| ()).unwrap());
        tracker.minute += 30;
    }
    assert_eq!(tracker.tell("192.0.2.99:7", |_| ()), Err(Refusal::Full));
    tracker.minute += 10;
    tracker.tell("192.0.2.99:7", |_| ()).unwrap();
    assert_eq!(tracker.peers(), 50);
}

#[test]
fn random_histories_end_as_a_plain_map_says() {
    let mut tracker = Tracker::new(Limits { peers: 100_000, peers_per_source: 100_000, ..LIMITS });
    let (mut dice, mut model) = (Dice::new([8; 8]), HashMap::<(u32, SocketAddr), bool>::new());
    for _ in 0..8_000 {
        let swarm = dice.below(30) as u32 * 7;
        let number = dice.below(1 + swarm as usize);
        let ip: IpAddr = match dice.below(2) {
            0 => IpAddr::from([10, 0, 0, 1]),
            _ => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
        };
        let address = SocketAddr::new(ip, 1_000 + number as u16);
        let (is_seed, stops) = (dice.below(3) == 0, dice.below(3) == 0);
        let told = tracker.tell(&address.to_string(), |announce| {
            announce.info_hash = self::announce(swarm).info_hash;
            announce.left = u64::from(!is_seed);
            announce.event = if stops { Event::Stopped } else { Event::None };
        });
        if stops {
            model.remove(&(swarm, address))
        } else {
            model.insert((swarm, address), is_seed)
        };
        let (counts, named) = told.unwrap();
        let of_swarm: Vec<_> = model.iter().filter(|((other, _), _)| *other == swarm).collect();
        let seeds = of_swarm.iter().filter(|(_, is_seed)| **is_seed).count();
        assert_eq!(
            (counts.seeders as usize, (counts.seeders + counts.leechers) as usize),
            (seeds, of_swarm.len())
        );
        if !stops {
            let mut others: Vec<_> =
                of_swarm.iter().map(|((_, peer), _)| *peer).filter(|peer| *peer != address).collect();
            others.sort_unstable();
            assert_eq!(named, others);
        }
    }
    assert_eq!(tracker.peers(), model.len());
}

#[test]
fn what_is_exported_is_imported_with_its_age() {
    let mut tracker = Tracker::new(LIMITS);
    tracker.tell("192.0.2.1:7", |_| ()).unwrap();
    tracker.minute += 20;
    tracker.tell("[2001:db8::1]:7", |announce| announce.left = 0).unwrap();
    for number in 0..40 {
        tracker.tell(&format!("10.0.0.{number}:7"), |announce| announce.info_hash = [number; 20]).unwrap();
    }
    let mut bytes = Vec::new();
    (0..Swarms::PARTS).for_each(|part| tracker.swarms.export(part, &mut bytes));
    let mut second = Tracker::new(LIMITS);
    second.minute = 77;
    let aged = Aged { written: tracker.now(), minutes: 40, now: second.now() };
    assert_eq!(second.swarms.import(&bytes, aged), Some(42));
    assert_eq!(second.swarms.population(), tracker.swarms.population());
    assert_eq!(second.swarms.scrape(&announce(1).info_hash), totals(1, 0, 1));
    second.minute += 5;
    second.swarms.sweep(second.now());
    assert_eq!(second.swarms.scrape(&announce(1).info_hash), totals(1, 0, 0), "20 + 40 + 5 minutes");
    let mut third = Tracker::new(LIMITS);
    third.minute = 3;
    let aged = Aged { minutes: 46, now: third.now(), ..aged };
    assert_eq!(third.swarms.import(&bytes, aged), Some(41));
}

#[test]
fn bytes_that_are_no_records_are_refused_without_a_panic() {
    let mut tracker = Tracker::new(LIMITS);
    tracker.tell("192.0.2.1:7", |_| ()).unwrap();
    tracker.tell("[2001:db8::1]:7", |_| ()).unwrap();
    let mut bytes = Vec::new();
    (0..Swarms::PARTS).for_each(|part| tracker.swarms.export(part, &mut bytes));
    let aged = Aged { written: tracker.now(), minutes: 0, now: tracker.now() };
    for cut in 1..bytes.len() {
        assert_eq!(Tracker::new(LIMITS).swarms.import(&bytes[..cut], aged), None, "{cut}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        let _ = Tracker::new(LIMITS).swarms.import(&damaged, aged);
    }
}
