//! From the state to the disk: windows of changes, planned, gathered, applied.
//!
//! The difference between what was applied and what the state shows is worked off in windows. A
//! step that fits into one is applied whole; of a larger one, what comes new is shown as it comes
//! and removals come last. What a window has dealt with is edited into the applied root, so that the
//! next window begins behind it, also after a crash. Paths that could not be applied are kept aside
//! and hold up nothing.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::render::{self, Renderer};
use crate::store::NodeId;
use crate::tree::Difference;
use crate::version::Version;

/// Differing entries in a window: some seconds of work, some MiB of memory.
const WINDOW: usize = 4_096;
/// Bytes of new content in a window, unless one file alone is larger.
const WINDOW_BYTES: u64 = 512 << 20;
/// Paths that could not be applied are tried again this often.
const RETRY: Duration = Duration::from_secs(30);
/// So often a path that is not what its record says is looked at again at once.
const TRIES: u32 = 5;
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
    need_files: u64,
    need_bytes: u64,
    tried_at: Option<Duration>,
    has_failed: bool,
    /// How often a path was not what its record says, since it last was.
    touched: BTreeMap<RelPath, u32>,
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
    /// Contents that the operations take out of staging.
    staged: Vec<ContentId>,
}

impl Step {
    pub(super) fn is_running(&self) -> bool {
        self.window.is_some()
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
    has_removals: bool,
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
            self.revisit.extend(self.unapplied.keys().cloned());
        }
        loop {
            let roots = (self.state.entries, self.applied);
            if self.step.window.as_ref().is_some_and(|window| window.roots == roots && self.revisit.is_empty()) {
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
        if self.staging.is_settled() {
            self.start_apply(now)?;
        }
        Ok(())
    }

    fn end_step(&mut self) {
        if self.step.counted.take().is_some() || self.step.window.is_some() {
            self.step.window = None;
            (self.step.need_files, self.step.need_bytes) = (0, 0);
            let forgotten = self.staging.clear();
            if !forgotten.is_empty() {
                self.effects.push_back(Effect::Forget(forgotten));
            }
        }
        self.tell_complete();
    }

    /// Counts what the step has to do, once for each state; whether it may be done.
    fn count_arrivals(&mut self, now: Duration) -> Result<bool, EngineError> {
        if self.step.counted == Some(self.state.entries) {
            return Ok(true);
        }
        let (mut files, mut bytes) = (0, 0);
        let mut gone = Vec::new();
        let mut come = BTreeSet::new();
        for group in self.groups_of_differences() {
            let (_, edits, removed) = group?;
            let put = edits.iter().find_map(|(_, entry)| entry.as_ref());
            let content = put.or(removed.as_ref()).map(|entry| entry.content.clone());
            let Some(content) = content.filter(|content| !content.is_directory()) else { continue };
            files += 1;
            match put {
                Some(_) => {
                    bytes += content.size_bytes();
                    come.insert(content);
                }
                None => gone.push(content),
            }
        }
        gone.retain(|content| !come.contains(content));
        let known = self.state.totals.files + gone.len() as u64;
        if self.guard.refuses(now, gone.len() as u64, known, self.settings.hold_deletions, false) {
            self.hold_deletions(gone.len() as u64, known, false);
            return Ok(false);
        }
        self.step.counted = Some(self.state.entries);
        (self.step.need_files, self.step.need_bytes) = (files, bytes);
        Ok(true)
    }

    /// What differs between the applied entries and the state, path by path: the edits, and one of
    /// the entries that go.
    #[expect(clippy::type_complexity, reason = "one local use each")]
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
                found.has_removals = true;
                if found.removals.len() < WINDOW {
                    found.removals.extend(edits);
                } else if removals_only {
                    found.more = true;
                    break;
                } else {
                    found.more = true;
                }
            }
            if found.edits.len() >= WINDOW || found.bytes >= WINDOW_BYTES {
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
        paths.extend(self.unapplied.iter().filter(|(_, u)| u.reason == Reason::Waiting).map(|(p, _)| p.clone()));
        let mut renderer = Renderer::new(&new, context);
        let mut wants = BTreeMap::new();
        for path in paths {
            let want = renderer.path(&path)?;
            wants.insert(path, want);
        }
        let movers = if found.has_removals { self.movers(&wants)? } else { BTreeMap::new() };
        for (path, record) in movers.values() {
            wants.insert(path.clone(), None);
            found.edits.extend(record.shown.entries.iter().map(|key| (key.clone(), None)));
        }
        found.edits.sort_by(|a, b| a.0.cmp(&b.0));
        found.edits.dedup_by(|a, b| a.0 == b.0);
        let is_touched = |path: &RelPath| self.is_touched(path);
        let view = View { entries: &new, records: &self.store, is_touched: &is_touched };
        let plan = plan::plan(&view, wants, &|_| false)?;
        let mut window =
            Window { roots, edits: found.edits, ops: Vec::new(), records: Vec::new(), waiting: Vec::new(), staged: Vec::new() };
        window.waiting = plan.waiting.into_iter().map(|(path, _)| path).collect();
        window.add(plan.passes);
        self.revisit.clear();
        self.want_contents(&window)?;
        self.step.window = Some(window);
        Ok(())
    }

