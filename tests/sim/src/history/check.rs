//! What must hold when all has come to rest.

use std::collections::{BTreeMap, Bound};

use protocol::engine::{Activity, Command, Reason};
use protocol::tree::Tree;
use protocol::{Content, Entry, RelPath, Shown};

use super::History;
use crate::device::Device;
use crate::world::World;

/// What the specification shows of a device's state.
pub fn wanted(world: &World, n: usize) -> BTreeMap<RelPath, Shown> {
    let device = &world.devices[n];
    let tree = Tree::<Entry>::new(&device.store, device.roots().0);
    let entries: Vec<_> = tree.range(Bound::Unbounded).collect::<Result<_, _>>().expect("all of it is here");
    model::render(&entries)
}

fn contents(shown: &BTreeMap<RelPath, Shown>) -> BTreeMap<RelPath, Content> {
    shown.iter().map(|(path, shown)| (path.clone(), shown.content.clone())).collect()
}

/// All devices hold the same, show it, and say so.
pub fn all_is_well(world: &World) {
    let want = wanted(world, 0);
    let all = world.devices.len() - 1;
    for (n, device) in world.devices.iter().enumerate() {
        let engine = device.engine();
        let about = || format!("device {n}, {:?}: {:?}", device.role, engine.unapplied());
        assert_eq!(device.roots(), world.devices[0].roots(), "{}", about());
        let local = engine.unapplied().values().any(|why| why.reason == Reason::LocalChange);
        if local && !device.writes() {
            continue;
        }
        assert_eq!(device.contents(), contents(&want), "{}", about());
        let bad: Vec<_> = device.touched();
        assert!(bad.is_empty(), "records: {bad:?}, {}", about());
        for (path, record) in device.store.records() {
            let same = want.get(&path).is_some_and(|want| {
                want.content == record.shown.content
                    && want.entries == record.shown.entries
                    && (want.entries.is_empty() || want.metadata == record.shown.metadata)
            });
            assert!(same, "{path}: {record:?}, not {:?}", want.get(&path));
        }
        assert!(engine.unapplied().is_empty(), "{}", about());
        assert_eq!(engine.activity(), Activity::Idle, "{}", about());
        assert_eq!(engine.need(), (0, 0), "{}", about());
        // What a user wrote in the moment of a swap is kept whatever becomes of its entry.
        let left = device.staged.keys().any(|content| !device.slipped.contains(content));
        assert!(!left, "left in staging, {}", about());
        let files: Vec<_> = want.values().filter(|shown| !shown.content.is_directory()).collect();
        let bytes: u64 = files.iter().map(|shown| shown.content.size_bytes()).sum();
        assert_eq!((engine.totals().files, engine.totals().bytes), (files.len() as u64, bytes));
    }
    for device in &world.devices {
        assert_eq!(device.engine().seeds(), (all, all), "of {}", device.number);
    }
}

impl History {
    /// Whether something is wanted that no disk has any more: a user deleted it where it was ignored,
    /// which is no commit.
    pub(super) fn is_any_lost_by_users(&self) -> bool {
        // What a reader has put elsewhere is not served.
        let holds = |device: &Device, content: &Content| {
            device.store.records().iter().any(|(path, record)| {
                record.shown.content == *content
                    && device.disk.get(path).is_some_and(|node| node.content == *content)
            })
        };
        let is_lost = |content: &Content| {
            !content.is_directory() && !self.world.devices.iter().any(|device| holds(device, content))
        };
        let want = contents(&wanted(&self.world, 0));
        let lost: Vec<_> = want.values().filter(|content| is_lost(content)).collect();
        assert!(lost.iter().all(|content| self.killed.contains(content)), "lost: {lost:?}");
        !lost.is_empty()
    }

    pub(super) fn check(&mut self) {
        all_but_readers(&self.world);
        for n in 0..self.world.devices.len() {
            if !self.world.devices[n].writes() {
                self.world.command(n, Command::Revert(None));
            }
        }
        self.world.run_until_quiet();
        for device in &self.world.devices {
            let rows = device.engine().unapplied();
            let is_left = rows.values().any(|why| why.reason == Reason::LocalChange);
            assert!(!is_left, "not given up on device {}: {rows:?}", device.number);
        }
        all_is_well(&self.world);
        let shown = wanted(&self.world, 0);
        for content in &self.written {
            let present = shown.values().any(|shown| shown.content == *content);
            assert!(present || self.killed.contains(content), "lost: {content:?}");
        }
    }
}

/// Writers are at rest also where readers have changes of their own.
fn all_but_readers(world: &World) {
    let want = wanted(world, 0);
    for device in &world.devices {
        assert_eq!(device.roots(), world.devices[0].roots(), "device {}", device.number);
        if device.writes() {
            let rows = device.engine().unapplied();
            assert_eq!(device.contents(), contents(&want), "device {}: {rows:?}", device.number);
        }
    }
}
