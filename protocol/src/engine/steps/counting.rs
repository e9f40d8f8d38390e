//! What a step has to do: how much is needed, and how many deletions arrive.
//!
//! All that differs is counted once, when a step begins. While it goes on, the state moves on by a
//! little with each head; then only what that changes is counted, so that many heads cost no more
//! than one.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Group, Searched, groups, start_of};
use crate::engine::{Engine, EngineError, FolderStore};
use crate::entry::{Content, ContentId, Entry};
use crate::path::RelPath;
use crate::render::Entries;
use crate::store::NodeId;
use crate::tree::TreeError;

/// Paths that are asked for, to find one that goes on showing a content.
const CANDIDATES: usize = 8;

/// What differs, counted.
#[derive(Default)]
struct Count {
    files: u64,
    bytes: u64,
    has_removals: bool,
    /// Contents that paths lose.
    gone: Vec<Content>,
}

impl Count {
    /// A content is to come.
    fn need(&mut self, content: Option<&Content>) {
        if let Some(content) = content.filter(|content| !content.is_directory()) {
            self.files += 1;
            self.bytes += content.size_bytes();
        }
    }

    fn add(&mut self, group: &Group, state: &dyn Entries) -> Result<(), TreeError> {
        let (path, edits, removed) = group;
        let put = edits.iter().find_map(|(_, entry)| entry.as_ref());
        self.has_removals |= put.is_none();
        if put.is_some() {
            self.need(put.map(|entry| &entry.content));
        } else if let Some(entry) = removed.as_ref().filter(|entry| !entry.content.is_directory()) {
            self.files += 1;
            // Not if only one of several entries of equal content goes.
            if !state.at(path)?.iter().any(|other| other.content == entry.content) {
                self.gone.push(entry.content.clone());
            }
        }
        Ok(())
    }
}

/// What a change of the state changes of the count.
#[derive(Default)]
struct Moved {
    before: Count,
    after: Count,
    /// Contents that the change puts.
    put: Vec<Content>,
    /// The first path at which it puts something.
    first_put: Option<RelPath>,
}

impl<S: FolderStore> Engine<S> {
    /// Counts what the step has to do, once for each state; whether it may be done.
    pub(super) fn count_arrivals(&mut self, now: Duration) -> Result<bool, EngineError> {
        let state = self.state.entries;
        let is_let_through = match self.step.counted {
            Some(counted) if counted == state => return Ok(true),
            Some(counted) => self.count_since(now, counted)?,
            None => self.count_all(now)?,
        };
        self.step.counted = is_let_through.then_some(state);
        Ok(is_let_through)
    }

    fn count_all(&mut self, now: Duration) -> Result<bool, EngineError> {
        let mut count = Count::default();
        let new = self.tree(self.state.entries);
        for group in self.groups_of_differences() {
            let group = group?;
            if !self.rules.is_ignored(&group.0, false) {
                count.add(&group, &new)?;
            }
        }
        let put_off = self.deletions_put_off()?;
        count.gone.extend(put_off.into_iter().map(|(_, record)| record.shown.content));
        if !count.gone.is_empty() && self.settings.hold_deletions > 0 {
            let mut leaving: BTreeSet<_> = count.gone.iter().map(tag).collect();
            self.each_put(|content| {
                leaving.remove(&tag(content));
            })?;
            count.gone.retain(|content| leaving.contains(&tag(content)));
        }
        // What was let through for an earlier state, and is not made yet, has been counted.
        let gone = count.gone.len() as u64;
        let known = self.step.let_through.min(gone);
        if !self.let_through(now, count.gone, known)? {
            return Ok(false);
        }
        self.step.searched = Searched::default();
        self.step.let_through = gone;
        self.step.has_removals = count.has_removals;
        (self.step.need_files, self.step.need_bytes) = (count.files, count.bytes);
        Ok(true)
    }

    /// The same where the state has moved on from one that was counted.
    fn count_since(&mut self, now: Duration, counted: NodeId) -> Result<bool, EngineError> {
        let Moved { before, mut after, put, first_put } = self.moved_since(counted)?;
        if !after.gone.is_empty() {
            let put: BTreeSet<_> = put.iter().map(tag).collect();
            after.gone.retain(|content| !put.contains(&tag(content)));
        }
        if let Some(arriving) = &mut self.step.arriving {
            arriving.extend(put.iter().map(tag));
        }
        let (undone, gone) = (before.gone.len() as u64, after.gone.len() as u64);
        if !self.let_through(now, after.gone, undone)? {
            return Ok(false);
        }
        self.step.let_through = (self.step.let_through + gone).saturating_sub(undone);
        self.step.has_removals |= after.has_removals;
        self.step.need_files = (self.step.need_files + after.files).saturating_sub(before.files);
        self.step.need_bytes = (self.step.need_bytes + after.bytes).saturating_sub(before.bytes);
        self.step.search_again_from(first_put, counted, self.state.entries);
        Ok(true)
    }

