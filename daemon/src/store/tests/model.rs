//! Every method of `Records`, and the walks, against a `BTreeMap`.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use protocol::engine::Settle;
use protocol::{
    Content, ContentId, EntryKey, Metadata, Origin, Record, Records, RelPath, Shown, Stat, Timestamp, Version,
};

use super::{Home, file, path};
use crate::store::{Changes, Displaced, Durability, FolderStore, KeptHead, Pending, SavedState};

type Model = BTreeMap<RelPath, Record>;

/// Few names, so that paths meet, and such as sort before and after `/`.
fn any_path() -> impl Strategy<Value = RelPath> {
    let name = prop::sample::select(vec![&b"a"[..], b"a-", b"a.b", b"b", b"\x01", b"\xff", b" ", b"ab"]);
    vec(name, 1..5).prop_map(|names| RelPath::parse(&names.join(&b'/')).expect("valid"))
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    let seconds = prop_oneof![Just(i64::MIN), Just(i64::MAX), -5..5i64, any::<i64>()];
    (seconds, 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn any_content() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Directory),
        (0..4u8, prop_oneof![0..3u64, any::<u64>()]).prop_map(|(n, size)| {
            // The same first bytes as another: the index is not the whole id.
            let mut id = [n / 2; 32];
            id[31] = n;
            Content::File { id: ContentId(id), size }
        }),
        vec(1..=255u8, 1..300).prop_map(|target| Content::Symlink { target: Arc::from(target) }),
    ]
}

fn any_metadata() -> impl Strategy<Value = Metadata> {
    let bytes = || vec(any::<u8>(), 0..20);
    (any_time(), 0..0o10000u16, any::<Option<(u32, u32)>>(), vec((bytes(), bytes()), 0..3))
        .prop_map(|(mtime, mode, owner, attributes)| Metadata { mtime, mode, owner, attributes })
}

fn any_stat() -> impl Strategy<Value = Stat> {
    (prop_oneof![0..3u64, any::<u64>()], 0..3u64, any_time(), any_time(), any::<u32>())
        .prop_map(|(inode, size, mtime, ctime, mode)| Stat { inode, size, mtime, ctime, mode })
}

fn any_record(at: RelPath) -> impl Strategy<Value = Record> {
    let entry_path = prop_oneof![Just(at), any_path()];
    let entry = (entry_path, any::<u64>(), any::<[u8; 8]>())
        .prop_map(|(path, seq, origin)| EntryKey { path, version: Version { seq, origin: Origin(origin) } });
    (any_content(), any_metadata(), vec(entry, 0..4), weighted(0.8, any_stat()), any::<bool>()).prop_map(
        |(content, metadata, mut entries, stat, ignored)| {
            entries.sort();
            entries.dedup();
            Record { shown: Shown { content, metadata, entries }, stat, ignored }
        },
    )
}

type Edit = (RelPath, Option<Record>);

fn any_edits() -> impl Strategy<Value = Vec<Vec<Edit>>> {
    let edit = any_path().prop_flat_map(|at| (Just(at.clone()), weighted(0.6, any_record(at))));
    vec(vec(edit, 0..12), 1..5)
}

fn is_copy((path, record): &(RelPath, Record)) -> bool {
    let entries = &record.shown.entries;
    entries.len() > 1 || entries.first().is_some_and(|entry| entry.path != *path)
}

fn chosen(model: &Model, wanted: impl Fn(&RelPath, &Record) -> bool) -> Vec<(RelPath, Record)> {
    model.iter().filter(|(p, r)| wanted(p, r)).map(|(p, r)| (p.clone(), r.clone())).collect()
}

