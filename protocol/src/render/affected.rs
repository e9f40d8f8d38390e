//! Which disk paths a new state may show differently, from the paths of the entries that differ.

use std::collections::BTreeSet;

use super::{Entries, Labels, Renderer, has_mark};
use crate::path::RelPath;
use crate::tree::TreeError;

/// The disk paths that may show something else in `new` than in `old`, given the paths at which
/// their entries differ: each of these, the directories above it (which may be implied by it), and
/// where there is or was a conflict, the conflict copies of that directory. In order, each once.
pub fn affected(
    old: &dyn Entries,
    new: &dyn Entries,
    labels: &dyn Labels,
    changed: impl IntoIterator<Item = RelPath>,
) -> Result<Vec<RelPath>, TreeError> {
    let mut paths = with_directories(changed);
    let mut shaken = BTreeSet::new();
    for path in &paths {
        if has_mark(path.name()) || !old.group(path)?.is_simple() || !new.group(path)?.is_simple() {
            shaken.insert(path.parent());
        }
    }
    if shaken.is_empty() {
        return Ok(paths);
    }
    for entries in [old, new] {
        let mut renderer = Renderer::new(entries, labels);
        for directory in &shaken {
            let shown = renderer.marked(directory.as_ref())?;
            paths.extend(shown.keys().filter(|path| has_mark(path.name())).cloned());
        }
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// These paths and all directories above them. Costs little where they come in order.
fn with_directories(changed: impl IntoIterator<Item = RelPath>) -> Vec<RelPath> {
    let mut paths: Vec<RelPath> = Vec::new();
    for path in changed {
        let before = paths.last();
        if before.is_none_or(|before| !before.is_beside(&path)) {
            let is_new = |above: &RelPath| {
                before.is_none_or(|before| before != above && !before.is_below(Some(above)))
            };
            let mut above: Vec<_> = path.ancestors().take_while(is_new).collect();
            above.reverse();
            paths.append(&mut above);
        }
        paths.push(path);
    }
    paths.sort();
    paths.dedup();
    paths
}

/// How the totals (files and links of the rendering, and their bytes) change from `old` to `new`,
/// given all [`affected`] paths.
pub fn totals_change(
    old: &dyn Entries,
    new: &dyn Entries,
    labels: &dyn Labels,
    affected: &[RelPath],
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
