//! Peers that follow the rules.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;
use crate::entry::ContentId;

mod hostile;

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
            Output::Proven { .. } => {} // each join has one
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
            let side = if alice { &mut pair.alice } else { &mut pair.bob };
            side.offer(&secret(4), None);
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

/// Alice has heard nothing yet, bob has her join; what he sends her next.
fn half_joined() -> Pair {
    let mut pair = Pair::new();
    pair.alice.offer(&secret(1), None);
    pair.bob.offer(&secret(1), None);
    let to_bob = drain(&mut pair.alice).0;
    pair.bob.handle_bytes(&to_bob);
    pair
}

fn complete(number: u8) -> Message {
    Message::Complete { entries: crate::NodeId([number; 32]) }
}

#[test]
fn bob_greets_alice_before_he_knows_that_it_is_her() {
    let mut pair = half_joined();
    let folder = secret(1).folder_id();
    pair.bob.greet(&folder, &[complete(3)]);
    let (to_alice, heard) = drain(&mut pair.bob);
    assert_eq!(heard, [], "he has not heard who she is");
    pair.alice.handle_bytes(&to_alice);
    let heard = drain(&mut pair.alice).1;
    let greeting = Output::Message { folder, message: complete(3) };
    assert_eq!(heard, [joined(&secret(1), BOB, Capability::Write), greeting]);
}

#[test]
fn who_has_joined_or_proved_nothing_is_not_greeted() {
    let folder = secret(1).folder_id();
    let mut pair = Pair::new();
    pair.alice.offer(&secret(1), None);
    pair.bob.offer(&secret(1), None);
    pair.bob.greet(&folder, &[complete(3)]);
    pair.talk();
    pair.bob.greet(&folder, &[complete(3)]);
    pair.talk();
    assert_eq!(pair.heard().0, [joined(&secret(1), BOB, Capability::Write)]);
}