fn check_paths(folder: &impl Records, model: &Model, at: &RelPath) {
    assert_eq!(folder.record(at).expect("reads").as_ref(), model.get(at));
    let below = chosen(model, |p, _| p.is_below(Some(at)));
    assert_eq!(folder.any_below(at).expect("reads"), !below.is_empty(), "{at}");
    let mut beside = chosen(model, |p, _| p.is_beside(at) && p >= at);
    for limit in [100, 2, 1] {
        beside.truncate(limit);
        assert_eq!(folder.beside(at, limit).expect("reads"), beside);
    }
    for directory in [Some(at), None] {
        let children = chosen(model, |p, _| p.parent().as_ref() == directory);
        assert_eq!(folder.children(directory).expect("reads"), children);
        let paths: Vec<_> = children.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(folder.child_paths(directory).expect("reads"), paths);
        let copies: Vec<_> = children.into_iter().filter(is_copy).collect();
        assert_eq!(folder.copies(directory).expect("reads"), copies);
    }
}

/// All contents of the model at once, and one that nobody has.
fn check_holders(folder: &FolderStore, model: &Model) {
    let nobodys = ContentId([77; 32]);
    let content = |record: &Record| match record.shown.content {
        Content::File { id, .. } => Some(id),
        _ => None,
    };
    let mut contents: Vec<_> = model.values().filter_map(content).collect();
    contents.push(nobodys);
    let all = folder.holders(&contents, 1_000).expect("reads");
    let first = folder.holders(&contents, 1).expect("reads");
    assert_eq!((all.len(), first.len()), (contents.len(), contents.len()));
    for ((id, mut found), first) in contents.iter().zip(all).zip(first) {
        found.sort();
        let holders = chosen(model, |_, record| content(record) == Some(*id));
        let expected: Vec<_> =
            holders.into_iter().map(|(path, record)| (path, record.shown.content.size_bytes())).collect();
        assert_eq!(found, expected);
        assert_eq!(first.len(), expected.len().min(1));
    }
}

fn check_lookups(folder: &impl Records, model: &Model, record: &Record) {
    if let Content::File { id, .. } = &record.shown.content {
        let same = |r: &Record| matches!(&r.shown.content, Content::File { id: other, .. } if other == id);
        let all: Vec<_> = chosen(model, |_, r| same(r)).into_iter().map(|found| found.0).collect();
        let mut found = folder.with_content(id, 1_000).expect("reads");
        found.sort();
        assert_eq!(found, all);
        assert_eq!(folder.with_content(id, 1).expect("reads").len(), 1);
    }
    if let Some(stat) = &record.stat {
        let same = |r: &Record| {
            r.stat.is_some_and(|s| (s.inode, s.size, s.mtime) == (stat.inode, stat.size, stat.mtime))
        };
        let all: Vec<_> = chosen(model, |_, r| same(r)).into_iter().map(|found| found.0).collect();
        let mut found = folder.with_stat(stat).expect("reads");
        found.sort();
        assert_eq!(found, all);
    }
}

