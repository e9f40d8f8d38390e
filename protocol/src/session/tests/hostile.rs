//! Peers, and others, that do not follow the rules.

use super::*;

#[test]
fn mallory_with_a_wrong_key_cannot_tell_whether_a_folder_is_here() {
    let answers = |bobs: &[u8], mallorys: &FolderSecret| {
        let mut bob = session(BOB, binding(7, false));
        bobs.iter().for_each(|n| bob.offer(&secret(*n), None));
        let mut mallory = session(MALLORY, binding(7, true));
        mallory.offer(mallorys, None);
        bob.handle_bytes(&drain(&mut mallory).0);
        let (bytes, heard) = drain(&mut bob);
        assert_eq!(heard, []);
        shape(&bytes)
    };
    let nothing_here = answers(&[], &secret(9));
    assert_eq!(nothing_here, [(kind::HELLO, nothing_here[0].1), (kind::ANSWER, 8 * 32 + 5)]);
    assert_eq!(answers(&[1], &secret(9)), nothing_here);
    assert_eq!(answers(&[1, 2, 3, 4, 5, 6, 7, 8, 10, 11], &secret(9)), nothing_here);
}

#[test]
fn a_known_tag_with_a_wrong_proof_is_answered_like_an_unknown_one() {
    let answer = |offered: bool| {
        let mut alice = session(ALICE, binding(7, true));
        alice.offer(&secret(1), None);
        let mut bytes = drain(&mut alice).0;
        // Damages all proofs but no tag: the slots are the end of the bytes.
        let slots = bytes.len() - 8 * 48;
        bytes[slots..].chunks_mut(48).for_each(|slot| slot[47] ^= 1);
        let mut bob = session(BOB, binding(7, false));
        if offered {
            bob.offer(&secret(1), None);
        }
        bob.handle_bytes(&bytes);
        drain(&mut bob)
    };
    // The very same bytes: random ones, drawn from the same seed.
    assert_eq!(answer(true), answer(false));
}

#[test]
fn who_only_listens_on_an_accepted_connection_hears_nothing() {
    let mut bob = session(BOB, binding(7, false));
    (1..=9).for_each(|n| bob.offer(&secret(n), None));
    assert_eq!(shape(&drain(&mut bob).0).len(), 1, "hello and no more");
}

#[test]
fn a_join_replayed_on_another_connection_proves_nothing() {
    let mut alice = session(ALICE, binding(7, true));
    alice.offer(&secret(1), None);
    let recorded = drain(&mut alice).0;
    let mut bob = session(BOB, binding(8, false));
    bob.offer(&secret(1), None);
    bob.handle_bytes(&recorded);
    let kinds: Vec<_> = shape(&drain(&mut bob).0).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [kind::HELLO, kind::ANSWER], "no welcome");
    assert!(!bob.proven);
}

#[test]
fn what_alice_sent_proves_nothing_when_it_comes_back_to_her() {
    let mut alice = session(ALICE, binding(7, true));
    alice.offer(&secret(1), None);
    // Her hello and join, then her own answer to that join.
    for _ in 0..2 {
        let (bytes, heard) = drain(&mut alice);
        assert_eq!(heard, []);
        alice.handle_bytes(&bytes);
        assert!(!alice.proven);
        alice.hello = None;
    }
}

#[test]
fn a_man_in_the_middle_joins_nothing() {
    // He relays all bytes between two TLS sessions of his own, so exporters differ; or, were they
    // the same, certificates do.
    let mut other_exporter = binding(7, false);
    other_exporter.exporter = [9; 32];
    let mut other_dialer = binding(7, false);
    other_dialer.dialer = [9; 32];
    let mut other_acceptor = binding(7, false);
    other_acceptor.acceptor = [9; 32];
    for bobs in [other_exporter, other_dialer, other_acceptor, binding(7, true)] {
        let mut pair = Pair::of(session(ALICE, binding(7, true)), session(BOB, bobs));
        pair.alice.offer(&secret(1), None);
        pair.bob.offer(&secret(1), None);
        pair.talk();
        assert_eq!(pair.heard(), (vec![], vec![]));
        assert!(!pair.alice.proven && !pair.bob.proven);
    }
}

