use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use parking_lot::Condvar;

use super::*;
use crate::disk::{Call, Effect};
use crate::folder::scan::tests::support::World;

/// Long: only a broken watcher needs all of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A watched folder, and all that was noticed since it was last asked.
struct Watched {
    world: World,
    watcher: Watcher,
    noticed: Arc<Mutex<Vec<Noticed>>>,
}

fn watched(prepare: impl FnOnce(&World), ignored: &'static str) -> Watched {
    let world = World::new();
    prepare(&world);
    let noticed: Arc<Mutex<Vec<Noticed>>> = Arc::default();
    let told = Arc::clone(&noticed);
    let (watcher, state) = Watcher::start(
        world.root(),
        world.disk.clone(),
        Box::new(move |what| told.lock().push(what)),
        Box::new(move |path, _| path.names().any(|name| name == ignored.as_bytes())),
    )
    .expect("watched");
    assert_eq!((state.polling, state.unwatched), (None, Vec::new()));
    Watched { world, watcher, noticed }
}

impl Watched {
    /// What was noticed of all that happened before; `None` is everything.
    fn noticed(&self) -> Option<BTreeSet<String>> {
        assert!(self.watcher.sync(PATIENCE).expect("a probe"), "the probe has not come back");
        let mut paths = BTreeSet::new();
        for what in self.noticed.lock().drain(..) {
            match what {
                Noticed::Everything => return None,
                Noticed::Paths(some) | Noticed::Removed(some) => {
                    paths.extend(some.iter().map(ToString::to_string));
                }
            }
        }
        Some(paths)
    }

    fn has_noticed(&self, paths: &[&str]) {
        let noticed = self.noticed().expect("paths");
        assert!(paths.iter().all(|path| noticed.contains(*path)), "{noticed:?} lacks some of {paths:?}");
    }
}

#[test]
fn writes_renames_and_removals_are_noticed_by_their_paths() {
    let watched = watched(|world| world.write("d/old", "x"), "");
    watched.world.write("d/new", "x");
    watched.has_noticed(&["d/new"]);
    fs::rename(watched.world.at("d/old"), watched.world.at("moved")).expect("rename");
    watched.has_noticed(&["d/old", "moved"]);
    fs::remove_file(watched.world.at("moved")).expect("remove");
    watched.has_noticed(&["moved"]);
    symlink("x", watched.world.at("link")).expect("link");
    watched.has_noticed(&["link"]);
}

#[test]
fn reading_is_not_noticed_nor_is_our_own_writing() {
    let watched = watched(|world| world.write("d/file", "x"), "");
    fs::read(watched.world.at("d/file")).expect("read");
    fs::read_dir(watched.world.at("d")).expect("list").for_each(drop);
    watched.world.write(".syncd/staging/op-1", "x");
    assert_eq!(watched.noticed(), Some(BTreeSet::new()));
}

#[test]
fn a_new_tree_is_noticed_and_watched_to_its_bottom() {
    let watched = watched(|_| {}, "");
    for n in 0..100 {
        watched.world.write(&format!("n{n}/a/b/file"), "x");
    }
    let noticed = watched.noticed().expect("paths");
    assert!((0..100).all(|n| noticed.contains(&format!("n{n}"))));
    for n in 0..100 {
        watched.world.write(&format!("n{n}/a/b/file"), "again");
    }
    let noticed = watched.noticed().expect("paths");
    assert!((0..100).all(|n| noticed.contains(&format!("n{n}/a/b/file"))));
}

#[test]
fn a_moved_directory_is_watched_under_its_new_name() {
    let watched = watched(|world| world.write("old/deep/file", "x"), "");
    fs::rename(watched.world.at("old"), watched.world.at("new")).expect("rename");
    watched.has_noticed(&["old", "new"]);
    watched.world.write("new/deep/file", "again");
    watched.has_noticed(&["new/deep/file"]);
}

#[test]
fn a_directory_from_outside_is_watched() {
    let watched = watched(|world| world.write(".syncd/outside/deep/file", "x"), "");
    fs::rename(watched.world.at(".syncd/outside"), watched.world.at("inside")).expect("rename");
    watched.has_noticed(&["inside"]);
    watched.world.write("inside/deep/file", "again");
    watched.has_noticed(&["inside/deep/file"]);
}

