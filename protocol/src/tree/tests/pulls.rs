use std::collections::BTreeSet;

use bytes::Bytes;

use super::support::{Set, file, reachable, set, tree};
use crate::entry::Entry;
use crate::store::{NodeId, NodeStore};
use crate::tree::{Child, ItemNodes, Malformed, MemoryNodes, Node, Pull, PullError, Tree};

type EntryPull = Pull<ItemNodes<Entry>>;

fn many(count: u32) -> Set {
    set((0..count).map(|n| file(&format!("dir{}/file{n}", n % 9), 1, 1, (n % 200) as u8)))
}

fn bytes_of(store: &MemoryNodes, id: &NodeId) -> Bytes {
    store.load(id).expect("memory").expect("whole")
}

/// Pulls until all is here or `limit` nodes have come; returns what was asked for.
fn fetch(pull: &mut EntryPull, from: &MemoryNodes, to: &MemoryNodes, limit: usize) -> Vec<NodeId> {
    let mut asked = Vec::new();
    loop {
        let wanted = pull.poll_wanted(to, 5.min(limit - asked.len())).expect("honest");
        if wanted.is_empty() {
            return asked;
        }
        for id in wanted {
            pull.handle_node(to, &bytes_of(from, &id)).expect("honest");
            asked.push(id);
        }
    }
}

#[test]
fn a_pull_fetches_each_missing_node_once_and_leaves_a_whole_tree() {
    let (alice, bob) = (MemoryNodes::new(), MemoryNodes::new());
    let mut entries = many(5000);
    let first = tree(&alice, &entries);
    let mut pull = EntryPull::new(first.root(), None);
    let asked = fetch(&mut pull, &alice, &bob, usize::MAX);
    assert!(!bob.is_whole(&first.root()).expect("memory"), "not whole before it is settled");
    pull.finish(&bob).expect("complete");
    assert_eq!(asked.len(), reachable(&bob, first.root()).len());
    assert!(reachable(&bob, first.root()).iter().all(|id| bob.is_whole(id).expect("memory")));

    let new = file("dir3/new", 2, 1, 1);
    entries.insert(new.key(), new.clone());
    let second = first.edit([(new.key(), Some(new))]).expect("sorted");
    let mut pull = EntryPull::new(second.root, None);
    let asked: BTreeSet<_> = fetch(&mut pull, &alice, &bob, usize::MAX).into_iter().collect();
    pull.finish(&bob).expect("complete");
    assert_eq!(asked, second.written.into_iter().collect());
    assert_eq!(Tree::<Entry>::new(&bob, second.root).count().expect("whole"), entries.len() as u64);
}

#[test]
fn a_pull_that_was_cut_short_goes_on_without_asking_again() {
    let (alice, bob) = (MemoryNodes::new(), MemoryNodes::new());
    let tree = tree(&alice, &many(3000));
    let before = fetch(&mut EntryPull::new(tree.root(), None), &alice, &bob, 20);
    assert_eq!(before.len(), 20);
    let mut again = EntryPull::new(tree.root(), None);
    let after = fetch(&mut again, &alice, &bob, usize::MAX);
    again.finish(&bob).expect("complete");
    let all: BTreeSet<_> = before.iter().chain(&after).copied().collect();
    assert_eq!(all.len(), before.len() + after.len(), "nothing is asked for twice");
    assert_eq!(all, reachable(&bob, tree.root()).into_iter().collect());
}

#[test]
fn what_a_peer_does_not_have_is_asked_for_again() {
    let (alice, bob) = (MemoryNodes::new(), MemoryNodes::new());
    let root = tree(&alice, &many(500)).root();
    let mut pull = EntryPull::new(root, None);
    assert_eq!(pull.poll_wanted(&bob, 10).expect("honest"), [root]);
    assert_eq!(pull.poll_wanted(&bob, 10).expect("honest"), []);
    assert!(!pull.is_complete());
    pull.handle_gone(&root);
    assert_eq!(pull.poll_wanted(&bob, 10).expect("honest"), [root]);
    let early = EntryPull::new(root, None);
    assert!(matches!(early.finish(&bob), Err(PullError::Incomplete)));
}

#[test]
fn what_was_not_asked_for_is_refused_and_the_pull_goes_on() {
    let (alice, bob) = (MemoryNodes::new(), MemoryNodes::new());
    let root = tree(&alice, &many(500)).root();
    let mut pull = EntryPull::new(root, None);
    let other = bytes_of(&alice, &Tree::<Entry>::empty(&alice).expect("memory"));
    assert!(matches!(pull.handle_node(&bob, &other), Err(PullError::Unasked)));
    pull.poll_wanted(&bob, 1).expect("honest");
    let whole = bytes_of(&alice, &root);
    let mut changed = whole.to_vec();
    changed[9] ^= 1;
    assert!(matches!(pull.handle_node(&bob, &changed.into()), Err(PullError::Unasked)));
    pull.handle_node(&bob, &whole).expect("asked for");
    assert!(matches!(pull.handle_node(&bob, &whole), Err(PullError::Unasked)), "once is enough");
}

/// Pulls a tree of which the root was changed by someone who can sign.
fn pull_changed(change: impl Fn(&mut Vec<Child<crate::EntryKey>>)) -> PullError {
    let (mallory, bob) = (MemoryNodes::new(), MemoryNodes::new());
    let honest = tree(&mallory, &many(200));
    let Node::Inner { level, mut children } =
        Node::<Entry>::parse(&bytes_of(&mallory, &honest.root())).expect("honest")
    else {
        panic!("200 items need two levels");
    };
    change(&mut children);
    let (root, bytes) = Node::<Entry>::Inner { level, children }.encode().expect("small");
    mallory.save(&[(root, bytes)]).expect("memory");
    let mut pull = EntryPull::new(root, None);
    loop {
        for id in match pull.poll_wanted(&bob, 1) {
            Ok(wanted) if wanted.is_empty() => panic!("the pull accepted a malformed tree"),
            Ok(wanted) => wanted,
            Err(error) => return error,
        } {
            if let Err(error) = pull.handle_node(&bob, &bytes_of(&mallory, &id)) {
                return error;
            }
        }
    }
}

#[test]
fn a_child_that_is_not_what_its_parent_says_ends_the_pull() {
    let error = pull_changed(|children| children[1].count += 1);
    let unlike = |error: &PullError, what| matches!(error, PullError::Malformed { why: Malformed::UnlikeParent(w), .. } if *w == what);
    assert!(unlike(&error, "its count"), "{error}");
    let error = pull_changed(|children| children[1].id = children[0].id);
    assert!(matches!(error, PullError::Malformed { .. }), "{error}");
    let error = pull_changed(|children| children.truncate(1));
    assert!(matches!(error, PullError::Malformed { why: Malformed::Level, .. }), "{error}");
}