/// Mallory is a member of folder 2 and knows the id of folder 1, which bob has or has not.
fn mallory_in_folder_two(has_one: bool) -> Pair {
    let mut pair = Pair::of(session(MALLORY, binding(7, true)), session(BOB, binding(7, false)));
    pair.alice.offer(&secret(2), None);
    pair.bob.offer(&secret(2), None);
    if has_one {
        pair.bob.offer(&secret(1), None);
    }
    pair.talk();
    pair.heard();
    pair
}

#[test]
fn a_welcome_to_a_folder_that_was_not_proved_is_refused_whether_it_is_here_or_not() {
    for here in [true, false] {
        let mut pair = mallory_in_folder_two(here);
        let welcome = welcome_of(MALLORY, &secret(1), None);
        pair.bob.handle_bytes(&welcome.encode().encode());
        assert_eq!(drain(&mut pair.bob).1, [Output::Close(SessionError::Unexpected(kind::WELCOME))]);
    }
}

fn welcome_of(who: u8, folder: &FolderSecret, opening: Option<Opening>) -> wire::Welcome {
    let key = DeviceKey::from_seed([who; 32]);
    wire::Welcome {
        folder: folder.folder_id(),
        channel: 0,
        device: key.id(),
        signature: key.sign(&binding(7, true).device_statement(proof::Side::Dialer)),
        name: "mallory\u{1b}[31m".to_owned(),
        capability: Capability::Write,
        opening,
    }
}

/// Bob, to whom mallory, who knows the folder, has proved it, and who waits for her welcome.
fn bob_waiting_for_a_welcome() -> Session {
    let mut mallory = session(MALLORY, binding(7, true));
    mallory.offer(&secret(1), None);
    let mut bob = session(BOB, binding(7, false));
    bob.offer(&reader(1), None);
    bob.handle_bytes(&drain(&mut mallory).0);
    drain(&mut bob);
    assert!(bob.proven);
    bob
}

#[test]
fn a_device_id_must_be_proved_at_this_end_of_this_connection() {
    let good = welcome_of(MALLORY, &secret(1), None);
    let mut bob = bob_waiting_for_a_welcome();
    bob.handle_bytes(&good.encode().encode());
    let heard = drain(&mut bob).1;
    let [Output::Joined { peer, .. }] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(peer.name, "mallory\u{fffd}[31m", "nothing that a terminal obeys");

    let alices = DeviceKey::from_seed([ALICE; 32]);
    let other_end = alices.sign(&binding(7, true).device_statement(proof::Side::Acceptor));
    let elsewhere = alices.sign(&binding(8, true).device_statement(proof::Side::Dialer));
    for signature in [other_end, elsewhere, good.signature, [0; 64]] {
        let claim = wire::Welcome { device: device(ALICE), signature, ..good.clone() };
        let mut bob = bob_waiting_for_a_welcome();
        bob.handle_bytes(&claim.encode().encode());
        assert_eq!(drain(&mut bob).1, [Output::Close(SessionError::WrongSignature)]);
    }
}

#[test]
fn a_device_does_not_join_with_itself() {
    let mut pair = Pair::of(session(ALICE, binding(7, true)), session(ALICE, binding(7, false)));
    pair.alice.offer(&secret(1), None);
    pair.bob.offer(&secret(1), None);
    pair.talk();
    assert!(pair.heard().0.contains(&Output::Close(SessionError::Ourselves)));
    assert!(!SessionError::Ourselves.is_misbehaviour());
}

#[test]
fn a_wrong_opening_ends_the_connection() {
    let mut bob = bob_waiting_for_a_welcome();
    bob.handle_bytes(&welcome_of(MALLORY, &secret(1), secret(2).opening()).encode().encode());
    assert_eq!(drain(&mut bob).1, [Output::Close(SessionError::WrongOpening)]);
    assert!(SessionError::WrongOpening.is_misbehaviour());
}

