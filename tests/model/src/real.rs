//! Scan and apply through the functions of `protocol`, as a daemon drives them; each answer is
//! compared with the specification's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::commit::{Folder, Observation, scan};
use protocol::plan::{Deed, Verdict, View, Why, judge, plan};
use protocol::render::{Entries, Group, Renderer, render_path};
use protocol::tree::TreeError;
use protocol::{ContentId, Entry, EntryKey, Record, Records, RelPath, Shown, Stat, StoreError, Version};

use crate::device::{Device, Mind};
use crate::naive::{ByNumber, State, render};
use crate::naive_device::same;
use crate::trees::{self, Grove};

/// Entries in memory.
pub struct Set<'a>(pub &'a BTreeMap<EntryKey, Entry>);

impl Entries for Set<'_> {
    fn at(&self, path: &RelPath) -> Result<Vec<Entry>, TreeError> {
        Ok(self.0.values().filter(|entry| entry.path == *path).cloned().collect())
    }

    fn any_below(&self, path: &RelPath) -> Result<bool, TreeError> {
        Ok(self.0.keys().any(|key| key.path.is_below(Some(path))))
    }

    fn contains(&self, key: &EntryKey) -> Result<bool, TreeError> {
        Ok(self.0.contains_key(key))
    }

    fn groups(&self, directory: Option<&RelPath>) -> Result<Vec<Group>, TreeError> {
        let mut groups: BTreeMap<RelPath, Group> = BTreeMap::new();
        for entry in self.0.values().filter(|entry| entry.path.is_below(directory)) {
            let depth = directory.map_or(0, RelPath::depth) + 1;
            let names: Vec<_> = entry.path.names().take(depth).collect();
            let path = RelPath::parse(&names.join(&b'/')).expect("a part of a path is one");
            let group = groups.entry(path.clone()).or_insert(Group { path, entries: vec![], below: false });
            if entry.path == group.path {
                group.entries.push(entry.clone());
            } else {
                group.below = true;
            }
        }
        Ok(groups.into_values().collect())
    }
}

/// Records in memory.
pub struct Applied<'a>(pub &'a BTreeMap<RelPath, Record>);

impl Records for Applied<'_> {
    fn record(&self, path: &RelPath) -> Result<Option<Record>, StoreError> {
        Ok(self.0.get(path).cloned())
    }

    fn children(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        let inside = self.0.iter().filter(|(path, _)| path.parent().as_ref() == directory);
        Ok(inside.map(|(path, record)| (path.clone(), record.clone())).collect())
    }

    fn copies(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        let mut copies = self.children(directory)?;
        copies.retain(|(path, record)| {
            let entries = &record.shown.entries;
            entries.len() > 1 || entries.iter().any(|key| key.path != *path)
        });
        Ok(copies)
    }

    fn any_below(&self, path: &RelPath) -> Result<bool, StoreError> {
        Ok(self.0.keys().any(|other| other.is_below(Some(path))))
    }

    fn with_content(&self, _: &ContentId, _: usize) -> Result<Vec<RelPath>, StoreError> {
        Ok(Vec::new())
    }

    fn with_stat(&self, _: &Stat) -> Result<Vec<RelPath>, StoreError> {
        Ok(Vec::new())
    }
}

impl Device {
    pub(crate) fn real_scan(&mut self) {
        let mut oracle = Self { mind: Mind::Naive, ..self.clone() };
        self.recover();
        let observations = self.observe();
        let (entries, applied) = (self.state.entries.clone(), self.applied.clone());
        let version = Version { seq: self.state.next_seq(), origin: self.origin };
        let (set, grove) = (Set(&entries), Grove::new(self.mind, &self.state));
        let folder = Folder {
            entries: grove.entries(&set),
            labels: grove.labels(),
            records: &Applied(&applied),
            version,
            writer: self.writer,
            trusted: self.trusted,
            copies_kept: self.copies_kept,
        };
        let scanned = scan(&folder, &observations).expect("nothing fails in memory");
        for (path, record) in scanned.notes {
            self.note(&path, record);
            self.pending.insert(path);
        }
        if let Some(draft) = scanned.commit {
            let planted = grove.commit(&draft);
            let mut state = self.state.clone();
            state.context.insert(draft.version.origin, draft.version.seq);
            for key in &draft.removed {
                assert!(state.entries.remove(key).is_some(), "removed what is not there");
            }
            state.entries.extend(draft.put.into_iter().map(|entry| (entry.key(), entry)));
            assert!(planted.is_none_or(|root| root == trees::root(&state)), "another root after a commit");
            self.set_state(state);
        }
        self.trusted |= self.writer;
        if self.mind != Mind::RealWithMetadata && self.look_at.is_none() {
            oracle.naive_scan();
            assert_eq!(self.state, oracle.state, "another state after a scan");
            assert!(self.applied.keys().eq(oracle.applied.keys()), "other records after a scan");
            for (path, record) in &self.applied {
                let theirs = oracle.applied.get(path).map(|record| &record.shown);
                assert!(same(Some(&record.shown), theirs), "{path}: {record:?} {theirs:?}");
            }
            let touched: Vec<_> = self.paths().into_iter().filter(|path| !self.untouched(path)).collect();
            assert_eq!(scanned.local_changes, touched, "local changes");
        }
    }

