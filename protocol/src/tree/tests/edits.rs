use std::collections::{BTreeMap, BTreeSet, Bound};

use proptest::prelude::*;

use super::support::{Set, file, naive_root, path, reachable, set, tree};
use crate::entry::{Entry, EntryKey};
use crate::path::RelPath;
use crate::tree::{Difference, Entries, Group, MemoryNodes, Tree, TreeError};

/// What a test changes at a place: nothing there, or a file of this content.
type Changes = BTreeMap<(u16, u8), Option<u8>>;

fn changes(places: u16, up_to: usize) -> impl Strategy<Value = Changes> {
    prop::collection::btree_map((0..places, 1..3_u8), prop::option::weighted(0.6, 0..4_u8), 0..up_to)
}

fn edits(changes: &Changes) -> BTreeMap<EntryKey, Option<Entry>> {
    let edit = |((place, origin), content): (&(u16, u8), &Option<u8>)| {
        let at = format!("d{}/e{}/f{place}", place % 3, place % 7);
        let entry = file(&at, 1, *origin, content.unwrap_or(0));
        (entry.key(), content.map(|_| entry))
    };
    changes.iter().map(edit).collect()
}

fn change(set: &mut Set, edits: &BTreeMap<EntryKey, Option<Entry>>) {
    for (key, entry) in edits {
        match entry {
            Some(entry) => drop(set.insert(key.clone(), entry.clone())),
            None => drop(set.remove(key)),
        }
    }
}

fn items(tree: &Tree<'_, Entry>) -> Vec<Entry> {
    tree.range(Bound::Unbounded).collect::<Result<_, _>>().expect("whole")
}

