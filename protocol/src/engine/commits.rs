//! From the disk to the state: what scans see is noted and committed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::held::Held;
use super::{
    Busy, Changes, Edits, Effect, Engine, EngineError, FolderStore, Hold, Noticed, Reason, Scan, Unapplied,
};
use crate::commit::{self, Draft, Observation};
use crate::path::RelPath;
use crate::render;
use crate::state::State;
use crate::version::Version;

impl<S: FolderStore> Engine<S> {
    pub(super) fn advance_scan(&mut self, now: Duration) -> Result<(), EngineError> {
        if self.first_head_by.is_some_and(|by| now >= by) {
            self.first_head_by = None;
        }
        let due = self.look_at().is_some_and(|due| now >= due);
        if self.busy != Busy::No || !due || self.is_stopped() || self.first_head_by.is_some() {
            return Ok(());
        }
        let (full, paths) = self.dirty.take();
        if full {
            self.step.forget_made();
        } else {
            self.step.look_at_made(&paths);
        }
        self.busy = Busy::Scanning { full };
        self.reported.clear();
        self.scanning = if full { Scan::Full } else { Scan::Paths(self.with_copies(paths)?) };
        self.effects.push_back(Effect::Scan(self.scanning.clone()));
        Ok(())
    }

    /// When it is time to look at what was noticed. As long as there is a bound to what may be deleted
    /// without asking, all that goes together is judged together.
    pub(super) fn look_at(&self) -> Option<Duration> {
        self.dirty.due(self.settings.hold_deletions > 0, self.step.is_running())
    }

    /// Paths to look at, with the conflict copies of their directories and what these stand for:
    /// a commit must know whether the user has touched those as well. None below another.
    fn with_copies(&self, paths: BTreeSet<RelPath>) -> Result<Vec<RelPath>, EngineError> {
        let paths: Vec<_> = paths.into_iter().collect();
        let directories = paths.chunk_by(RelPath::is_beside).map(|beside| beside[0].parent());
        let directories: BTreeSet<_> = directories.collect();
        let mut all = Vec::new();
        for directory in directories {
            all.extend(self.back_again(directory.as_ref())?);
            for (path, record) in self.store.copies(directory.as_ref())? {
                all.extend(record.shown.entries.into_iter().map(|key| key.path));
                all.push(path);
            }
        }
        all.extend(paths);
        all.sort();
        all.dedup();
        let mut top: Vec<RelPath> = Vec::with_capacity(all.len());
        for path in all {
            if !top.last().is_some_and(|last| path.is_below(Some(last))) {
                top.push(path);
            }
        }
        Ok(top)
    }

    /// Directories that were missing, and are there again if something in the last of them is, whether or
    /// not anyone noticed.
    fn back_again(&self, directory: Option<&RelPath>) -> Result<Vec<RelPath>, EngineError> {
        let mut found = Vec::new();
        for directory in std::iter::successors(directory.cloned(), RelPath::parent) {
            let is_local = |why: &Unapplied| why.reason == Reason::LocalChange;
            if self.unapplied.get(&directory).is_some_and(is_local)
                && self.store.record(&directory)?.is_some_and(|record| record.shown.content.is_directory())
            {
                found.push(directory);
            }
        }
        Ok(found)
    }

    pub(super) fn on_scanned(
        &mut self,
        now: Duration,
        mut observations: Vec<Observation>,
        unsynced: Vec<(RelPath, String)>,
    ) -> Result<(), EngineError> {
        if !matches!(self.busy, Busy::Scanning { .. }) || self.is_stopped() {
            return Ok(());
        }
        let mut changes = Changes::default();
        for (path, message) in unsynced {
            self.set_unapplied(&mut changes, path, Some(Unapplied { reason: Reason::Unsynced, message }));
        }
        if self.reverting {
            self.drop_deleted(&mut observations, &mut changes);
        }
        let files = self.state.totals.files;
        // Without a bound nobody asks how many there are.
        let is_judged = self.is_writer() && self.settings.hold_deletions > 0;
        let gone = if is_judged { self.deletions(&observations)? } else { 0 };
        if self.guard.refuses(now, gone, files, self.settings.hold_deletions, true) {
            self.hold_deletions(gone, files, true);
            return Ok(());
        }
        let before = self.told;
        let nodes = self.note_and_commit(&observations, &mut changes)?;
        self.keep(changes)?;
        if self.told != before {
            self.announce(before, &nodes);
        }
        Ok(())
    }

