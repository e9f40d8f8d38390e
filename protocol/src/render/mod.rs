//! What the disk shows: a pure function of the entries, so that all devices show the same names.
//!
//! A directory (put, or implied by what lies below) has the name; else the entry of highest rank.
//! Every other content at that path is a conflict copy beside it. A copy gives way to a real file
//! of its name: with equal content they are one file, else the copy's tag grows.
//!
//! Copies never leave their directory, so a directory can be rendered alone, and a path whose name
//! carries no mark even without its directory: [`Renderer`] does no more than it must.
//! [`affected()`] says which disk paths a new state may show differently.

mod affected;
mod copy_name;

use std::collections::BTreeMap;

pub use crate::tree::{Entries, Group};
pub use affected::{affected, totals_change};
pub use copy_name::{MAX_TAG_DIGITS, MIN_TAG_DIGITS, copy_name, copy_path, has_mark};

use crate::context::{Context, Label};
use crate::entry::{Content, Entry, Metadata};
use crate::path::RelPath;
use crate::record::Shown;
use crate::tree::TreeError;
use crate::version::Origin;

/// The label that each origin has carried since its first commit, as it goes into names of copies.
pub trait Labels {
    /// At most 32 bytes without `/`, parentheses and controls. An origin without one (no sound
    /// state has an entry of such) gets an empty one.
    fn label(&self, origin: &Origin) -> &str;
}

impl Labels for Context {
    fn label(&self, origin: &Origin) -> &str {
        self.label(*origin).map_or("", Label::as_str)
    }
}

impl Group {
    /// Whether all of it is shown at its own path, so that it has no conflict copies.
    pub fn is_simple(&self) -> bool {
        let Some(first) = self.entries.first() else { return true };
        self.entries.iter().all(|e| e.content == first.content)
            && (first.content.is_directory() || !self.below)
    }

    /// What the path itself shows, and the contents that lose there: each with its best entry.
    fn resolve(&self) -> (Option<Shown>, Vec<(&Entry, Shown)>) {
        match &self.entries[..] {
            [] => return (self.below.then(implied), Vec::new()),
            [only] if self.is_simple() => return (Some(shown(&[only])), Vec::new()),
            _ => {}
        }
        let mut contents: Vec<Vec<&Entry>> = Vec::new();
        let mut ranked: Vec<&Entry> = self.entries.iter().collect();
        ranked.sort_by_key(|e| std::cmp::Reverse(e.rank()));
        for entry in ranked {
            match contents.iter_mut().find(|same| same[0].content == entry.content) {
                Some(same) => same.push(entry),
                None => contents.push(vec![entry]),
            }
        }
        let directory = contents.iter().position(|same| same[0].content.is_directory());
        let winner = match directory {
            Some(at) => Some(shown(&contents.remove(at))),
            None if self.below => Some(implied()),
            None if contents.is_empty() => None,
            None => Some(shown(&contents.remove(0))),
        };
        (winner, contents.iter().map(|same| (same[0], shown(same))).collect())
    }
}

/// Entries of equal content, the best first.
fn shown(same: &[&Entry]) -> Shown {
    let mut entries: Vec<_> = same.iter().map(|e| e.key()).collect();
    entries.sort();
    Shown { content: same[0].content.clone(), metadata: same[0].metadata.clone(), entries }
}

/// A directory that only what lies below implies; it has no metadata of its own.
fn implied() -> Shown {
    Shown { content: Content::Directory, metadata: Metadata::default(), entries: Vec::new() }
}

/// All that `directory` (`None` is the root) shows directly inside it.
pub fn render_directory(
    entries: &dyn Entries,
    labels: &dyn Labels,
    directory: Option<&RelPath>,
) -> Result<BTreeMap<RelPath, Shown>, TreeError> {
    Ok(render_groups(&entries.groups(directory)?, labels))
}

