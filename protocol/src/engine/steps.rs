//! From the state to the disk: windows of changes, planned, gathered, applied.
//!
//! The difference between what was applied and what the state shows is worked off in windows. A
//! step that fits into one is applied whole; of a larger one, what comes new is shown as it comes
//! and removals come last. What a window has dealt with is edited into the applied root, so that the
//! next window begins behind it, also after a crash. Paths that could not be applied are kept aside
//! and hold up nothing.

use std::collections::{BTreeMap, BTreeSet, Bound, btree_map};
use std::time::Duration;

use super::staging::{Failure, Staging};
use super::{
    Busy, Changes, Edits, Effect, Engine, EngineError, FolderStore, Op, Outcome, Prepare, Reason, Source,
    Unapplied,
};
use crate::chunk::MIN_CHUNK_BYTES;
use crate::commit::Draft;
use crate::entry::{Content, ContentId, Entry};
use crate::path::RelPath;
use crate::plan::{self, Change, Deed, View};
use crate::record::{Record, Seen, Shown};
use crate::render::{self, Entries, Renderer};
use crate::store::NodeId;
use crate::tree::Difference;
use crate::version::Version;

/// Bytes of new content in a window, unless one file alone is larger.
const WINDOW_BYTES: u64 = 512 << 20;
/// Paths that could not be applied are tried again this often.
const RETRY: Duration = Duration::from_secs(30);
/// How many paths are asked for, to find one that gives a content up.
const MOVE_CANDIDATES: usize = 4;

/// The running step.
#[derive(Default)]
pub(super) struct Step {
    window: Option<Window>,
    /// The state for which the need was counted and deletions were let through.
    counted: Option<NodeId>,
    /// The state of which only removals are left.
    removals_only: Option<NodeId>,
    /// Something is removed, which may be a rename.
    has_removals: bool,
    /// Deletions that were let through and are still to be made.
    let_through: u64,
    /// Paths that this step has changed: that they are noticed is no news.
    made: Made,
    need_files: u64,
    need_bytes: u64,
    tried_at: Option<Duration>,
    has_failed: bool,
}

/// Paths that the last windows have made, so that news of them is known to be of our own doing. Such
/// news comes within seconds: what is older is forgotten, or a first sync would remember every path.
#[derive(Default)]
struct Made {
    lately: BTreeSet<RelPath>,
    before: BTreeSet<RelPath>,
}

impl Made {
    /// Paths in each of the two generations.
    const MOST: usize = 16_384;

    fn add(&mut self, path: &RelPath) {
        if self.lately.len() == Self::MOST {
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(path.clone());
    }

    fn contains(&self, path: &RelPath) -> bool {
        self.lately.contains(path) || self.before.contains(path)
    }
}

/// Changes that are made together.
struct Window {
    /// What it was planned for: state, applied.
    roots: (NodeId, NodeId),
    /// What it deals with, as edits of the applied entries.
    edits: Edits,
    ops: Vec<Op>,
    /// Records that change without the disk.
    records: Vec<(RelPath, Option<Record>)>,
    waiting: Vec<RelPath>,
    /// Paths that show what they should.
    settled: Vec<RelPath>,
    /// Paths that it was planned for though no entries of theirs differ.
    revisited: BTreeSet<RelPath>,
    /// What the operations under way take: by path, the content out of staging, or the path that
    /// gives it up.
    sources: BTreeMap<RelPath, Source>,
    /// Paths whose removal counts as a deletion.
    deletes: BTreeSet<RelPath>,
}

impl Step {
    pub(super) fn is_running(&self) -> bool {
        self.window.is_some()
    }

    /// Gives the window up, to be planned anew; answers its paths. Not while it is being applied.
    pub(super) fn drop_window(&mut self) -> Vec<RelPath> {
        let window = self.window.take();
        let paths = window.map(|window| window.ops.into_iter().map(|op| op.path).chain(window.waiting));
        paths.into_iter().flatten().collect()
    }

