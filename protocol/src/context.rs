//! Contexts: which commits a state has taken into account.
//!
//! A [`Context`] says for each origin its latest commit that is in the state, and the label that the
//! origin had at its first one. Lamport numbers leave gaps; a gap means nothing and must not be
//! waited for. A context is kept and sent as a small tree, so that only what changed travels.

use std::collections::{BTreeMap, Bound};
use std::fmt;
use std::sync::Arc;

use minicbor::{Decoder, Encoder};

use crate::store::{NodeId, NodeStore};
use crate::tree::{Encoded, Item, Malformed, Tree, TreeError, expect_array, fixed_bytes};
use crate::version::{Origin, Version};

/// Longest label, in bytes: it is part of the name of a conflict copy, which has 255.
pub const MAX_LABEL_BYTES: usize = 32;

/// What people call the device of an origin; part of the names of its conflict copies.
///
/// 1 to [`MAX_LABEL_BYTES`] bytes, without slash, parentheses and control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// Makes a label of any text: what a label cannot have becomes `-`, what is too long is cut.
    pub fn new(text: &str) -> Self {
        let allowed = |c: char| if c.is_control() || "/()".contains(c) { '-' } else { c };
        let mut label: String = text.chars().take(MAX_LABEL_BYTES).map(allowed).collect();
        label.truncate(label.floor_char_boundary(MAX_LABEL_BYTES));
        if label.is_empty() {
            label.push('-');
        }
        Self(label.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a context knows of an origin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Its latest commit that was taken into account; never zero.
    pub seq: u64,
    /// Fixed at its first commit.
    pub label: Label,
}

/// All commits that a state has taken into account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context(BTreeMap<Origin, Seen>);

impl Context {
    /// A context that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The latest commit of an origin that was taken into account; 0 if none was.
    pub fn seq(&self, origin: Origin) -> u64 {
        self.0.get(&origin).map_or(0, |seen| seen.seq)
    }

    /// The label of an origin.
    pub fn label(&self, origin: Origin) -> Option<&Label> {
        self.0.get(&origin).map(|seen| &seen.label)
    }

    /// Whether this commit was taken into account.
    pub fn saw(&self, version: &Version) -> bool {
        self.seq(version.origin) >= version.seq
    }

    /// Whether it is at least as late for every origin. Then merging the other changes nothing.
    pub fn dominates(&self, other: &Self) -> bool {
        other.0.iter().all(|(origin, seen)| self.seq(*origin) >= seen.seq)
    }

    /// The largest seq of any origin; 0 if there is none.
    pub fn largest_seq(&self) -> u64 {
        self.0.values().map(|seen| seen.seq).max().unwrap_or(0)
    }

    /// The seq of a commit made in this context: one more than the largest, so that it outranks all
    /// that it could see.
    pub fn next_seq(&self) -> u64 {
        self.largest_seq().saturating_add(1)
    }

    /// The maximum for each origin. Should labels differ, the larger one of the later commit stays,
    /// so that the order of merging never matters.
    pub fn merge(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        for (origin, theirs) in &other.0 {
            let ours = merged.0.entry(*origin).or_insert_with(|| theirs.clone());
            if *theirs > *ours {
                ours.clone_from(theirs);
            }
        }
        merged
    }

    /// This context after a commit. The label counts only if the origin is new.
    #[must_use]
    pub fn with(&self, origin: Origin, label: Label, seq: u64) -> Self {
        let mut next = self.clone();
        let seen = next.0.entry(origin).or_insert(Seen { seq, label });
        seen.seq = seen.seq.max(seq);
        next
    }

    /// The origins, ascending, and what is known of each.
    pub fn iter(&self) -> impl Iterator<Item = (Origin, &Seen)> {
        self.0.iter().map(|(origin, seen)| (*origin, seen))
    }

    /// Whether it has seen nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the context with this root.
    pub fn load(store: &dyn NodeStore, root: NodeId) -> Result<Self, TreeError> {
        let tree = Tree::<ContextItem>::new(store, root);
        let items = tree.range(Bound::Unbounded);
        items
            .map(|item| item.map(|ContextItem { origin, seen }| (origin, seen)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Saves the context from scratch; costs as much as it has origins.
    pub fn save(&self, store: &dyn NodeStore) -> Result<NodeId, TreeError> {
        self.save_after(store, &Self::new(), Tree::<ContextItem>::empty(store)?)
    }

    /// Saves what differs from an earlier context that was saved as `earlier_root`.
    pub fn save_after(
        &self,
        store: &dyn NodeStore,
        earlier: &Self,
        earlier_root: NodeId,
    ) -> Result<NodeId, TreeError> {
        debug_assert!(earlier.0.keys().all(|origin| self.0.contains_key(origin)), "contexts only grow");
        let changed = self.0.iter().filter(|(origin, seen)| earlier.0.get(origin) != Some(seen));
        let edits = changed
            .map(|(origin, seen)| (*origin, Some(ContextItem { origin: *origin, seen: seen.clone() })));
        Ok(Tree::new(store, earlier_root).edit(edits)?.root)
    }
}

impl FromIterator<(Origin, Seen)> for Context {
    fn from_iter<T: IntoIterator<Item = (Origin, Seen)>>(seen: T) -> Self {
        Self(seen.into_iter().collect())
    }
}

/// One origin in the tree of a context; encoded as `[origin, seq, label]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextItem {
    /// The key.
    pub origin: Origin,
    /// What was taken into account.
    pub seen: Seen,
}

impl Item for ContextItem {
    type Key = Origin;

    fn key(&self) -> Origin {
        self.origin
    }

    fn key_hash(key: &Origin) -> blake3::Hash {
        blake3::hash(&key.0)
    }

    fn key_bytes(_: &Origin) -> usize {
        0
    }

    fn check(&self) -> Result<(), Malformed> {
        if self.seen.seq == 0 { Err(Malformed::Field("a version")) } else { Ok(()) }
    }

    fn encode(&self, _: Option<&Origin>, to: &mut Encoder<Vec<u8>>) -> Encoded {
        to.array(3)?.bytes(&self.origin.0)?.u64(self.seen.seq)?.str(self.seen.label.as_str())?;
        Ok(())
    }

    fn decode(_: Option<&Origin>, from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        expect_array(from, 3)?;
        let (origin, seq, text) = (Origin(fixed_bytes(from)?), from.u64()?, from.str()?);
        let label = Label::new(text);
        if label.as_str() != text {
            return Err(Malformed::Field("a label"));
        }
        let item = Self { origin, seen: Seen { seq, label } };
        item.check()?;
        Ok(item)
    }

    fn encode_key(key: &Origin, _: Option<&Origin>, to: &mut Encoder<Vec<u8>>) -> Encoded {
        to.bytes(&key.0)?;
        Ok(())
    }

    fn decode_key(_: Option<&Origin>, from: &mut Decoder<'_>) -> Result<Origin, Malformed> {
        Ok(Origin(fixed_bytes(from)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::MemoryNodes;

    #[test]
    fn a_label_has_nothing_that_a_name_or_its_mark_cannot_have() {
        assert_eq!(Label::new("anna's (old)/laptop\n").as_str(), "anna's -old--laptop-");
        assert_eq!(Label::new("").as_str(), "-");
        assert_eq!(Label::new(&"ä".repeat(40)).as_str(), "ä".repeat(16));
        assert_eq!(Label::new("x€€€€€€€€€€€").as_str(), "x€€€€€€€€€€");
    }

    #[test]
    fn a_saved_context_is_the_same_whether_it_was_saved_at_once_or_step_by_step() {
        let store = MemoryNodes::new();
        let (mut context, mut root) = (Context::new(), Context::new().save(&store).expect("memory"));
        for step in 1..400_u64 {
            let origin = Origin((step % 90).to_be_bytes());
            let next = context.with(origin, Label::new(&format!("device {step}")), context.next_seq());
            root = next.save_after(&store, &context, root).expect("memory");
            context = next;
        }
        assert_eq!(root, context.save(&store).expect("memory"));
        assert_eq!(Context::load(&store, root).expect("whole"), context);
        assert_eq!(context.next_seq(), 400);
        assert_eq!(context.iter().count(), 90);
        assert_eq!(context.label(Origin([0; 8])).map(Label::as_str), Some("device 90"));
    }
}
