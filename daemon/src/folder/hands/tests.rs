//! Stories of users who go on writing to what was replaced or removed, with a whole folder at work.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keystore::{DeviceKey, FolderSecret};
use protocol::engine::{Activity, Outcome, Prepare, Source};
use protocol::{Content, ContentId, Metadata, Record, Records, RelPath, Seen, Shown};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::config::Config;
use crate::disk::{RealDisk, SpecialBits, StagedName};
use crate::folder::marker::{Marker, Start, claim};
use crate::folder::upkeep::Chores;
use crate::folder::{Folder, FolderSetup, root};
use crate::net::{Backoff, NetConfig};
use crate::store::{Changes, Displaced, Durability, Store};

const PATIENCE: Duration = Duration::from_secs(60);
const ROOT_ID: [u8; 16] = [1; 16];

/// A writer's folder, alone in the world.
struct Device {
    root: TempDir,
    _home: TempDir,
    folder: Arc<Folder>,
    runtime: Runtime,
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

impl Device {
    fn new() -> Self {
        let (root, home) = (tempfile::tempdir().expect("a root"), tempfile::tempdir().expect("a home"));
        let disk = RealDisk::open(root.path(), SpecialBits::Strip).expect("a disk");
        drop(claim(&disk).expect("nobody else is here"));
        let marker = Marker { root_id: ROOT_ID, start: Start { count: 0, nonce: [2; 16] } };
        marker.save(&disk).expect("a marker");
        let store = Store::open(&home.path().join("db")).expect("a database");
        let runtime = Runtime::new().expect("a runtime");
        let within = runtime.enter();
        let (net, _events) = Net::start(NetConfig {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            device: DeviceKey::from_seed([3; 32]),
            name: "device".into(),
            seed: [4; 32],
            backoff: Backoff::default(),
        })
        .expect("a network");
        let folder = Folder::start(FolderSetup {
            secret: FolderSecret::new([5; 20]),
            name: "folder".into(),
            root: root.path().to_owned(),
            root_id: ROOT_ID,
            created: true,
            opening: None,
            fresh: true,
            store: store.folder(&ROOT_ID).expect("a folder"),
            net: Arc::new(net),
            settings: Config::default().effective(""),
        })
        .expect("it starts");
        drop(within);
        let device = Self { root, _home: home, folder, runtime };
        // Nobody else does chores.
        device.hands().tending.store(true, Ordering::Relaxed);
        device
    }

    /// It has `file`, as a peer has brought it.
    fn with_file() -> Self {
        let device = Self::new();
        device.write("file", "a peer's");
        device.settles_with(1);
        device
    }

    fn hands(&self) -> &Arc<Hands> {
        self.folder.hands()
    }

    fn open(&self) -> Arc<Open> {
        self.hands().opened().expect("the root is what it was")
    }

    fn at(&self, text: &str) -> PathBuf {
        self.root.path().join(text)
    }

    fn write(&self, text: &str, bytes: &str) {
        fs::write(self.at(text), bytes).expect("write");
    }

    /// Waits until this is so.
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let by = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < by, "{what}; there is {:?}", self.contents());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until these are all the files and the disk shows them.
    fn settles_with(&self, files: u64) {
        self.until(&format!("{files} files are in sync"), |device| {
            let asked = device.folder.ask(move |runner| {
                runner.engine.activity() == Activity::Idle && runner.engine.totals().files == files
            });
            device.runtime.block_on(device.hands().all_noticed(PATIENCE))
                && device.runtime.block_on(asked) == Some(true)
        });
    }

    fn record(&self, text: &str) -> Record {
        self.hands().kept.record(&path(text)).expect("a database").expect("a record")
    }

    /// Something lies in staging as what came out of a swap.
    fn displaced(&self) -> (StagedName, PathBuf) {
        let name = StagedName::parse("displaced-0-f").expect("a name");
        let at = self.at(".syncd/staging").join(name.as_str());
        (name, at)
    }

    fn keep(&self, text: &str, name: &StagedName, placed: Option<Record>) -> Outcome {
        let _within = self.runtime.enter();
        self.hands().keep_displaced(&self.open(), &path(text), name, placed)
    }

    /// The time has come to look at what was displaced.
    fn look(&self) {
        let store = &self.hands().kept.0;
        let due = store.displaced_due(i64::MAX).expect("a database");
        let changes = Changes {
            displaced_remove: due.iter().map(|(number, _)| *number).collect(),
            displaced_add: due.into_iter().map(|(_, displaced)| Displaced { due: 0, ..displaced }).collect(),
            ..Changes::default()
        };
        store.save(&changes, Durability::Process).expect("a database");
        self.tend(&Chores { displaced: true, ..Chores::default() });
    }

