//! Rules of scan and plan that the specification does not know: metadata, ignored paths, and the
//! order of changes.

use model::naive::ByNumber;
use model::real::{Applied, Set};
use model::team::{DIR, Team};
use model::{Device, Mind, path};
use protocol::commit::{Folder, Observation, Scanned, scan};
use protocol::plan::{Deed, Plan, Verdict, View, Why, judge, plan};
use protocol::{Content, Metadata, Record, RelPath, Seen, Timestamp, Version};

const MIND: Mind = Mind::RealWithMetadata;

fn look(device: &Device, observations: &[Observation]) -> Scanned {
    let folder = Folder {
        entries: &Set(&device.state.entries),
        labels: &ByNumber,
        records: &Applied(&device.applied),
        version: Version { seq: device.state.next_seq(), origin: device.origin },
        writer: device.writer,
        trusted: device.trusted,
        copies_kept: device.copies_kept,
    };
    scan(&folder, observations).expect("nothing fails in memory")
}

fn observe(device: &Device, at: &str) -> Observation {
    let path = path(at);
    let (record, seen) = (device.applied.get(&path).cloned(), device.seen(&path));
    Observation { path, record, seen, ignored: false }
}

fn plan_all(device: &Device, is_last: &dyn Fn(&RelPath) -> bool) -> Plan {
    let is_touched = |path: &RelPath| !device.untouched(path);
    let (entries, records) = (Set(&device.state.entries), Applied(&device.applied));
    let view =
        View { entries: &entries, records: &records, is_touched: &is_touched, is_ignored: &|_, _| false };
    let mut wants: Vec<_> = device.rendering().into_iter().map(|(p, shown)| (p, Some(shown))).collect();
    let gone = device.applied.keys().filter(|p| wants.iter().all(|(wanted, _)| wanted != *p));
    let gone: Vec<_> = gone.map(|p| (p.clone(), None)).collect();
    wants.extend(gone);
    plan(&view, wants, is_last).expect("nothing fails in memory")
}

fn chmod(device: &mut Device, at: &str, mode: u16) {
    device.disk.get_mut(&path(at)).expect("it is there").1.mode = mode;
}

fn mode(device: &Device, at: &str) -> u16 {
    device.disk[&path(at)].1.mode
}

#[test]
fn a_change_of_mode_alone_travels() {
    let mut t = Team::new(MIND, 2, &[("d", DIR), ("d/f", "text")]);
    chmod(&mut t[0], "d/f", 0o755);
    chmod(&mut t[1], "d", 0o700);
    t.sync();
    for device in &t.0 {
        assert_eq!((mode(device, "d/f"), mode(device, "d")), (0o755, 0o700));
    }
    assert_eq!(t[0].state.entries.len(), 2, "the old entries are replaced");
}

#[test]
fn a_directorys_mtime_means_nothing() {
    let mut t = Team::new(MIND, 2, &[("d", DIR)]);
    let before = t[0].state.clone();
    t[0].disk.get_mut(&path("d")).expect("it is there").1.mtime = Timestamp { seconds: 9, nanos: 0 };
    t[0].scan();
    assert_eq!(t[0].state, before);
}

#[test]
fn a_change_of_mode_gives_way_to_a_newer_text() {
    let mut t = Team::new(MIND, 2, &[("f", "old")]);
    t[0].put("f", "new");
    t[0].scan();
    t.send(0, 1);
    chmod(&mut t[1], "f", 0o755);
    t.sync();
    assert_eq!(t.disk().into_values().collect::<Vec<_>>(), ["new"], "no conflict");
}

#[test]
fn equal_texts_take_the_metadata_of_the_state() {
    let mut t = Team::new(MIND, 2, &[]);
    t[0].put("f", "same");
    chmod(&mut t[0], "f", 0o640);
    t[0].scan();
    t.send(0, 1);
    t[1].put("f", "same");
    t[1].scan();
    assert_eq!(t[1].state, t[0].state, "noted without a commit");
    t[1].apply_all();
    assert_eq!(mode(&t[1], "f"), 0o640);
}

#[test]
fn a_new_stat_is_noted_without_a_commit() {
    let t = Team::new(MIND, 1, &[("f", "text")]);
    let mut observation = observe(&t[0], "f");
    let stat = protocol::Stat {
        inode: 7,
        size: 4,
        mtime: Timestamp::default(),
        ctime: Timestamp::default(),
        mode: 0o100_644,
    };
    observation.seen.as_mut().expect("it is there").stat = Some(stat);
    let scanned = look(&t[0], &[observation.clone()]);
    assert_eq!(scanned.commit, None);
    assert_eq!(scanned.notes[0].1.as_ref().and_then(|record| record.stat), Some(stat));
    observation.record.clone_from(&scanned.notes[0].1);
    assert_eq!(look(&t[0], &[observation]), Scanned::default(), "noted once");
}

#[test]
fn what_is_ignored_is_never_committed() {
    let mut t = Team::new(MIND, 1, &[("gone", "1"), ("edited", "1")]);
    t[0].delete("gone");
    t[0].put("edited", "2");
    t[0].put("new", "3");
    let observations =
        ["gone", "edited", "new"].map(|at| Observation { ignored: true, ..observe(&t[0], at) });
    let scanned = look(&t[0], &observations);
    assert_eq!(scanned.commit, None);
    let noted: Vec<_> = scanned.notes.iter().map(|(p, record)| (p.to_string(), record.clone())).collect();
    assert_eq!(noted.len(), 2);
    for (at, record) in noted {
        assert_eq!(record, Some(Record { ignored: true, ..t[0].applied[&path(&at)].clone() }));
    }
}

