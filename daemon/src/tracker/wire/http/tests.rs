use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::super::{encode_v4, encode_v6};
use super::*;

const ALL: usize = 1000;

fn announce() -> Announce {
    Announce {
        info_hash: [b'a'; 20],
        peer_id: *b"-SY0001-\x00\xff 0123456789".first_chunk().expect("twenty bytes"),
        downloaded: 0,
        left: 1,
        uploaded: 0,
        event: Event::Started,
        key: 0xab,
        want: Some(50),
        port: 4453,
    }
}

#[test]
fn an_announce_is_written_as_trackers_want_it() {
    assert_eq!(
        announce_query(&announce()),
        "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=-SY0001-%00%FF%20012345678&port=4453&uploaded=0\
         &downloaded=0&left=1&key=000000ab&compact=1&no_peer_id=1&numwant=50&event=started"
    );
}

#[test]
fn a_query_without_what_is_needed_says_what() {
    let (hash, peer) = (format!("info_hash={}", "a".repeat(20)), format!("peer_id={}", "%41".repeat(20)));
    let parse = |query: &str| parse_announce(query.as_bytes()).unwrap_err();
    assert_eq!(parse(""), QueryError::Missing("info_hash"));
    assert_eq!(parse(&hash), QueryError::Missing("peer_id"));
    assert_eq!(parse(&format!("{hash}&{peer}")), QueryError::Missing("port"));
    assert_eq!(parse(&format!("{hash}&{peer}&port=65536")), QueryError::Invalid("port"));
    assert_eq!(parse(&format!("{hash}&{peer}&port=1&left=-1")), QueryError::Invalid("left"));
    for wrong in ["", "a", "%4", "%zz", &"a".repeat(21), &format!("{}%", "a".repeat(19))] {
        assert_eq!(parse(&format!("info_hash={wrong}")), QueryError::Invalid("info_hash"), "{wrong}");
    }
}

#[test]
fn odd_but_honest_queries_are_read() {
    let query = "info_hash=++++++++++++++++++++&peer_id=aaaaaaaaaaaaaaaaaaaa&port=7&numwant=-1&key=xyz\
                 &ip=10.0.0.1&event=&compact&&left=0";
    let read = parse_announce(query.as_bytes()).unwrap();
    let expected = Announce {
        info_hash: [b' '; 20],
        peer_id: [b'a'; 20],
        left: 0,
        event: Event::None,
        key: 0,
        want: None,
        port: 7,
        ..announce()
    };
    assert_eq!(read, expected);
}

#[test]
fn an_old_list_of_dictionaries_is_read() {
    let answer = b"d8:intervali1800e5:peersl\
        d2:ip9:192.0.2.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881ee\
        d2:ip11:2001:db8::14:porti1eed2:ip11:example.org4:porti2eed2:ip7:1.2.3.44:porti99999eeee";
    let read = parse_announce_answer(answer, ALL).unwrap();
    let expected: Vec<SocketAddr> =
        ["192.0.2.1:6881", "[2001:db8::1]:1"].map(|address| address.parse().unwrap()).into();
    assert_eq!((read.interval, read.peers), (Some(1800), expected));
}

#[test]
fn no_more_addresses_are_taken_than_are_wanted() {
    let one = "d2:ip7:1.2.3.44:porti9ee";
    let compact = [b"d5:peers600:".to_vec(), vec![7; 600], b"6:peers6180:".to_vec(), vec![7; 180]].concat();
    let compact = [compact, b"e".to_vec()].concat();
    let old = format!("d5:peersl{}ee", one.repeat(100)).into_bytes();
    for (answer, all) in [(compact, 110), (old, 100)] {
        assert_eq!(parse_announce_answer(&answer, 105).unwrap().peers.len(), all.min(105));
        assert_eq!(parse_announce_answer(&answer, 3).unwrap().peers.len(), 3);
        assert_eq!(parse_announce_answer(&answer, 0).unwrap().peers.len(), 0);
    }
}

