//! Which disk paths a new state may show differently, from the paths of the entries that differ.

use std::collections::BTreeSet;

use super::{Entries, Group, Labels, Renderer, has_mark};
use crate::path::RelPath;
use crate::tree::TreeError;

/// The disk paths that may show something else in `new` than in `old`, given the paths at which
/// their entries differ: each of these, the directories above it (which may be implied by it), and
/// where there is or was a conflict, the conflict copies of that directory.
pub fn affected(
    old: &dyn Entries,
    new: &dyn Entries,
    labels: &dyn Labels,
    changed: impl IntoIterator<Item = RelPath>,
) -> Result<BTreeSet<RelPath>, TreeError> {
    let mut paths = BTreeSet::new();
    for path in changed {
        for ancestor in path.ancestors() {
            if !paths.insert(ancestor) {
                break; // what is above has been added with it
            }
        }
        paths.insert(path);
    }
    let mut shaken = BTreeSet::new();
    for path in &paths {
        let directory = path.parent();
        let moves_copies = !shaken.contains(&directory)
            && (has_mark(path.name())
                || !Group::load(old, path)?.is_simple()
                || !Group::load(new, path)?.is_simple());
        if moves_copies {
            shaken.insert(directory);
        }
    }
    for entries in [old, new] {
        let mut renderer = Renderer::new(entries, labels);
        for directory in &shaken {
            let shown = renderer.marked(directory.as_ref())?;
            paths.extend(shown.keys().filter(|path| has_mark(path.name())).cloned());
        }
    }
    Ok(paths)
}

/// How the totals (files and links of the rendering, and their bytes) change from `old` to `new`,
/// given all [`affected`] paths.
pub fn totals_change(
    old: &dyn Entries,
    new: &dyn Entries,
    labels: &dyn Labels,
    affected: &BTreeSet<RelPath>,
) -> Result<(i64, i64), TreeError> {
    let (mut files, mut bytes) = (0_i64, 0_i64);
    for (entries, sign) in [(old, -1), (new, 1)] {
        let mut renderer = Renderer::new(entries, labels);
        for path in affected {
            let Some(shown) = renderer.path(path)? else { continue };
            if !shown.content.is_directory() {
                files += sign;
                // A hostile writer may claim any size; totals are for people, and must not panic.
                let size = i64::try_from(shown.content.size_bytes()).unwrap_or(i64::MAX);
                bytes = bytes.saturating_add(size.saturating_mul(sign));
            }
        }
    }
    Ok((files, bytes))
}
