use super::*;
use crate::entry::ContentId;

const ALICE: u8 = 1;
const BOB: u8 = 2;
const MALLORY: u8 = 3;

fn secret(number: u8) -> FolderSecret {
    FolderSecret::new([number; 20])
}

fn reader(number: u8) -> FolderSecret {
    FolderSecret::parse(&secret(number).read_only_key()).unwrap()
}

fn binding(connection: u8, we_dialed: bool) -> Binding {
    Binding { exporter: [connection; 32], dialer: [101; 32], acceptor: [102; 32], we_dialed }
}

fn session(who: u8, binding: Binding) -> Session {
    Session::new(binding, DeviceKey::from_seed([who; 32]), &format!("device {who}"), &[who; 32])
}

fn device(who: u8) -> DeviceId {
    DeviceKey::from_seed([who; 32]).id()
}

fn news(number: u8) -> Message {
    Message::Gone { content: ContentId([number; 32]) }
}

/// Takes out what a session wants to send, and all else that it says.
fn drain(session: &mut Session) -> (Vec<u8>, Vec<Output>) {
    let (mut bytes, mut others) = (Vec::new(), Vec::new());
    while let Some(output) = session.poll_output() {
        match output {
            Output::Send(sent) => bytes.extend_from_slice(&sent),
            other => others.push(other),
        }
    }
    (bytes, others)
}

/// The kinds and lengths of the frames in some bytes.
fn shape(bytes: &[u8]) -> Vec<(u16, usize)> {
    let mut decoder = FrameDecoder::new(MAX_FRAME_BYTES);
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next_frame().unwrap()).map(|f| (f.kind, f.payload.len())).collect()
}

/// Alice, who has dialled bob.
struct Pair {
    alice: Session,
    bob: Session,
    heard_by_alice: Vec<Output>,
    heard_by_bob: Vec<Output>,
}

impl Pair {
    fn new() -> Self {
        Self::of(session(ALICE, binding(7, true)), session(BOB, binding(7, false)))
    }

    fn of(alice: Session, bob: Session) -> Self {
        Self { alice, bob, heard_by_alice: Vec::new(), heard_by_bob: Vec::new() }
    }

    /// Carries bytes, in flights that cross, until both are silent.
    fn talk(&mut self) {
        loop {
            let (to_bob, heard) = drain(&mut self.alice);
            self.heard_by_alice.extend(heard);
            let (to_alice, heard) = drain(&mut self.bob);
            self.heard_by_bob.extend(heard);
            if to_bob.is_empty() && to_alice.is_empty() {
                return;
            }
            to_bob.chunks(1000).for_each(|bytes| self.bob.handle_bytes(bytes));
            to_alice.chunks(7).for_each(|bytes| self.alice.handle_bytes(bytes));
        }
    }

    fn heard(&mut self) -> (Vec<Output>, Vec<Output>) {
        (std::mem::take(&mut self.heard_by_alice), std::mem::take(&mut self.heard_by_bob))
    }
}

fn joined(folder: &FolderSecret, who: u8, capability: Capability) -> Output {
    let peer = PeerInfo { device_id: device(who), name: format!("device {who}"), capability };
    Output::Joined { folder: folder.folder_id(), peer }
}

#[test]
fn alice_and_bob_with_the_same_folder_join_and_talk() {
    let mut pair = Pair::new();
    pair.alice.offer(&secret(1), None);
    pair.bob.offer(&secret(1), None);
    pair.talk();
    let (alice, bob) = pair.heard();
    assert_eq!(alice, [joined(&secret(1), BOB, Capability::Write)]);
    assert_eq!(bob, [joined(&secret(1), ALICE, Capability::Write)]);

    let folder = secret(1).folder_id();
    pair.alice.send(&folder, &news(5)).unwrap();
    pair.bob.send(&folder, &news(6)).unwrap();
    pair.talk();
    let told = |number| vec![Output::Message { folder, message: news(number) }];
    assert_eq!(pair.heard(), (told(6), told(5)));
    let channel = pair.alice.channel_of(&folder).unwrap();
    assert_eq!(pair.bob.folder_of(channel), Some(folder));
    assert_eq!(pair.bob.folder_of(channel + 1), None);
}

#[test]
fn of_several_folders_those_in_common_join() {
    let mut pair = Pair::new();
    (1..=20).for_each(|n| pair.alice.offer(&secret(n), None));
    (15..=30).for_each(|n| pair.bob.offer(&secret(n), None));
    pair.talk();
    let (alice, bob) = pair.heard();
    assert_eq!((alice.len(), bob.len()), (6, 6));
    for n in 15..=20 {
        assert!(alice.contains(&joined(&secret(n), BOB, Capability::Write)), "{n}");
        let channel = pair.bob.channel_of(&secret(n).folder_id()).unwrap();
        assert_eq!(pair.alice.folder_of(channel), Some(secret(n).folder_id()));
    }
    assert_eq!(pair.bob.send(&secret(30).folder_id(), &news(1)), Err(NotJoined));
}

