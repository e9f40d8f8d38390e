//! The merge against the model: sets and maps, two lines of rule.

use std::collections::{BTreeMap, BTreeSet, Bound};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::context::{Label, Seen};
use crate::entry::{Content, ContentId, Metadata};
use crate::path::RelPath;
use crate::state::Totals;
use crate::tree::{MemoryNodes, Tree};
use crate::version::Version;

/// The state of the executable specification.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    context: BTreeMap<Origin, u64>,
    entries: BTreeSet<(EntryKey, u8)>,
}

impl Model {
    fn saw(&self, key: &EntryKey) -> bool {
        self.context.get(&key.version.origin).copied().unwrap_or(0) >= key.version.seq
    }

    fn merge(&self, other: &Self) -> Self {
        let mut context = self.context.clone();
        for (origin, seq) in &other.context {
            let ours = context.entry(*origin).or_default();
            *ours = (*ours).max(*seq);
        }
        let here = self.entries.iter().filter(|e| other.entries.contains(e) || !other.saw(&e.0));
        let there = other.entries.iter().filter(|e| self.entries.contains(e) || !self.saw(&e.0));
        Self { context, entries: here.chain(there).cloned().collect() }
    }

    fn commit(&self, device: u8, removed: &[Index], put: &BTreeMap<u8, u8>) -> Self {
        let mut next = self.clone();
        let seq = 1 + self.context.values().max().copied().unwrap_or(0);
        let origin = Origin([device; 8]);
        let entries: Vec<_> = self.entries.iter().cloned().collect();
        for index in removed.iter().filter(|_| !self.entries.is_empty()) {
            next.entries.remove(&entries[index.index(entries.len())]);
        }
        for (place, content) in put {
            let path = RelPath::parse(format!("d{}/f{place}", place % 3).as_bytes()).expect("valid");
            next.entries.insert((EntryKey { path, version: Version { seq, origin } }, *content));
        }
        next.context.insert(origin, seq);
        next
    }

    fn state(&self, store: &MemoryNodes) -> State {
        let label = |origin: &Origin| Label::new(&format!("device {origin}"));
        let seen = |(origin, seq): (&Origin, &u64)| (*origin, Seen { seq: *seq, label: label(origin) });
        let context: Context = self.context.iter().map(seen).collect();
        let edits = self.entries.iter().map(|(key, content)| (key.clone(), Some(entry(key, *content))));
        let empty = Tree::<Entry>::empty(store).expect("memory");
        let entries = Tree::new(store, empty).edit(edits).expect("sorted").root;
        let context_root = context.save(store).expect("memory");
        State { context, context_root, entries, totals: Totals::default() }
    }
}

fn entry(key: &EntryKey, content: u8) -> Entry {
    Entry {
        path: key.path.clone(),
        version: key.version,
        found: false,
        content: Content::File { id: ContentId([content; 32]), size: 1 },
        metadata: Metadata::default(),
        extra: Vec::new(),
    }
}

fn state_of(merged: Merged) -> State {
    let Merged { context, context_root, entries, changed: _ } = merged;
    State { context, context_root, entries, totals: Totals::default() }
}

#[derive(Debug, Clone)]
enum Step {
    Commit { device: u8, removed: Vec<Index>, put: BTreeMap<u8, u8> },
    Receive { device: u8, from: u8 },
}

const DEVICES: u8 = 3;

fn step() -> impl Strategy<Value = Step> {
    let removed = prop::collection::vec(any::<Index>(), 0..4);
    let put = prop::collection::btree_map(0..120_u8, 0..3_u8, 0..12);
    prop_oneof![
        3 => (0..DEVICES, removed, put).prop_map(|(device, removed, put)| Step::Commit { device, removed, put }),
        1 => (0..DEVICES, 0..DEVICES).prop_map(|(device, from)| Step::Receive { device, from }),
    ]
}

