//! One node of a tree and its canonical bytes.
//!
//! A node is the CBOR array `[level, parts]`. Parts of level 0 are items; parts of level `n` are
//! `[key, id, count]`: the last key below a child, the child's address and how many items lie below.

use std::collections::Bound;

use bytes::Bytes;
use minicbor::{Decoder, Encoder};

use super::item::{Encoded, array_len, expect_array, fixed_bytes};
use super::{Item, MAX_LEVEL, Malformed, levels_ended};
use crate::store::NodeId;

/// Most bytes of a node. One has some 32 items of 120 bytes; that many more than usual come together
/// only by ill luck that no folder has, or by items of many kilobytes each.
pub const MAX_NODE_BYTES: usize = 1024 * 1024;
/// Most bytes that the keys of a node take once unpacked: prefixes make long paths cheap to send.
const MAX_UNPACKED_BYTES: usize = 16 * MAX_NODE_BYTES;

/// A node, unpacked.
#[derive(Debug, Clone, PartialEq)]
pub enum Node<I: Item> {
    /// Level 0: items in the order of their keys.
    Leaf(Vec<I>),
    /// A higher level.
    Inner {
        /// 1 to [`MAX_LEVEL`].
        level: u8,
        /// In the order of their keys, at least one.
        children: Vec<Child<I::Key>>,
    },
}

/// What a node says about one of its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child<K> {
    /// The last key below it.
    pub last: K,
    /// Its address.
    pub id: NodeId,
    /// How many items lie below it; never zero.
    pub count: u64,
}

impl<I: Item> Node<I> {
    /// The level, 0 for leaves.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner { level, .. } => *level,
        }
    }

    /// How many items lie in it and below.
    pub fn count(&self) -> u64 {
        match self {
            Self::Leaf(items) => items.len() as u64,
            Self::Inner { children, .. } => children.iter().fold(0, |sum, c| sum.saturating_add(c.count)),
        }
    }

    /// The last key in it or below; `None` for the empty node.
    pub fn last_key(&self) -> Option<I::Key> {
        match self {
            Self::Leaf(items) => items.last().map(Item::key),
            Self::Inner { children, .. } => children.last().map(|child| child.last.clone()),
        }
    }

    /// Whether a range that begins so begins within this leaf.
    pub(super) fn spans(&self, from: Bound<&I::Key>, gap: Option<&I::Key>) -> bool {
        let (Self::Leaf(items), Bound::Included(key) | Bound::Excluded(key)) = (self, from) else {
            return false;
        };
        let (first, last) = (items.first(), items.last());
        let is_behind = |first: &I| first.cmp_key(key).is_le() || gap.is_some_and(|gap| gap <= key);
        first.is_some_and(is_behind) && last.is_some_and(|item| item.cmp_key(key).is_ge())
    }

    /// The address and the bytes; refuses a node that others would refuse for its size.
    pub fn encode(&self) -> Result<(NodeId, Bytes), Malformed> {
        self.check_unpacked()?;
        let bytes = self.bytes();
        if bytes.len() > MAX_NODE_BYTES {
            return Err(Malformed::TooLarge);
        }
        Ok((NodeId::of(&bytes), bytes.into()))
    }

    /// Unpacks bytes of a node that this device has written or checked before. Each field is checked,
    /// the node as a whole is not.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_NODE_BYTES {
            return Err(Malformed::TooLarge);
        }
        let mut from = Decoder::new(bytes);
        expect_array(&mut from, 2)?;
        match from.u8()? {
            0 => decode_leaf(&mut from),
            level if level <= MAX_LEVEL => decode_inner(level, &mut from),
            _ => Err(Malformed::Level),
        }
    }

    /// Unpacks bytes from elsewhere and refuses all that a tree of this program would not contain.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let node = Self::decode(bytes)?;
        match &node {
            Self::Leaf(items) => check_keys::<I>(0, items.iter().map(Item::key))?,
            Self::Inner { level, children } => check_children::<I>(*level, children)?,
        }
        if node.bytes() == bytes { Ok(node) } else { Err(Malformed::NotCanonical) }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut to = Encoder::new(Vec::with_capacity(8 * 1024));
        self.write(&mut to).expect("writing to memory cannot fail");
        to.into_writer()
    }

    fn write(&self, to: &mut Encoder<Vec<u8>>) -> Encoded {
        to.array(2)?.u8(self.level())?;
        let mut previous: Option<I::Key> = None;
        match self {
            Self::Leaf(items) => {
                to.array(items.len() as u64)?;
                for item in items {
                    item.encode(previous.as_ref(), to)?;
                    previous = Some(item.key());
                }
            }
            Self::Inner { children, .. } => {
                to.array(children.len() as u64)?;
                for child in children {
                    to.array(3)?;
                    I::encode_key(&child.last, previous.as_ref(), to)?;
                    to.bytes(&child.id.0)?.u64(child.count)?;
                    previous = Some(child.last.clone());
                }
            }
        }
        Ok(())
    }

    fn check_unpacked(&self) -> Result<(), Malformed> {
        let mut unpacked = Unpacked::default();
        match self {
            Self::Leaf(items) => items.iter().try_for_each(|item| unpacked.add::<I>(&item.key())),
            Self::Inner { children, .. } => children.iter().try_for_each(|c| unpacked.add::<I>(&c.last)),
        }
    }
}

