//! What goes into the next window, and which contents it needs.

use std::collections::{BTreeMap, BTreeSet, Bound, btree_map};
use std::time::Duration;

use crate::engine::{Edits, Engine, EngineError, FolderStore, Noticed, Reason, Unapplied};
use crate::entry::{Content, ContentId, EntryKey};
use crate::path::RelPath;
use crate::plan::{self, View};
use crate::record::{Record, Shown};
use crate::render::{self, Entries, Renderer};

use super::Searched;
use super::counting::group_of;
use super::window::Window;

/// Bytes of new content in a window, unless one file alone is larger.
pub(super) const WINDOW_BYTES: u64 = 512 << 20;
/// A window of a step that removes something takes as much as so many others.
const WITH_REMOVALS: usize = 2;
/// How many paths are asked for, to find one that gives a content up.
pub(super) const MOVE_CANDIDATES: usize = 4;

/// Differences that make up a window.
#[derive(Default)]
pub(super) struct Differences {
    pub(super) edits: Edits,
    /// How far what is put has been searched for, if this was looked for.
    pub(super) searched: Option<Searched>,
}

/// What the paths of a window shall show.
pub(super) type Wants = BTreeMap<RelPath, Option<Shown>>;

impl<S: FolderStore> Engine<S> {
    /// What comes next: new content first, and what is only removed when no more comes.
    fn differences(&mut self) -> Result<Differences, EngineError> {
        // What arrives with new rules is judged by them.
        let edits = self.edits_of_rules()?;
        if !edits.is_empty() {
            return Ok(Differences { edits, searched: None });
        }
        let (mut edits, searched) = self.puts(&self.step.searched, |_| false)?;
        if searched == Searched::Everything {
            let (mut removals, is_all) = self.removals()?;
            if edits.is_empty() || is_all {
                edits.append(&mut removals);
            }
        }
        if edits.is_empty() && self.step.searched != Searched::default() {
            // To find nothing where something differs would be to search for ever.
            self.step.searched = Searched::default();
            return self.differences();
        }
        Ok(Differences { edits, searched: Some(searched) })
    }

    /// Paths at which something is put, as many as a window takes, but for those that are put off. The
    /// search goes on where windows before have ended.
    pub(super) fn puts(
        &self,
        searched: &Searched,
        is_put_off: impl Fn(&Edits) -> bool,
    ) -> Result<(Edits, Searched), EngineError> {
        let (mut found, mut bytes) = (Edits::new(), 0);
        let Searched::Until(from) = searched else { return Ok((found, Searched::Everything)) };
        for group in self.groups_from(from.as_ref())? {
            let (path, edits, _) = group?;
            let Some(entry) = edits.iter().find_map(|(_, entry)| entry.as_ref()) else { continue };
            if is_put_off(&edits) {
                continue;
            }
            bytes += entry.content.size_bytes();
            found.extend(edits);
            if found.len() >= self.window_paths() || bytes >= WINDOW_BYTES {
                return Ok((found, Searched::Until(Bound::Excluded(path))));
            }
        }
        Ok((found, Searched::Everything))
    }

    /// Paths in a window. Where none follows before it has been carried out, windows are fewer and longer.
    fn window_paths(&self) -> usize {
        let windows = if self.step.has_removals { WITH_REMOVALS } else { 1 };
        windows * self.settings.window
    }

    /// Paths at which something is only removed, as many as a window takes, and whether these are all.
    fn removals(&self) -> Result<(Edits, bool), EngineError> {
        let mut found = Edits::new();
        for group in self.groups_of_differences() {
            let (_, edits, _) = group?;
            if edits.iter().any(|(_, entry)| entry.is_some()) {
                continue;
            }
            if found.len() >= self.window_paths() {
                return Ok((found, false));
            }
            found.extend(edits);
        }
        Ok((found, true))
    }

    /// Plans the next window.
    pub(super) fn plan_next(&mut self, now: Duration) -> Result<Window, EngineError> {
        self.step.tried_at = Some(now);
        let found = self.differences()?;
        self.plan(now, found)
    }