    /// The rule of a scan, and all that follows from it, as one transaction.
    fn note_and_commit(
        &mut self,
        observations: &[Observation],
        changes: &mut Changes,
    ) -> Result<Vec<bytes::Bytes>, EngineError> {
        let tree = self.tree(self.state.entries);
        let folder = commit::Folder {
            entries: &tree,
            labels: &self.state.context,
            records: &self.store,
            version: Version { seq: self.state.context.next_seq(), origin: self.identity.origin },
            writer: self.is_writer(),
            trusted: self.trusted,
            copies_kept: commit::COPIES,
        };
        let scanned = commit::scan(&folder, observations)?;
        if !scanned.notes.is_empty() {
            self.stuck.clear();
        }
        // What a commit puts is looked at with it. Of the rest, metadata may have to give way.
        let put = scanned.commit.iter().flat_map(|draft| &draft.put).map(|entry| &entry.path);
        let put: BTreeSet<_> = put.collect();
        let notes = scanned.notes.iter().map(|(path, _)| path);
        let mut open: Vec<_> = notes.filter(|path| !put.contains(path)).cloned().collect();
        self.revisit.extend(open.iter().filter(|path| self.unapplied.contains_key(*path)).cloned());
        self.clear_reports(observations, &scanned.local_changes, changes, &mut open);
        for path in &scanned.local_changes {
            if self.unapplied.get(path).is_none_or(|why| why.reason != Reason::LocalChange) {
                self.stuck.clear();
            }
            let reason = Unapplied { reason: Reason::LocalChange, message: String::new() };
            self.set_unapplied(changes, path.clone(), Some(reason));
        }
        open.extend(changes.records.iter().map(|(path, _)| path.clone()));
        let lacks_content = self.lacks_content();
        let noted = scanned.notes.iter().filter(|_| lacks_content);
        let found = noted.filter_map(|(_, record)| record.as_ref()?.shown.content.file()).collect();
        changes.records.extend(scanned.notes);
        let nodes = match scanned.commit {
            Some(draft) => self.commit(draft, changes)?,
            None => Vec::new(),
        };
        self.retry_collisions(changes);
        self.leave_open(changes, open)?;
        self.take_found(&found)?;
        Ok(nodes)
    }

    /// What was looked at and is no local change is not reported as one any longer, also if the scan came
    /// upon it on its way to something else. `local_changes` are in order.
    fn clear_reports(
        &mut self,
        observations: &[Observation],
        local_changes: &[RelPath],
        changes: &mut Changes,
        open: &mut Vec<RelPath>,
    ) {
        let is_local = |why: &Unapplied| why.reason == Reason::LocalChange;
        for Observation { path, .. } in observations {
            if self.unapplied.get(path).is_some_and(is_local) && local_changes.binary_search(path).is_err() {
                self.stuck.clear();
                self.set_unapplied(changes, path.clone(), None);
                open.push(path.clone());
            }
        }
    }

    /// Makes a commit: new roots, a new head, durable before anyone hears of it. Answers the new
    /// nodes.
    pub(super) fn commit(
        &mut self,
        draft: Draft,
        changes: &mut Changes,
    ) -> Result<Vec<bytes::Bytes>, EngineError> {
        let mut edits: Edits = draft.removed.into_iter().map(|key| (key, None)).collect();
        edits.extend(draft.put.into_iter().map(|entry| (entry.key(), Some(entry))));
        edits.sort_by(|a, b| a.0.cmp(&b.0));
        let changed: Vec<_> = edits.iter().map(|(key, _)| key.path.clone()).collect();
        let old = self.state.clone();
        let edited = self.tree(old.entries).edit(edits.iter().cloned())?;
        let is_behind = self.applied != old.entries;
        let applied = if is_behind { self.tree(self.applied).edit(edits)?.root } else { edited.root };
        let Version { seq, origin } = draft.version;
        let context = old.context.with(origin, self.identity.label.clone(), seq);
        let context_root = context.save_after(&self.store, &old.context, old.context_root)?;
        let (before, after) = (self.tree(old.entries), self.tree(edited.root));
        let mut affected = render::affected(&before, &after, &context, changed.iter().cloned())?;
        let totals = old.totals.changed(render::totals_change(&before, &after, &context, &affected)?);
        if is_behind {
            // What was a conflict here may be none any more: nothing else leads to its copies.
            let (before, after) = (self.tree(self.applied), self.tree(applied));
            let shown = render::affected(&before, &after, &context, changed)?;
            affected.extend(shown.into_iter().filter(|path| render::has_mark(path.name())));
        }
        self.state = State { context, context_root, entries: edited.root, totals };
        self.applied = applied;
        self.heads = self.sign().into_iter().collect();
        self.told = Some((self.state.entries, self.state.context_root));
        changes.saved = Some(self.saved());
        changes.heads = Some(self.heads.clone());
        changes.durable = true;
        self.leave_open(changes, affected)?;
        self.new_nodes(&edited.written, old.context_root)
    }

