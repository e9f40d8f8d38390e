//! Scan and apply, word for word after the executable specification.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::{Content, EntryKey, RelPath, Shown};

use crate::device::{Device, record};
use crate::naive::commit;

impl Device {
    pub(crate) fn naive_scan(&mut self) {
        self.recover();
        let want = self.rendering();
        for path in self.paths() {
            let wanted = want.get(&path);
            let agreed = self.content(&path) == wanted.map(|wanted| &wanted.content);
            if agreed && !self.untouched(&path) && (!self.writer || self.replaced(&path).is_empty()) {
                self.note(&path, wanted.cloned().map(record));
            }
        }
        if !self.writer {
            return;
        }
        let changed: Vec<_> = self.paths().into_iter().filter(|path| !self.untouched(path)).collect();
        let still_shown = self.elsewhere(None, false);
        let mut removed: BTreeSet<_> = changed.iter().flat_map(|path| self.replaced(path)).collect();
        removed.retain(|key| !still_shown.contains(key));
        let put: BTreeMap<_, _> =
            changed.iter().filter_map(|path| Some((path.clone(), self.disk.get(path)?.clone()))).collect();
        for path in &changed {
            self.note(path, None);
        }
        removed.extend(self.surplus(put.keys()));
        if !removed.is_empty() || !put.is_empty() {
            let (state, new) = commit(&self.state, self.origin, &removed, &put, !self.trusted);
            self.state = state;
            for entry in new {
                let entries = vec![entry.key()];
                let shown = Shown { content: entry.content, metadata: entry.metadata, entries };
                self.note(&entry.path, Some(record(shown)));
            }
        }
        self.trusted = true;
    }

    fn live(&self, keys: &[EntryKey]) -> BTreeSet<EntryKey> {
        keys.iter().filter(|key| self.state.entries.contains_key(key)).cloned().collect()
    }

    fn replaced(&self, path: &RelPath) -> BTreeSet<EntryKey> {
        self.applied.get(path).map_or_else(BTreeSet::new, |record| self.live(&record.shown.entries))
    }

    fn surplus<'a>(&self, put: impl Iterator<Item = &'a RelPath>) -> BTreeSet<EntryKey> {
        let mut removed = BTreeSet::new();
        for path in put {
            let mut copies: Vec<_> = self
                .applied
                .iter()
                .filter(|(disk_path, record)| {
                    *disk_path != path && record.shown.entries.iter().all(|key| key.path == *path)
                })
                .map(|(_, record)| self.live(&record.shown.entries))
                .filter(|live| !live.is_empty())
                .collect();
            copies.sort_by_key(|live| live.iter().map(|key| self.state.entries[key].rank()).max());
            let excess = copies.len().saturating_sub(self.copies_kept);
            removed.extend(copies.into_iter().take(excess).flatten());
        }
        removed
    }

    pub(crate) fn naive_queue(&self) -> VecDeque<(RelPath, Option<Shown>)> {
        let want = self.rendering();
        let gone: Vec<_> = self.applied.keys().filter(|path| !want.contains_key(path)).cloned().collect();
        let wanted = want.into_iter().map(|(path, shown)| (path, Some(shown)));
        wanted.chain(gone.into_iter().rev().map(|path| (path, None))).collect()
    }

    /// Is there something to do at `path`, and can it be done without touching user files?
    pub fn possible(&self, path: &RelPath, target: Option<&Shown>) -> bool {
        let record = self.applied.get(path).map(|record| &record.shown);
        if same(target, record) || !self.untouched(path) {
            return false;
        }
        if let (Some(target), Some(record)) = (target, record)
            && target.content == record.content
        {
            return true;
        }
        if record.is_some_and(|record| record.content == Content::Directory) && self.occupied(path) {
            return false;
        }
        let moved = self.elsewhere(Some(path), true);
        if target.is_some_and(|target| target.entries.iter().any(|key| moved.contains(key))) {
            return false;
        }
        let shown = self.elsewhere(Some(path), false);
        if self.replaced(path).iter().any(|key| !shown.contains(key)) {
            return false;
        }
        target.is_none() || self.has_parent(path)
    }

    /// The entries that other paths stand for, of those that are touched, or that are not.
    fn elsewhere(&self, path: Option<&RelPath>, touched: bool) -> BTreeSet<EntryKey> {
        self.applied
            .iter()
            .filter(|(other, _)| Some(*other) != path && self.untouched(other) != touched)
            .flat_map(|(_, record)| record.shown.entries.clone())
            .collect()
    }
}

/// Equal but for metadata.
pub fn same(a: Option<&Shown>, b: Option<&Shown>) -> bool {
    let what = |shown: Option<&Shown>| shown.map(|shown| (shown.content.clone(), shown.entries.clone()));
    what(a) == what(b)
}