    fn moved_since(&self, counted: NodeId) -> Result<Moved, EngineError> {
        let mut moved = Moved::default();
        let (applied, old, new) =
            (self.tree(self.applied), self.tree(counted), self.tree(self.state.entries));
        for group in groups(old.diff(&new)) {
            let (path, edits, removed) = group?;
            let put = edits.iter().find_map(|(_, entry)| entry.as_ref());
            if put.is_some() && moved.first_put.is_none() {
                moved.first_put = Some(path.clone());
            }
            moved.put.extend(put.map(|entry| entry.content.clone()));
            if self.rules.is_ignored(&path, false) {
                continue;
            }
            let here = applied.at(&path)?;
            if here.is_empty() {
                // Nothing can go from here that has not come.
                let count = if put.is_some() { &mut moved.after } else { &mut moved.before };
                count.need(put.or(removed.as_ref()).map(|entry| &entry.content));
                continue;
            }
            for (count, state) in [(&mut moved.before, &old), (&mut moved.after, &new)] {
                let there = state.at(&path)?;
                if here != there {
                    count.add(&group_of(&path, &here, &there), state)?;
                }
            }
        }
        Ok(moved)
    }

    /// Whether these deletions may be made, of which so many are no news. Else the folder stops.
    fn let_through(&mut self, now: Duration, gone: Vec<Content>, known: u64) -> Result<bool, EngineError> {
        let (percent, files) = (self.settings.hold_deletions, self.state.totals.files);
        let mut count = gone.len() as u64;
        if self.guard.is_too_many(now, count.saturating_sub(known), files + count, percent) {
            count = self.gone_for_good(gone)?;
        }
        let refused = self.guard.refuses(now, count.saturating_sub(known), files + count, percent, false);
        if refused {
            self.hold_deletions(count, files + count, false);
        }
        Ok(!refused)
    }

    /// How many of these contents do not go on, or come, to another path. A large rename comes in
    /// several heads, what it puts before what it removes.
    fn gone_for_good(&mut self, mut gone: Vec<Content>) -> Result<u64, EngineError> {
        let arriving = match self.step.arriving.take() {
            Some(arriving) => arriving,
            None => {
                let mut arriving = BTreeSet::new();
                self.each_put(|content| {
                    arriving.insert(tag(content));
                })?;
                arriving
            }
        };
        gone.retain(|content| !arriving.contains(&tag(content)));
        self.step.arriving = Some(arriving);
        let new = self.tree(self.state.entries);
        let mut count = 0;
        for content in gone {
            count += u64::from(!self.is_shown_elsewhere(&new, &content)?);
        }
        Ok(count)
    }

    /// Whether a path has this content, and keeps it.
    fn is_shown_elsewhere(&self, state: &dyn Entries, content: &Content) -> Result<bool, EngineError> {
        let Content::File { id, .. } = content else { return Ok(false) };
        for path in self.with_content(id, CANDIDATES)? {
            if state.at(&path)?.iter().any(|entry| entry.content == *content) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The contents that come to a path.
    fn each_put(&self, mut take: impl FnMut(&Content)) -> Result<(), EngineError> {
        for group in self.groups_of_differences() {
            let (_, edits, _) = group?;
            edits.iter().filter_map(|(_, entry)| entry.as_ref()).for_each(|entry| take(&entry.content));
        }
        Ok(())
    }
}

/// What differs at a path that has `before` and shall have `after`.
pub(in crate::engine) fn group_of(path: &RelPath, before: &[Entry], after: &[Entry]) -> Group {
    let gone = before.iter().filter(|entry| !after.contains(entry));
    let removed = gone.clone().next().cloned();
    let put = after.iter().filter(|entry| !before.contains(entry));
    let edits = gone.map(|entry| (entry.key(), None));
    let edits = edits.chain(put.map(|entry| (entry.key(), Some(entry.clone()))));
    (path.clone(), edits.collect(), removed)
}

/// Stands for a content.
fn tag(content: &Content) -> u64 {
    match content {
        Content::Directory => 0,
        Content::File { id: ContentId(id), .. } => start_of(id),
        Content::Symlink { target } => start_of(blake3::hash(target).as_bytes()),
    }
}
