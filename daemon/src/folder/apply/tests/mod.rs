//! Stories of one batch, on the real disk.

mod access;
mod folding;
mod linked;
mod races;
mod whole;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::{EntryKey, Metadata, Origin, Timestamp, Version};
use tempfile::TempDir;

use super::*;
use crate::disk::{Call, Effect, FaultyDisk, RealDisk, SpecialBits};
use crate::folder::archive;
use crate::folder::marker::claim;

/// 2026-11-21T14:03:22Z.
const NOW: i64 = 1_795_269_802;

struct Home {
    root: TempDir,
    disk: Arc<FaultyDisk>,
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn staged(text: &str) -> StagedName {
    StagedName::parse(text).expect("a staged name")
}

fn id(bytes: &[u8]) -> ContentId {
    ContentId(*blake3::hash(bytes).as_bytes())
}

fn verify(file: &dyn ReadFile) -> io::Result<ContentId> {
    let mut bytes = vec![0; 1 << 16];
    let length = file.read_at(&mut bytes, 0)?;
    Ok(id(&bytes[..length]))
}

fn shown(text: &str, content: Content, mode: u16) -> Shown {
    let version = Version { seq: 1, origin: Origin([1; 8]) };
    let metadata =
        Metadata { mode, mtime: Timestamp { seconds: 1_000_000, nanos: 7 }, ..Metadata::default() };
    Shown { content, metadata, entries: vec![EntryKey { path: path(text), version }] }
}

fn file(text: &str, bytes: &[u8]) -> Shown {
    shown(text, Content::File { id: id(bytes), size: bytes.len() as u64 }, 0o640)
}

fn directory(text: &str, mode: u16) -> Shown {
    shown(text, Content::Directory, mode)
}

fn link(text: &str, target: &[u8]) -> Shown {
    shown(text, Content::Symlink { target: target.into() }, 0)
}

fn op(text: &str, before: Option<Record>, after: Option<Shown>, source: Source) -> Op {
    Op { path: path(text), before, after, source }
}

impl Home {
    fn new() -> Self {
        // In memory where there is such a place: these stories are many, and none is about fsync.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let root = root.expect("a directory");
        let real = RealDisk::open(root.path(), SpecialBits::Strip).expect("open");
        claim(&real).expect("claim");
        Self { root, disk: Arc::new(FaultyDisk::new(Arc::new(real))) }
    }

    fn at(&self, text: &str) -> PathBuf {
        self.root.path().join(text)
    }

    fn stage(&self, name: &str, bytes: &[u8]) -> Source {
        fs::write(self.at(".syncd/staging").join(name), bytes).expect("stage");
        Source::Staged(staged(name))
    }

    fn run(&self, ops: &[Op]) -> Vec<Outcome> {
        let archive = Archive::with_clock(&*self.disk, || NOW);
        let report = Executor::new(&*self.disk, &archive, &verify).run(ops);
        if !self.disk.has_crashed() {
            report.sync.expect("durable");
        }
        report.outcomes
    }

    /// Applies one creation and answers its record.
    fn put(&self, text: &str, bytes: &[u8]) -> Record {
        let source = self.stage("s-first", bytes);
        done(self.run(&[op(text, None, Some(file(text, bytes)), source)]).remove(0)).expect("a record")
    }

    /// The process starts again.
    fn restart(&mut self) {
        let real = RealDisk::open(self.root.path(), SpecialBits::Strip).expect("open");
        self.disk = Arc::new(FaultyDisk::new(Arc::new(real)));
    }

    /// All contents in the folder and the archive, and in staging as displaced.
    fn contents(&self) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        collect(self.root.path(), &mut found);
        found
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        self.contents().iter().any(|c| c == bytes)
    }
}

fn collect(directory: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(directory).expect("list") {
        let entry = entry.expect("entry");
        if entry.file_type().expect("type").is_dir() {
            collect(&entry.path(), found);
        } else if entry.file_type().expect("type").is_file() {
            found.push(fs::read(entry.path()).expect("read"));
        }
    }
}

fn done(outcome: Outcome) -> Option<Record> {
    match outcome {
        Outcome::Done(record) => record,
        other => panic!("not done: {other:?}"),
    }
}