#[test]
fn what_was_deleted_while_ignored_comes_back() {
    let mut t = Team::new(MIND, 1, &[("f", "1")]);
    t[0].delete("f");
    t[0].applied.get_mut(&path("f")).expect("a record").ignored = true;
    let view_of = plan_all(&t[0], &|_| false);
    assert!(view_of.passes.is_empty());
    let scanned = look(&t[0], &[observe(&t[0], "f")]);
    assert_eq!((scanned.commit, &scanned.notes[..]), (None, &[(path("f"), None)][..]));
    t[0].note(&path("f"), None);
    assert_eq!(plan_all(&t[0], &|_| false).passes[0][0].deed, Deed::Create);
}

#[test]
fn what_was_edited_while_ignored_is_an_edit() {
    let mut t = Team::new(MIND, 1, &[("f", "1")]);
    t[0].put("f", "2");
    t[0].applied.get_mut(&path("f")).expect("a record").ignored = true;
    let draft = look(&t[0], &[observe(&t[0], "f")]).commit.expect("a commit");
    assert_eq!((draft.removed.len(), draft.put.len()), (1, 1));
}

#[test]
fn an_ignored_path_waits() {
    let mut t = Team::new(MIND, 1, &[("f", "1")]);
    t[0].applied.get_mut(&path("f")).expect("a record").ignored = true;
    let (entries, records) = (Set(&t[0].state.entries), Applied(&t[0].applied));
    let view =
        View { entries: &entries, records: &records, is_touched: &|_| false, is_ignored: &|_, _| false };
    let verdict = judge(&view, &path("f"), None).expect("nothing fails in memory");
    assert_eq!(verdict, Verdict::Wait(Why::Ignored));
}

#[test]
fn a_path_that_is_not_wanted_waits_be_it_there_or_not() {
    let t = Team::new(MIND, 1, &[("build", DIR), ("build/f", "1"), ("build.txt", "1")]);
    let (entries, here) = (Set(&t[0].state.entries), Applied(&t[0].applied));
    let nothing = std::collections::BTreeMap::new();
    let is_ignored = |at: &RelPath, is_directory| {
        at.is_below(Some(&path("build"))) || (is_directory && *at == path("build"))
    };
    for (records, want_all) in [(Applied(&nothing), true), (here, false)] {
        let view =
            View { entries: &entries, records: &records, is_touched: &|_| false, is_ignored: &is_ignored };
        for (at, waits) in [("build", true), ("build/f", true), ("build.txt", false)] {
            let want = want_all.then(|| t[0].rendering().remove(&path(at)).expect("it is shown"));
            let verdict = judge(&view, &path(at), want.as_ref()).expect("nothing fails in memory");
            assert_eq!(verdict == Verdict::Wait(Why::Ignored), waits, "{at}: {verdict:?}");
        }
    }
}

#[test]
fn changes_come_in_an_order_that_can_be_carried_out() {
    let mut t = Team::new(MIND, 1, &[("old", DIR), ("old/x", "1"), ("index.html", "1"), ("k", "1")]);
    let mut late = Device::new(MIND, model::naive::origin(2, 2), true);
    late.receive(&t[0].state);
    late.apply_all();
    t[0].delete("old/x");
    t[0].delete("old");
    for (at, text) in [("new", DIR), ("new/d", DIR), ("new/d/f", "2"), ("index.html", "2"), ("k", "2")] {
        t[0].put(at, text);
    }
    t[0].scan();
    late.receive(&t[0].state);
    let plan = plan_all(&late, &|p| p.name() == b"index.html");
    let order: Vec<_> =
        plan.passes.iter().flatten().map(|change| (change.deed, change.path.to_string())).collect();
    let wanted = [
        (Deed::MakeDirectory, "new"),
        (Deed::MakeDirectory, "new/d"),
        (Deed::Create, "new/d/f"),
        (Deed::Replace, "k"),
        (Deed::Remove, "old/x"),
        (Deed::Remove, "old"),
        (Deed::Replace, "index.html"),
    ];
    assert_eq!(order, wanted.map(|(deed, at)| (deed, at.to_owned())));
    assert!(plan.waiting.is_empty());
}

#[test]
fn a_link_never_equals_a_file() {
    let mut t = Team::new(MIND, 1, &[("f", "text")]);
    let content = Content::Symlink { target: (*b"text").into() };
    t[0].disk.insert(path("f"), (content, Metadata { mode: 0o777, ..Metadata::default() }));
    let draft = look(&t[0], &[observe(&t[0], "f")]).commit.expect("a commit");
    assert_eq!((draft.removed.len(), draft.put[0].metadata.mode), (1, 0));
}

#[test]
fn a_crash_before_the_metadata_was_set_is_no_edit() {
    let mut t = Team::new(MIND, 2, &[("f", "text")]);
    chmod(&mut t[0], "f", 0o755);
    t[0].scan();
    t.send(0, 1);
    let target = t[1].rendering().remove(&path("f"));
    let seen: Option<Seen> = t[1].seen(&path("f"));
    let note = protocol::plan::recover(target.as_ref(), seen.as_ref()).expect("the content is there");
    t[1].note(&path("f"), note);
    let before = t[1].state.clone();
    t[1].scan();
    assert_eq!(t[1].state, before);
    t[1].apply_all();
    assert_eq!(mode(&t[1], "f"), 0o755);
}
