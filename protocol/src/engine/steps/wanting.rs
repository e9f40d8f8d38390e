//! The contents of windows: those of the next one, and ahead of them what later ones will want.

use std::collections::Bound;

use crate::chunk::MIN_CHUNK_BYTES;
use crate::engine::{Engine, EngineError, FolderStore, Op, Prepare, Source};
use crate::entry::Content;
use crate::path::RelPath;
use crate::scheduler::LARGE_BYTES;

use super::planning::{MOVE_CANDIDATES, WINDOW_BYTES};
use super::window::Window;

/// So many windows behind the last one that the disk has been given the network is ahead of it: one
/// is wanted next, and while it is planned, another is on its way.
const AHEAD_WINDOWS: usize = 2;
/// More are not gathered, when what comes in between has put the next windows off.
const MAX_AHEAD_WINDOWS: usize = 4;

impl<S: FolderStore> Engine<S> {
    /// A window is the next one: its contents are wanted, and of others those of windows to come.
    pub(super) fn want_window(&mut self, window: Window) -> Result<(), EngineError> {
        let under_way = self.step.under_way.iter().flat_map(Window::staged);
        let forgotten = self.staging.retain(window.ops.iter().filter_map(Op::staged).chain(under_way));
        self.forget(forgotten);
        self.want_contents(&window)?;
        self.step.window = Some(window);
        Ok(())
    }

    fn want_contents(&mut self, window: &Window) -> Result<(), EngineError> {
        let mut wishes = Vec::new();
        for op in &window.ops {
            let (Source::Staged(_), Some(after)) = (&op.source, &op.after) else { continue };
            let before = op.before.as_ref().map(|record| &record.shown.content);
            let wish = self.wish(&op.path, before, &after.content, after.metadata.mode)?;
            wishes.extend(wish.map(|wish| (op.path.clone(), wish)));
        }
        self.want_all(wishes, false)
    }

    /// Wants what comes behind the window that is being carried out. Not together with starting that:
    /// it takes as long as a good part of it.
    pub(in crate::engine) fn gather_ahead(&mut self) -> Result<(), EngineError> {
        match self.step.next.take() {
            Some(last) if !self.is_stopped() => self.want_ahead(&last),
            _ => Ok(()),
        }
    }

    /// While a window is carried out that ends at a path, the network brings what the next ones will
    /// want. Not for steps that remove something: it may be a rename, which brings its own content.
    fn want_ahead(&mut self, last: &RelPath) -> Result<(), EngineError> {
        let window = self.settings.window;
        let state = self.state.entries;
        let goes_on = self.step.ahead.as_ref().filter(|(of, to)| *of == state && to > last);
        let from = goes_on.map_or(last, |(_, to)| to).clone();
        let ahead = self.staging.count_ahead();
        let most = match goes_on {
            Some(_) => (AHEAD_WINDOWS * window).saturating_sub(ahead),
            None => (AHEAD_WINDOWS * window).min((MAX_AHEAD_WINDOWS * window).saturating_sub(ahead)),
        };
        let (mut wishes, mut bytes, mut to) = (Vec::new(), 0, from.clone());
        for group in self.groups_from(Bound::Excluded(&from))? {
            if wishes.len() >= most || bytes >= WINDOW_BYTES {
                break;
            }
            let (path, edits, removed) = group?;
            to.clone_from(&path);
            let Some(entry) = edits.iter().find_map(|(_, entry)| entry.as_ref()) else { continue };
            if self.rules.is_ignored(&path, entry.content.is_directory()) {
                continue;
            }
            let before = removed.as_ref().map(|entry| &entry.content);
            if let Some(wish) = self.wish(&path, before, &entry.content, entry.metadata.mode)? {
                bytes += wish.size;
                wishes.push((path, wish));
            }
        }
        self.step.ahead = Some((state, to));
        self.want_all(wishes, true)
    }

    /// How a content is to be staged that a path will show, unless it is being staged.
    fn wish(
        &self,
        path: &RelPath,
        before: Option<&Content>,
        after: &Content,
        mode: u16,
    ) -> Result<Option<Prepare>, EngineError> {
        let Content::File { id, size } = *after else { return Ok(None) };
        if self.staging.has(&id) || before == Some(after) {
            return Ok(None);
        }
        let earlier = match before {
            Some(&Content::File { id, size }) if size > MIN_CHUNK_BYTES as u64 => Some((path.clone(), id)),
            _ => None,
        };
        let same = self.with_content(&id, MOVE_CANDIDATES)?;
        Ok(Some(Prepare { content: id, size, mode, same, earlier }))
    }

    fn want_all(&mut self, wishes: Vec<(RelPath, Prepare)>, is_ahead: bool) -> Result<(), EngineError> {
        let mut short = Vec::new();
        if wishes.iter().map(|(_, wish)| wish.size).sum::<u64>() > LARGE_BYTES {
            self.news.begin();
        }
        for (path, wish) in wishes {
            // Several paths may want one content.
            if wish.size <= MIN_CHUNK_BYTES as u64 && !self.staging.has(&wish.content) {
                short.push(wish.clone());
            }
            match is_ahead {
                true => self.staging.want_ahead(&path, wish),
                false => self.staging.want(&path, wish),
            }
        }
        self.send_prepare(short);
        self.prepare()
    }
}
