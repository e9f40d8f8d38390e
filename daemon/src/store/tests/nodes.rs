//! Nodes: whole and partial, and sweeping while others work.

use bytes::Bytes;
use protocol::{NodeId, NodeStore};

use super::Home;
use crate::store::{Durability, Store, Swept};

fn node(n: u32) -> (NodeId, Bytes) {
    let bytes = Bytes::from(n.to_be_bytes().repeat(50));
    (NodeId::of(&bytes), bytes)
}

fn sweep(store: &Store) -> u64 {
    let mut removed = 0;
    while let Swept::Removed(some) = store.sweep_unmarked(3).expect("sweeps") {
        removed += some;
    }
    removed
}

#[test]
fn a_partial_node_is_whole_only_once_settled_and_stays_partial_over_a_restart() {
    let home = Home::new();
    let (id, bytes) = node(1);
    assert_eq!(home.open().load(&id).expect("reads"), None);
    home.open().save_partial(&[(id, bytes.clone())]).expect("saves");
    for store in [home.open(), home.open()] {
        assert_eq!(store.load(&id).expect("reads"), Some(bytes.clone()));
        assert!(!store.is_whole(&id).expect("reads"));
    }
    let store = home.open();
    store.load(&id).expect("is cached");
    store.settle(&[id]).expect("settles");
    assert!(store.is_whole(&id).expect("reads") && home.open().is_whole(&id).expect("reads"));

    store.save_partial(&[(id, bytes)]).expect("saves");
    assert!(store.is_whole(&id).expect("reads") && home.open().is_whole(&id).expect("reads"));
    assert!(store.settle(&[node(9).0]).is_err(), "it is not here");
}

#[test]
fn what_was_given_up_at_rest_is_read_anew() {
    let home = Home::new();
    let (store, folder) = (home.open(), home.folder());
    let (id, bytes) = node(1);
    store.save(&[(id, bytes.clone())]).expect("saves");
    folder.save(&super::file::records(100), Durability::Process).expect("saves");
    store.rest();
    assert!(store.shared.cache.lock().find(&id).is_none(), "nothing is kept");
    assert_eq!(store.load(&id).expect("reads"), Some(bytes));
    assert!(store.is_whole(&id).expect("reads"));
    assert_eq!(folder.counts().expect("reads").records, 100);
    store.save(&[node(2)]).expect("saves");
}

#[test]
fn what_no_root_reaches_is_swept_in_slices() {
    let home = Home::new();
    let store = home.open();
    let nodes: Vec<_> = (0..20).map(node).collect();
    store.save(&nodes).expect("saves");
    store.mark_begin();
    let kept: Vec<_> = nodes[..10].iter().map(|node| node.0).collect();
    assert_eq!(store.mark(&kept).len(), 10);
    assert_eq!(store.mark(&kept).len(), 0);

    assert_eq!(store.sweep_unmarked(3).expect("sweeps"), Swept::Removed(3));
    let hidden = nodes[10..]
        .iter()
        .all(|(id, _)| store.load(id).expect("reads").is_none() && !store.is_whole(id).expect("reads"));
    assert!(hidden, "what is to go is as good as gone");
    sweep(&store);
    assert!(kept.iter().all(|id| store.is_whole(id).expect("reads")));
    assert!(nodes[10..].iter().all(|(id, _)| store.load(id).expect("reads").is_none()));
}

#[test]
fn what_is_saved_or_used_meanwhile_has_to_be_walked_first() {
    let home = Home::new();
    let store = home.open();
    store.save(&[node(1), node(2), node(3)]).expect("saves");
    store.mark_begin();
    store.mark(&[node(1).0]);
    store.save(&[node(4)]).expect("saves");
    assert!(store.is_whole(&node(2).0).expect("reads"));
    assert_eq!(store.sweep_unmarked(9).expect("looks"), Swept::Unwalked);

    let mut unwalked = store.unwalked();
    unwalked.sort();
    let mut both = vec![node(2).0, node(4).0];
    both.sort();
    assert_eq!(unwalked, both);
    store.mark(&unwalked);
    sweep(&store);
    let left: Vec<_> = (1..5).filter(|n| store.load(&node(*n).0).expect("reads").is_some()).collect();
    assert_eq!(left, [1, 2, 4]);
}

#[test]
fn a_node_that_was_to_go_and_is_saved_again_stays() {
    let home = Home::new();
    let store = home.open();
    store.save(&(0..9).map(node).collect::<Vec<_>>()).expect("saves");
    store.mark_begin();
    store.sweep_unmarked(0).expect("begins");
    store.save_partial(&[node(1)]).expect("saves");
    store.save(&[node(2)]).expect("saves");
    sweep(&store);
    assert!(!store.is_whole(&node(1).0).expect("reads"), "what was below it may be gone");
    assert!(store.is_whole(&node(2).0).expect("reads"));
    assert!(store.load(&node(1).0).expect("reads").is_some());
    assert!(store.load(&node(3).0).expect("reads").is_none());
}

#[test]
fn a_sweep_that_a_crash_ended_leaves_no_whole_node_without_its_children() {
    let home = Home::new();
    let store = home.open();
    store.save(&(0..9).map(node).collect::<Vec<_>>()).expect("saves");
    store.mark_begin();
    assert_eq!(store.sweep_unmarked(4).expect("sweeps"), Swept::Removed(4));
    let store = home.open();
    assert!((0..9).all(|n| !store.is_whole(&node(n).0).expect("reads")));
}
