//! From state to disk: what apply may do, as data. Nothing is done here.
//!
//! [`judge`] says of one path whether there is something to do, and whether it can be done without
//! touching a user's files and without hiding bytes that the state still holds. [`plan`] puts what
//! can be done in order. Whoever carries a plan out asks [`judge`] again just before each change,
//! writes the change to its journal, and looks at what it displaced; after a crash [`recover`] comes
//! first.

use crate::commit::has_metadata;
use crate::entry::EntryKey;
use crate::overlay::{Overlay, other_paths_of};
use crate::path::RelPath;
use crate::record::{Record, Seen, Shown};
use crate::remembered::Remembered;
use crate::render::Entries;
use crate::store::Records;
use crate::tree::TreeError;

/// A state, what was applied, and what is known of the disk at this moment.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The entries of the state.
    pub entries: &'a dyn Entries,
    /// What was last applied.
    pub records: &'a dyn Records,
    /// Whether a path is known not to show its record (none: to show anything). Then it is the
    /// user's. A guess is good enough for a plan; before a change it must be looked at.
    pub is_touched: &'a dyn Fn(&RelPath) -> bool,
    /// Whether a path (and whether it is a directory) is not wanted here.
    pub is_ignored: &'a dyn Fn(&RelPath, bool) -> bool,
}

/// One change of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// What to do.
    pub deed: Deed,
    /// What is there; whoever carries the change out makes sure of that.
    pub before: Option<Record>,
    /// What will be there.
    pub after: Option<Shown>,
}

/// Kinds of changes, in the order in which those that do not need each other are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deed {
    /// The disk shows it already: only the record changes.
    Record,
    /// The content stays, the metadata is set.
    SetMetadata,
    /// A directory where nothing is.
    MakeDirectory,
    /// A file or link where nothing is.
    Create,
    /// Something of other content in the place of what is there.
    Replace,
    /// Nothing in the place of what is there.
    Remove,
}

/// What [`judge`] says.
#[expect(clippy::large_enum_variant, reason = "short-lived, one at a time")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The path shows what it should.
    Nothing,
    /// This can be done now.
    Change(Change),
    /// There is something to do, but not now.
    Wait(Why),
}

/// Why a path has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It does not show what was applied: a scan must see it first, or on a reader a `revert`.
    Users,
    /// It is ignored, or was at the last scan.
    Ignored,
    /// It is a directory with something in it.
    NotEmpty,
    /// A user has replaced or moved what would get its new name here: a scan must see it first.
    Moved,
    /// It shows bytes that the state still holds, and no other path shows them yet.
    StillNeeded,
    /// Its directory is not there yet.
    NoDirectory,
}

/// Is there something to do at `path`, and can it be done without touching user files? `want` is
/// what the state shows there.
///
/// [`Why::NotEmpty`] goes by the records alone; that a directory also holds what was never scanned
/// shows when its removal fails, and is no error.
pub fn judge(view: &View<'_>, path: &RelPath, want: Option<&Shown>) -> Result<Verdict, TreeError> {
    let record = view.records.record(path)?;
    let Some(deed) = deed(record.as_ref(), want) else { return Ok(Verdict::Nothing) };
    Ok(match reason_to_wait(view, path, deed, record.as_ref(), want)? {
        Some(why) => Verdict::Wait(why),
        None => Verdict::Change(Change { path: path.clone(), deed, before: record, after: want.cloned() }),
    })
}

/// Why this cannot be done now, if so.
fn reason_to_wait(
    view: &View<'_>,
    path: &RelPath,
    deed: Deed,
    record: Option<&Record>,
    want: Option<&Shown>,
) -> Result<Option<Why>, TreeError> {
    if record.is_some_and(|record| record.ignored) || is_ignored(view, path, record, want) {
        return Ok(Some(Why::Ignored));
    }
    if (view.is_touched)(path) {
        return Ok(Some(Why::Users));
    }
    let moves_nothing = matches!(deed, Deed::Record | Deed::SetMetadata);
    if moves_nothing { Ok(None) } else { obstacle(view, path, record, want) }
}