/// States that can exist together: three devices that commit and merge in any order.
fn history(steps: &[Step]) -> Vec<Model> {
    let mut devices = vec![Model::default(); usize::from(DEVICES)];
    for step in steps {
        match step {
            Step::Commit { device, removed, put } => {
                let device = usize::from(*device);
                devices[device] = devices[device].commit(device as u8, removed, put);
            }
            Step::Receive { device, from } => {
                devices[usize::from(*device)] =
                    devices[usize::from(*device)].merge(&devices[usize::from(*from)]);
            }
        }
    }
    devices
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn merging_is_what_the_model_says_in_any_order_down_to_the_roots(
        steps in prop::collection::vec(step(), 1..25)
    ) {
        let store = MemoryNodes::new();
        let models = history(&steps);
        let [a, b, c] = [0, 1, 2].map(|n: usize| models[n].state(&store));
        let join = |x: &State, y: &State| state_of(merge(&store, x, y).expect("whole"));

        let ab = merge(&store, &a, &b).expect("whole");
        prop_assert_eq!(ab.changed, ab.entries != a.entries || ab.context != a.context);
        let ab = state_of(ab);
        prop_assert_eq!(&ab, &models[0].merge(&models[1]).state(&store));
        prop_assert_eq!(&ab, &join(&b, &a));
        prop_assert_eq!(join(&ab, &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(&join(&a, &a), &a);
        prop_assert!(!merge(&store, &ab, &b).expect("whole").changed, "a dominated state changes nothing");
    }
}

fn with(context: &[(u8, u64)], entries: &[(u8, u64, u8)]) -> Model {
    let key = |origin, seq| EntryKey {
        path: RelPath::parse(b"f").expect("valid"),
        version: Version { seq, origin: Origin([origin; 8]) },
    };
    Model {
        context: context.iter().map(|(origin, seq)| (Origin([*origin; 8]), *seq)).collect(),
        entries: entries.iter().map(|(origin, seq, content)| (key(*origin, *seq), *content)).collect(),
    }
}

fn refusal(ours: &Model, theirs: &Model) -> MergeError {
    let store = MemoryNodes::new();
    merge(&store, &ours.state(&store), &theirs.state(&store)).expect_err("refused")
}

#[test]
fn a_key_that_means_two_things_is_a_fork() {
    let error = refusal(&with(&[(1, 1)], &[(1, 1, 7)]), &with(&[(1, 1), (2, 2)], &[(1, 1, 8)]));
    assert!(matches!(error, MergeError::Fork(Fork::Key(_))), "{error}");
}

#[test]
fn equal_contexts_with_different_entries_are_a_fork() {
    let (full, bare) = (with(&[(1, 1)], &[(1, 1, 7)]), with(&[(1, 1)], &[]));
    assert!(matches!(refusal(&full, &bare), MergeError::Fork(Fork::Entries(_))));
    assert!(matches!(refusal(&bare, &full), MergeError::Fork(Fork::Entries(_))));
}

#[test]
fn a_state_that_has_seen_all_and_brings_back_a_deleted_entry_is_a_fork() {
    let ours = with(&[(1, 2)], &[]);
    let theirs = with(&[(1, 2), (2, 3)], &[(1, 1, 7)]);
    assert!(matches!(refusal(&ours, &theirs), MergeError::Fork(Fork::Entries(_))));
}

#[test]
fn an_entry_of_a_commit_that_its_own_context_does_not_know_is_refused() {
    let error = refusal(&with(&[(1, 1)], &[]), &with(&[(2, 5)], &[(3, 1, 7)]));
    assert!(matches!(error, MergeError::Uncovered(_)), "{error}");
}

#[test]
fn a_state_that_counts_far_ahead_is_refused() {
    let ours = with(&[(1, 10)], &[]);
    let error = refusal(&ours, &with(&[(2, 11 + MAX_SEQ_LEAP)], &[]));
    assert!(matches!(error, MergeError::TooFarAhead(_)), "{error}");
    let store = MemoryNodes::new();
    let just = with(&[(2, 10 + MAX_SEQ_LEAP)], &[]);
    assert!(merge(&store, &ours.state(&store), &just.state(&store)).is_ok());
}

#[test]
fn an_origin_with_two_labels_is_a_fork() {
    let store = MemoryNodes::new();
    let mut ours = State::empty(&store).expect("memory");
    let mut theirs = ours.clone();
    ours.context = Context::new().with(Origin([1; 8]), Label::new("anna"), 1);
    theirs.context = Context::new().with(Origin([1; 8]), Label::new("bob"), 2);
    let error = merge(&store, &ours, &theirs).expect_err("refused");
    assert!(matches!(error, MergeError::Fork(Fork::Label(_))), "{error}");
}

#[test]
fn a_first_state_is_taken_over_as_it_is() {
    let store = MemoryNodes::new();
    let put = (0..100).map(|place| (place, 1)).collect();
    let theirs = Model::default().commit(1, &[], &put).state(&store);
    let ours = State::empty(&store).expect("memory");
    let nodes = store.len();
    let merged = merge(&store, &ours, &theirs).expect("honest");
    assert!(merged.changed);
    assert_eq!((merged.entries, store.len()), (theirs.entries, nodes));
    assert_eq!(theirs.tree(&store).range(Bound::Unbounded).count(), 100);
}
