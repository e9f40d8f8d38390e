//! Peers that lie about the folder's state: nothing of it is believed, and the link is closed.

mod common;

use std::time::Duration;

use common::*;
use keystore::FolderSecret;
use protocol::engine::{Effect, Event, FolderStore};
use protocol::head::{Head, SignedHead};
use protocol::message::Message;
use sim::{Role, World};

const LATE: Duration = Duration::from_secs(36_000);

/// What device 0 does about heads that device 1 sends: whether it closes the link.
fn closes_the_link(world: &mut World, heads: Vec<SignedHead>) -> bool {
    let mallory = world.devices[1].id();
    let engine = world.devices[0].engine.as_mut().expect("it runs");
    engine.handle(LATE, Event::Message(mallory, Message::Heads { heads })).expect("the store works");
    let mut closed = false;
    while let Some(effect) = engine.poll() {
        closed |= matches!(effect, Effect::Drop(peer, _) if peer == mallory);
    }
    closed
}

fn two_in_sync(roles: &[Role]) -> World {
    let mut world = World::started(1, roles);
    text(&mut world, 0, "a", "text");
    settled(&mut world);
    world
}

/// A state that mallory would like: the folder without any file.
fn wish(world: &World) -> Head {
    let engine = world.devices[1].engine();
    let mut head = Head {
        folder: world.devices[0].secret.folder_id(),
        context: engine.state().context_root,
        entries: engine.state().entries,
        totals: engine.totals(),
    };
    head.entries = protocol::tree::Tree::<protocol::Entry>::empty(&world.devices[1].store).expect("saved");
    head
}

#[test]
fn a_reader_that_signs_with_a_key_of_its_own_is_refused() {
    // KR-02
    let mut world = two_in_sync(&[Role::Creator, Role::Reader]);
    let before = world.devices[0].roots();
    let own = FolderSecret::new([9; 20]).signer().expect("a writer's");
    let forged = SignedHead::sign(&own, &wish(&world));
    assert!(closes_the_link(&mut world, vec![forged]));
    assert_eq!(world.devices[0].roots(), before);
}

#[test]
fn a_head_signed_for_another_folder_is_refused() {
    // KR-02
    let mut world = two_in_sync(&[Role::Creator, Role::Reader]);
    let before = world.devices[0].roots();
    let other = FolderSecret::new([9; 20]);
    let head = Head { folder: other.folder_id(), ..wish(&world) };
    let foreign = SignedHead::sign(&other.signer().expect("a writer's"), &head);
    assert!(closes_the_link(&mut world, vec![foreign]));
    assert_eq!(world.devices[0].roots(), before);
}

#[test]
fn a_signed_head_with_one_bit_flipped_is_refused() {
    // KR-02
    let mut world = two_in_sync(&[Role::Creator, Role::Reader]);
    let before = world.devices[0].roots();
    let good = world.devices[0].store.heads().expect("kept").remove(0).encode();
    for at in [0, good.len() / 2, good.len() - 1] {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1;
        // What is no head at all does not even get past the decoder.
        if let Ok(forged) = SignedHead::decode(&bytes) {
            assert!(closes_the_link(&mut world, vec![forged]), "byte {at}");
        }
        assert_eq!(world.devices[0].roots(), before, "byte {at}");
    }
}

#[test]
fn a_replayed_head_rolls_nobody_back() {
    // KR-07
    let mut world = two_in_sync(&[Role::Creator, Role::Writer, Role::NewReader]);
    let old = world.devices[1].store.heads().expect("kept");
    text(&mut world, 0, "a", "newer text");
    settled(&mut world);
    let before = world.devices[0].roots();
    assert!(!closes_the_link(&mut world, old));
    assert_eq!(world.devices[0].roots(), before);
}