/// As what it shall be, or else as what it is.
fn is_ignored(view: &View<'_>, path: &RelPath, record: Option<&Record>, want: Option<&Shown>) -> bool {
    let shown = want.or(record.map(|record| &record.shown));
    (view.is_ignored)(path, shown.is_some_and(|shown| shown.content.is_directory()))
}

fn obstacle(
    view: &View<'_>,
    path: &RelPath,
    record: Option<&Record>,
    want: Option<&Shown>,
) -> Result<Option<Why>, TreeError> {
    if record.is_some_and(|record| record.shown.content.is_directory()) && view.records.any_below(path)? {
        return Ok(Some(Why::NotEmpty));
    }
    let shown_elsewhere = |key: &EntryKey, touched: bool| -> Result<bool, TreeError> {
        let others = other_paths_of(view.records, key, path)?;
        Ok(others.iter().any(|other| (view.is_touched)(other) == touched))
    };
    for key in want.iter().flat_map(|want| &want.entries) {
        if shown_elsewhere(key, true)? {
            return Ok(Some(Why::Moved));
        }
    }
    for key in record.iter().flat_map(|record| &record.shown.entries) {
        if view.entries.contains(key)? && !shown_elsewhere(key, false)? {
            return Ok(Some(Why::StillNeeded));
        }
    }
    match path.parent() {
        Some(parent) if want.is_some() && !is_directory(view, &parent)? => Ok(Some(Why::NoDirectory)),
        _ => Ok(None),
    }
}

fn is_directory(view: &View<'_>, path: &RelPath) -> Result<bool, TreeError> {
    let record = view.records.record(path)?;
    Ok(record.is_some_and(|record| record.shown.content.is_directory()) && !(view.is_touched)(path))
}

/// What makes the disk show `want` where it shows `record`; `None` if it does.
pub(crate) fn deed(record: Option<&Record>, want: Option<&Shown>) -> Option<Deed> {
    match (record.map(|record| &record.shown), want) {
        (None, None) => None,
        (Some(_), None) => Some(Deed::Remove),
        (None, Some(want)) if want.content.is_directory() => Some(Deed::MakeDirectory),
        (None, Some(_)) => Some(Deed::Create),
        (Some(shown), Some(want)) if shown.content != want.content => Some(Deed::Replace),
        // What an implied directory's metadata are nobody has looked at.
        (Some(shown), Some(want))
            if has_metadata(want) && (!has_metadata(shown) || shown.metadata != want.metadata) =>
        {
            Some(Deed::SetMetadata)
        }
        (Some(shown), Some(want)) => (shown.entries != want.entries).then_some(Deed::Record),
    }
}

/// What can be done, in order, and what has to wait.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Changes in passes. A change may need those before it in its own pass and in earlier ones,
    /// and only these; [`judge`] just before it tells whether they have happened.
    pub passes: Vec<Vec<Change>>,
    /// What has to wait for a scan, a person or the next plan.
    pub waiting: Vec<(RelPath, Why)>,
}