#[test]
fn a_too_long_frame_is_refused_at_its_header_and_small_ones_do_not_go_on_for_ever() {
    let mut bob = session(BOB, binding(7, false));
    drain(&mut bob);
    bob.handle_bytes(&[0, 1, 0, 1, 0, 1, 0]);
    let heard = drain(&mut bob).1;
    assert!(matches!(heard[..], [Output::Close(SessionError::Frame(_))]), "{heard:?}");

    let mut bob = session(BOB, binding(7, false));
    drain(&mut bob);
    bob.handle_bytes(&Hello { version: 1, features: 0 }.encode().encode());
    let chatter = Frame::ignorable(999, vec![0; 1000]).encode();
    let spoken = (1..).find(|_| {
        bob.handle_bytes(&chatter);
        bob.closed
    });
    assert_eq!(spoken, Some(66));
    assert_eq!(drain(&mut bob).1, [Output::Close(SessionError::TooMuchBeforeProof)]);
}

#[test]
fn a_join_of_the_most_folders_is_read_whole() {
    let mut pair = Pair::new();
    for n in 0..=MAX_SLOTS {
        let mut random = [0; 20];
        random[..8].copy_from_slice(&n.to_le_bytes());
        pair.alice.offer(&FolderSecret::new(random), None);
    }
    let (bytes, _) = drain(&mut pair.alice);
    assert!(bytes.len() < MAX_UNPROVEN_BYTES);
    pair.bob.handle_bytes(&bytes);
    assert!(!pair.bob.closed);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn garbage_of_every_kind_is_never_a_panic(
        frames in proptest::collection::vec(
            (0u16..24, proptest::collection::vec(proptest::num::u8::ANY, 0..120)), 0..6),
        raw in proptest::collection::vec(proptest::num::u8::ANY, 0..60),
    ) {
        let mut pair = Pair::new();
        pair.alice.offer(&secret(1), None);
        pair.bob.offer(&secret(1), None);
        pair.talk();
        for (kind, payload) in frames {
            let mut bob = session(BOB, binding(7, false));
            bob.handle_bytes(&Hello { version: 1, features: 0 }.encode().encode());
            bob.handle_bytes(&Frame::new(kind, payload.clone()).encode());
            pair.bob.handle_bytes(&Frame::new(kind, payload).encode());
        }
        pair.bob.handle_bytes(&raw);
        drain(&mut pair.bob);
    }

    #[test]
    fn a_damaged_flight_is_never_a_panic(at: proptest::sample::Index, bit in 0u8..8) {
        let mut pair = Pair::new();
        pair.alice.offer(&secret(1), None);
        pair.bob.offer(&secret(1), None);
        let (mut bytes, _) = drain(&mut pair.alice);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        pair.bob.handle_bytes(&bytes);
        pair.talk();
    }
}

fn greeting(folder: u8, messages: &[Message]) -> Vec<u8> {
    wire::encode_greeting(&secret(folder).folder_id(), messages).encode().to_vec()
}

#[test]
fn a_greeting_of_a_folder_that_was_not_joined_is_noise_whether_it_is_here_or_not() {
    for here in [true, false] {
        let mut pair = mallory_in_folder_two(here);
        pair.bob.handle_bytes(&greeting(1, &[complete(1)]));
        assert_eq!(drain(&mut pair.bob), (vec![], vec![]));
    }
}

#[test]
fn a_greeting_of_anything_but_heads_is_refused() {
    let head = || Message::Heads { heads: Vec::new() };
    for messages in [vec![news(1)], vec![head(), head(), complete(1)]] {
        let mut pair = half_joined();
        let to_alice = drain(&mut pair.bob).0;
        pair.alice.handle_bytes(&to_alice);
        drain(&mut pair.alice);
        let frames: Vec<u8> = messages.iter().flat_map(|message| message.encode(0).encode()).collect();
        let folder = secret(1).folder_id();
        let payload = crate::message::cbor::write_map(2, |e| {
            e.u8(0)?.bytes(&folder.0)?.u8(1)?.bytes(&frames).map(|_| ())
        });
        pair.alice.handle_bytes(&Frame::ignorable(kind::GREETING, payload).encode());
        let heard = drain(&mut pair.alice).1;
        assert!(matches!(heard[..], [Output::Close(SessionError::Message(_))]), "{heard:?}");
    }
}