    pub(super) fn roots(&self) -> Option<[NodeId; 2]> {
        self.window.as_ref().map(|window| [window.roots.0, window.roots.1])
    }

    pub(super) fn retry_at(&self) -> Option<Duration> {
        self.tried_at.filter(|_| self.has_failed).map(|at| at + RETRY)
    }

    pub(super) fn need(&self, staging: &Staging) -> (u64, u64) {
        (self.need_files, self.need_bytes.max(staging.need_bytes()))
    }
}

/// Differences that make up a window.
#[derive(Default)]
struct Differences {
    edits: Edits,
    bytes: u64,
    removals: Edits,
    more: bool,
}

impl<S: FolderStore> Engine<S> {
    pub(super) fn advance_step(&mut self, now: Duration) -> Result<(), EngineError> {
        if self.is_stopped() || !self.scanned || self.first_head_by.is_some() {
            return Ok(());
        }
        if self.busy != Busy::No {
            return Ok(());
        }
        if self.step.retry_at().is_some_and(|at| now >= at) {
            self.step.has_failed = false;
            self.stuck.clear();
            if !self.peers.is_empty() {
                self.retry(Reason::NoContent);
            }
            self.retry(Reason::Problem);
            self.retry(Reason::Waiting);
        }
        loop {
            let roots = (self.state.entries, self.applied);
            let is_old = |window: &mut Window| window.roots != roots || !self.revisit.is_empty();
            if let Some(window) = self.step.window.take_if(is_old) {
                // It is planned anew, with what nothing but it would lead to.
                self.revisit.extend(window.revisited);
            }
            if self.step.window.is_some() {
                break;
            }
            if roots.0 == roots.1 && self.revisit.is_empty() {
                self.end_step();
                return Ok(());
            }
            if !self.count_arrivals(now)? {
                return Ok(());
            }
            self.plan_window(now)?;
            if self.step.window.as_ref().is_some_and(|window| !window.ops.is_empty()) {
                break;
            }
            self.close_window(now, Vec::new())?;
        }
        if self.staging.is_settled() && !self.start_apply()? {
            self.close_window(now, Vec::new())?;
            return self.advance_step(now);
        }
        Ok(())
    }

    fn end_step(&mut self) {
        if self.step.counted.take().is_some() || self.step.window.is_some() {
            self.step.window = None;
            self.step.removals_only = None;
            self.step.made = Made::default();
            self.step.let_through = 0;
            (self.step.need_files, self.step.need_bytes) = (0, 0);
            let forgotten = self.staging.clear();
            self.forget(forgotten);
        }
        if !self.unapplied.values().any(|why| why.reason == Reason::NoContent) {
            let forgotten = self.staging.take_partial();
            self.forget(forgotten);
        }
        self.tell_complete();
    }

    /// Counts what the step has to do, once for each state; whether it may be done.
    fn count_arrivals(&mut self, now: Duration) -> Result<bool, EngineError> {
        if self.step.counted == Some(self.state.entries) {
            return Ok(true);
        }
        let (mut files, mut bytes, mut has_removals) = (0, 0, false);
        let mut gone = Vec::new();
        let new = self.tree(self.state.entries);
        for group in self.groups_of_differences() {
            let (path, edits, removed) = group?;
            let put = edits.iter().find_map(|(_, entry)| entry.as_ref());
            has_removals |= put.is_none();
            let content = put.or(removed.as_ref()).map(|entry| entry.content.clone());
            let Some(content) = content.filter(|content| !content.is_directory()) else { continue };
            files += 1;
            match put {
                Some(_) => bytes += content.size_bytes(),
                // Not if only one of several entries of equal content goes.
                None if !new.at(&path)?.iter().any(|entry| entry.content == content) => gone.push(content),
                None => {}
            }
        }
        let gone = self.gone_for_good(gone)?;
        let known = self.state.totals.files + gone;
        // What was let through for an earlier state, and is not made yet, has been counted.
        let new = gone.saturating_sub(self.step.let_through);
        if self.guard.refuses(now, new, known, self.settings.hold_deletions, false) {
            self.hold_deletions(gone, known, false);
            return Ok(false);
        }
        self.step.let_through = gone;
        self.step.has_removals = has_removals;
        self.step.counted = Some(self.state.entries);
        (self.step.need_files, self.step.need_bytes) = (files, bytes);
        Ok(true)
    }