    fn tend(&self, chores: &Chores) {
        let _within = self.runtime.enter();
        self.hands().do_chores(&self.open(), chores).expect("upkeep");
    }

    /// Everything that any file below the root holds.
    fn contents(&self) -> Vec<(PathBuf, String)> {
        files(self.root.path())
    }

    fn holds(&self, bytes: &str) -> bool {
        self.contents().iter().any(|(_, content)| content == bytes)
    }

    fn archived(&self) -> Vec<String> {
        files(&self.at(".syncd/archive")).into_iter().map(|(_, content)| content).collect()
    }

    fn staged(&self) -> Vec<String> {
        let listed = fs::read_dir(self.at(".syncd/staging")).expect("list");
        listed.map(|entry| entry.expect("entry").file_name().into_string().expect("a name")).collect()
    }

    /// Whether a path of the user's, or a copy beside it, holds this.
    fn shows(&self, bytes: &str) -> bool {
        let is_users = |at: &Path| !at.starts_with(self.at(".syncd"));
        self.contents().iter().any(|(at, content)| is_users(at) && content == bytes)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.runtime.block_on(self.folder.stop());
    }
}

fn files(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let Ok(listed) = fs::read_dir(directory) else { return found };
    for entry in listed.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            // What goes meanwhile is not there.
            Ok(kind) if kind.is_file() => {
                let text = fs::read(entry.path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                found.extend(text.ok().map(|text| (entry.path(), text)));
            }
            _ => {}
        }
    }
    found
}

fn append(file: &mut fs::File, line: &str) {
    file.write_all(line.as_bytes()).expect("append");
}

fn edit_of(outcome: Outcome) -> Seen {
    match outcome {
        Outcome::Displaced { edit, .. } => edit,
        other => panic!("no edit: {other:?}"),
    }
}

#[test]
fn what_is_appended_to_an_edit_that_came_out_is_kept_and_committed() {
    let device = Device::new();
    device.write("log", "a peer's\n");
    device.settles_with(1);
    let (name, at) = device.displaced();
    fs::write(&at, "one\n").expect("write");
    let mut log = fs::File::options().append(true).open(&at).expect("open");

    let edit = edit_of(device.keep("log", &name, Some(device.record("log"))));
    let Content::File { id, size } = edit.content else { panic!("{edit:?}") };
    assert_eq!(size, 4);
    append(&mut log, "two\n");
    let wish = Prepare { content: id, size, mode: 0o644, same: Vec::new(), earlier: None };
    let prepared = device.open().stage.prepare(&[wish]).remove(0);
    assert_eq!(prepared.missing, Ok(Vec::new()), "the copy is staged");
    append(&mut log, "three\n");
    assert!(device.holds("one\n") && device.holds("one\ntwo\nthree\n"), "{:?}", device.contents());
    device.look();
    device.until("the lines are committed", |device| device.shows("one\ntwo\nthree\n"));
}

#[test]
fn an_edit_that_came_out_outlives_a_crash_before_its_commit() {
    let device = Device::with_file();
    let (name, at) = device.displaced();
    fs::write(&at, "the user's").expect("write");
    edit_of(device.keep("file", &name, Some(device.record("file"))));

    let open = device.open();
    root::recover(&open.files, &device.hands().kept).expect("settled");
    device.tend(&Chores { staging: true, ..Chores::default() });
    assert_eq!(device.staged(), [] as [String; 0]);
    assert_eq!(device.archived(), ["the user's"]);
}

#[test]
fn an_edit_that_came_out_and_has_another_name_is_a_separate_file_from_then_on() {
    let device = Device::new();
    device.write("file", "a peer's");
    device.write("other", "the user's");
    device.settles_with(2);
    let (name, at) = device.displaced();
    fs::hard_link(device.at("other"), &at).expect("link");
    edit_of(device.keep("file", &name, Some(device.record("file"))));
    device.write("other", "written to in place");
    assert_eq!(device.archived(), ["the user's"]);
    device.look();
    device.settles_with(2);
    assert_eq!(fs::read_to_string(device.at("file")).expect("read"), "a peer's");
}