fn archived(home: &Home) -> Vec<String> {
    let mut found = Vec::new();
    archive::walk(&*home.disk, |a| {
        found.push(a.at.path.to_string());
        true
    })
    .expect("walk");
    found.sort();
    found
}

#[test]
fn a_batch_makes_directories_files_and_links_with_their_metadata() {
    let home = Home::new();
    let source = home.stage("s-1", b"hello");
    home.disk.stage_link(&staged("s-2"), b"../else", Timestamp::default()).expect("link");
    let outcomes = home.run(&[
        op("d", None, Some(directory("d", 0o555)), Source::None),
        op("d/f", None, Some(file("d/f", b"hello")), source),
        op("d/l", None, Some(link("d/l", b"../else")), Source::Staged(staged("s-2"))),
    ]);
    for outcome in outcomes {
        done(outcome).expect("a record").stat.expect("proven");
    }
    let stat = fs::metadata(home.at("d/f")).expect("stat");
    assert_eq!((stat.mode() & 0o7777, stat.mtime(), stat.mtime_nsec()), (0o640, 1_000_000, 7));
    assert_eq!(fs::metadata(home.at("d")).expect("stat").permissions().mode() & 0o7777, 0o555);
    assert_eq!(fs::read_link(home.at("d/l")).expect("link"), Path::new("../else"));
}

#[test]
fn what_is_there_already_is_never_written_over() {
    let home = Home::new();
    fs::write(home.at("f"), b"mine").expect("write");
    let source = home.stage("s-1", b"theirs");
    let outcomes = home.run(&[op("f", None, Some(file("f", b"theirs")), source)]);
    assert!(matches!(outcomes[0], Outcome::Touched), "{outcomes:?}");
    assert_eq!(fs::read(home.at("f")).expect("read"), b"mine");
    assert!(home.at(".syncd/staging/s-1").exists(), "still staged, for another try");
}

#[test]
fn replaced_and_removed_files_rest_in_the_archive() {
    let home = Home::new();
    let (a, b) = (home.put("a", b"old a"), home.put("b", b"old b"));
    let source = home.stage("s-1", b"new a");
    let outcomes = home
        .run(&[op("a", Some(a), Some(file("a", b"new a")), source), op("b", Some(b), None, Source::None)]);
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Done(_))), "{outcomes:?}");
    assert_eq!(fs::read(home.at("a")).expect("read"), b"new a");
    assert!(!home.at("b").exists());
    assert_eq!(archived(&home), ["a", "b"]);
    assert_eq!(fs::read(home.at(".syncd/archive/2026-11-21T14.03.22Z/a")).expect("read"), b"old a");
    assert_eq!(fs::read_dir(home.at(".syncd/staging")).expect("list").count(), 0);
}

#[test]
fn a_touched_path_is_left_to_the_scan() {
    let home = Home::new();
    let (a, b) = (home.put("a", b"old a"), home.put("b", b"old b"));
    fs::write(home.at("a"), b"mine!").expect("write");
    fs::set_permissions(home.at("b"), fs::Permissions::from_mode(0o600)).expect("chmod");
    let source = home.stage("s-1", b"new a");
    let outcomes = home
        .run(&[op("a", Some(a), Some(file("a", b"new a")), source), op("b", Some(b), None, Source::None)]);
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Touched)), "{outcomes:?}");
    assert_eq!(fs::read(home.at("a")).expect("read"), b"mine!");
    assert_eq!(fs::read(home.at("b")).expect("read"), b"old b");
}