#[test]
fn a_refusal_says_why_at_a_bounded_length() {
    let mut out = Vec::new();
    encode_failure(&mut out, &"no".repeat(1000));
    for refused in [parse_announce_answer(&out, ALL).err(), parse_scrape_answer(&out, &[0; 20]).err()] {
        assert_eq!(refused, Some(AnswerError::Refused("no".repeat(MAX_TEXT_BYTES / 2))));
    }
}

#[test]
fn what_the_tracker_sees_of_us_is_read() {
    let read = parse_announce_answer(b"d11:external ip4:\x01\x02\x03\x04e", ALL).unwrap();
    assert_eq!(read.external_ip, Some([1, 2, 3, 4].into()));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..200), field in 0usize..9) {
        let _ = parse_announce(&bytes);
        let _ = scrape_hashes(&bytes).count();
        let _ = parse_announce_answer(&bytes, ALL);
        let _ = parse_scrape_answer(&bytes, &[0; 20]);
        let heads = [
            "d5:peersl", "d5:peersld", "d6:peers6", "d5:peers", "d8:interval", "d5:filesd",
            "d5:filesd20:aaaaaaaaaaaaaaaaaaaad", "d11:external ip", "d14:failure reason",
        ];
        let answer = [heads[field].as_bytes(), &bytes].concat();
        let _ = parse_announce_answer(&answer, ALL);
        let _ = parse_scrape_answer(&answer, &[b'a'; 20]);
    }

    #[test]
    fn queries_are_read_back(
        info_hash: InfoHash, peer_id: InfoHash, numbers: [u64; 3], key: u32,
        want: Option<u32>, port: u16, hashes in vec(any::<InfoHash>(), 0..5),
    ) {
        let [downloaded, left, uploaded] = numbers;
        for event in [Event::None, Event::Completed, Event::Started, Event::Stopped] {
            let announce =
                Announce { info_hash, peer_id, downloaded, left, uploaded, event, key, want, port };
            prop_assert_eq!(parse_announce(announce_query(&announce).as_bytes()), Ok(announce));
        }
        let query = scrape_query(&hashes);
        prop_assert_eq!(scrape_hashes(query.as_bytes()).collect::<Result<Vec<_>, _>>(), Ok(hashes));
    }

    #[test]
    fn answers_are_read_back(
        numbers: [u32; 5],
        v4 in vec(any::<std::net::SocketAddrV4>(), 0..20), v6 in vec(any::<[u8; 18]>(), 0..20),
    ) {
        let [interval, min_interval, seeders, completed, leechers] = numbers;
        let peers: Vec<u8> = v4.iter().flat_map(|&address| encode_v4(address)).collect();
        let totals = Totals { seeders, completed, leechers };
        let peers6 = v6.as_flattened();
        let mut out = Vec::new();
        AnnounceAnswer { interval, min_interval, totals, peers: &peers, peers6 }.encode(&mut out);
        let read = parse_announce_answer(&out, ALL).unwrap();
        prop_assert_eq!((read.interval, read.min_interval), (Some(interval), Some(min_interval)));
        prop_assert_eq!((read.seeders, read.leechers), (Some(seeders), Some(leechers)));
        let written: Vec<u8> = read.peers.iter().flat_map(|&peer| match peer {
            SocketAddr::V4(peer) => encode_v4(peer).to_vec(),
            SocketAddr::V6(peer) => encode_v6(peer).to_vec(),
        }).collect();
        prop_assert_eq!(written, [&peers, peers6].concat());
    }

    #[test]
    fn totals_are_read_back(swarms in btree_map(any::<InfoHash>(), any::<[u32; 3]>(), 0..5)) {
        let totals = |[seeders, completed, leechers]: [u32; 3]| Totals { seeders, completed, leechers };
        let mut out = Vec::new();
        encode_scrape_answer(&mut out, swarms.iter().map(|(hash, numbers)| (*hash, totals(*numbers))));
        for (hash, numbers) in &swarms {
            prop_assert_eq!(parse_scrape_answer(&out, hash), Ok(Some(totals(*numbers))));
        }
        prop_assert_eq!(parse_scrape_answer(&out, &[9; 20]), Ok(swarms.get(&[9; 20]).copied().map(totals)));
    }
}