    /// The bytes of new nodes, to be pushed with the head; none if they are many.
    fn new_nodes(
        &self,
        written: &[crate::NodeId],
        old_context: crate::NodeId,
    ) -> Result<Vec<bytes::Bytes>, EngineError> {
        if written.len() > 48 {
            return Ok(Vec::new());
        }
        let mut nodes = Vec::new();
        for id in
            written.iter().chain((old_context != self.state.context_root).then_some(&self.state.context_root))
        {
            nodes.extend(self.store.load(id)?);
        }
        let total: usize = nodes.iter().map(bytes::Bytes::len).sum();
        Ok(if total > crate::message::MAX_PUSHED_BYTES { Vec::new() } else { nodes })
    }

    pub(super) fn on_scan_ended(
        &mut self,
        now: Duration,
        result: Result<(), Hold>,
    ) -> Result<(), EngineError> {
        let Busy::Scanning { full } = self.busy else { return Ok(()) };
        self.busy = Busy::No;
        if let Err(hold) = result {
            self.hold = Some(hold);
        }
        if self.is_stopped() {
            self.dirty.add(now, Noticed::Everything, |_| false);
            return Ok(());
        }
        if !self.step.is_running() {
            self.step.forget_made();
        }
        let mut changes = Changes::default();
        self.clear_stale_reports(&mut changes)?;
        self.retry(Reason::Waiting);
        if full {
            // What kept a directory may have gone: nobody tells of what is ignored.
            self.retry(Reason::Ignored);
            self.retry(Reason::Collision);
            self.scanned = true;
            self.trusted = true;
            self.reverting = false;
            changes.saved = Some(self.saved());
            self.vouch_for_nothing(&mut changes);
        }
        self.guard.settle_scan();
        self.keep(changes)?;
        if !self.is_writer() && self.settings.revert_local_changes {
            self.giving_up = self.local_changes_below(None);
        }
        Ok(())
    }

    /// A new folder without a file has a head as well: whoever joins waits for a first one.
    fn vouch_for_nothing(&mut self, changes: &mut Changes) {
        if self.told.is_none() && self.first_head {
            self.heads = self.sign().into_iter().collect();
            if !self.heads.is_empty() {
                self.told = Some((self.state.entries, self.state.context_root));
                changes.heads = Some(self.heads.clone());
                self.announce(None, &[]);
            }
        }
    }

    /// What was reported before, lies in what has been scanned, and was not reported again, is fine.
    fn clear_stale_reports(&mut self, changes: &mut Changes) -> Result<(), EngineError> {
        let scanned = |path: &RelPath| match &self.scanning {
            Scan::Full => true,
            Scan::Paths(paths) => paths.iter().any(|p| p == path || path.is_below(Some(p))),
        };
        let stale: Vec<_> = self
            .unapplied
            .iter()
            .filter(|(_, why)| matches!(why.reason, Reason::LocalChange | Reason::Unsynced))
            .filter(|(path, _)| scanned(path) && !self.reported.contains(*path))
            .map(|(path, _)| path.clone())
            .collect();
        for path in &stale {
            self.stuck.clear();
            self.set_unapplied(changes, path.clone(), None);
        }
        self.leave_open(changes, stale)
    }

    pub(super) fn local_changes_below(&self, directory: Option<&RelPath>) -> Vec<RelPath> {
        self.unapplied
            .iter()
            .filter(|(path, why)| {
                why.reason == Reason::LocalChange && (Some(*path) == directory || path.is_below(directory))
            })
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// While deletions are being taken back, a path that is gone just loses its record.
    fn drop_deleted(&mut self, observations: &mut Vec<Observation>, changes: &mut Changes) {
        observations.retain(|observation| {
            let gone = observation.seen.is_none() && observation.record.is_some() && !observation.ignored;
            if gone {
                changes.records.push((observation.path.clone(), None));
            }
            !gone
        });
    }

    /// The database is treated as lost: no state, no records.
    pub(super) fn forget_records(&mut self, now: Duration) -> Result<(), EngineError> {
        self.store.forget()?;
        self.state = State::empty(&self.store)?;
        self.applied = self.state.entries;
        self.trusted = false;
        self.held = Some(Held::default());
        self.heads.clear();
        self.told = None;
        self.complete = None;
        self.first_head = false;
        self.first_head_by = Some(now + self.settings.first_head_wait);
        self.scanned = false;
        self.unapplied.clear();
        self.stuck.clear();
        self.revisit.clear();
        self.pulls = Default::default();
        self.step.forget();
        let forgotten = self.staging.clear();
        self.forget(forgotten);
        self.effects.push_back(Effect::Rejoin);
        Ok(())
    }
}