    /// How many of these contents do not come to another path in the same step.
    fn gone_for_good(&self, mut gone: Vec<Content>) -> Result<u64, EngineError> {
        let mut leaving: BTreeSet<_> = gone.iter().cloned().collect();
        if !leaving.is_empty() {
            for group in self.groups_of_differences() {
                let (_, edits, _) = group?;
                edits.iter().filter_map(|(_, entry)| entry.as_ref()).for_each(|entry| {
                    leaving.remove(&entry.content);
                });
            }
        }
        gone.retain(|content| leaving.contains(content));
        Ok(gone.len() as u64)
    }

    /// What differs between the applied entries and the state, path by path: the edits, and one of
    /// the entries that go.
    pub(super) fn groups_of_differences(
        &self,
    ) -> impl Iterator<Item = Result<(RelPath, Edits, Option<Entry>), EngineError>> {
        let (old, new) = (self.tree(self.applied), self.tree(self.state.entries));
        let mut differences = old.diff(&new).peekable();
        std::iter::from_fn(move || {
            let first = match differences.next()? {
                Ok(first) => first,
                Err(error) => return Some(Err(error.into())),
            };
            let path = first.key.path.clone();
            let mut removed = first.left.clone();
            let mut edits = vec![(first.key, first.right)];
            while let Some(Ok(Difference { key, .. })) = differences.peek() {
                if key.path != path {
                    break;
                }
                if let Some(Ok(next)) = differences.next() {
                    removed = removed.or(next.left);
                    edits.push((next.key, next.right));
                }
            }
            Some(Ok((path, edits, removed)))
        })
    }

    fn differences(&mut self) -> Result<Differences, EngineError> {
        let mut found = Differences::default();
        let removals_only = self.step.removals_only == Some(self.state.entries);
        for group in self.groups_of_differences() {
            let (_, edits, _) = group?;
            let put = edits.iter().find_map(|(_, entry)| entry.as_ref());
            if let Some(entry) = put {
                found.bytes += entry.content.size_bytes();
                found.edits.extend(edits);
            } else {
                if found.removals.len() < self.settings.window {
                    found.removals.extend(edits);
                } else if removals_only {
                    found.more = true;
                    break;
                } else {
                    found.more = true;
                }
            }
            if found.edits.len() >= self.settings.window || found.bytes >= WINDOW_BYTES {
                found.more = true;
                break;
            }
        }
        if found.edits.is_empty() {
            self.step.removals_only = Some(self.state.entries);
        }
        if found.edits.is_empty() || !found.more {
            found.edits.append(&mut found.removals);
        }
        Ok(found)
    }