    /// Plans a window that comes when all that is under way has been carried out.
    pub(super) fn plan(&mut self, now: Duration, mut found: Differences) -> Result<Window, EngineError> {
        let roots = (self.state.entries, self.planned());
        let new = self.tree(self.state.entries);
        let mut renderer = Renderer::new(&new, &self.state.context);
        let mut wants = self.wants(&found.edits, &mut renderer)?;
        let to_look_at = self.own_to_look_at(&wants)?;
        let blocked = self.blocked(&mut wants)?;
        let movers = if self.step.has_removals { self.movers(&wants)? } else { BTreeMap::new() };
        let moved = movers.values().flat_map(|(_, record)| &record.shown.entries);
        let moved = moved.map(|key| key.path.clone()).collect();
        self.add_moved(moved, &mut found.edits, &mut renderer, &mut wants)?;
        for (path, _) in movers.values() {
            wants.insert(path.clone(), None);
        }
        found.edits.sort_by(|a, b| a.0.cmp(&b.0));
        found.edits.dedup_by(|a, b| a.0 == b.0);
        self.put_off_directories(&found.edits, &mut wants)?;
        let looked_at: Vec<_> =
            wants.keys().filter(|path| self.unapplied.contains_key(*path)).cloned().collect();
        let is_plain = found.searched.is_some() && !self.step.has_removals && looked_at.is_empty();
        let end = if is_plain { self.end(&wants) } else { None };
        let (plan, awaited) = self.plan_changes(wants)?;
        let mut window = Window {
            roots,
            then: None,
            end,
            edits: found.edits,
            ops: Vec::new(),
            records: Vec::new(),
            waiting: plan.waiting,
            blocked,
            settled: Vec::new(),
            revisited: std::mem::take(&mut self.revisit),
            sources: BTreeMap::new(),
            directories: Vec::new(),
            deletes: BTreeSet::new(),
            searched: found.searched,
        };
        window.add(plan.passes, &awaited);
        window.settle(looked_at);
        if !to_look_at.is_empty() {
            self.dirty.add(now, Noticed::Paths(to_look_at), |_| false);
        }
        Ok(window)
    }

    /// The changes that make the disk show this, and the contents that come to paths which a scan must
    /// see before.
    fn plan_changes(&self, wants: Wants) -> Result<(plan::Plan, BTreeSet<ContentId>), EngineError> {
        let new = self.tree(self.state.entries);
        let is_users = |path: &RelPath| self.dirty.has(path) && !self.step.made.contains(path);
        let is_touched = |path: &RelPath| {
            is_users(path) || self.unapplied.get(path).is_some_and(|u| u.reason == Reason::LocalChange)
        };
        let waits_for_scan = |(path, want): (&RelPath, &Option<Shown>)| match &want.as_ref()?.content {
            Content::File { id, .. } if is_users(path) => Some(*id),
            _ => None,
        };
        let awaited = wants.iter().filter_map(waits_for_scan).collect();
        let is_ignored = |path: &RelPath, is_directory| self.rules.is_ignored(path, is_directory);
        let records = self.records_to_come();
        let view =
            View { entries: &new, records: &records, is_touched: &is_touched, is_ignored: &is_ignored };
        Ok((plan::plan(&view, wants, &|_| false)?, awaited))
    }

    /// The paths that a window looks at, and what they shall show.
    fn wants(&self, edits: &Edits, renderer: &mut Renderer<'_>) -> Result<Wants, EngineError> {
        let (old, new) = (self.tree(self.planned()), self.tree(self.state.entries));
        let changed = edits.iter().map(|(key, _)| key.path.clone());
        let mut paths = render::affected(&old, &new, &self.state.context, changed)?;
        paths.extend(self.revisit.iter().cloned());
        let waits = |(path, why): &(&RelPath, &Unapplied)| {
            why.reason == Reason::Waiting && !self.stuck.contains(*path)
        };
        paths.extend(self.unapplied.iter().filter(waits).map(|(path, _)| path.clone()));
        paths.sort();
        paths.dedup();
        let wants = paths.into_iter().map(|path| {
            let want = renderer.path(&path)?;
            Ok((path, want))
        });
        wants.collect()
    }

    /// Where a reader has something of its own and something else is wanted than before, it may be just that:
    /// only a look tells.
    fn own_to_look_at(&self, wants: &Wants) -> Result<Vec<RelPath>, EngineError> {
        if self.is_writer() {
            return Ok(Vec::new());
        }
        let is_own =
            |path: &RelPath| self.unapplied.get(path).is_some_and(|why| why.reason == Reason::LocalChange);
        let old = self.tree(self.planned());
        let mut renderer = Renderer::new(&old, &self.state.context);
        let mut paths = Vec::new();
        for (path, want) in wants {
            if want.is_some() && is_own(path) && renderer.path(path)? != *want {
                paths.push(path.clone());
            }
        }
        Ok(paths)
    }

