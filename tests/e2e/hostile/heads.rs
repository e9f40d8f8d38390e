//! KR-02, KR-07: heads that nobody may sign, and heads of last week.

use std::sync::Arc;

use harness::{Folder, Net, eventually, in_sync};
use keystore::FolderSecret;
use protocol::Entry;
use protocol::head::{Head, SignedHead};
use protocol::message::Message;
use protocol::tree::{MemoryNodes, Tree};

use super::loot::Loot;
use super::mallory::{MISBEHAVED, Mallory};
use super::{net, silence, two_with_files, unharmed};

/// The folder as mallory would like it: without any file.
fn wish(loot: &Loot) -> Head {
    Head { entries: Tree::<Entry>::empty(&MemoryNodes::new()).unwrap(), ..loot.head.clone() }
}

/// KR-02: a reader can sign with a key of her own, with another folder's, or not at all; and what a
/// writer has signed for another folder, or what was changed by one bit, is no better.
#[test]
fn heads_that_no_writer_of_the_folder_has_signed_change_nothing() {
    let net = net();
    let (anna, ben) = two_with_files(&net);
    let (head, tree) = (anna.word("head"), anna.tree());
    let loot = Loot::fetch(anna.device(), anna.reader_key());
    let own = FolderSecret::new([9; 20]);
    let signer = own.signer().expect("a writer's");
    let true_one = &loot.heads[0];
    let foreign = Head { folder: own.folder_id(), ..wish(&loot) };
    let mut flipped = true_one.clone();
    flipped.signature[40] ^= 1;
    let forged = [
        SignedHead::sign(&signer, &wish(&loot)),
        SignedHead::sign(&signer, &loot.head),
        SignedHead::sign(&signer, &foreign),
        SignedHead { bytes: wish(&loot).encode(), signature: [0; 64] },
        SignedHead { bytes: wish(&loot).encode(), ..true_one.clone() },
        flipped,
    ];
    for (number, forged) in forged.into_iter().enumerate() {
        let mallory = Mallory::new(number as u64);
        let call = mallory.join(anna.device(), anna.reader_key(), silence());
        let news = match number % 2 {
            0 => Message::Heads { heads: vec![true_one.clone(), forged] },
            _ => Message::NewHead { head: forged, nodes: Vec::new() },
        };
        call.tell(loot.secret.folder_id(), &news);
        assert_eq!(call.dropped(), MISBEHAVED, "forgery {number}");
        assert_eq!(anna.word("head"), head, "forgery {number}");
    }
    unharmed(&anna, &ben, &head, &tree);
}

/// Two writers in sync, and what was true before their last changes.
fn two_and_last_week(net: &Net) -> (Folder, Folder, Arc<Loot>) {
    let (anna, ben) = two_with_files(net);
    let loot = Arc::new(Loot::fetch(anna.device(), anna.reader_key()));
    anna.write("dir/file-0", "newer");
    anna.remove("dir/file-1");
    in_sync(&[&anna, &ben]);
    (anna, ben, loot)
}

/// KR-07: what was true last week is signed, and is no news to who has seen newer.
#[test]
fn a_head_of_last_week_rolls_nobody_back() {
    let net = net();
    let (anna, ben, loot) = two_and_last_week(&net);
    let (head, tree) = (anna.word("head"), anna.tree());
    let mallory = Mallory::new(1);
    let truly = Arc::clone(&loot);
    let call = mallory.join(anna.device(), anna.reader_key(), Arc::new(move |ask| truly.answer(ask)));
    let folder = loot.secret.folder_id();
    for _ in 0..3 {
        call.tell(folder, &Message::Heads { heads: loot.heads.clone() });
        call.tell(folder, &Message::NewHead { head: loot.heads[0].clone(), nodes: Vec::new() });
        call.tell(folder, &Message::Complete { entries: loot.head.entries });
    }
    // An answer comes after all that was told before has been taken.
    let known = super::loot::ask_nodes(&call, folder, vec![loot.head.context]);
    assert_eq!(known.len(), 1);
    assert!(call.is_connected(), "to be late is no crime");
    unharmed(&anna, &ben, &head, &tree);
}

/// KR-07: who is new and hears the old state first ends at the newest, all the same.
#[test]
fn a_newcomer_who_is_told_an_old_state_ends_at_the_newest() {
    let net = net();
    let (anna, ben, loot) = two_and_last_week(&net);
    anna.device().stop();
    ben.device().stop();
    let carl = net.device("carl").join(anna.writer_key());
    let mallory = Mallory::new(1);
    let truly = Arc::clone(&loot);
    let call = mallory.join(carl.device(), anna.reader_key(), Arc::new(move |ask| truly.answer(ask)));
    call.tell(loot.secret.folder_id(), &Message::Heads { heads: loot.heads.clone() });
    call.tell(loot.secret.folder_id(), &Message::Complete { entries: loot.head.entries });
    eventually("carl shows last week", || carl.says("dir/file-1", "content 1").then_some(()));
    anna.device().start();
    ben.device().start();
    in_sync(&[&anna, &ben]);
    eventually("carl shows the newest", || {
        (carl.word("head") == anna.word("head") && carl.says("dir/file-0", "newer")).then_some(())
    });
    drop(mallory);
    in_sync(&[&anna, &ben, &carl]);
    assert!(!carl.has("dir/file-1"));
    assert_eq!(carl.number("conflicts"), 0);
}