#[test]
fn a_folder_added_later_by_either_side_joins() {
    for alice_first in [true, false] {
        let mut pair = Pair::new();
        pair.talk();
        for alice in [alice_first, !alice_first] {
            assert_eq!(pair.heard(), (vec![], vec![]));
            if alice {
                pair.alice.offer(&secret(4), None)
            } else {
                pair.bob.offer(&secret(4), None)
            }
            pair.talk();
        }
        assert_eq!(pair.heard().0, [joined(&secret(4), BOB, Capability::Write)]);
    }
}

#[test]
fn joins_that_cross_make_one_membership() {
    let mut pair = Pair::new();
    pair.talk();
    pair.alice.offer(&secret(1), None);
    pair.bob.offer(&secret(1), None);
    pair.talk();
    let (alice, bob) = pair.heard();
    assert_eq!(alice, [joined(&secret(1), BOB, Capability::Write)]);
    assert_eq!(bob, [joined(&secret(1), ALICE, Capability::Write)]);
}

#[test]
fn a_withdrawn_folder_is_left_and_can_be_joined_again() {
    let mut pair = Pair::new();
    let folder = secret(1).folder_id();
    pair.alice.offer(&secret(1), None);
    pair.bob.offer(&secret(1), None);
    pair.talk();
    pair.heard();
    let channel = pair.bob.channel_of(&folder).unwrap();
    pair.alice.withdraw(&folder);
    pair.bob.send(&folder, &news(1)).unwrap();
    pair.talk();
    assert_eq!(pair.heard(), (vec![], vec![Output::Left { folder }]));
    assert_eq!(pair.alice.folder_of(channel), None);
    assert_eq!(pair.bob.send(&folder, &news(1)), Err(NotJoined));

    pair.alice.offer(&secret(1), None);
    pair.talk();
    assert_eq!(pair.heard().1, [joined(&secret(1), ALICE, Capability::Write)]);
}

#[test]
fn withdrawing_and_offering_at_any_moment_ends_in_one_membership_or_none() {
    for moment in 0..6 {
        for again in [false, true] {
            let mut pair = Pair::new();
            pair.talk();
            pair.alice.offer(&secret(1), None);
            pair.bob.offer(&secret(1), None);
            for step in 0..6 {
                if step == moment {
                    pair.alice.withdraw(&secret(1).folder_id());
                    if again {
                        pair.alice.offer(&secret(1), None);
                    }
                }
                let (to_bob, _) = drain(&mut pair.alice);
                let (to_alice, _) = drain(&mut pair.bob);
                pair.bob.handle_bytes(&to_bob);
                pair.alice.handle_bytes(&to_alice);
            }
            pair.talk();
            let folder = secret(1).folder_id();
            let both = (pair.alice.channel_of(&folder).is_some(), pair.bob.channel_of(&folder).is_some());
            assert_eq!(both, (again, again), "withdrawn at {moment}");
            assert!(!pair.alice.closed && !pair.bob.closed);
        }
    }
}

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

#[test]
fn a_welcome_to_a_folder_that_was_not_proved_is_refused_whether_it_is_here_or_not() {
    // Mallory is a member of folder 2 and knows the id of folder 1.
    for here in [true, false] {
        let mut pair = Pair::of(session(MALLORY, binding(7, true)), session(BOB, binding(7, false)));
        pair.alice.offer(&secret(2), None);
        pair.bob.offer(&secret(2), None);
        if here {
            pair.bob.offer(&secret(1), None);
        }
        pair.talk();
        pair.heard();
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
fn a_reader_learns_from_a_writer_who_the_writers_are_and_tells_other_readers() {
    let (folder, opening) = (secret(1).folder_id(), secret(1).opening().unwrap());
    let learnt = Output::Opening { folder, opening: opening.clone() };
    let mut with_writer = Pair::new();
    with_writer.alice.offer(&secret(1), None);
    with_writer.bob.offer(&reader(1), None);
    with_writer.talk();
    let (alice, bob) = with_writer.heard();
    assert_eq!(alice, [joined(&secret(1), BOB, Capability::Read)]);
    assert_eq!(bob, [learnt.clone(), joined(&secret(1), ALICE, Capability::Write)]);

    let mut with_reader = Pair::new();
    with_reader.alice.offer(&reader(1), None);
    with_reader.bob.offer(&reader(1), None);
    with_reader.talk();
    with_reader.heard();
    with_reader.bob.learn_opening(&folder, &secret(2).opening().unwrap());
    with_reader.bob.learn_opening(&folder, &opening);
    with_reader.talk();
    assert_eq!(with_reader.heard(), (vec![learnt], vec![]));
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

#[test]
fn later_versions_say_more_and_are_understood() {
    let mut bob = session(BOB, binding(7, false));
    drain(&mut bob);
    bob.handle_bytes(&Hello { version: 2, features: 5 }.encode().encode());
    bob.handle_bytes(&Frame::ignorable(999, &b"news"[..]).encode());
    assert_eq!((bob.peer_features(), bob.poll_output()), (Some(5), None));
    bob.handle_bytes(&Frame::new(999, &b"news"[..]).encode());
    let heard = drain(&mut bob).1;
    let [Output::Close(error)] = heard[..] else { panic!("{heard:?}") };
    assert!(!error.is_misbehaviour(), "a newer peer is no enemy");
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