    /// Directories that shall go with more below them than this window takes: the window that takes
    /// the last of it looks at them. Until then they hold something, which need not be found out each
    /// time by looking at all of it.
    fn put_off_directories(&self, edits: &Edits, wants: &mut Wants) -> Result<(), EngineError> {
        let applied = self.tree(self.planned());
        let takes = |key: &EntryKey| edits.binary_search_by(|(taken, _)| taken.cmp(key)).is_ok();
        let mut put_off = Vec::new();
        // What is taken need not be looked at again: of a directory within another it decides nothing.
        let mut left = applied.range(Bound::Unbounded);
        let mut next_left: Option<EntryKey> = None;
        for ((path, want), (next, _)) in wants.iter().zip(wants.iter().skip(1)) {
            if want.is_some() || !next.is_below(Some(path)) {
                continue;
            }
            if next_left.as_ref().is_none_or(|key| key.path <= *path) {
                left.seek_past(|key| key.path <= *path);
                next_left = left.next().transpose()?.map(|entry| entry.key());
            }
            while next_left.as_ref().is_some_and(|key| key.path.is_below(Some(path)) && takes(key)) {
                next_left = left.next().transpose()?.map(|entry| entry.key());
            }
            if next_left.as_ref().is_some_and(|key| key.path.is_below(Some(path))) {
                put_off.push(path.clone());
            }
        }
        put_off.iter().for_each(|path| drop(wants.remove(path)));
        Ok(())
    }

    /// Takes the paths that give contents up into a window. Whole groups only: of a conflict dealt
    /// with by halves, nothing would lead to its copies.
    fn add_moved(
        &self,
        moved: BTreeSet<RelPath>,
        edits: &mut Edits,
        renderer: &mut Renderer<'_>,
        wants: &mut Wants,
    ) -> Result<(), EngineError> {
        let (old, new) = (self.tree(self.planned()), self.tree(self.state.entries));
        for path in &moved {
            let (_, of_path, _) = group_of(path, &old.at(path)?, &new.at(path)?);
            edits.extend(of_path);
        }
        for path in render::affected(&old, &new, &self.state.context, moved)? {
            if let btree_map::Entry::Vacant(vacant) = wants.entry(path) {
                let want = renderer.path(vacant.key())?;
                vacant.insert(want);
            }
        }
        Ok(())
    }

    /// Directories that shall go, but hold a reader's own changes: of these there may be no records.
    fn blocked(&self, wants: &mut Wants) -> Result<Vec<RelPath>, EngineError> {
        if self.is_writer() {
            return Ok(Vec::new());
        }
        let mut blocked = Vec::new();
        for (path, want) in &*wants {
            let stays = want.as_ref().is_some_and(|want| want.content.is_directory());
            let is_directory = |record: Record| record.shown.content.is_directory();
            let is_local = |(_, why): (&RelPath, &Unapplied)| why.reason == Reason::LocalChange;
            let mut below = self.unapplied.range((Bound::Excluded(path), Bound::Unbounded));
            let mut below =
                std::iter::from_fn(|| below.next().filter(|(other, _)| other.is_below(Some(path))));
            if !stays && below.any(is_local) && self.store.record(path)?.is_some_and(is_directory) {
                blocked.push(path.clone());
            }
        }
        blocked.iter().for_each(|path| drop(wants.remove(path)));
        Ok(blocked)
    }

    /// For contents that come to a path: paths that give them up.
    fn movers(&self, wants: &Wants) -> Result<BTreeMap<ContentId, (RelPath, Record)>, EngineError> {
        let new = self.tree(self.state.entries);
        let mut renderer = Renderer::new(&new, &self.state.context);
        let mut movers = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for (path, want) in wants {
            let Some(Content::File { id, .. }) = want.as_ref().map(|want| &want.content) else { continue };
            if movers.contains_key(id) {
                continue;
            }
            for candidate in self.with_content(id, MOVE_CANDIDATES)? {
                if candidate == *path || taken.contains(&candidate) || renderer.path(&candidate)?.is_some() {
                    continue;
                }
                if let Some(record) = self.store.record(&candidate)? {
                    taken.insert(candidate.clone());
                    movers.insert(*id, (candidate, record));
                    break;
                }
            }
        }
        Ok(movers)
    }
}