#[test]
fn a_directory_that_is_made_again_is_watched_again() {
    let watched = watched(|world| world.write("d/file", "x"), "");
    for round in 0..20 {
        fs::remove_dir_all(watched.world.at("d")).expect("remove");
        watched.world.write("d/file", "x");
        watched.has_noticed(&["d"]);
        watched.world.write("d/file", format!("{round}"));
        watched.has_noticed(&["d/file"]);
    }
}

#[test]
fn what_is_ignored_is_neither_watched_nor_noticed() {
    let watched = watched(|world| world.write("skip/deep/file", "x"), "skip");
    watched.world.write("skip/deep/file", "again");
    watched.world.write("skip/other", "x");
    assert_eq!(watched.noticed(), Some(BTreeSet::new()));
}

#[test]
fn lost_events_are_noticed_as_everything_and_no_directory_stays_unwatched() {
    let watched = watched(|_| {}, "");
    let stalled = watched.watcher.stall();
    // Each file makes one event; the kernel keeps 16,384.
    for n in 0..17_000 {
        fs::write(watched.world.at(&format!("f{n}")), "").expect("write");
    }
    watched.world.write("made/meanwhile/file", "x");
    drop(stalled);
    assert_eq!(watched.noticed(), None);
    assert!(watched.watcher.state().overflows >= 1);
    while watched.noticed().is_none() {}
    watched.world.write("made/meanwhile/file", "again");
    watched.has_noticed(&["made/meanwhile/file"]);
}

#[test]
fn a_removed_root_or_control_directory_is_everything() {
    let watched = watched(|_| {}, "");
    let (noticed, waker) = (Arc::clone(&watched.noticed), Condvar::new());
    fs::remove_dir_all(watched.world.root()).expect("remove");
    let mut seen = noticed.lock();
    let deadline = Instant::now() + PATIENCE;
    while !seen.contains(&Noticed::Everything) && Instant::now() < deadline {
        waker.wait_for(&mut seen, Duration::from_millis(5));
    }
    assert!(seen.contains(&Noticed::Everything));
}

#[test]
#[ignore = "needs few watches: unshare -Ur sh -c 'echo 6 > /proc/sys/user/max_inotify_watches; exec $TEST --ignored run_out'"]
fn where_watches_run_out_the_rest_is_named() {
    let world = World::new();
    for n in 0..10 {
        world.write(&format!("d{n}/deep/file"), "x");
    }
    let (watcher, state) =
        Watcher::start(world.root(), world.disk.clone(), Box::new(|_| {}), Box::new(|_, _| false))
            .expect("watched");
    assert_eq!((state.polling.as_deref(), state.directories), (None, 5));
    assert_eq!(state.unwatched_directories, 21 - 5);
    assert!(state.unwatched.len() >= 8, "{state:?}");
    assert!(watcher.sync(PATIENCE).expect("a probe"));
}

#[test]
fn a_stalled_watcher_does_not_claim_to_have_noticed() {
    let watched = watched(|_| {}, "");
    let stalled = watched.watcher.stall();
    watched.world.write("f", "x");
    assert!(!watched.watcher.sync(Duration::from_millis(20)).expect("a probe"));
    drop(stalled);
    watched.has_noticed(&["f"]);
}

#[test]
fn a_probe_that_cannot_be_written_holds_up_no_later_one() {
    let watched = watched(|_| {}, "");
    watched.has_noticed(&[]);
    let full = rustix::io::Errno::NOSPC.raw_os_error();
    watched.world.disk.at(Some(Call::WriteControl), 2, Effect::FailOnce(full));
    let stalled = watched.watcher.stall();
    watched.watcher.sync(PATIENCE).expect_err("the disk is full");
    assert!(!watched.watcher.sync(Duration::from_millis(20)).expect("a probe"), "it was not read yet");
    drop(stalled);
    watched.world.write("f", "x");
    watched.has_noticed(&["f"]);
}
