//! The window that follows: planned, and given to the disk, while the one before it is carried out.
//!
//! Only where neither can be in the way of the other: both put what the state has in a stretch of paths,
//! and nothing that either decides hangs on what becomes of the other, but that its directories are
//! there. If they are not, the disk says so of each path. Everything else waits for its turn.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::{Edits, Engine, EngineError, FolderStore, Op};
use crate::entry::{Content, ContentId};
use crate::overlay::Overlay;
use crate::path::RelPath;
use crate::record::Record;
use crate::render;

use super::planning::{Differences, Wants};
use super::window::Window;

/// So many windows the disk has been given at most: one that it is carrying out, and the next.
const UNDER_WAY: usize = 2;

impl<S: FolderStore> Engine<S> {
    /// Plans the window that follows the one under way, and begins it when its contents are here.
    pub(super) fn advance_following(&mut self, now: Duration) -> Result<(), EngineError> {
        if !self.may_follow(now)? || !self.count_arrivals(now)? || self.step.has_removals {
            return Ok(());
        }
        let state = self.state.entries;
        self.step.under_way.iter_mut().for_each(|window| window.move_on(state));
        if !self.is_planned()? && !self.plan_following(now)? {
            return Ok(());
        }
        if self.staging.is_settled()
            && let Some(window) = self.step.window.take()
        {
            let mut staged = window.ops.iter().filter_map(Op::staged);
            // What cannot be had is judged when nothing else is under way.
            let is_ready = staged.all(|content| self.staging.failure(&content).is_none());
            drop(staged);
            self.step.window = if is_ready { self.start_apply(window)? } else { Some(window) };
        }
        Ok(())
    }

    /// Whether a window may follow: what users did comes first, and whatever has to be looked at again.
    fn may_follow(&self, now: Duration) -> Result<bool, EngineError> {
        let under_way = &self.step.under_way;
        let Some(last) = under_way.back().filter(|_| under_way.len() < UNDER_WAY) else { return Ok(false) };
        let is_free = self.step.forgotten == 0
            && !self.step.has_removals
            && self.revisit.is_empty()
            && self.giving_up.is_empty()
            && self.look_at().is_none_or(|due| now < due);
        Ok(is_free && last.end.is_some() && last.roots.1 == self.applied && self.is_still_wanted(last)?)
    }

    /// Whether the state has at the paths of a window what it had when that was planned: it may have
    /// moved on behind them.
    pub(super) fn is_still_wanted(&self, window: &Window) -> Result<bool, EngineError> {
        let (planned, state) = (window.roots.0, self.state.entries);
        if planned == state {
            return Ok(true);
        }
        let Some((end, is_directory)) = &window.end else { return Ok(false) };
        if self.step.has_removals {
            return Ok(false);
        }
        let (old, new) = (self.tree(planned), self.tree(state));
        let first = old.diff(&new).next().transpose()?;
        Ok(first.is_none_or(|first| {
            let path = &first.key.path;
            path > end && (*is_directory || !path.is_below(Some(end)))
        }))
    }

    /// The last path that a window looks at, and whether that shall be a directory, unless it is about
    /// conflict copies: these depend on what lies behind them.
    pub(super) fn end(&self, wants: &Wants) -> Option<(RelPath, bool)> {
        let is_copy = |path: &RelPath| render::has_mark(path.name());
        let (path, want) = wants.last_key_value().filter(|_| !wants.keys().any(is_copy))?;
        Some((path.clone(), want.as_ref().is_some_and(|want| want.content.is_directory())))
    }

    /// Plans the window that follows; whether there is one.
    fn plan_following(&mut self, now: Duration) -> Result<bool, EngineError> {
        let Some(before) = self.step.under_way.back() else { return Ok(false) };
        let Some(searched) = before.searched.clone() else { return Ok(false) };
        let taken: BTreeSet<_> = before.staged().collect();
        if before.then.is_none() {
            let then = self.tree(before.roots.1).edit(before.edits.iter().cloned())?.root;
            self.step.under_way.back_mut().into_iter().for_each(|before| before.then = Some(then));
        }
        let (edits, searched) = self.puts(&searched, |edits| brings(edits, &taken))?;
        let window = match edits.is_empty() {
            true => None,
            false => Some(self.plan(now, Differences { edits, searched: Some(searched) })?),
        };
        // One without anything to do on the disk is closed in its turn.
        let is_apart = |window: &Window| {
            let is_under_way = |path: &RelPath| self.step.under_way.iter().any(|before| before.has(path));
            window.end.is_some()
                && !window.ops.is_empty()
                && !window.ops.iter().any(|op| {
                    is_under_way(&op.path)
                        || op.source.left().is_some()
                        || op.staged().is_some_and(|id| taken.contains(&id))
                })
        };
        let Some(window) = window.filter(is_apart) else {
            if let Some(before) = self.step.under_way.back_mut() {
                // Not tried again with every event.
                before.end = None;
            }
            return Ok(false);
        };
        self.want_window(window)?;
        Ok(true)
    }

    /// The records, with the directories that are being made.
    pub(super) fn records_to_come(&self) -> Overlay<'_> {
        let mut records = Overlay::new(&self.store);
        for (path, shown) in self.step.under_way.iter().flat_map(|window| &window.directories) {
            let record = Record { shown: shown.clone(), stat: None, ignored: false };
            records.note(path, Some(record));
        }
        records
    }
}

/// Whether these edits do no more than put one of these contents. They are found again when everything
/// else is done, and take it from the path that has it then.
fn brings(edits: &Edits, contents: &BTreeSet<ContentId>) -> bool {
    match &edits[..] {
        [(_, Some(entry))] => matches!(&entry.content, Content::File { id, .. } if contents.contains(id)),
        _ => false,
    }
}