#[test]
fn what_came_out_and_is_no_file_does_not_stay_in_staging() {
    let device = Device::with_file();
    let record = device.record("file");
    let (name, at) = device.displaced();
    let make = || {
        fs::create_dir(&at).expect("mkdir");
        fs::write(at.join("in it"), "the user's").expect("write");
    };
    make();
    let outcome = device.keep("file", &name, Some(record.clone()));
    assert_eq!(outcome, Outcome::Done(Some(record.clone())));
    assert_eq!(device.archived(), ["the user's"]);
    make();
    assert_eq!(device.keep("free", &name, None), Outcome::Touched);
    assert_eq!(fs::read_to_string(device.at("free/in it")).expect("back"), "the user's");
    rustix::fs::mkfifoat(rustix::fs::CWD, &at, rustix::fs::Mode::RUSR).expect("fifo");
    assert_eq!(device.keep("file", &name, Some(record.clone())), Outcome::Done(Some(record)));
    assert_eq!(device.staged(), [] as [String; 0]);
}

#[test]
fn an_edit_that_cannot_be_staged_at_first_is_committed_by_a_later_look() {
    let device = Device::with_file();
    let (name, at) = device.displaced();
    fs::write(&at, "the user's").expect("write");
    let blocked = device.at(".syncd/staging").join(keeping::copy_name("displaced", &path("file")).as_str());
    fs::create_dir(&blocked).expect("mkdir");
    let outcome = device.keep("file", &name, Some(device.record("file")));
    assert!(matches!(outcome, Outcome::Problem(_)), "{outcome:?}");
    assert_eq!(device.archived(), ["the user's"]);
    device.look();
    device.until("the edit is committed", |device| device.shows("the user's"));
}

#[test]
fn what_is_written_under_another_name_of_a_removed_file_does_not_bring_it_back() {
    let device = Device::new();
    device.write("a", "old");
    let long_ago = UNIX_EPOCH + Duration::from_secs(1_000_000);
    let file = fs::File::options().write(true).open(device.at("a")).expect("open");
    file.set_modified(long_ago).expect("times");
    fs::hard_link(device.at("a"), device.at("b")).expect("link");
    device.settles_with(2);
    let record = device.record("a");
    let removal = Op { path: path("a"), before: Some(record), after: None, source: Source::None };
    let within = device.runtime.enter();
    let outcomes = device.hands().apply_now(&device.open(), vec![removal]);
    drop(within);
    assert_eq!(outcomes, [(path("a"), Outcome::Done(None))]);

    device.write("b", "written to in place");
    device.look();
    let stamps: Vec<_> = fs::read_dir(device.at(".syncd/archive")).expect("list").flatten().collect();
    for stamp in stamps {
        fs::rename(stamp.path(), stamp.path().with_file_name("2020-01-01T00.00.00Z")).expect("long ago");
    }
    device.tend(&Chores { expire: Some(1), ..Chores::default() });
    device.settles_with(1);
    assert!(!device.at("a").exists());
    assert_eq!(device.archived(), ["old"]);
}

#[test]
fn what_could_not_be_applied_at_first_can_be_applied_when_its_directory_is_there() {
    let device = Device::new();
    device.settles_with(0);
    let bytes = "of two paths";
    let id = ContentId([7; 32]);
    let staged = crate::folder::stage::staged_name(&id);
    fs::write(device.at(".syncd/staging").join(staged.as_str()), bytes).expect("write");
    let link = Content::Symlink { target: b"anywhere"[..].into() };
    let file = Content::File { id, size: bytes.len() as u64 };
    let puts = [
        ("d/link", link, Source::None),
        ("d/one", file.clone(), Source::Staged(id)),
        ("d/two", file, Source::Staged(id)),
    ];
    let put = |(name, content, source)| {
        let metadata = Metadata { mode: 0o644, ..Metadata::default() };
        let after = Some(Shown { content, metadata, entries: Vec::new() });
        Op { path: path(name), before: None, after, source }
    };
    let ops = puts.map(put).to_vec();
    let apply = || {
        let _within = device.runtime.enter();
        device.hands().apply_now(&device.open(), ops.clone())
    };
    for (path, outcome) in apply() {
        assert_eq!(outcome, Outcome::Waits, "{path}");
    }
    fs::create_dir(device.at("d")).expect("mkdir");
    for (path, outcome) in apply() {
        assert!(matches!(outcome, Outcome::Done(Some(_))), "{path}: {outcome:?}");
    }
    assert_eq!(fs::read_link(device.at("d/link")).expect("link"), Path::new("anywhere"));
    assert_eq!(["d/one", "d/two"].map(|name| fs::read_to_string(device.at(name)).expect("read")), [bytes; 2]);
}