    /// Whether a path may be the user's. A directory that is only noticed (we have just made things in
    /// it) is none: the executor looks at it anyway.
    fn is_touched(&self, path: &RelPath) -> bool {
        if self.unapplied.get(path).is_some_and(|why| why.reason == Reason::LocalChange) {
            return true;
        }
        let is_directory = |record: Record| record.shown.content.is_directory();
        self.dirty.has(path) && !self.store.record(path).is_ok_and(|found| found.is_some_and(is_directory))
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

    fn start_apply(&mut self, now: Duration) -> Result<(), EngineError> {
        let Some(window) = &mut self.step.window else { return Ok(()) };
        let mut changes = Changes { durable: true, ..Changes::default() };
        let mut failed = Vec::new();
        let staging = &self.staging;
        window.ops.retain(|op| {
            let Source::Staged(content) = &op.source else { return true };
            let failure = staging.failure(content);
            if let Some(failure) = &failure {
                failed.push((op.path.clone(), failure.clone()));
            }
            failure.is_none()
        });
        let ops = std::mem::take(&mut window.ops);
        window.staged = ops.iter().filter_map(Op::staged).collect();
        for op in &ops {
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
        self.store.keep(&changes)?;
        if ops.is_empty() {
            return self.close_window(now, Vec::new());
        }
        self.busy = Busy::Applying;
        self.effects.push_back(Effect::Apply(ops));
        Ok(())
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
        let mut changes = Changes { settle_journal: true, records: window.records, ..Changes::default() };
        let mut edits = Vec::new();
        for path in window.waiting {
            if self.unapplied.get(&path).is_none_or(|why| why.reason != Reason::LocalChange) {
                let why = Unapplied { reason: Reason::Waiting, message: String::new() };
                self.set_unapplied(&mut changes, path, Some(why));
            }
        }
        self.staging.take(&window.staged);
        let mut progress = false;
        for (path, outcome) in outcomes {
            progress |= matches!(outcome, Outcome::Done(_) | Outcome::Displaced { .. });
            if let Some(edit) = self.on_outcome(now, &mut changes, path, outcome) {
                edits.push(edit);
            }
        }
        if progress {
            let waiting = self.unapplied.iter().filter(|(_, why)| why.reason == Reason::Waiting);
            self.revisit.extend(waiting.map(|(path, _)| path.clone()));
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
            if !forgotten.is_empty() {
                self.effects.push_back(Effect::Forget(forgotten));
            }
        }
        Ok(())
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
                self.step.touched.remove(&path);
                self.set_unapplied(changes, path.clone(), None);
                changes.records.push((path, record));
                None
            }
            Outcome::Displaced { record, edit } => {
                changes.records.push((path.clone(), record));
                Some((path, edit))
            }
            Outcome::Touched => {
                self.on_touched(now, changes, path);
                None
            }
            Outcome::Waits => {
                let why = Unapplied { reason: Reason::Waiting, message: String::new() };
                self.set_unapplied(changes, path, Some(why));
                None
            }
            Outcome::Problem(message) => {
                self.step.has_failed = true;
                self.set_unapplied(changes, path, Some(Unapplied { reason: Reason::Problem, message }));
                None
            }
        }
    }

    /// The path is the user's: a scan looks at it, and then it is tried again. If a scan finds
    /// nothing there, time and again (it is ignored, or cannot be read), the path is a problem.
    fn on_touched(&mut self, now: Duration, changes: &mut Changes, path: RelPath) {
        let times = self.step.touched.entry(path.clone()).or_default();
        *times += 1;
        let why = if *times < TRIES {
            self.dirty.add(now, super::Noticed::Paths(vec![path.clone()]));
            Unapplied { reason: Reason::Waiting, message: String::new() }
        } else {
            self.step.has_failed = true;
            Unapplied { reason: Reason::Problem, message: "something else is in its place here".into() }
        };
        self.set_unapplied(changes, path, Some(why));
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
    /// Turns the changes into operations, with moves where one path gives up what another wants.
    fn add(&mut self, passes: Vec<Vec<Change>>) {
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
            let mut removals: Vec<_> = leaving.into_values().collect();
            removals.sort_by(|a, b| b.path.cmp(&a.path));
            let at = ops.iter().position(|op| op.after.is_none()).unwrap_or(ops.len());
            let removals = removals
                .into_iter()
                .map(|c| Op { path: c.path, before: c.before, after: c.after, source: Source::None });
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
