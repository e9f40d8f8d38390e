use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn announces() -> impl Strategy<Value = Announce> {
    let event = prop::sample::select(vec![Event::None, Event::Completed, Event::Started, Event::Stopped]);
    let want = prop::option::of(0..=i32::MAX.unsigned_abs());
    let names: (_, _) = (any::<InfoHash>(), any::<InfoHash>());
    (names, any::<[u64; 3]>(), event, any::<u32>(), want, any::<u16>()).prop_map(
        |((info_hash, peer_id), [downloaded, left, uploaded], event, key, want, port)| Announce {
            info_hash,
            peer_id,
            downloaded,
            left,
            uploaded,
            event,
            key,
            want,
            port,
        },
    )
}

#[test]
fn an_announce_lies_as_bep_15_says() {
    let announce = Announce {
        info_hash: [1; 20],
        peer_id: [2; 20],
        downloaded: 3,
        left: 4,
        uploaded: 5,
        event: Event::Started,
        key: 6,
        want: None,
        port: 0x1234,
    };
    let bytes = announce_request(7, 8, &announce);
    let field = |at: usize, len: usize| &bytes[at..at + len];
    assert_eq!(field(0, 8), 7u64.to_be_bytes());
    assert_eq!(field(8, 4), 1u32.to_be_bytes());
    assert_eq!(field(12, 4), 8u32.to_be_bytes());
    assert_eq!(field(16, 20), [1; 20]);
    assert_eq!(field(36, 20), [2; 20]);
    assert_eq!(field(56, 8), 3u64.to_be_bytes());
    assert_eq!(field(64, 8), 4u64.to_be_bytes());
    assert_eq!(field(72, 8), 5u64.to_be_bytes());
    assert_eq!(field(80, 4), 2u32.to_be_bytes());
    assert_eq!(field(84, 4), [0; 4]);
    assert_eq!(field(88, 4), 6u32.to_be_bytes());
    assert_eq!(field(92, 4), (-1i32).to_be_bytes());
    assert_eq!(field(96, 2), [0x12, 0x34]);
}

#[test]
fn a_connect_request_lies_as_bep_15_says() {
    assert_eq!(connect_request(9), [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(Request::parse(&[0; 16]), None, "without the protocol's number it is something else");
}

#[test]
fn eight_bytes_to_an_announce_are_a_refusal() {
    let refused = [0, 0, 0, 1, 0, 0, 0, 5];
    assert_eq!(Answer::parse(&refused), Some(Answer::Short { transaction: 5 }));
    assert_eq!(Answer::parse(&refused[..7]), None);
}

#[test]
fn a_url_is_cut_into_options_of_at_most_255_bytes() {
    assert_eq!(url_option("/a"), b"\x02\x02/a");
    let long = url_option(&"x".repeat(256));
    assert_eq!(long.len(), 2 + 255 + 2 + 1);
    assert_eq!(&long[257..], b"\x02\x01x");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..200), action in 0u8..5) {
        let _ = Answer::parse(&bytes);
        let _ = Request::parse(&bytes);
        // The same with a plausible head, so that the bodies are reached.
        let mut answer = vec![0, 0, 0, action];
        answer.extend_from_slice(&bytes);
        let _ = Answer::parse(&answer);
        let mut request = PROTOCOL_ID.to_be_bytes().to_vec();
        request.extend_from_slice(&answer);
        let _ = Request::parse(&request);
    }

    #[test]
    fn requests_are_read_back(
        announce in announces(), connection: u64, transaction: u32,
        hashes in vec(any::<InfoHash>(), 1..=MAX_SCRAPE_HASHES), options in vec(any::<u8>(), 0..40),
    ) {
        let bytes = connect_request(transaction);
        prop_assert_eq!(Request::parse(&bytes), Some(Request::Connect { transaction }));

        let mut bytes = announce_request(connection, transaction, &announce).to_vec();
        prop_assert_eq!(Request::parse(&bytes[..ANNOUNCE_BYTES - 1]), None);
        bytes.extend_from_slice(&options);
        prop_assert_eq!(Request::parse(&bytes), Some(Request::Announce { connection, transaction, announce }));

        let bytes = scrape_request(connection, transaction, &hashes);
        let hashes = &hashes[..];
        prop_assert_eq!(Request::parse(&bytes), Some(Request::Scrape { connection, transaction, hashes }));
    }

    #[test]
    fn answers_are_read_back(
        transaction: u32, connection: u64, numbers: [u32; 3], rest in vec(any::<u8>(), 0..60),
    ) {
        let bytes = connect_answer(transaction, connection);
        prop_assert_eq!(Answer::parse(&bytes), Some(Answer::Connect { transaction, connection }));

        let [interval, leechers, seeders] = numbers;
        let mut bytes = announce_answer_head(transaction, interval, leechers, seeders).to_vec();
        bytes.extend_from_slice(&rest);
        let announced = Announced { interval, leechers, seeders, peers: &rest };
        prop_assert_eq!(Answer::parse(&bytes), Some(Answer::Announce { transaction, announced }));

        let counts = Totals { seeders, completed: interval, leechers };
        let mut bytes = scrape_answer_head(transaction).to_vec();
        bytes.extend_from_slice(&encode_totals(counts));
        let Some(Answer::Scrape { totals: read, .. }) = Answer::parse(&bytes) else { panic!("no scrape") };
        prop_assert_eq!(read.iter().map(totals).collect::<Vec<_>>(), [counts]);

        let mut bytes = error_answer_head(transaction).to_vec();
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(Answer::parse(&bytes), Some(Answer::Error { transaction, message: &rest }));
    }
}