/// The batch of the stories below: one replacement, one removal, one rename.
fn three_changes(home: &Home) -> (Vec<Op>, [&'static str; 3]) {
    let (a, b, c) = (home.put("a", b"old a"), home.put("b", b"old b"), home.put("c", b"old c"));
    let source = home.stage("s-1", b"new a");
    let moved = Source::MovedFrom { path: path("c"), record: c.clone() };
    let ops = vec![
        op("a", Some(a), Some(file("a", b"new a")), source),
        op("b", Some(b), None, Source::None),
        op("d", None, Some(file("d", b"old c")), moved),
        op("c", Some(c), None, Source::None),
    ];
    (ops, ["old a", "old b", "old c"])
}

#[test]
fn without_room_in_the_archive_nothing_is_replaced_or_removed() {
    for call in [Call::LinkToArchive, Call::MakeDirectory] {
        let home = Home::new();
        let (ops, _) = three_changes(&home);
        home.disk.at(Some(call), 1, Effect::FailForever(28));
        let outcomes = home.run(&ops[..2]);
        assert!(matches!(&outcomes[0], Outcome::Problem { code: "ARCHIVE_FAILED", .. }), "{outcomes:?}");
        assert_eq!(fs::read(home.at("a")).expect("read"), b"old a");
        assert!(home.at(".syncd/staging/s-1").exists(), "still staged");
        if call == Call::MakeDirectory {
            assert_eq!(fs::read(home.at("b")).expect("read"), b"old b");
        }
    }
}

#[test]
fn a_program_that_still_has_the_old_file_open_is_noticed_later() {
    let home = Home::new();
    let (ops, _) = three_changes(&home);
    let mut open: Vec<_> =
        ["a", "b"].map(|n| fs::OpenOptions::new().append(true).open(home.at(n)).expect("open")).into();
    let archive = Archive::with_clock(&*home.disk, || NOW);
    let report = Executor::new(&*home.disk, &archive, &verify).run(&ops);
    assert_eq!(report.resting.len(), 2);
    let changed = |r: &Resting| {
        archive::changed_since(&*home.disk, &Place::Archived(r.at.clone()), &r.stat).expect("look")
    };
    assert!(!report.resting.iter().any(changed));
    open.iter_mut().for_each(|f| io::Write::write_all(f, b"more").expect("write"));
    assert!(report.resting.iter().all(changed));
}

#[test]
fn without_hard_links_the_old_file_is_archived_all_the_same() {
    let home = Home::new();
    let (ops, old) = three_changes(&home);
    home.disk.at(Some(Call::LinkToArchive), 1, Effect::FailForever(1));
    let outcomes = home.run(&ops);
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Done(_))), "{outcomes:?}");
    assert_eq!(archived(&home), ["a", "b"]);
    assert!(old.iter().all(|c| home.holds(c.as_bytes())));
}

#[test]
fn a_link_put_in_place_of_a_directory_leads_nowhere() {
    let mut home = Home::new();
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("f"), b"outside").expect("write");
    let made = home.run(&[op("d", None, Some(directory("d", 0o755)), Source::None)]);
    assert!(matches!(made[0], Outcome::Done(_)));
    let record = home.put("d/f", b"inside");
    fs::rename(home.at("d"), home.at("elsewhere")).expect("rename");
    symlink(outside.path(), home.at("d")).expect("link");
    home.disk.sync_all().expect("time passes");
    home.restart();
    let (one, two) = (home.stage("s-1", b"new"), home.stage("s-2", b"new"));
    let outcomes = home.run(&[
        op("d/f", Some(record.clone()), Some(file("d/f", b"new")), one),
        op("d/g", None, Some(file("d/g", b"new")), two),
        op("d/f", Some(record), None, Source::None),
        op("d/h", None, Some(directory("d/h", 0o700)), Source::None),
    ]);
    assert!(!outcomes[..2].iter().any(|o| matches!(o, Outcome::Done(_))), "{outcomes:?}");
    assert_eq!(fs::read_dir(outside.path()).expect("list").count(), 1);
    assert_eq!(fs::read(outside.path().join("f")).expect("read"), b"outside");
}

#[test]
fn two_files_can_swap_their_names() {
    let home = Home::new();
    let (a, b) = (home.put("a", b"one"), home.put("b", b"two"));
    let from_b = Source::MovedFrom { path: path("b"), record: b.clone() };
    let from_a = Source::MovedFrom { path: path("a"), record: a.clone() };
    let outcomes = home.run(&[
        op("a", Some(a), Some(file("a", b"two")), from_b),
        op("b", Some(b), Some(file("b", b"one")), from_a),
    ]);
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Done(Some(_)))), "{outcomes:?}");
    assert_eq!(fs::read(home.at("a")).expect("read"), b"two");
    assert_eq!(fs::read(home.at("b")).expect("read"), b"one");
    assert!(archived(&home).is_empty());
}