fn decode_leaf<I: Item>(from: &mut Decoder<'_>) -> Result<Node<I>, Malformed> {
    let mut items: Vec<I> = Vec::new(); // grows with the input, not with what it claims
    let mut unpacked = Unpacked::default();
    let mut previous: Option<I::Key> = None;
    for _ in 0..array_len(from)? {
        let item = I::decode(previous.as_ref(), from)?;
        unpacked.add::<I>(&item.key())?;
        previous = Some(item.key());
        items.push(item);
    }
    Ok(Node::Leaf(items))
}

fn decode_inner<I: Item>(level: u8, from: &mut Decoder<'_>) -> Result<Node<I>, Malformed> {
    let mut children: Vec<Child<I::Key>> = Vec::new();
    let mut unpacked = Unpacked::default();
    for _ in 0..array_len(from)? {
        expect_array(from, 3)?;
        let last = I::decode_key(children.last().map(|child| &child.last), from)?;
        unpacked.add::<I>(&last)?;
        children.push(Child { last, id: NodeId(fixed_bytes(from)?), count: from.u64()? });
    }
    Ok(Node::Inner { level, children })
}

#[derive(Default)]
struct Unpacked(usize);

impl Unpacked {
    fn add<I: Item>(&mut self, key: &I::Key) -> Result<(), Malformed> {
        self.0 += I::key_bytes(key);
        if self.0 > MAX_UNPACKED_BYTES { Err(Malformed::TooLarge) } else { Ok(()) }
    }
}

/// Keys ascend, and none but the last ends a node of this level.
fn check_keys<I: Item>(level: u8, keys: impl Iterator<Item = I::Key>) -> Result<(), Malformed> {
    let mut previous: Option<I::Key> = None;
    for key in keys {
        if let Some(previous) = &previous {
            if *previous >= key {
                return Err(Malformed::Order);
            }
            if levels_ended::<I>(previous) > level {
                return Err(Malformed::Boundary);
            }
        }
        previous = Some(key);
    }
    Ok(())
}

fn check_children<I: Item>(level: u8, children: &[Child<I::Key>]) -> Result<(), Malformed> {
    let Some((_, all_but_last)) = children.split_last() else {
        return Err(Malformed::Level);
    };
    check_keys::<I>(level, children.iter().map(|child| child.last.clone()))?;
    // The last child may be the end of the whole tree; the parent of this node knows.
    if all_but_last.iter().any(|child| levels_ended::<I>(&child.last) < level) {
        return Err(Malformed::Boundary);
    }
    let total = children.iter().try_fold(0_u64, |sum, child| sum.checked_add(child.count));
    if total.is_none() || children.iter().any(|child| child.count == 0) {
        return Err(Malformed::Field("a count"));
    }
    Ok(())
}
