//! How a history comes to rest, and what must hold then.

use std::collections::{BTreeMap, BTreeSet};

use protocol::Content;

use super::{World, files, on_disk, wanted};
use crate::device::{Device, Mind};
use crate::naive::merge;

impl World {
    pub(super) fn settle(&mut self) {
        for _ in 0..12 {
            let look = |d: &Device| (d.origin, d.state.clone(), d.disk.clone(), d.applied.clone());
            let before: Vec<_> = self.devices.iter().map(look).collect();
            for n in 0..self.devices.len() {
                self.scan(n);
                self.apply(n, true);
                self.scan(n);
            }
            for from in 0..self.devices.len() {
                for to in (0..self.devices.len()).filter(|to| *to != from) {
                    self.messages.push((to, self.devices[from].state.clone()));
                }
            }
            while !self.messages.is_empty() {
                let message = self.messages.swap_remove(self.rng.below(self.messages.len()));
                self.deliver(message);
            }
            if before == self.devices.iter().map(look).collect::<Vec<_>>() {
                return;
            }
        }
        panic!("does not come to rest");
    }

    pub(super) fn verify(&mut self) {
        let first = self.devices[0].state.clone();
        let want = wanted(&first);
        for device in &self.devices {
            assert_eq!(device.state, first, "states differ");
            assert!(
                !device.writer || on_disk(device) == want,
                "disk differs: {:?} {want:?}",
                on_disk(device)
            );
            no_loss(device);
            self.metadata_is_the_states(device);
        }
        for n in 0..self.devices.len() {
            if !self.devices[n].writer {
                self.remember(n);
                self.devices[n].revert();
                self.devices[n].dirty = false;
                self.apply(n, true);
                assert_eq!(on_disk(&self.devices[n]), want, "reader differs after revert");
                no_loss(&self.devices[n]);
            }
        }
        self.laws();
        self.names();
        let present: BTreeSet<Content> = want.into_values().collect();
        for content in &self.written {
            let excused = [&self.killed, &self.excused, &self.pruned, &present];
            assert!(excused.iter().any(|set| set.contains(content)), "lost: {content:?}");
        }
        for content in present.iter().filter(|content| !content.is_directory()) {
            assert!(self.written.contains(content), "from nowhere: {content:?}");
            let back = self.strict && self.killed.contains(content);
            assert!(
                !back || self.moved.contains(content) || Self::is_shared(content),
                "came back: {content:?}"
            );
        }
    }

    fn metadata_is_the_states(&self, device: &Device) {
        if self.mind != Mind::RealWithMetadata || !device.writer {
            return;
        }
        for (path, record) in &device.applied {
            let shown = device.shown_at(path);
            assert_eq!(shown.as_ref(), Some(&record.shown), "{path}");
            if !record.shown.entries.is_empty() {
                assert_eq!(device.disk[path].1, record.shown.metadata, "{path}");
            }
        }
    }

    fn laws(&self) {
        for a in &self.sample {
            assert_eq!(merge(a, a), *a, "not idempotent");
            for b in &self.sample {
                let ab = merge(a, b);
                assert_eq!(ab, merge(b, a), "not commutative");
                assert!(!a.dominates(b) || ab == *a, "dominance does not absorb");
                for c in self.sample.iter().take(5) {
                    assert_eq!(merge(&ab, c), merge(a, &merge(b, c)), "not associative");
                }
            }
        }
    }

    fn names(&self) {
        let mut count = BTreeMap::new();
        for (path, shown) in self.devices[0].rendering() {
            let name = String::from_utf8_lossy(path.name());
            assert!(name.matches("(conflict").count() <= 1, "nested: {name}");
            let originals: BTreeSet<_> =
                shown.entries.iter().map(|key| &key.path).filter(|p| **p != path).cloned().collect();
            for original in originals {
                *count.entry(original).or_insert(0) += 1;
            }
        }
        let most = self.devices.len() * (self.devices[0].copies_kept + 2);
        assert!(count.values().all(|count| *count <= most), "too many copies: {count:?}");
    }
}

fn no_loss(device: &Device) {
    let here = files(device);
    for content in device.ever.iter().filter(|_| device.audit) {
        let kept = here.contains(content) || device.archive.contains(content);
        assert!(kept || device.killed_here.contains(content), "not in the archive: {content:?}");
    }
}