#[test]
fn a_renamed_directory_is_one_rename() {
    let home = Home::new();
    let made = home.run(&[op("d", None, Some(directory("d", 0o755)), Source::None)]).remove(0);
    let record = done(made).expect("a record");
    home.put("d/f", b"inside");
    let source = Source::MovedFrom { path: path("d"), record };
    let before = home.disk.calls(Some(Call::RenameNew));
    done(home.run(&[op("e", None, Some(directory("e", 0o755)), source)]).remove(0)).expect("a record");
    assert_eq!(home.disk.calls(Some(Call::RenameNew)) - before, 1);
    assert_eq!(fs::read(home.at("e/f")).expect("read"), b"inside");
}

#[test]
fn a_file_becomes_a_directory_and_a_directory_a_file() {
    let home = Home::new();
    let f = home.put("f", b"file");
    let d = done(home.run(&[op("d", None, Some(directory("d", 0o755)), Source::None)]).remove(0));
    let source = home.stage("s-1", b"was a directory");
    let ops = [
        op("f", Some(f), Some(directory("f", 0o755)), Source::None),
        op("d", d, Some(file("d", b"was a directory")), source),
    ];
    for _ in 0..2 {
        let outcomes = home.run(&ops);
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Done(Some(_)))), "{outcomes:?}");
    }
    assert!(home.at("f").is_dir());
    assert_eq!(fs::read(home.at("d")).expect("read"), b"was a directory");
    assert_eq!(archived(&home), ["f"]);
}

#[test]
fn a_directory_with_something_in_it_waits() {
    let home = Home::new();
    let d = done(home.run(&[op("d", None, Some(directory("d", 0o755)), Source::None)]).remove(0));
    fs::write(home.at("d/mine"), b"mine").expect("write");
    let outcomes = home.run(&[op("d", d, None, Source::None)]);
    assert!(matches!(outcomes[0], Outcome::Waits(Why::NotEmpty)), "{outcomes:?}");
    let source = home.stage("s-1", b"x");
    let outcomes = home.run(&[op("none/f", None, Some(file("none/f", b"x")), source)]);
    assert!(matches!(outcomes[0], Outcome::Waits(Why::ParentMissing)), "{outcomes:?}");
}

#[test]
fn only_metadata_changes_without_a_new_file() {
    let home = Home::new();
    let record = home.put("f", b"same");
    let inode = fs::metadata(home.at("f")).expect("stat").ino();
    let mut after = file("f", b"same");
    after.metadata.mode = 0o4755;
    after.metadata.mtime.seconds = -5;
    let outcomes = home.run(&[op("f", Some(record), Some(after), Source::None)]);
    assert!(matches!(outcomes[0], Outcome::Done(Some(_))), "{outcomes:?}");
    let stat = fs::metadata(home.at("f")).expect("stat");
    assert_eq!((stat.ino(), stat.mode() & 0o7777, stat.mtime()), (inode, 0o755, -5));
}

#[test]
fn a_fifo_in_the_way_is_never_opened() {
    let home = Home::new();
    let record = home.put("f", b"old");
    fs::remove_file(home.at("f")).expect("remove");
    rustix::fs::mkfifoat(rustix::fs::CWD, home.at("f"), rustix::fs::Mode::RUSR).expect("fifo");
    let source = home.stage("s-1", b"new");
    let outcomes = home.run(&[op("f", Some(record), Some(file("f", b"new")), source)]);
    assert!(matches!(outcomes[0], Outcome::Touched), "{outcomes:?}");
}

#[test]
fn staged_files_are_made_durable_one_by_one_or_all_at_once() {
    let home = Home::new();
    let names: Vec<_> = (0..9).map(|n| staged(&format!("s-{n}"))).collect();
    names.iter().for_each(|n| drop(home.stage(n.as_str(), b"x")));
    make_durable(&*home.disk, &names[..8]).expect("few");
    assert_eq!((home.disk.calls(Some(Call::Sync)), home.disk.calls(Some(Call::SyncAll))), (8, 0));
    make_durable(&*home.disk, &names).expect("many");
    assert_eq!((home.disk.calls(Some(Call::Sync)), home.disk.calls(Some(Call::SyncAll))), (8, 1));
}