/// All pages, joined.
fn walk(mut page: impl FnMut(Option<&RelPath>) -> Vec<(RelPath, Record)>) -> Vec<(RelPath, Record)> {
    let mut all: Vec<(RelPath, Record)> = Vec::new();
    loop {
        let next = page(all.last().map(|last| &last.0));
        if next.is_empty() {
            return all;
        }
        all.extend(next);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn records_are_what_was_saved_last(batches in any_edits(), limit in 1..7usize, probe in any_path()) {
        let home = Home::new();
        let folder = home.folder();
        let other = home.open().folder(&[8; 16]).expect("another folder");
        let mut model = Model::new();
        for records in batches {
            for (path, record) in &records {
                match record {
                    Some(record) => model.insert(path.clone(), record.clone()),
                    None => model.remove(path),
                };
            }
            let changes = Changes { records, ..Changes::default() };
            folder.save(&changes, Durability::Process).expect("saves");
            other.save(&changes, Durability::Process).expect("saves");
        }
        for (path, record) in &model {
            check_paths(&folder, &model, path);
            check_lookups(&folder, &model, record);
            check_holders(&folder, &model);
        }
        check_paths(&folder, &model, &probe);
        let all = chosen(&model, |_, _| true);
        prop_assert_eq!(walk(|after| folder.records_from(after, limit).expect("reads")), all);
        let below = chosen(&model, |p, _| p.is_below(Some(&probe)));
        prop_assert_eq!(walk(|after| folder.below(&probe, after, limit).expect("reads")), below);
        let after = chosen(&model, |p, _| *p > probe);
        prop_assert_eq!(folder.records_from(Some(&probe), 1_000).expect("reads"), after);
        prop_assert_eq!(folder.counts().expect("reads").records, model.len() as u64);

        let everything = model.keys().map(|path| (path.clone(), None)).collect();
        folder.save(&Changes { records: everything, ..Changes::default() }, Durability::Process).expect("saves");
        prop_assert!(!model.keys().any(|path| folder.any_below(path).expect("reads")));
        prop_assert_eq!(other.counts().expect("reads").records, model.len() as u64);
    }

    #[test]
    fn the_journal_gives_back_its_targets(edits in any_edits()) {
        let home = Home::new();
    let folder = home.folder();
        let targets: BTreeMap<_, _> =
            edits.into_iter().flatten().map(|(path, record)| (path, record.map(|r| r.shown))).collect();
        let targets: Vec<_> = targets.into_iter().collect();
        let begin = Changes { journal_begin: targets.clone(), ..Changes::default() };
        folder.save(&begin, Durability::PowerCut).expect("saves");
        prop_assert_eq!(&folder.journal().expect("reads"), &targets);

        let settle = |settle| {
            let changes = Changes { journal_settle: settle, ..Changes::default() };
            folder.save(&changes, Durability::Process).expect("saves");
            folder.journal().expect("reads")
        };
        let (first, rest) = targets.split_at(targets.len() / 2);
        let first = first.iter().map(|(path, _)| path.clone()).collect();
        prop_assert_eq!(settle(Settle::Paths(first)), rest, "others are still being carried out");
        prop_assert_eq!(settle(Settle::Everything), vec![]);
    }
}

#[test]
fn all_else_of_a_folder_is_there_after_reopening() {
    let home = Home::new();
    let state = SavedState {
        context: protocol::NodeId([1; 32]),
        entries: protocol::NodeId([2; 32]),
        files: 3,
        bytes: u64::MAX,
    };
    let pending = Pending { path: path("p/q"), reason: "busy".into(), message: "in use".into(), since: 4 };
    let current = KeptHead { id: [5; 32], bytes: vec![6; 300], superseded_at: None };
    let older = KeptHead { id: [4; 32], bytes: vec![6; 300], superseded_at: Some(9) };
    let stat = file(&path("x"), 1).stat.expect("a stat");
    let displaced = Displaced { archived: b"stamp/x".to_vec(), original: path("x"), stat, due: 10 };
    let changes = Changes {
        state: Some(state),
        applied: Some(state.entries),
        pending_add: vec![pending.clone()],
        heads_put: vec![older.clone(), current.clone()],
        displaced_add: vec![displaced.clone()],
        ..Changes::default()
    };
    assert_eq!(home.folder().load_state().expect("reads"), None);
    home.folder().save(&changes, Durability::PowerCut).expect("saves");

    let folder = home.folder();
    assert_eq!(folder.load_state().expect("reads"), Some(state));
    assert_eq!(folder.applied().expect("reads"), Some(state.entries));
    assert_eq!(folder.pending(10).expect("reads"), [pending]);
    assert_eq!(folder.heads().expect("reads"), [current, older]);
    assert_eq!(folder.displaced_due(9).expect("reads"), []);
    let due = folder.displaced_due(10).expect("reads");
    assert_eq!(due[0].1, displaced);

    let done = Changes {
        pending_remove: vec![path("p/q")],
        heads_remove: vec![[4; 32]],
        displaced_remove: vec![due[0].0],
        ..Changes::default()
    };
    folder.save(&done, Durability::Process).expect("saves");
    assert_eq!(folder.counts().expect("reads").pending, 0);
    assert_eq!(folder.heads().expect("reads").len(), 1);
    assert_eq!(folder.displaced_due(i64::MAX).expect("reads"), []);
}
