//! Whole directories: what the ops would do file by file to all that is in a directory is done to
//! the directory at once, if it holds exactly the files that they name, each as its record says.
//!
//! The end is the same as by single steps, and so is what survives. A removed directory goes into
//! the archive by one rename; a moved one swaps its name with a new, empty one, so that at every
//! moment both names are directories. Then all is looked at again: renaming a directory leaves the
//! stats of its files as they were, so whatever a user wrote in the moment between shows. Files that
//! have other names go to the archive one by one: as copies.

use std::collections::BTreeMap;

use protocol::{Content, RelPath, Stat};

use super::access::OWNERS;
use super::look::{Look, has_metadata, has_other_names, record_of};
use super::{Batch, Executor, Op, Outcome, Resting, Source, Step, kind_of, problem};
use crate::disk::{ArchivedPath, DiskStat, Kind, Place};

/// Fewer files are as well handled one by one.
const WORTH_IT: usize = 4;

/// Ops that are about one directory and all that is in it.
pub(super) struct Whole {
    /// The op of the directory itself.
    directory: usize,
    /// Those of the files in it.
    files: Vec<usize>,
    /// Where they come from, if they are moved.
    from: Option<RelPath>,
}

/// What a directory must hold: by name, what each is.
type Expected = BTreeMap<Vec<u8>, (Kind, Stat)>;
/// What has become of ops, by their numbers.
type Ended = Vec<(usize, Outcome)>;

/// Finds directories that are removed or made together with all that is in them; by the number of
/// the op that comes first.
pub(super) fn find(ops: &[Op], batch: &Batch) -> BTreeMap<usize, Whole> {
    let mut directories: BTreeMap<&RelPath, Whole> = BTreeMap::new();
    let is_directory = |content: Option<&Content>| content.is_some_and(Content::is_directory);
    for (directory, op) in ops.iter().enumerate().filter(|(_, op)| op.source == Source::None) {
        let (before, after) = contents(op);
        if before.is_some() != after.is_some() && is_directory(before.or(after)) {
            directories.insert(&op.path, Whole { directory, files: Vec::new(), from: None });
        }
    }
    for (number, op) in ops.iter().enumerate() {
        let (before, after) = contents(op);
        if before.is_some() == after.is_some() || is_directory(before.or(after)) {
            continue;
        }
        let Some(whole) = op.path.parent().and_then(|parent| directories.get_mut(&parent)) else { continue };
        let is_removed = ops[whole.directory].after.is_none();
        match &op.source {
            Source::None if is_removed && op.after.is_none() => whole.files.push(number),
            Source::MovedFrom { path, .. } if !is_removed && !batch.vacated.contains(path) => {
                let from = path.parent();
                if path.name() == op.path.name() && (whole.files.is_empty() || whole.from == from) {
                    whole.from = from;
                    whole.files.push(number);
                }
            }
            _ => {}
        }
    }
    let worth_it = directories.into_values().filter(|whole| whole.files.len() >= WORTH_IT);
    worth_it.map(|whole| (whole.directory.min(whole.files[0]), whole)).collect()
}

fn contents(op: &Op) -> (Option<&Content>, Option<&Content>) {
    (op.before.as_ref().map(|before| &before.shown.content), op.after.as_ref().map(|after| &after.content))
}

