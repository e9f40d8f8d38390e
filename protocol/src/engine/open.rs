//! Paths that are not what the state wants, and what leads to them.
//!
//! Whatever the disk does not show has to be found again, also after a crash. Most of it is led to by
//! the difference between the applied entries and the state; for the rest there is a row, which
//! every window looks at.

use std::collections::{BTreeMap, BTreeSet};

use super::steps::Window;
use super::{Changes, Engine, EngineError, FolderStore, Reason, Unapplied};
use crate::entry::Entry;
use crate::path::RelPath;
use crate::plan;
use crate::render::{self, Entries, Renderer};
use crate::state::State;
use crate::tree::{Tree, TreeError};

impl<S: FolderStore> Engine<S> {
    /// Of these paths, those that do not show what the state wants there are looked at with the next
    /// window, also after a crash: nothing else may lead there, since entries need not differ.
    pub(super) fn leave_open(
        &mut self,
        changes: &mut Changes,
        paths: impl IntoIterator<Item = RelPath>,
    ) -> Result<(), EngineError> {
        let noted: BTreeMap<_, _> = changes.records.iter().map(|(path, record)| (path, record)).collect();
        let tree = self.tree(self.state.entries);
        let mut renderer = Renderer::new(&tree, &self.state.context);
        let mut open = Vec::new();
        for path in paths {
            let want = renderer.path(&path)?;
            let differs = match noted.get(&path) {
                Some(record) => plan::deed(record.as_ref(), want.as_ref()).is_some(),
                // What becomes of it may be recorded without us, after a crash.
                None if self.step.is_changing(&path) => true,
                None => plan::deed(self.store.record(&path)?.as_ref(), want.as_ref()).is_some(),
            };
            if differs {
                open.push(path);
            }
        }
        for path in open {
            if !self.unapplied.contains_key(&path) {
                let why = Unapplied { reason: Reason::Waiting, message: String::new() };
                self.set_unapplied(changes, path.clone(), Some(why));
            }
            self.revisit.insert(path);
        }
        Ok(())
    }

    /// Paths to which, now that the state has moved on from `old`, the applied entries may not lead.
    ///
    /// A window, or a scan, may have recorded what `old` shows ahead of the applied entries: a
    /// conflict copy, or what a user put there as well. If that goes before its turn has come, the
    /// applied entries never had it.
    pub(super) fn left_behind(&self, old: &State) -> Result<Vec<RelPath>, EngineError> {
        let mut changed: Vec<RelPath> = Vec::new();
        if self.applied == old.entries {
            return Ok(changed);
        }
        let (old, new) = (self.tree(old.entries), self.tree(self.state.entries));
        let leads = self.leads();
        let mut above = Above::default();
        for difference in old.diff(&new) {
            let path = difference?.key.path;
            if changed.last() == Some(&path) {
                continue;
            }
            let before = old.group(&path)?;
            let is_led_to = before.entries.is_empty()
                || (before.entries.len() == 1
                    && before.is_simple()
                    && above.is_simple(&old, &path)?
                    && leads.to(&path)?);
            if !is_led_to || render::has_mark(path.name()) {
                changed.push(path);
            }
        }
        let mut paths = Vec::new();
        for path in render::affected(&old, &new, &self.state.context, changed)? {
            if render::has_mark(path.name()) || !leads.to(&path)? {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    fn leads(&self) -> Leads<'_> {
        let (applied, wanted) = (self.tree(self.applied), self.tree(self.state.entries));
        let under_way = self.step.under_way().map(|window| (window, self.tree(window.roots.0))).collect();
        Leads { applied, wanted, under_way }
    }

    /// Names have gone: what collided with one of them may have its place now.
    pub(super) fn retry_collisions(&mut self, changes: &Changes) {
        let collides = |why: &Unapplied| why.reason == Reason::Collision;
        if !self.unapplied.values().any(collides) {
            return;
        }
        let gone = changes.records.iter().filter(|(_, record)| record.is_none());
        let directories: BTreeSet<_> = gone.map(|(path, _)| path.parent()).collect();
        let freed = self.unapplied.iter().filter(|(_, why)| collides(why)).map(|(path, _)| path);
        self.revisit.extend(freed.filter(|path| directories.contains(&path.parent())).cloned());
    }

    /// Notes why a path is not what the state wants, or that it is no longer so.
    pub(super) fn set_unapplied(&mut self, changes: &mut Changes, path: RelPath, why: Option<Unapplied>) {
        match &why {
            Some(unapplied) => {
                if matches!(unapplied.reason, Reason::LocalChange | Reason::Unsynced) {
                    self.reported.insert(path.clone());
                }
                self.unapplied.insert(path.clone(), unapplied.clone());
            }
            None => {
                if self.unapplied.remove(&path).is_none() {
                    return;
                }
            }
        }
        changes.unapplied.push((path, why));
    }
}

/// What the applied entries lead to: trees that are asked path by path, and remember where that was.
struct Leads<'a> {
    applied: Tree<'a, Entry>,
    wanted: Tree<'a, Entry>,
    /// What is being carried out, and the states of which that is.
    under_way: Vec<(&'a Window, Tree<'a, Entry>)>,
}

impl Leads<'_> {
    /// Whether the applied entries differ from the state's at a path, now and when what is being carried
    /// out is done.
    fn to(&self, path: &RelPath) -> Result<bool, TreeError> {
        let wanted = self.wanted.at(path)?;
        if self.applied.at(path)? == wanted {
            return Ok(false);
        }
        match self.under_way.iter().find(|(window, _)| window.deals_with(path)) {
            Some((_, state)) => Ok(state.at(path)? != wanted),
            None => Ok(true),
        }
    }
}

/// Whether the directories above a path have their names for themselves: copies beside one that has not go
/// when the last path below it goes. Remembers the last directory.
#[derive(Default)]
struct Above(Option<(RelPath, bool)>);

impl Above {
    fn is_simple(&mut self, entries: &dyn Entries, path: &RelPath) -> Result<bool, TreeError> {
        if let Some((last, is_simple)) = &self.0
            && last.is_beside(path)
        {
            return Ok(*is_simple);
        }
        let mut is_simple = true;
        for above in path.ancestors() {
            is_simple = is_simple && entries.group(&above)?.is_simple();
        }
        self.0 = Some((path.clone(), is_simple));
        Ok(is_simple)
    }
}