    fn plan_window(&mut self, now: Duration) -> Result<(), EngineError> {
        let mut found = self.differences()?;
        self.step.tried_at = Some(now);
        let roots = (self.state.entries, self.applied);
        let (old, new) = (self.tree(self.applied), self.tree(self.state.entries));
        let context = &self.state.context;
        let changed = found.edits.iter().map(|(key, _)| key.path.clone());
        let mut paths = render::affected(&old, &new, context, changed)?;
        paths.extend(self.revisit.iter().cloned());
        let waits = |(path, why): &(&RelPath, &Unapplied)| {
            why.reason == Reason::Waiting && !self.stuck.contains(*path)
        };
        paths.extend(self.unapplied.iter().filter(waits).map(|(path, _)| path.clone()));
        let mut renderer = Renderer::new(&new, context);
        let mut wants = BTreeMap::new();
        for path in paths {
            let want = renderer.path(&path)?;
            wants.insert(path, want);
        }
        let blocked = self.blocked(&mut wants)?;
        let movers = if self.step.has_removals { self.movers(&wants)? } else { BTreeMap::new() };
        // Whole groups only: of a conflict dealt with by halves, nothing would lead to its copies.
        let moved: BTreeSet<_> = movers
            .values()
            .flat_map(|(_, record)| &record.shown.entries)
            .map(|key| key.path.clone())
            .collect();
        for path in &moved {
            let (before, after) = (old.at(path)?, new.at(path)?);
            let gone = before.iter().filter(|entry| !after.contains(entry));
            found.edits.extend(gone.map(|entry| (entry.key(), None)));
            found.edits.extend(after.into_iter().map(|entry| (entry.key(), Some(entry))));
        }
        for path in render::affected(&old, &new, context, moved)? {
            if let btree_map::Entry::Vacant(vacant) = wants.entry(path) {
                let want = renderer.path(vacant.key())?;
                vacant.insert(want);
            }
        }
        for (path, _) in movers.values() {
            wants.insert(path.clone(), None);
        }
        found.edits.sort_by(|a, b| a.0.cmp(&b.0));
        found.edits.dedup_by(|a, b| a.0 == b.0);
        let is_users = |path: &RelPath| self.dirty.has(path) && !self.step.made.contains(path);
        let is_touched = |path: &RelPath| {
            is_users(path) || self.unapplied.get(path).is_some_and(|u| u.reason == Reason::LocalChange)
        };
        let waits_for_scan = |(path, want): (&RelPath, &Option<Shown>)| match &want.as_ref()?.content {
            Content::File { id, .. } if is_users(path) => Some(*id),
            _ => None,
        };
        let awaited = wants.iter().filter_map(waits_for_scan).collect();
        let view = View { entries: &new, records: &self.store, is_touched: &is_touched };
        let looked_at: Vec<_> = wants.keys().cloned().collect();
        let plan = plan::plan(&view, wants, &|_| false)?;
        let mut window = Window {
            roots,
            edits: found.edits,
            ops: Vec::new(),
            records: Vec::new(),
            waiting: plan.waiting.into_iter().map(|(path, _)| path).chain(blocked).collect(),
            settled: Vec::new(),
            revisited: std::mem::take(&mut self.revisit),
            sources: BTreeMap::new(),
            deletes: BTreeSet::new(),
        };
        window.add(plan.passes, &awaited);
        window.settle(looked_at);
        let wanted = window.ops.iter().filter_map(Op::staged).collect();
        let forgotten = self.staging.retain(&wanted);
        self.forget(forgotten);
        self.want_contents(&window)?;
        self.step.window = Some(window);
        Ok(())
    }