/// Edits step by step; each tree is the one that the set alone defines, and nothing else was written.
fn check_edits(steps: Vec<Changes>) -> Result<(), TestCaseError> {
    let store = MemoryNodes::new();
    let mut root = Tree::<Entry>::empty(&store).expect("memory");
    let mut model = Set::new();
    for step in steps {
        let edits = edits(&step);
        change(&mut model, &edits);
        let edited = Tree::<Entry>::new(&store, root).edit(edits).expect("sorted");
        root = edited.root;
        let tree = Tree::new(&store, root);
        prop_assert_eq!(root, naive_root(&model));
        prop_assert_eq!(tree.count().expect("whole"), model.len() as u64);
        prop_assert_eq!(items(&tree), model.values().cloned().collect::<Vec<_>>());
        let all: BTreeSet<_> = reachable(&store, root).into_iter().collect();
        prop_assert!(edited.written.iter().all(|id| all.contains(id)), "a useless node was written");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn small_edits_give_the_tree_that_the_set_alone_defines(
        steps in prop::collection::vec(changes(40, 12), 1..5)
    ) {
        check_edits(steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn large_edits_give_the_tree_that_the_set_alone_defines(
        steps in prop::collection::vec(changes(1200, 300), 1..5)
    ) {
        check_edits(steps)?;
    }

    #[test]
    fn a_difference_is_that_of_the_sets(
        start in changes(400, 300), left in changes(400, 30), right in changes(400, 30), shift in any::<bool>()
    ) {
        let store = MemoryNodes::new();
        let mut a = Set::new();
        change(&mut a, &edits(&start));
        let mut b = if shift { a.clone() } else { Set::new() };
        change(&mut a, &edits(&left));
        change(&mut b, &edits(&right));
        let found: Vec<_> =
            tree(&store, &a).diff(&tree(&store, &b)).collect::<Result<_, _>>().expect("whole");
        prop_assert_eq!(found, naive_difference(&a, &b));
    }

    #[test]
    fn groups_are_those_of_the_set(
        places in prop::collection::btree_set("[ab]{1,2}(/[ab.-]{1,2}[ab]){0,3}", 0..40), at in "[ab]{1,2}"
    ) {
        let store = MemoryNodes::new();
        let model = set(places.iter().map(|at| file(at, 1, 1, 1)));
        let tree = tree(&store, &model);
        let directory = path(&at);
        for directory in [None, Some(&directory)] {
            prop_assert_eq!(tree.groups(directory).expect("whole"), naive_groups(&model, directory));
        }
        let below = model.keys().any(|key| key.path.is_below(Some(&directory)));
        prop_assert_eq!(tree.any_below(&directory).expect("whole"), below);
    }
}

fn naive_difference(a: &Set, b: &Set) -> Vec<Difference<Entry>> {
    let keys: BTreeSet<_> = a.keys().chain(b.keys()).cloned().collect();
    keys.into_iter()
        .map(|key| Difference { left: a.get(&key).cloned(), right: b.get(&key).cloned(), key })
        .filter(|difference| difference.left != difference.right)
        .collect()
}

fn naive_groups(set: &Set, directory: Option<&RelPath>) -> Vec<Group> {
    let mut groups: BTreeMap<RelPath, Group> = BTreeMap::new();
    for entry in set.values() {
        let mut chain: Vec<_> = std::iter::once(entry.path.clone()).chain(entry.path.ancestors()).collect();
        chain.retain(|path| path.parent().as_ref() == directory);
        for child in chain {
            let empty = Group { path: child.clone(), entries: Vec::new(), below: false };
            let group = groups.entry(child.clone()).or_insert(empty);
            if entry.path == child {
                group.entries.push(entry.clone());
            } else {
                group.below = true;
            }
        }
    }
    groups.into_values().collect()
}

fn large() -> Set {
    set((0..20_000).map(|n| file(&format!("dir{:02}/sub{}/file{n}", n % 50, n % 11), 1, 1, (n % 200) as u8)))
}

#[test]
fn a_large_tree_is_what_the_definition_asks_for_and_small_edits_are_cheap() {
    let store = MemoryNodes::new();
    let mut model = large();
    let whole = tree(&store, &model);
    assert_eq!(whole.root(), naive_root(&model));
    let (nodes, loads) = (store.len(), store.loads());
    assert!((400..900).contains(&nodes), "{nodes} nodes");

    let added = file("dir07/new", 2, 1, 1);
    let edited = whole.edit([(added.key(), Some(added.clone()))]).expect("sorted");
    assert!(store.loads() - loads <= 12, "{} loads for one edit", store.loads() - loads);
    assert!(edited.written.len() <= 8, "{} nodes written", edited.written.len());
    model.insert(added.key(), added.clone());
    assert_eq!(edited.root, naive_root(&model));

    let loads = store.loads();
    let differences: Vec<_> =
        whole.diff(&Tree::new(&store, edited.root)).collect::<Result<_, _>>().expect("whole");
    assert_eq!(differences, [Difference { key: added.key(), left: None, right: Some(added) }]);
    assert!(store.loads() - loads <= 16, "{} loads for one difference", store.loads() - loads);
}

#[test]
fn a_removed_directory_leaves_the_tree_that_never_had_it() {
    let store = MemoryNodes::new();
    let mut model = large();
    let whole = tree(&store, &model);
    let directory = path("dir03");
    let gone: Vec<_> = model.keys().filter(|key| key.path.is_below(Some(&directory))).cloned().collect();
    let edited = whole.edit(gone.iter().map(|key| (key.clone(), None))).expect("sorted");
    model.retain(|key, _| !gone.contains(key));
    assert_eq!(edited.root, naive_root(&model));
    let emptied = Tree::<Entry>::new(&store, edited.root);
    let all = emptied.edit(model.keys().map(|key| (key.clone(), None))).expect("sorted");
    assert_eq!(all.root, Tree::<Entry>::empty(&store).expect("memory"));
}

#[test]
fn a_range_starts_where_it_is_told_and_loads_no_more_than_is_read() {
    let store = MemoryNodes::new();
    let model = large();
    let whole = tree(&store, &model);
    let from = model.keys().nth(12_345).expect("20,000 items");
    let loads = store.loads();
    let next = whole.range(Bound::Excluded(from.clone())).next().expect("more").expect("whole");
    assert_eq!(Some(&next.key()), model.keys().nth(12_346));
    let next = whole.range(Bound::Included(from.clone())).next().expect("more").expect("whole");
    assert_eq!(next.key(), *from);
    assert_eq!(whole.get(from).expect("whole").as_ref(), model.get(from));
    assert_eq!(whole.at(&from.path).expect("whole"), [model[from].clone()]);
    assert!(store.loads() - loads <= 24, "{} loads", store.loads() - loads);
    assert_eq!(whole.groups(None).expect("whole").len(), 50);
}

#[test]
fn unsorted_edits_and_missing_nodes_are_errors() {
    let store = MemoryNodes::new();
    let tree = tree(&store, &large());
    let (a, b) = (file("a", 1, 1, 1), file("b", 1, 1, 1));
    let unsorted = tree.edit([(b.key(), Some(b)), (a.key(), Some(a.clone()))]);
    assert!(matches!(unsorted, Err(TreeError::Unsorted)));
    let other = MemoryNodes::new();
    let gone = Tree::<Entry>::new(&other, tree.root());
    assert!(matches!(gone.get(&a.key()), Err(TreeError::Missing(id)) if id == tree.root()));
    let errors: Vec<_> = gone.range(Bound::Unbounded).collect();
    assert!(matches!(&errors[..], [Err(TreeError::Missing(_))]));
}

/// In and out of what is there, forward, back, and across: what was looked into before decides nothing.
#[test]
fn a_tree_that_was_asked_before_answers_as_one_that_was_not() {
    let store = MemoryNodes::new();
    let mut model = large();
    let paths: Vec<_> = model.keys().map(|key| key.path.clone()).collect();
    let mut kept = 0;
    model.retain(|_, _| {
        kept += 1;
        kept % 1_000 > 700
    });
    let asked = tree(&store, &model);
    let forward = (0..paths.len()).step_by(37);
    let across = (0..1_000).map(|n| n * 7_919 % paths.len());
    for at in forward.clone().chain(forward.rev()).chain(across) {
        let fresh = Tree::<Entry>::new(&store, asked.root());
        assert_eq!(asked.group(&paths[at]).expect("whole"), fresh.group(&paths[at]).expect("whole"));
    }
    let loads = store.loads();
    for path in &paths[200..600] {
        assert!(asked.at(path).expect("whole").is_empty());
    }
    assert!(store.loads() - loads <= 4, "{} loads where nothing is", store.loads() - loads);
}