    fn observe(&self) -> Vec<Observation> {
        let mut observations = Vec::new();
        let looked_at = |path: &RelPath| self.look_at.as_ref().is_none_or(|paths| paths.contains(path));
        for path in self.paths().into_iter().filter(looked_at) {
            let (record, seen) = (self.applied.get(&path).cloned(), self.seen(&path));
            let metadata =
                |record: &Record| Some(&record.shown.metadata) != seen.as_ref().map(|s| &s.metadata);
            let differs = self.mind == Mind::RealWithMetadata && record.as_ref().is_some_and(metadata);
            if differs || !self.untouched(&path) {
                observations.push(Observation { path, record, seen, ignored: false });
            }
        }
        observations
    }

    pub(crate) fn real_possible(&self, path: &RelPath, target: Option<&Shown>) -> bool {
        let verdict = self.verdict(path, target);
        // What only the disk knows, and an operating system would tell whoever tries.
        let fits = match &verdict {
            Verdict::Change(change) => match change.deed {
                Deed::Record | Deed::SetMetadata => true,
                Deed::Create | Deed::MakeDirectory => self.has_parent(path),
                Deed::Replace | Deed::Remove => !self.occupied(path),
            },
            _ => false,
        };
        self.check_verdict(path, target, &verdict);
        fits
    }

    fn verdict(&self, path: &RelPath, target: Option<&Shown>) -> Verdict {
        let is_touched = |path: &RelPath| !self.untouched(path);
        let (entries, records) = (Set(&self.state.entries), Applied(&self.applied));
        let view =
            View { entries: &entries, records: &records, is_touched: &is_touched, is_ignored: &|_, _| false };
        judge(&view, path, target).expect("nothing fails in memory")
    }

    /// The verdict is the specification's, but for what only the disk knows.
    fn check_verdict(&self, path: &RelPath, target: Option<&Shown>, verdict: &Verdict) {
        let possible = self.possible(path, target);
        let ours = match verdict {
            Verdict::Change(change) if change.deed == Deed::SetMetadata => return,
            Verdict::Change(_) => true,
            _ => false,
        };
        let touched_below = self.applied.keys().any(|p| p.is_below(Some(path)) && !self.untouched(p));
        let excused = match verdict {
            Verdict::Change(_) => self.occupied(path),
            Verdict::Wait(Why::NotEmpty) => !self.occupied(path) && touched_below,
            Verdict::Wait(Why::NoDirectory) => path.parent().is_some_and(|parent| !self.untouched(&parent)),
            _ => false,
        };
        assert!(ours == possible || excused, "{path}: {verdict:?}, but possible is {possible}");
    }

    pub(crate) fn real_queue(&mut self, stuck: &BTreeSet<RelPath>) -> VecDeque<(RelPath, Option<Shown>)> {
        let (entries, records) = (Set(&self.state.entries), Applied(&self.applied));
        let want = self.rendering();
        let grove = Grove::new(self.mind, &self.state);
        let mut renderer = Renderer::new(grove.entries(&entries), grove.labels());
        let mut wants = Vec::new();
        for path in self.pending.iter().filter(|path| !stuck.contains(path)) {
            let wanted = renderer.path(path).expect("nothing fails in memory");
            assert!(same(wanted.as_ref(), want.get(path)), "{path} is rendered as {wanted:?}");
            wants.push((path.clone(), wanted));
        }
        let is_touched = |path: &RelPath| !self.untouched(path);
        let view = View {
            entries: grove.entries(&entries),
            records: &records,
            is_touched: &is_touched,
            is_ignored: &|_, _| false,
        };
        let plan = plan(&view, wants, &|_| false).expect("nothing fails in memory");
        for path in want.keys().chain(self.applied.keys()) {
            let record = self.applied.get(path).map(|record| &record.shown);
            assert!(
                same(record, want.get(path)) || self.pending.contains(path),
                "{path} was not among the affected paths"
            );
            if !stuck.contains(path) {
                self.check_verdict(path, want.get(path), &self.verdict(path, want.get(path)));
            }
        }
        let changes: Vec<_> = plan.passes.into_iter().flatten().collect();
        let open: BTreeSet<_> = plan.waiting.iter().map(|(path, _)| path.clone()).collect();
        let planned: BTreeSet<_> = changes.iter().map(|change| change.path.clone()).collect();
        self.pending.retain(|path| stuck.contains(path) || open.contains(path) || planned.contains(path));
        changes.into_iter().map(|change| (change.path, change.after)).collect()
    }

    /// What is not among the affected paths shows the same as before.
    pub(crate) fn check_affected(&self, old: &State, affected: &[RelPath]) {
        let (before, after) = (render(old.entries.values()), self.rendering());
        for path in before.keys().chain(after.keys()) {
            assert!(before.get(path) == after.get(path) || affected.contains(path), "{path} is affected");
        }
        let count = |shown: &BTreeMap<RelPath, Shown>| {
            let files: Vec<_> = shown.values().filter(|s| !s.content.is_directory()).collect();
            (files.len() as i64, files.iter().map(|s| s.content.size_bytes() as i64).sum::<i64>())
        };
        let ((files, bytes), (more_files, more_bytes)) = (count(&before), count(&after));
        let change = protocol::render::totals_change(
            &Set(&old.entries),
            &Set(&self.state.entries),
            &ByNumber,
            affected,
        );
        assert_eq!(change.expect("nothing fails in memory"), (more_files - files, more_bytes - bytes));
    }

    /// What one path shows, by the real rendering.
    pub fn shown_at(&self, path: &RelPath) -> Option<Shown> {
        render_path(&Set(&self.state.entries), &ByNumber, path).expect("nothing fails in memory")
    }
}