    /// Directories that shall go, but hold a reader's own changes: of these there may be no records.
    fn blocked(&self, wants: &mut BTreeMap<RelPath, Option<Shown>>) -> Result<Vec<RelPath>, EngineError> {
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
    fn movers(
        &self,
        wants: &BTreeMap<RelPath, Option<Shown>>,
    ) -> Result<BTreeMap<ContentId, (RelPath, Record)>, EngineError> {
        let new = self.tree(self.state.entries);
        let mut renderer = Renderer::new(&new, &self.state.context);
        let mut movers = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for (path, want) in wants {
            let Some(Content::File { id, .. }) = want.as_ref().map(|want| &want.content) else { continue };
            if movers.contains_key(id) {
                continue;
            }
            for candidate in self.store.with_content(id, MOVE_CANDIDATES)? {
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

    fn want_contents(&mut self, window: &Window) -> Result<(), EngineError> {
        let mut short = Vec::new();
        for op in &window.ops {
            let (Source::Staged(content), Some(Content::File { size, .. })) =
                (&op.source, op.after.as_ref().map(|after| &after.content))
            else {
                continue;
            };
            if self.staging.has(content) {
                continue;
            }
            let earlier = op.before.as_ref().and_then(|record| match &record.shown.content {
                Content::File { id, size } if *size > MIN_CHUNK_BYTES as u64 => Some((op.path.clone(), *id)),
                _ => None,
            });
            let same = self.store.with_content(content, MOVE_CANDIDATES)?;
            let wish = Prepare { content: *content, size: *size, same, earlier };
            if *size <= MIN_CHUNK_BYTES as u64 {
                short.push(wish.clone());
            }
            self.staging.want(wish);
        }
        self.send_prepare(short);
        self.prepare()
    }

    /// All that can be had is here. Whether anything is to be done.
    fn start_apply(&mut self) -> Result<bool, EngineError> {
        let Some(window) = &mut self.step.window else { return Ok(true) };
        let mut changes = Changes { durable: true, ..Changes::default() };
        let mut failed = Vec::new();
        let mut lacking = BTreeSet::new();
        let staging = &self.staging;
        window.ops.retain(|op| {
            let Source::Staged(content) = &op.source else { return true };
            let failure = staging.failure(content);
            if let Some(failure) = &failure {
                failed.push((op.path.clone(), failure.clone()));
                lacking.insert(*content);
            }
            failure.is_none()
        });
        let ops = std::mem::take(&mut window.ops);
        for op in &ops {
            window.sources.insert(op.path.clone(), op.source.clone());
            if op.after.is_none() && op.before.as_ref().is_some_and(super::holds::counts) {
                window.deletes.insert(op.path.clone());
            }
            changes.journal.push((op.path.clone(), op.after.clone()));
            if let Source::Moved(from, _) = &op.source {
                changes.journal.push((from.clone(), None));
            }
        }
        for (path, failure) in failed {
            let (reason, message) = match failure {
                Failure::Nobody => (Reason::NoContent, "no connected device has this version".into()),
                Failure::Disk(message) => (Reason::Problem, message),
            };
            self.set_unapplied(&mut changes, path, Some(Unapplied { reason, message }));
            self.step.has_failed = true;
        }
        if !lacking.is_empty() {
            // Whoever wants them again begins anew.
            let lacking: Vec<_> = lacking.into_iter().collect();
            self.staging.take(&lacking);
            self.forget(lacking);
        }
        self.store.keep(&changes)?;
        if ops.is_empty() {
            return Ok(false);
        }
        self.busy = Busy::Applying;
        self.effects.push_back(Effect::Apply(ops));
        Ok(true)
    }

    pub(super) fn on_applied(
        &mut self,
        now: Duration,
        outcomes: Vec<(RelPath, Outcome)>,
    ) -> Result<(), EngineError> {
        if self.busy == Busy::Applying {
            self.busy = Busy::No;
            self.close_window(now, outcomes)?;
        }
        Ok(())
    }

    /// Records what has become of a window.
    fn close_window(&mut self, now: Duration, outcomes: Vec<(RelPath, Outcome)>) -> Result<(), EngineError> {
        let Some(window) = self.step.window.take() else { return Ok(()) };
        let is_overtaken = window.roots.0 != self.state.entries;
        let mut changes = Changes { settle_journal: true, records: window.records, ..Changes::default() };
        let mut edits = Vec::new();
        for path in window.waiting {
            let is_reported = |why: &Unapplied| matches!(why.reason, Reason::LocalChange | Reason::Unsynced);
            if !self.unapplied.get(&path).is_some_and(is_reported) {
                self.set_waiting(&mut changes, path);
            }
        }
        for path in window.settled {
            if self.unapplied.get(&path).is_some_and(|why| why.reason != Reason::LocalChange) {
                self.set_unapplied(&mut changes, path, None);
            }
        }
        let mut progress = false;
        let mut left = BTreeSet::new();
        for (path, outcome) in outcomes {
            let done = matches!(outcome, Outcome::Done(_) | Outcome::Displaced { .. });
            progress |= done;
            if done {
                self.step.made.add(&path);
            }
            self.step.let_through -=
                u64::from(done && window.deletes.contains(&path)).min(self.step.let_through);
            match window.sources.get(&path) {
                Some(Source::Staged(content)) if !done => drop(left.insert(*content)),
                Some(Source::Staged(content)) => self.staging.is_shown(content),
                Some(Source::Moved(from, _)) if done => {
                    self.set_unapplied(&mut changes, from.clone(), None);
                    changes.records.push((from.clone(), None));
                }
                Some(Source::Moved(from, _)) => self.set_waiting(&mut changes, from.clone()),
                _ => {}
            }
            if let Some(edit) = self.on_outcome(now, &mut changes, path, outcome) {
                edits.push(edit);
            }
        }
        if !window.sources.is_empty() {
            let taken: Vec<_> = window.sources.values().filter_map(Source::staged).collect();
            self.staging.take(&taken);
            self.forget(left.into_iter().collect());
        }
        if progress {
            self.stuck.clear();
            self.retry(Reason::Waiting);
        }
        if is_overtaken {
            // What has come since may want something else where the window has just put something.
            let paths: Vec<_> = changes.records.iter().map(|(path, _)| path.clone()).collect();
            self.leave_open(&mut changes, paths)?;
        }
        self.applied = self.tree(self.applied).edit(window.edits)?.root;
        changes.saved = Some(self.saved());
        let before = self.told;
        if !edits.is_empty() && self.is_writer() {
            self.commit_displaced(edits, &mut changes)?;
        }
        self.store.keep(&changes)?;
        self.announce(before, &[]);
        if self.applied == self.state.entries {
            let forgotten = self.staging.clear();
            self.forget(forgotten);
        }
        Ok(())
    }

    fn set_waiting(&mut self, changes: &mut Changes, path: RelPath) {
        let why = Unapplied { reason: Reason::Waiting, message: String::new() };
        self.set_unapplied(changes, path, Some(why));
    }

    /// The disk is not as the plan thought: without a change it makes no sense to try again soon.
    fn get_stuck(&mut self, changes: &mut Changes, path: RelPath) {
        self.step.has_failed = true;
        self.stuck.insert(path.clone());
        self.set_waiting(changes, path);
    }

    fn on_outcome(
        &mut self,
        now: Duration,
        changes: &mut Changes,
        path: RelPath,
        outcome: Outcome,
    ) -> Option<(RelPath, Seen)> {
        self.step.need_files = self.step.need_files.saturating_sub(1);
        match outcome {
            Outcome::Done(record) => {
                self.set_unapplied(changes, path.clone(), None);
                changes.records.push((path, record));
                None
            }
            Outcome::Displaced { record, edit } => {
                self.set_unapplied(changes, path.clone(), None);
                changes.records.push((path.clone(), record));
                if let (true, Content::File { id, .. }) = (self.is_writer(), &edit.content) {
                    self.staging.keep_displaced(*id);
                }
                Some((path, edit))
            }
            Outcome::Touched => {
                self.dirty.add(now, super::Noticed::Paths(vec![path.clone()]));
                self.get_stuck(changes, path);
                None
            }
            Outcome::Waits => {
                self.get_stuck(changes, path);
                None
            }
            Outcome::Problem(message) => {
                self.step.has_failed = true;
                self.set_unapplied(changes, path, Some(Unapplied { reason: Reason::Problem, message }));
                None
            }
        }
    }

    /// Files that were written to after they had been displaced. A stopped folder forgets this; the
    /// archive still has them.
    pub(super) fn on_edited(&mut self, edits: Vec<(RelPath, Seen)>) -> Result<(), EngineError> {
        if self.is_stopped() || !self.is_writer() || edits.is_empty() {
            return Ok(());
        }
        let mut changes = Changes::default();
        let before = self.told;
        self.commit_displaced(edits, &mut changes)?;
        self.store.keep(&changes)?;
        self.announce(before, &[]);
        Ok(())
    }

    /// A user's edit came out when a path was replaced: it is committed as an edit of that path, as
    /// a scan a moment earlier would have done. Its bytes are staged, so the next window shows it.
    fn commit_displaced(
        &mut self,
        edits: Vec<(RelPath, Seen)>,
        changes: &mut Changes,
    ) -> Result<(), EngineError> {
        let version = Version { seq: self.state.context.next_seq(), origin: self.identity.origin };
        let put = edits
            .into_iter()
            .map(|(path, seen)| Entry {
                path,
                version,
                found: false,
                content: seen.content,
                metadata: seen.metadata,
                extra: Vec::new(),
            })
            .collect();
        let applied = self.applied;
        let nodes = self.commit(Draft { version, removed: Vec::new(), put }, changes)?;
        drop(nodes);
        // The disk does not show these entries yet: they are differences for the next window.
        self.applied = applied;
        changes.saved = Some(self.saved());
        Ok(())
    }
}

impl Window {
    /// Of the paths that were looked at, those for which nothing is to be done on the disk.
    fn settle(&mut self, mut looked_at: Vec<RelPath>) {
        let mut open: BTreeSet<_> = self.waiting.iter().chain(self.ops.iter().map(|op| &op.path)).collect();
        let sources = self.ops.iter().filter_map(|op| match &op.source {
            Source::Moved(from, _) => Some(from),
            _ => None,
        });
        open.extend(sources);
        looked_at.retain(|path| !open.contains(path));
        self.settled = looked_at;
    }

    /// Turns the changes into operations, with moves where one path gives up what another wants.
    fn add(&mut self, passes: Vec<Vec<Change>>, awaited: &BTreeSet<ContentId>) {
        for pass in passes {
            let mut leaving: BTreeMap<ContentId, Change> = BTreeMap::new();
            let mut rest = Vec::new();
            for change in pass {
                match (&change.deed, change.before.as_ref().map(|record| &record.shown.content)) {
                    (Deed::Remove, Some(Content::File { id, .. })) if !leaving.contains_key(id) => {
                        leaving.insert(*id, change);
                    }
                    _ => rest.push(change),
                }
            }
            let mut ops = Vec::new();
            for change in rest {
                if change.deed == Deed::Record {
                    let kept = change.before.as_ref();
                    let record = change.after.map(|shown| Record {
                        shown,
                        stat: kept.and_then(|record| record.stat),
                        ignored: false,
                    });
                    self.records.push((change.path, record));
                    continue;
                }
                let source = source(&change, &mut leaving);
                ops.push(Op { path: change.path, before: change.before, after: change.after, source });
            }
            // What a path will show after a scan is not removed before: then it is a rename.
            let (kept, leaving): (Vec<_>, Vec<_>) =
                leaving.into_iter().partition(|(id, _)| awaited.contains(id));
            self.waiting.extend(kept.into_iter().map(|(_, change)| change.path));
            let mut removals: Vec<_> = leaving.into_iter().map(|(_, change)| change).collect();
            removals.sort_by(|a, b| b.path.cmp(&a.path));
            let at = ops.iter().position(|op| op.after.is_none()).unwrap_or(ops.len());
            let removals = removals.into_iter().map(|c| Op {
                path: c.path,
                before: c.before,
                after: c.after,
                source: Source::None,
            });
            ops.splice(at..at, removals);
            self.ops.extend(ops);
        }
    }
}

fn source(change: &Change, leaving: &mut BTreeMap<ContentId, Change>) -> Source {
    let brings = matches!(change.deed, Deed::Create | Deed::Replace);
    match change.after.as_ref().map(|after| &after.content) {
        Some(Content::File { id, .. }) if brings => match leaving.remove(id) {
            Some(Change { path, before: Some(record), .. }) => Source::Moved(path, Box::new(record)),
            _ => Source::Staged(*id),
        },
        _ => Source::None,
    }
}