impl Executor<'_> {
    /// Removes or moves a directory at once. Answers what has become of which ops; the others are to
    /// be carried out one by one, all of them if nothing could be done.
    pub(super) fn at_once(&self, ops: &[Op], whole: &Whole, batch: &mut Batch) -> Ended {
        let done = match &whole.from {
            Some(from) => self.move_whole(ops, whole, from, batch),
            None => self.remove_whole(ops, whole, batch),
        };
        // Whatever is the matter, it shows again at the single steps.
        done.unwrap_or_default()
    }

    fn remove_whole(&self, ops: &[Op], whole: &Whole, batch: &mut Batch) -> Step<Ended> {
        let op = &ops[whole.directory];
        let (Some(before), Some(expected)) = (&op.before, expected(ops, whole)) else { return nothing() };
        let at = Place::Folder(op.path.clone());
        match self.judge(&op.path, before)? {
            Look::Untouched(found) if is_open(&found) && self.holds_exactly(&at, &expected, is_alone) => {}
            _ => return nothing(),
        }
        let Ok(kept) = self.archive.put(&at, &op.path) else { return nothing() };
        batch.touch(&op.path);
        let archived = Place::Archived(kept.clone());
        if self.holds_exactly(&archived, &expected, is_alone) {
            let files = whole.files.iter().map(|number| self.is_archived(ops, *number, &kept, batch));
            let mut ended: Ended = files.collect();
            ended.push((whole.directory, Outcome::Done(None)));
            return Ok(ended);
        }
        // An edit that slipped in: back to its name, and one by one.
        match self.disk.rename_new(&archived, &at) {
            Ok(()) => nothing(),
            Err(_) => self.sort_out(ops, whole, &kept, &expected, batch),
        }
    }

    /// A file that went to the archive with its directory, as it was.
    fn is_archived(
        &self,
        ops: &[Op],
        number: usize,
        directory: &ArchivedPath,
        batch: &mut Batch,
    ) -> (usize, Outcome) {
        let op = &ops[number];
        if let Some(stat) = op.before.as_ref().and_then(|before| before.stat) {
            let at = ArchivedPath { stamp: directory.stamp.clone(), path: op.path.clone() };
            batch.resting.push(Resting { at, stat });
        }
        (number, Outcome::Done(None))
    }

    /// The directory is in the archive with a user's edit in it, and its name has been taken
    /// meanwhile: what is the user's goes back by itself.
    fn sort_out(
        &self,
        ops: &[Op],
        whole: &Whole,
        kept: &ArchivedPath,
        expected: &Expected,
        batch: &mut Batch,
    ) -> Step<Ended> {
        let directory = &ops[whole.directory].path;
        let mut by_name: BTreeMap<_, _> =
            whole.files.iter().map(|number| (ops[*number].path.name().to_vec(), *number)).collect();
        let mut ended = Ended::new();
        let listed = self.disk.list(&Place::Archived(kept.clone())).map_err(super::trouble)?;
        for one in listed {
            let number = by_name.remove(&one.name);
            let Ok(path) = RelPath::join(Some(directory), &one.name) else { continue };
            match (number, one.stat) {
                (Some(number), Ok(found)) if is_as_expected(&one.name, &found, expected) => {
                    ended.push(self.is_archived(ops, number, kept, batch));
                }
                (number, stat) => {
                    let from = ArchivedPath { stamp: kept.stamp.clone(), path: path.clone() };
                    let from = Place::Archived(from);
                    let is_back = self.disk.rename_new(&from, &Place::Folder(path.clone())).is_ok();
                    match (number, stat) {
                        (Some(number), _) if is_back => ended.push((number, Outcome::Touched)),
                        (Some(number), Ok(found)) => {
                            let displaced = self.displaced(&path, &from, found, None);
                            ended.push((number, displaced.unwrap_or_else(|outcome| *outcome)));
                        }
                        _ if is_back => {}
                        _ => tracing::warn!(%path, "a new file went to the archive with its directory"),
                    }
                }
            }
        }
        // Gone by the user's own hand.
        ended.extend(by_name.into_values().map(|number| (number, Outcome::Done(None))));
        Ok(ended)
    }

    fn move_whole(&self, ops: &[Op], whole: &Whole, from: &RelPath, batch: &mut Batch) -> Step<Ended> {
        let op = &ops[whole.directory];
        let (Some(after), Some(expected)) = (&op.after, expected(ops, whole)) else { return nothing() };
        let is_apart = !op.path.is_below(Some(from)) && !from.is_below(Some(&op.path));
        let (old, new) = (Place::Folder(from.clone()), Place::Folder(op.path.clone()));
        let Some(found) = self.look(from)?.filter(is_open) else { return nothing() };
        let is_free = is_apart && self.look(&op.path)?.is_none() && !self.is_foreign(from)?;
        if !is_free || !self.holds_exactly(&old, &expected, |_| true) {
            return nothing();
        }
        let mode = (found.stat.mode & 0o1777) as u16;
        if self.disk.make_directory(&new, mode).is_err() {
            return nothing();
        }
        batch.touch(&op.path);
        batch.touch(from);
        if self.disk.exchange(&new, &old).is_err() {
            // Somebody has put something into it: then it is adopted.
            let _ = self.disk.remove_directory(&new);
            return nothing();
        }
        let wanted = after.metadata.mode;
        if !after.entries.is_empty() && mode != wanted {
            batch.modes.insert(op.path.clone(), (whole.directory, wanted));
        }
        let mut ended = vec![(whole.directory, self.record(&op.path, after, None)?)];
        let listed = self.disk.list(&new).map_err(super::trouble)?;
        let mut listed: BTreeMap<_, _> = listed.into_iter().map(|one| (one.name, one.stat)).collect();
        for number in &whole.files {
            let name = ops[*number].path.name();
            let outcome = match listed.remove(name) {
                Some(Ok(found)) if is_as_expected(name, &found, &expected) => {
                    self.has_come(&ops[*number], &found)
                }
                Some(Ok(found)) => self.send_back(&ops[*number], from, found),
                // Gone by the user's own hand, or not to be looked at: as if nothing had been done.
                _ => continue,
            };
            ended.push((*number, outcome.unwrap_or_else(|outcome| *outcome)));
        }
        self.send_others_back(listed.into_keys(), &op.path, from);
        Ok(ended)
    }

    /// A file that has moved with its directory.
    fn has_come(&self, op: &Op, found: &DiskStat) -> Step<Outcome> {
        let Some(after) = &op.after else { return Ok(Outcome::Touched) };
        if has_metadata(found, after) {
            return Ok(Outcome::Done(Some(record_of(after, found))));
        }
        self.dress(&Place::Folder(op.path.clone()), found, after).map_err(super::trouble)?;
        self.record(&op.path, after, Some(found))
    }

    /// An edit that slipped in: back to its name.
    fn send_back(&self, op: &Op, from: &RelPath, found: DiskStat) -> Step<Outcome> {
        let (Ok(old), new) = (RelPath::join(Some(from), op.path.name()), Place::Folder(op.path.clone()))
        else {
            return Ok(Outcome::Touched);
        };
        match self.disk.rename_new(&new, &Place::Folder(old.clone())) {
            Ok(()) => Err(problem("SOURCE_CHANGED", "the file to be renamed was just changed")),
            Err(_) => self.displaced(&old, &new, found, None),
        }
    }

    /// What came to the old name in the moment of the swap. What cannot go back is a user's file
    /// where it is now.
    fn send_others_back(&self, names: impl Iterator<Item = Vec<u8>>, new: &RelPath, old: &RelPath) {
        for name in names {
            if let (Ok(here), Ok(there)) = (RelPath::join(Some(new), &name), RelPath::join(Some(old), &name))
            {
                let _ = self.disk.rename_new(&Place::Folder(here), &Place::Folder(there));
            }
        }
    }

    fn holds_exactly(
        &self,
        directory: &Place,
        expected: &Expected,
        is_right: impl Fn(&DiskStat) -> bool,
    ) -> bool {
        let exactly = |listed: Vec<crate::disk::Listed>| {
            let as_expected = |one: &crate::disk::Listed| {
                let is_so = |found: &DiskStat| is_as_expected(&one.name, found, expected) && is_right(found);
                one.stat.as_ref().is_ok_and(is_so)
            };
            listed.len() == expected.len() && listed.iter().all(as_expected)
        };
        self.disk.list(directory).is_ok_and(exactly)
    }
}

/// Whether it may go to the archive as it is.
fn is_alone(found: &DiskStat) -> bool {
    !has_other_names(found)
}

fn nothing() -> Step<Ended> {
    Ok(Ended::new())
}

/// What the directory must hold, if there is proof of what each file is.
fn expected(ops: &[Op], whole: &Whole) -> Option<Expected> {
    let record = |op: &Op| match &op.source {
        Source::MovedFrom { record, .. } => Some(record.clone()),
        _ => op.before.clone(),
    };
    let one = |number: &usize| {
        let (name, record) = (ops[*number].path.name().to_vec(), record(&ops[*number])?);
        Some((name, (kind_of(&record.shown.content), record.stat?)))
    };
    whole.files.iter().map(one).collect()
}

fn is_as_expected(name: &[u8], found: &DiskStat, expected: &Expected) -> bool {
    expected.get(name).is_some_and(|(kind, stat)| found.kind == *kind && found.stat == *stat)
}

/// Whether its owner may do anything in it: others are opened for each step, or are not ours.
fn is_open(found: &DiskStat) -> bool {
    found.kind == Kind::Directory && found.stat.mode & OWNERS == OWNERS
}
