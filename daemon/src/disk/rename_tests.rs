use std::fmt;
use std::fs;
use std::path::Path;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::disk::tests::{at, folder, staged};
use crate::disk::{ArchivedPath, Disk, Stamp};

/// What is done between two steps of a rename.
type Deed = Box<dyn FnOnce() + Send>;

/// A file system that cannot rename at once, and who comes between.
#[derive(Default)]
pub(crate) struct Slowness(Mutex<Option<(u32, Option<Deed>)>>);

impl fmt::Debug for Slowness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("slowness")
    }
}

impl Slowness {
    pub(super) fn is_slow(&self) -> bool {
        self.0.lock().is_some()
    }

    /// This happens after so many steps.
    fn begin(&self, after: u32, deed: Deed) {
        *self.0.lock() = Some((after, Some(deed)));
    }

    /// Whether it has happened.
    fn has_come(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|(_, deed)| deed.is_none())
    }

    pub(super) fn come_between(&self) {
        let mut state = self.0.lock();
        let Some((left, deed)) = state.as_mut() else { return };
        match left.checked_sub(1) {
            Some(fewer) => *left = fewer,
            None => {
                let deed = deed.take();
                drop(state);
                deed.into_iter().for_each(|deed| deed());
            }
        }
    }
}

impl RealDisk {
    /// From now on it is on a file system that cannot rename to a free name at once.
    pub(crate) fn forget_noreplace(&self) {
        self.slowness.begin(u32::MAX, Box::new(|| {}));
    }
}

fn archived() -> Place {
    let stamp = Stamp::parse("2026-11-21T14.03.22Z").expect("a stamp");
    let at = ArchivedPath { stamp, path: protocol::RelPath::parse(b"f").expect("a path") };
    Place::Archived(at)
}

fn contents(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("list").flatten() {
        if entry.file_type().expect("type").is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            found.push(fs::read_to_string(entry.path()).expect("read"));
        }
    }
    found
}

fn save(root: &TempDir, name: &str) -> Deed {
    let (new, target) = (root.path().join("new"), root.path().join(name));
    Box::new(move || {
        fs::write(&new, "saved").expect("write");
        fs::rename(&new, &target).expect("a rename over it");
    })
}

#[test]
fn whoever_saves_a_file_between_the_steps_of_a_slow_rename_loses_nothing() {
    let moves = [(at("f"), archived()), (at("f"), Place::Staged(staged("s"))), (at("f"), at("g"))];
    for (from, to) in moves {
        // In the last of these nobody comes.
        for (step, name) in (0..).flat_map(|step| [(step, "f"), (step, "g")]) {
            let (root, disk) = folder();
            let Place::Archived(archived) = archived() else { return };
            disk.make_directory(&Place::Step(archived.stamp), 0o700).expect("mkdir");
            fs::write(root.path().join("f"), "old").expect("write");
            disk.slowness.begin(step, save(&root, name));
            let renamed = disk.rename_new(&from, &to);
            let story = format!("{from:?} to {to:?}, {name} saved after {step}: {renamed:?}");
            let found = contents(root.path());
            if !disk.slowness.has_come() {
                assert!(renamed.is_ok() && found == ["old"], "{story} {found:?}");
                break;
            }
            assert!(found.contains(&"saved".into()), "{story} {found:?}");
            let is_over_old = name == "f" || renamed.is_ok();
            assert!(found.contains(&"old".into()) || is_over_old, "{story} {found:?}");
            assert!(!found.contains(&String::new()), "nothing that was reserved is left: {story}");
        }
    }
}

#[test]
fn a_slow_rename_takes_links_and_directories_and_never_replaces() {
    let (root, disk) = folder();
    disk.forget_noreplace();
    let aside = Place::Staged(staged("s"));
    std::os::unix::fs::symlink("nowhere", root.path().join("link")).expect("link");
    fs::create_dir(root.path().join("d")).expect("mkdir");
    fs::write(root.path().join("d/in it"), "in it").expect("write");
    for name in ["link", "d"] {
        disk.rename_new(&at(name), &aside).expect("aside");
        let taken = disk.rename_new(&at("d"), &aside).or_else(|_| disk.rename_new(&at("link"), &aside));
        assert!(taken.is_err(), "{name}");
        disk.rename_new(&aside, &at("other")).expect("back");
        disk.rename_new(&at("other"), &at(name)).expect("and under its name");
    }
    let taken = disk.rename_new(&at("link"), &at("d")).expect_err("taken");
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(root.path().join("d/in it")).expect("read"), "in it");
    assert!(fs::symlink_metadata(root.path().join("link")).expect("back where it was").is_symlink());
    assert_eq!(fs::read_dir(root.path().join(".syncd/staging")).expect("list").count(), 0);
}
