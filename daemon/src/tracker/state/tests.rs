use std::net::IpAddr;

use super::*;
use crate::tracker::swarms::{Dice, Limits, Named, Wanted};
use crate::tracker::wire::{Announce, Event};

const LIMITS: Limits =
    Limits { peers: 10_000, peers_per_swarm: 10_000, peers_per_source: 10_000, interval_minutes: 30 };

fn empty() -> Swarms {
    Swarms::new(LIMITS, [1; 16])
}

fn minute(minute: u64) -> Tick {
    Tick::of_minute(minute)
}

fn populated(peers: u16, now: Tick) -> Swarms {
    let swarms = empty();
    for number in 0..peers {
        let [high, low] = number.to_be_bytes();
        let ip = match number % 2 {
            0 => IpAddr::from([10, 0, high, low]),
            _ => IpAddr::from([0x2001, 0xdb8, number, 0, 0, 0, 0, 1]),
        };
        let (info_hash, peer_id) = ([low % 50; 20], [2; 20]);
        let (event, want) = (Event::Started, None);
        let (left, port) = (1, 6_881);
        let announce =
            Announce { info_hash, peer_id, downloaded: 0, left, uploaded: 0, event, key: 0, want, port };
        let (mut dice, mut named) = (Dice::new([3; 8]), Named::default());
        swarms.announce(now, ip, &announce, Wanted { v4: 0, v6: 0 }, &mut dice, &mut named).unwrap();
    }
    swarms
}

fn bytes_of(swarms: &Swarms, now: Tick, unix_seconds: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    format::write(swarms, now, unix_seconds, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_saved_state_is_loaded_again_at_any_tick() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("state");
    let swarms = populated(1_000, minute(16_000));
    save(&path, &swarms, minute(16_010)).unwrap();
    save(&path, &swarms, minute(16_010)).unwrap();
    let again = empty();
    assert_eq!(load(&path, &again, minute(3)).unwrap(), Loaded::Peers(1_000));
    assert_eq!(again.population(), swarms.population());
    assert_eq!(load(&place.path().join("none"), &again, minute(3)).unwrap(), Loaded::Nothing);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn peers_age_while_nobody_serves_and_a_clock_set_back_harms_nobody() {
    let swarms = populated(10, minute(100));
    let bytes = bytes_of(&swarms, minute(100), 1_000_000);
    let read = |unix_seconds| format::read(&empty(), minute(7), unix_seconds, &bytes);
    assert_eq!(read(1_000_000 + 64 * 60), Ok(10));
    assert_eq!(read(1_000_000 + 65 * 60), Ok(0));
    assert_eq!(read(u64::MAX), Ok(0));
    assert_eq!(read(0), Ok(10));
}

#[test]
fn a_damaged_file_is_put_aside_and_the_tracker_starts_empty() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("state");
    for (change, name) in [(0_usize, "state.foreign"), (8, "state.newer"), (300, "state.damaged")] {
        let mut bytes = bytes_of(&populated(100, minute(1)), minute(1), unix_seconds());
        bytes[change] ^= 4;
        fs::write(&path, &bytes).unwrap();
        let swarms = empty();
        let loaded = load(&path, &swarms, minute(1)).unwrap();
        assert!(matches!(&loaded, Loaded::PutAside { to, .. } if to.ends_with(name)), "{loaded:?}");
        assert_eq!(swarms.population().swarms, 0);
        assert!(!path.exists() && place.path().join(name).exists());
    }
}

#[test]
fn no_damage_is_taken_for_a_state() {
    let bytes = bytes_of(&populated(20, minute(1)), minute(1), 1);
    for cut in 0..bytes.len() {
        assert!(format::read(&empty(), minute(1), 1, &bytes[..cut]).is_err(), "{cut}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(format::read(&empty(), minute(1), 1, &damaged).is_err(), "{at}");
    }
}

#[test]
fn the_layout_of_the_file_stays_as_it_is() {
    let swarms = populated(1, minute(5));
    let bytes = bytes_of(&swarms, minute(7), 0x0102_0304);
    let mut wanted = b"SYNCDTRK\x01\0\0\0\x04\x03\x02\x01\0\0\0\0\x07\0".to_vec();
    wanted.extend_from_slice(&40_u32.to_le_bytes());
    wanted.extend_from_slice(&[0; 20]);
    wanted.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    wanted.extend_from_slice(&[10, 0, 0, 0, 0x1a, 0xe1, 5, 0]);
    wanted.extend_from_slice(&[0; 4]);
    assert_eq!(bytes[..bytes.len() - 32], wanted);
}
