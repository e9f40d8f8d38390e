//! What a tree can hold: items with a key, a hash of the key, and a canonical encoding.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt;

use minicbor::{Decoder, Encoder};

use super::Malformed;

/// Bits of a key's hash that one level of the tree takes: a node has some 2⁵ items.
pub const BITS_PER_LEVEL: u32 = 5;
/// The highest level: no hash ends levels above it, since 64 bits of each are looked at.
pub const MAX_LEVEL: u8 = (u64::BITS / BITS_PER_LEVEL) as u8;

/// Encoding into memory; nothing in it can fail.
pub type Encoded = Result<(), minicbor::encode::Error<Infallible>>;

/// Something that a [`Tree`](super::Tree) keeps in the order of its keys.
///
/// Keys and items are encoded against the key before them in the node (`None` at its beginning),
/// so that shared prefixes cost nothing. Encodings are canonical: `encode` of what `decode` gave
/// yields the same bytes, or the bytes are refused.
pub trait Item: Clone + PartialEq + fmt::Debug {
    /// What orders items, and alone decides the shape of the tree.
    type Key: Ord + Clone + fmt::Debug;

    /// The item's key.
    fn key(&self) -> Self::Key;
    /// How its key compares with another one.
    fn cmp_key(&self, key: &Self::Key) -> Ordering {
        self.key().cmp(key)
    }
    /// The hash that decides where nodes end.
    fn key_hash(key: &Self::Key) -> blake3::Hash;
    /// Memory that a key takes beyond its type's size; bounds what a small node can unpack to.
    fn key_bytes(key: &Self::Key) -> usize;
    /// Whether all fields are in their ranges, so that others will accept the item.
    fn check(&self) -> Result<(), Malformed>;
    /// Writes the item, its key included.
    fn encode(&self, previous: Option<&Self::Key>, to: &mut Encoder<Vec<u8>>) -> Encoded;
    /// Reads what `encode` wrote, and checks it.
    fn decode(previous: Option<&Self::Key>, from: &mut Decoder<'_>) -> Result<Self, Malformed>;
    /// Writes a key alone.
    fn encode_key(key: &Self::Key, previous: Option<&Self::Key>, to: &mut Encoder<Vec<u8>>) -> Encoded;
    /// Reads what `encode_key` wrote.
    fn decode_key(previous: Option<&Self::Key>, from: &mut Decoder<'_>) -> Result<Self::Key, Malformed>;
}

/// How many levels of nodes end after this key: a node of level `n` does if this is above `n`.
///
/// Counts the zero bits at the end of the key's hash, read as a big-endian number.
pub fn levels_ended<I: Item>(key: &I::Key) -> u8 {
    let hash = I::key_hash(key);
    let mut last = [0; 8];
    last.copy_from_slice(&hash.as_bytes()[24..]);
    (u64::from_be_bytes(last).trailing_zeros() / BITS_PER_LEVEL) as u8
}

/// The number of elements of a definite array.
pub(crate) fn array_len(from: &mut Decoder<'_>) -> Result<u64, Malformed> {
    from.array()?.ok_or(Malformed::NotCanonical)
}

/// The start of an array that must have `len` elements.
pub(crate) fn expect_array(from: &mut Decoder<'_>, len: u64) -> Result<(), Malformed> {
    if array_len(from)? == len { Ok(()) } else { Err(Malformed::Encoding) }
}

/// A byte string of a fixed length.
pub(crate) fn fixed_bytes<const N: usize>(from: &mut Decoder<'_>) -> Result<[u8; N], Malformed> {
    from.bytes()?.try_into().map_err(|_| Malformed::Encoding)
}
