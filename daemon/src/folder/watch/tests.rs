#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::sync::mpsc::channel;

use super::*;
use crate::disk::{RealDisk, SpecialBits};

const DEADLINE: Duration = Duration::from_secs(10);

struct Stage {
    root: tempfile::TempDir,
    watcher: Watcher,
    noticed: Receiver<Noticed>,
}

impl Stage {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(".syncd")).unwrap();
        let disk = Arc::new(RealDisk::open(root.path(), SpecialBits::Strip).unwrap());
        let (sender, noticed) = channel();
        let notice = Box::new(move |what| drop(sender.send(what)));
        let watcher = Watcher::start(root.path(), disk, notice).unwrap();
        Self { root, watcher, noticed }
    }

    /// All paths that have been noticed up to now.
    fn noticed(&self) -> BTreeSet<String> {
        assert!(self.watcher.probe().wait(DEADLINE));
        let mut all = BTreeSet::new();
        while let Ok(what) = self.noticed.try_recv() {
            match what {
                Noticed::Paths(paths) => all.extend(paths.iter().map(ToString::to_string)),
                Noticed::Everything => drop(all.insert("everything".into())),
            }
        }
        all
    }
}

#[test]
fn a_save_is_noticed_and_staging_is_not() {
    let stage = Stage::new();
    fs::create_dir_all(stage.root.path().join(".syncd/staging")).unwrap();
    fs::write(stage.root.path().join(".syncd/staging/x"), "x").unwrap();
    fs::write(stage.root.path().join("f"), "text").unwrap();
    assert_eq!(stage.noticed(), BTreeSet::from(["f".into()]));
}

#[test]
fn everything_in_new_and_moved_directories_is_under_a_noticed_path() {
    let stage = Stage::new();
    let root = stage.root.path();
    for n in 0..200 {
        fs::create_dir_all(root.join(format!("d{n}/e/f"))).unwrap();
        fs::write(root.join(format!("d{n}/e/f/g")), "text").unwrap();
    }
    let noticed = stage.noticed();
    assert!((0..200).all(|n| noticed.contains(&format!("d{n}"))));
    fs::rename(root.join("d0"), root.join("moved")).unwrap();
    assert!(stage.noticed().contains("moved"));
    fs::write(root.join("moved/e/f/later"), "text").unwrap();
    fs::write(root.join("d1/e/f/later"), "text").unwrap();
    assert_eq!(stage.noticed(), BTreeSet::from(["d1/e/f/later".into(), "moved/e/f/later".into()]));
}

#[test]
fn a_probe_does_not_come_back_while_an_event_is_unread() {
    let stage = Stage::new();
    let stalled = stage.watcher.stall();
    fs::write(stage.root.path().join("f"), "text").unwrap();
    let probe = stage.watcher.probe();
    assert!(!probe.wait(Duration::from_millis(100)));
    drop(stalled);
    assert!(probe.wait(DEADLINE));
    assert!(stage.noticed().contains("f"));
}

#[test]
fn reading_files_is_not_noticed() {
    let stage = Stage::new();
    fs::write(stage.root.path().join("f"), "text").unwrap();
    stage.noticed();
    fs::read(stage.root.path().join("f")).unwrap();
    assert_eq!(stage.noticed(), BTreeSet::new());
}
