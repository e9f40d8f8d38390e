//! A window: changes that are made together, as operations of the disk.

use std::collections::{BTreeMap, BTreeSet, Bound};

use crate::engine::{Edits, Op, Source};
use crate::entry::{Content, ContentId};
use crate::path::RelPath;
use crate::plan::{Change, Deed, Why};
use crate::record::{Record, Shown};
use crate::store::NodeId;

use super::Searched;

/// Changes that are made together.
pub(in crate::engine) struct Window {
    /// What it was planned for: state, applied.
    pub(in crate::engine) roots: (NodeId, NodeId),
    /// What is applied when it is carried out, once that was asked.
    pub(super) then: Option<NodeId>,
    /// The last path that it looks at, and whether that shall be a directory; `None` if more than what
    /// the state has up to there decides what it does.
    pub(super) end: Option<(RelPath, bool)>,
    /// What it deals with, as edits of the applied entries.
    pub(super) edits: Edits,
    pub(super) ops: Vec<Op>,
    /// Records that change without the disk.
    pub(super) records: Vec<(RelPath, Option<Record>)>,
    pub(super) waiting: Vec<(RelPath, Why)>,
    /// Directories that wait for a reader's own changes.
    pub(super) blocked: Vec<RelPath>,
    /// Paths that did not show what they should, and do.
    pub(super) settled: Vec<RelPath>,
    /// Paths that it was planned for though no entries of theirs differ.
    pub(super) revisited: BTreeSet<RelPath>,
    /// What the operations under way take: by path, the content out of staging, or the path that
    /// gives it up.
    pub(super) sources: BTreeMap<RelPath, Source>,
    /// Of the operations under way, the directories that they make.
    pub(super) directories: Vec<(RelPath, Shown)>,
    /// How far what is put has been searched for, if the window is of that.
    pub(super) searched: Option<Searched>,
    /// Paths whose removal counts as a deletion.
    pub(super) deletes: BTreeSet<RelPath>,
}

impl Window {
    /// Paths for which nothing could be planned.
    pub(super) fn unplanned(&self) -> impl Iterator<Item = &RelPath> {
        self.waiting.iter().map(|(path, _)| path).chain(&self.blocked)
    }

    /// The contents that the operations under way take out of staging.
    pub(super) fn staged(&self) -> impl Iterator<Item = ContentId> {
        self.sources.values().filter_map(Source::staged)
    }

    /// The state has moved on behind what it deals with.
    pub(super) fn move_on(&mut self, state: NodeId) {
        if std::mem::replace(&mut self.roots.0, state) != state && self.searched == Some(Searched::Everything)
        {
            let end = self.end.as_ref().map(|(end, _)| end.clone());
            self.searched = end.map(|end| Searched::Until(Bound::Excluded(end)));
        }
    }

    /// Whether entries of a path differ before and after it.
    pub(in crate::engine) fn deals_with(&self, path: &RelPath) -> bool {
        let at = self.edits.partition_point(|(key, _)| key.path < *path);
        self.edits.get(at).is_some_and(|(key, _)| key.path == *path)
    }

    /// Whether an operation under way changes this path.
    pub(super) fn has(&self, path: &RelPath) -> bool {
        self.sources.contains_key(path)
    }

    /// The paths that are in the journal while it is carried out.
    pub(super) fn journalled(&self) -> impl Iterator<Item = &RelPath> {
        self.sources.keys().chain(self.sources.values().filter_map(Source::left))
    }

    /// Of the paths that were looked at though they were not as the state wants, those for which nothing
    /// is to be done on the disk.
    pub(super) fn settle(&mut self, mut looked_at: Vec<RelPath>) {
        if looked_at.is_empty() {
            return;
        }
        let mut open: BTreeSet<_> = self.unplanned().chain(self.ops.iter().map(|op| &op.path)).collect();
        open.extend(self.ops.iter().filter_map(|op| op.source.left()));
        looked_at.retain(|path| !open.contains(path));
        self.settled = looked_at;
    }

    /// Turns the changes into operations, with moves where one path gives up what another wants.
    pub(super) fn add(&mut self, passes: Vec<Vec<Change>>, awaited: &BTreeSet<ContentId>) {
        for pass in passes {
            let (gone, rest): (Vec<_>, Vec<_>) = pass.into_iter().partition(|c| given_up(c).is_some());
            let mut leaving = Leaving::new(gone, !awaited.is_empty() || rest.iter().any(brings));
            let mut ops = Vec::with_capacity(rest.len() + leaving.changes.len());
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
            let kept = awaited.iter().filter_map(|id| leaving.take(id));
            self.waiting.extend(kept.map(|change| (change.path, Why::Users)));
            let at = ops.iter().position(|op| op.after.is_none()).unwrap_or(ops.len());
            let removals = leaving.changes.into_iter().flatten().map(|c| Op {
                path: c.path,
                before: c.before,
                after: c.after,
                source: Source::None,
            });
            let others = ops.split_off(at);
            self.ops.extend(ops.into_iter().chain(removals).chain(others));
        }
    }
}

/// Files that go in a pass, in its order, until another path takes them.
struct Leaving {
    changes: Vec<Option<Change>>,
    /// Where the first of each content is, if anybody asks.
    places: BTreeMap<ContentId, usize>,
}

impl Leaving {
    fn new(changes: Vec<Change>, is_asked: bool) -> Self {
        let mut places = BTreeMap::new();
        for (at, change) in changes.iter().enumerate().filter(|_| is_asked) {
            if let Some(id) = given_up(change) {
                places.entry(id).or_insert(at);
            }
        }
        Self { changes: changes.into_iter().map(Some).collect(), places }
    }

    fn take(&mut self, id: &ContentId) -> Option<Change> {
        self.changes.get_mut(self.places.remove(id)?)?.take()
    }
}

/// The content that a path gives up, if all that becomes of it is that.
fn given_up(change: &Change) -> Option<ContentId> {
    let before = change.before.as_ref().filter(|_| change.deed == Deed::Remove)?;
    before.shown.content.file()
}

fn brings(change: &Change) -> bool {
    matches!(change.deed, Deed::Create | Deed::Replace)
}

fn source(change: &Change, leaving: &mut Leaving) -> Source {
    match change.after.as_ref().map(|after| &after.content) {
        Some(Content::File { id, .. }) if brings(change) => match leaving.take(id) {
            Some(Change { path, before: Some(record), .. }) => Source::Moved(path, Box::new(record)),
            _ => Source::Staged(*id),
        },
        _ => Source::None,
    }
}
