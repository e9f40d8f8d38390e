//! Comparing two trees by walking only where they differ.

use std::cmp::Ordering;

use super::cursor::{Cursor, Part};
use super::{Item, Tree, TreeError};

/// A key at which two trees differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference<I: Item> {
    /// The key.
    pub key: I::Key,
    /// What the first tree has there.
    pub left: Option<I>,
    /// What the second tree has there.
    pub right: Option<I>,
}

/// The differences of two trees in the order of their keys; ends after the first error.
pub struct Differences<'s, I: Item> {
    left: Cursor<'s, I>,
    right: Cursor<'s, I>,
    failed: bool,
}

/// What to do at a pair of positions.
enum Step {
    SkipBoth,
    OpenLeft,
    OpenRight,
    TakeLeft,
    TakeRight,
    TakeBoth,
}

impl<'s, I: Item> Differences<'s, I> {
    pub(super) fn new(left: &Tree<'s, I>, right: &Tree<'s, I>) -> Self {
        Self { left: Cursor::new(left), right: Cursor::new(right), failed: false }
    }

    /// Goes forward over all keys that are `before` the wanted place, without loading what lies
    /// between. `before` must hold for a first part of the keys ahead and for none after it.
    pub fn seek_past(&mut self, before: impl Fn(&I::Key) -> bool) -> Result<(), TreeError> {
        self.left.seek_past(&before)?;
        self.right.seek_past(&before)
    }

    /// Equal nodes are equal subtrees. A node or item that lies whole before what the other side has
    /// next is taken alone, so that the sides come to stand at the same key again.
    fn step(&self) -> Option<Step> {
        let (left, right) = (self.left.next_part(), self.right.next_part());
        let step = match (left, right) {
            (None, None) => return None,
            (Some(Part::Node { .. }), None) => Step::OpenLeft,
            (None, Some(Part::Node { .. })) => Step::OpenRight,
            (Some(Part::Item(_)), None) => Step::TakeLeft,
            (None, Some(Part::Item(_))) => Step::TakeRight,
            (Some(Part::Item(a)), Some(Part::Item(b))) => match a.key().cmp(&b.key()) {
                Ordering::Less => Step::TakeLeft,
                Ordering::Greater => Step::TakeRight,
                Ordering::Equal => Step::TakeBoth,
            },
            (Some(Part::Item(a)), Some(Part::Node { .. })) if behind(&a.key(), &self.right) => Step::TakeLeft,
            (Some(Part::Node { .. }), Some(Part::Item(b))) if behind(&b.key(), &self.left) => Step::TakeRight,
            (Some(Part::Item(_)), Some(Part::Node { .. })) => Step::OpenRight,
            (Some(Part::Node { .. }), Some(Part::Item(_))) => Step::OpenLeft,
            (
                Some(Part::Node { id: a, level: level_a, last: last_a }),
                Some(Part::Node { id: b, level: level_b, last: last_b }),
            ) => match (last_a, last_b) {
                _ if a == b => Step::SkipBoth,
                (Some(last), _) if behind(last, &self.right) => Step::OpenLeft,
                (_, Some(last)) if behind(last, &self.left) => Step::OpenRight,
                // A root of unknown level is opened first: it may be the higher one.
                _ if level_a.is_none() => Step::OpenLeft,
                _ if level_b.is_none() || level_b > level_a => Step::OpenRight,
                _ => Step::OpenLeft,
            },
        };
        Some(step)
    }

    fn next_difference(&mut self) -> Result<Option<Difference<I>>, TreeError> {
        while let Some(step) = self.step() {
            let (left, right) = match step {
                Step::OpenLeft => {
                    self.left.open()?;
                    continue;
                }
                Step::OpenRight => {
                    self.right.open()?;
                    continue;
                }
                Step::SkipBoth | Step::TakeBoth => (self.left.pop(), self.right.pop()),
                Step::TakeLeft => (self.left.pop(), None),
                Step::TakeRight => (None, self.right.pop()),
            };
            let (left, right) = (into_item(left), into_item(right));
            let Some(key) = left.as_ref().or(right.as_ref()).map(Item::key) else { continue };
            if left != right {
                return Ok(Some(Difference { key, left, right }));
            }
        }
        Ok(None)
    }
}

/// Whether the key lies before all that the cursor has ahead.
fn behind<I: Item>(key: &I::Key, cursor: &Cursor<'_, I>) -> bool {
    cursor.low.as_ref().is_some_and(|low| key <= low)
}

fn into_item<I: Item>(part: Option<Part<I>>) -> Option<I> {
    match part {
        Some(Part::Item(item)) => Some(item),
        _ => None,
    }
}

impl<I: Item> Iterator for Differences<'_, I> {
    type Item = Result<Difference<I>, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_difference().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}