/// What one path shows. Cheap, unless its name carries the mark of a conflict copy: then its whole
/// directory is rendered. For several paths use one [`Renderer`].
pub fn render_path(
    entries: &dyn Entries,
    labels: &dyn Labels,
    path: &RelPath,
) -> Result<Option<Shown>, TreeError> {
    Renderer::new(entries, labels).path(path)
}

fn render_groups(groups: &[Group], labels: &dyn Labels) -> BTreeMap<RelPath, Shown> {
    let mut all = BTreeMap::new();
    let mut losers = Vec::new();
    for group in groups {
        let (winner, lost) = group.resolve();
        all.extend(winner.map(|shown| (group.path.clone(), Place { shown, best: None })));
        losers.extend(lost);
    }
    // Their order decides who gets the shorter tag.
    losers.sort_by_cached_key(|(loser, _)| loser.key());
    for (loser, file) in losers {
        place_copy(&mut all, labels.label(&loser.version.origin), loser, file, groups);
    }
    all.into_iter().map(|(path, place)| (path, place.shown)).collect()
}

/// What is at a path so far. `best` is the rank that its metadata has, once a copy has joined it.
struct Place {
    shown: Shown,
    best: Option<crate::version::Rank>,
}

/// Shows a losing content under the first name that is free, or has that content already. (There is
/// none only if the directory's path leaves no room for names, or for 2⁻²⁵⁶ of all hashes.)
fn place_copy(all: &mut BTreeMap<RelPath, Place>, label: &str, loser: &Entry, file: Shown, groups: &[Group]) {
    for digits in MIN_TAG_DIGITS..=MAX_TAG_DIGITS {
        let Ok(path) = copy_path(loser, label, digits) else { return };
        match all.get_mut(&path) {
            None => {
                all.insert(path, Place { shown: file, best: Some(loser.rank()) });
                return;
            }
            Some(there) if there.shown.content == file.content => {
                let best = there.best.or_else(|| best_rank(groups, &path, &file.content));
                if best < Some(loser.rank()) {
                    there.shown.metadata = file.metadata;
                }
                there.best = best.max(Some(loser.rank()));
                there.shown.entries.extend(file.entries);
                there.shown.entries.sort();
                there.shown.entries.dedup();
                return;
            }
            Some(_) => {}
        }
    }
}

fn best_rank(groups: &[Group], path: &RelPath, content: &Content) -> Option<crate::version::Rank> {
    let group = groups.iter().find(|group| group.path == *path)?;
    group.entries.iter().filter(|e| e.content == *content).map(Entry::rank).max()
}

/// Renders path after path of one state. Keeps the directory that it last had to render whole.
pub struct Renderer<'a> {
    entries: &'a dyn Entries,
    labels: &'a dyn Labels,
    directory: Option<(Option<RelPath>, BTreeMap<RelPath, Shown>)>,
}

impl<'a> Renderer<'a> {
    /// Nothing is loaded yet.
    pub fn new(entries: &'a dyn Entries, labels: &'a dyn Labels) -> Self {
        Self { entries, labels, directory: None }
    }

    /// What `path` shows. Ask in order of paths, so that no directory is rendered twice.
    pub fn path(&mut self, path: &RelPath) -> Result<Option<Shown>, TreeError> {
        // A copy's name always carries a mark, so no sibling can change what other names show.
        if !has_mark(path.name()) {
            return Ok(self.entries.group(path)?.resolve().0);
        }
        Ok(self.marked(path.parent().as_ref())?.get(path).cloned())
    }

    /// What the names of `directory` show, all of them.
    pub fn marked(&mut self, directory: Option<&RelPath>) -> Result<&BTreeMap<RelPath, Shown>, TreeError> {
        let fresh = match self.directory.take() {
            Some(kept) if kept.0.as_ref() == directory => kept,
            _ => (directory.cloned(), render_directory(self.entries, self.labels, directory)?),
        };
        Ok(&self.directory.insert(fresh).1)
    }
}