/// Plans all changes that make the disk show `wants` (each path with what the state shows there).
///
/// In each pass: what is there already, directories (parents first), new files, replacements,
/// removals (children first). Paths for which `is_last` holds come at the very end, with what only
/// they make possible.
pub fn plan(
    view: &View<'_>,
    wants: impl IntoIterator<Item = (RelPath, Option<Shown>)>,
    is_last: &dyn Fn(&RelPath) -> bool,
) -> Result<Plan, TreeError> {
    let records = Remembered::new(view.records);
    let view = &View { records: &records, ..*view };
    let mut open = Vec::new();
    for (path, want) in wants {
        let record = view.records.record(&path)?;
        if let Some(deed) = deed(record.as_ref(), want.as_ref()) {
            open.push(Open { deed, path, record, want, why: Why::Users });
        }
    }
    open.sort_by(|a, b| {
        let by_path = if a.deed == Deed::Remove { b.path.cmp(&a.path) } else { a.path.cmp(&b.path) };
        a.deed.cmp(&b.deed).then(by_path)
    });
    let mut planner = Planner { view: *view, records: Overlay::new(view.records), passes: Vec::new() };
    let (last, mut open): (Vec<_>, Vec<_>) = open.into_iter().partition(|open| is_last(&open.path));
    planner.run(&mut open)?;
    if !last.is_empty() {
        open.splice(0..0, last);
        planner.run(&mut open)?;
    }
    let waiting = open.into_iter().map(|open| (open.path, open.why)).collect();
    Ok(Plan { passes: planner.passes, waiting })
}

/// A path that does not yet show what it should.
struct Open {
    deed: Deed,
    path: RelPath,
    /// What is there; nothing but this change alters that.
    record: Option<Record>,
    want: Option<Shown>,
    why: Why,
}

struct Planner<'a> {
    view: View<'a>,
    /// As they will be when the plan so far is carried out.
    records: Overlay<'a>,
    passes: Vec<Vec<Change>>,
}

impl Planner<'_> {
    /// Adds passes until there is no progress; leaves in `open` what has to wait.
    fn run(&mut self, open: &mut Vec<Open>) -> Result<(), TreeError> {
        loop {
            let mut pass = Vec::new();
            let mut waiting = Vec::with_capacity(open.len());
            for mut step in open.drain(..) {
                let view = View { records: &self.records, ..self.view };
                let (record, want) = (step.record.as_ref(), step.want.as_ref());
                match reason_to_wait(&view, &step.path, step.deed, record, want)? {
                    None => {
                        self.records.note(&step.path, step.want.clone().map(applied));
                        let Open { deed, path, record, want, .. } = step;
                        pass.push(Change { path, deed, before: record, after: want });
                    }
                    Some(why) => {
                        step.why = why;
                        waiting.push(step);
                    }
                }
            }
            *open = waiting;
            if pass.is_empty() {
                return Ok(());
            }
            self.passes.push(pass);
        }
    }
}

/// The record of what has just been applied, before `lstat` was asked.
fn applied(shown: Shown) -> Record {
    Record { shown, stat: None, ignored: false }
}

/// After a crash, for each path in the journal: the record to be noted (`Some(None)`: to be dropped)
/// if the path shows its journalled target, or nothing if the change was not carried out.
///
/// Must come before anything else; otherwise our own unfinished work would look like a user's edit.
/// The metadata recorded is what was seen: if it was not set yet, the next plan sets it.
pub fn recover(target: Option<&Shown>, seen: Option<&Seen>) -> Option<Option<Record>> {
    match (target, seen) {
        (None, None) => Some(None),
        (Some(target), Some(seen)) if target.content == seen.content => {
            Some(Some(crate::commit::noted(seen, target.entries.clone())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Content, Metadata};
    use crate::version::{Origin, Version};

    #[test]
    fn a_directory_that_was_only_implied_gets_the_mode_of_its_first_entry() {
        let implied =
            Shown { content: Content::Directory, metadata: Metadata::default(), entries: Vec::new() };
        let path = RelPath::parse(b"d").expect("a path");
        let version = Version { seq: 1, origin: Origin([0; 8]) };
        // The default of what nobody has looked at may by chance be what the entry says.
        let put = Shown { entries: vec![EntryKey { path, version }], ..implied.clone() };
        let deed = |shown, want| deed(Some(&applied(shown)), Some(&want));
        assert_eq!(deed(implied.clone(), put.clone()), Some(Deed::SetMetadata));
        assert_eq!(deed(put.clone(), implied), Some(Deed::Record));
        assert_eq!(deed(put.clone(), put), None);
    }
}
