//! Joining two states: one rule, and refusals of what no honest writer can have made.
//!
//! Contexts by maximum; an entry stays if both have it, or if the side that lacks it has never seen
//! its version. «Seen, and not here» is a deletion. Commutative, associative and idempotent down to
//! the roots, and never a commit: two writers that merge the same hold the same.

use crate::context::Context;
use crate::entry::{Entry, EntryKey};
use crate::state::State;
use crate::store::{NodeId, NodeStore};
use crate::tree::{Difference, Edit, TreeError};
use crate::version::Origin;

/// How far a seq may be beyond all that we have seen. A folder that commits every second needs 136
/// years for as many; a head that used up the numbers would leave none for others.
pub const MAX_SEQ_LEAP: u64 = 1 << 32;

/// Two states in one. Totals are for the rendering to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The commits of both.
    pub context: Context,
    /// The root of its tree.
    pub context_root: NodeId,
    /// The root of the tree of entries.
    pub entries: NodeId,
    /// Whether it differs from ours.
    pub changed: bool,
}

/// Why two states were not merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A node is missing or malformed, or the database failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Two states contradict each other, though both are signed with the folder's key.
    #[error("two states of the folder contradict each other: {0}")]
    Fork(#[source] Fork),
    /// A signed state has an entry whose commit its own context does not know.
    #[error("the state has an entry at {path} of a commit that it has not seen", path = .0.path)]
    Uncovered(EntryKey),
    /// A seq more than [`MAX_SEQ_LEAP`] beyond ours.
    #[error("the state counts its commits too far ahead, up to {0}")]
    TooFarAhead(u64),
}

/// How two states contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fork {
    /// One key means two things.
    #[error("one version of {path} means two things", path = .0.path)]
    Key(EntryKey),
    /// One state has seen all that the other has, and yet merging would change it.
    #[error("they have seen the same commits, but differ at {path}", path = .0.path)]
    Entries(EntryKey),
    /// One origin has two labels.
    #[error("origin {0} has two labels")]
    Label(Origin),
}

/// Merges two states, both whole in the store, and saves the result. Costs as much as they differ.
pub fn merge(store: &dyn NodeStore, ours: &State, theirs: &State) -> Result<Merged, MergeError> {
    check_contexts(&ours.context, &theirs.context)?;
    let context = ours.context.merge(&theirs.context);
    let sides = Sides::new(ours, theirs);
    let changes = sides.base.tree(store).diff(&sides.other.tree(store)).filter_map(|found| {
        let edit = found.map_err(MergeError::from).and_then(|found| sides.edit(found));
        edit.transpose()
    });
    let entries = sides.base.tree(store).try_edit(changes)?.root;
    let context_root = context.save_after(store, &sides.base.context, sides.base.context_root)?;
    let changed = entries != ours.entries || context_root != ours.context_root;
    Ok(Merged { context, context_root, entries, changed })
}

/// Two states, of which `base` is edited to become the merge.
struct Sides<'a> {
    base: &'a State,
    other: &'a State,
    /// Both have seen the same.
    equal: bool,
    /// `base` has seen all that `other` has.
    dominated: bool,
}

impl<'a> Sides<'a> {
    /// What dominates is the result already, so it is the side to start from.
    fn new(ours: &'a State, theirs: &'a State) -> Self {
        let ahead = ours.context.dominates(&theirs.context);
        let behind = theirs.context.dominates(&ours.context);
        let (base, other) = if behind && !ahead { (theirs, ours) } else { (ours, theirs) };
        Self { base, other, equal: ahead && behind, dominated: ahead || behind }
    }

    /// What must be done to `base` where the two differ.
    fn edit(&self, found: Difference<Entry>) -> Result<Option<Edit<Entry>>, MergeError> {
        let Difference { key, left, right } = found;
        let (holder, lacking) =
            if left.is_some() { (self.base, self.other) } else { (self.other, self.base) };
        if left.is_some() && right.is_some() {
            return Err(MergeError::Fork(Fork::Key(key)));
        }
        if !holder.saw(&key.version) {
            return Err(MergeError::Uncovered(key));
        }
        let stays = !lacking.saw(&key.version);
        if stays == left.is_some() && !self.equal {
            return Ok(None);
        }
        if self.dominated {
            return Err(MergeError::Fork(Fork::Entries(key)));
        }
        Ok(Some((key, right)))
    }
}

fn check_contexts(ours: &Context, theirs: &Context) -> Result<(), MergeError> {
    let largest = theirs.largest_seq();
    if largest > ours.largest_seq().saturating_add(MAX_SEQ_LEAP) {
        return Err(MergeError::TooFarAhead(largest));
    }
    for (origin, seen) in theirs.iter() {
        if ours.label(origin).is_some_and(|label| *label != seen.label) {
            return Err(MergeError::Fork(Fork::Label(origin)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
