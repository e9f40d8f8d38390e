//! The canonical encoding of entries in the nodes of a tree.
//!
//! An entry is `[shared, rest, fields]`: how many bytes of its path equal those of the path before
//! it in the node, the other bytes of the path, and a map with integer keys in ascending order.
//! A field that has its default is left out. Keys above [`LAST_KNOWN`] were written by a newer
//! version; they are kept byte by byte, because an old device that merges must not destroy them,
//! and one that refused them would stop the folder until it is updated.

use std::cmp::Ordering;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use super::Malformed;
use super::item::{Encoded, Item, array_len, expect_array, fixed_bytes};
use crate::entry::{Content, ContentId, Entry, EntryKey, MAX_TARGET_BYTES, MODE_MASK, Metadata, Timestamp};
use crate::path::{MAX_PATH_BYTES, RelPath};
use crate::version::{Origin, Version};

/// Most bytes of all names and values of extended attributes together: what ext4 keeps in a block.
pub const MAX_ATTRIBUTES_BYTES: usize = 4096;
/// Most bytes of the fields of newer versions. They may be as large as all attributes.
pub const MAX_EXTRA_BYTES: usize = MAX_ATTRIBUTES_BYTES;
/// Largest file that an operating system can have.
const MAX_FILE_BYTES: u64 = i64::MAX as u64;

const SEQ: u64 = 1;
const ORIGIN: u64 = 2;
const CONTENT: u64 = 3; // [0] directory, [1, id, size] file, [2, target] link
const FOUND: u64 = 4; // true, or left out
const MTIME: u64 = 5; // [seconds, nanos]
const MODE: u64 = 6;
const OWNER: u64 = 7; // [user, group]
const ATTRIBUTES: u64 = 8; // [name, value, name, value, …]
const LAST_KNOWN: u64 = ATTRIBUTES;

impl Item for Entry {
    type Key = EntryKey;

    fn key(&self) -> EntryKey {
        Self::key(self)
    }

    fn cmp_key(&self, key: &EntryKey) -> Ordering {
        self.path.cmp(&key.path).then_with(|| self.version.cmp(&key.version))
    }

    fn key_hash(key: &EntryKey) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(key.path.as_bytes()).update(&[0]);
        hasher.update(&key.version.seq.to_be_bytes()).update(&key.version.origin.0);
        hasher.finalize()
    }

    fn key_bytes(key: &EntryKey) -> usize {
        key.path.as_bytes().len()
    }

    fn check(&self) -> Result<(), Malformed> {
        check_fields(self)?;
        count_extra(&self.extra).map(|_| ())
    }

    fn encode(&self, previous: Option<&EntryKey>, to: &mut Encoder<Vec<u8>>) -> Encoded {
        to.array(3)?;
        encode_path(&self.path, previous, to)?;
        let Metadata { mtime, mode, owner, attributes } = &self.metadata;
        let has_mtime = *mtime != Timestamp::default();
        let optional = [self.found, has_mtime, *mode != 0, owner.is_some(), !attributes.is_empty()];
        let known = 3 + optional.iter().filter(|present| **present).count() as u64;
        // Entries are checked before they get here; wrong bytes would show as a refused node.
        to.map(known + count_extra(&self.extra).unwrap_or(0))?;
        to.u64(SEQ)?.u64(self.version.seq)?;
        to.u64(ORIGIN)?.bytes(&self.version.origin.0)?;
        to.u64(CONTENT)?;
        encode_content(&self.content, to)?;
        if self.found {
            to.u64(FOUND)?.bool(true)?;
        }
        if has_mtime {
            to.u64(MTIME)?.array(2)?.i64(mtime.seconds)?.u32(mtime.nanos)?;
        }
        if *mode != 0 {
            to.u64(MODE)?.u16(*mode)?;
        }
        if let Some((user, group)) = owner {
            to.u64(OWNER)?.array(2)?.u32(*user)?.u32(*group)?;
        }
        if !attributes.is_empty() {
            to.u64(ATTRIBUTES)?.array(2 * attributes.len() as u64)?;
            for (name, value) in attributes {
                to.bytes(name)?.bytes(value)?;
            }
        }
        to.writer_mut().extend_from_slice(&self.extra);
        Ok(())
    }

    fn decode(previous: Option<&EntryKey>, from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        expect_array(from, 3)?;
        let path = decode_path(previous, from)?;
        let entry = decode_fields(path, from)?;
        entry.check()?;
        Ok(entry)
    }

    fn encode_key(key: &EntryKey, previous: Option<&EntryKey>, to: &mut Encoder<Vec<u8>>) -> Encoded {
        to.array(4)?;
        encode_path(&key.path, previous, to)?;
        to.u64(key.version.seq)?.bytes(&key.version.origin.0)?;
        Ok(())
    }

    fn decode_key(previous: Option<&EntryKey>, from: &mut Decoder<'_>) -> Result<EntryKey, Malformed> {
        expect_array(from, 4)?;
        let path = decode_path(previous, from)?;
        let version = Version { seq: from.u64()?, origin: Origin(fixed_bytes(from)?) };
        if version.seq == 0 { Err(Malformed::Field("a version")) } else { Ok(EntryKey { path, version }) }
    }
}

fn encode_path(path: &RelPath, previous: Option<&EntryKey>, to: &mut Encoder<Vec<u8>>) -> Encoded {
    let bytes = path.as_bytes();
    let before = previous.map_or(&[][..], |key| key.path.as_bytes());
    let shared = bytes.iter().zip(before).take_while(|(a, b)| a == b).count();
    to.u64(shared as u64)?.bytes(&bytes[shared..])?;
    Ok(())
}

fn decode_path(previous: Option<&EntryKey>, from: &mut Decoder<'_>) -> Result<RelPath, Malformed> {
    let shared = from.u32()? as usize;
    let rest = from.bytes()?;
    let before = previous.map_or(0, |key| key.path.as_bytes().len());
    if shared > before {
        return Err(Malformed::Encoding);
    }
    match previous {
        Some(previous) if shared == before && rest.is_empty() => Ok(previous.path.clone()),
        _ if shared + rest.len() > MAX_PATH_BYTES => Err(Malformed::TooLarge),
        Some(previous) => Ok(previous.path.parse_beside(shared, rest)?),
        None => Ok(RelPath::parse(rest)?),
    }
}

fn encode_content(content: &Content, to: &mut Encoder<Vec<u8>>) -> Encoded {
    match content {
        Content::Directory => to.array(1)?.u8(0)?,
        Content::File { id, size } => to.array(3)?.u8(1)?.bytes(&id.0)?.u64(*size)?,
        Content::Symlink { target } => to.array(2)?.u8(2)?.bytes(target)?,
    };
    Ok(())
}

fn decode_content(from: &mut Decoder<'_>) -> Result<Content, Malformed> {
    let len = array_len(from)?;
    match (from.u64()?, len) {
        (0, 1) => Ok(Content::Directory),
        (1, 3) => Ok(Content::File { id: ContentId(fixed_bytes(from)?), size: from.u64()? }),
        (2, 2) => {
            let target = from.bytes()?;
            if target.len() > MAX_TARGET_BYTES {
                return Err(Malformed::Field("the target of a link"));
            }
            Ok(Content::Symlink { target: target.into() })
        }
        (0..=2, _) => Err(Malformed::Encoding),
        _ => Err(Malformed::UnknownKind),
    }
}

fn decode_fields(path: RelPath, from: &mut Decoder<'_>) -> Result<Entry, Malformed> {
    let fields = from.map()?.ok_or(Malformed::NotCanonical)?;
    let (mut seq, mut origin, mut content, mut found) = (None, None, None, false);
    let mut metadata = Metadata::default();
    let mut extra = Vec::new();
    let mut previous = 0;
    for _ in 0..fields {
        let start = from.position();
        let field = from.u64()?;
        if field <= previous {
            return Err(Malformed::NotCanonical);
        }
        previous = field;
        match field {
            SEQ => seq = Some(from.u64()?),
            ORIGIN => origin = Some(Origin(fixed_bytes(from)?)),
            CONTENT => content = Some(decode_content(from)?),
            FOUND => found = from.bool()?,
            MTIME => {
                expect_array(from, 2)?;
                metadata.mtime = Timestamp { seconds: from.i64()?, nanos: from.u32()? };
            }
            MODE => metadata.mode = from.u16()?,
            OWNER => {
                expect_array(from, 2)?;
                metadata.owner = Some((from.u32()?, from.u32()?));
            }
            ATTRIBUTES => decode_attributes(&mut metadata, from)?,
            _ => {
                skip(from)?;
                extra.extend_from_slice(&from.input()[start..from.position()]);
            }
        }
    }
    let version =
        Version { seq: seq.ok_or(Malformed::Encoding)?, origin: origin.ok_or(Malformed::Encoding)? };
    let content = content.ok_or(Malformed::Encoding)?;
    Ok(Entry { path, version, found, content, metadata, extra })
}

fn decode_attributes(metadata: &mut Metadata, from: &mut Decoder<'_>) -> Result<(), Malformed> {
    let len = array_len(from)?;
    for _ in 0..len / 2 {
        metadata.attributes.push((from.bytes()?.to_vec(), from.bytes()?.to_vec()));
    }
    if len % 2 == 0 { Ok(()) } else { Err(Malformed::Encoding) }
}

fn check_fields(entry: &Entry) -> Result<(), Malformed> {
    let Metadata { mtime, mode, owner: _, attributes } = &entry.metadata;
    let sorted = attributes.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let attribute_bytes: usize = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    if entry.version.seq == 0 {
        return Err(Malformed::Field("a version"));
    }
    if mtime.nanos >= 1_000_000_000 {
        return Err(Malformed::Field("a time"));
    }
    if *mode & !MODE_MASK != 0 {
        return Err(Malformed::Field("a mode"));
    }
    if !sorted || attribute_bytes > MAX_ATTRIBUTES_BYTES || attributes.iter().any(|(name, _)| name.is_empty())
    {
        return Err(Malformed::Field("a list of extended attributes"));
    }
    match &entry.content {
        Content::File { size, .. } if *size > MAX_FILE_BYTES => Err(Malformed::Field("the size of a file")),
        Content::Symlink { target }
            if target.is_empty() || target.len() > MAX_TARGET_BYTES || target.contains(&0) =>
        {
            Err(Malformed::Field("the target of a link"))
        }
        _ => Ok(()),
    }
}

/// How many fields of newer versions there are; refuses what could not be read back.
fn count_extra(extra: &[u8]) -> Result<u64, Malformed> {
    if extra.len() > MAX_EXTRA_BYTES {
        return Err(Malformed::Field("the size of unknown fields"));
    }
    let mut from = Decoder::new(extra);
    let (mut count, mut previous) = (0, LAST_KNOWN);
    while from.position() < extra.len() {
        let start = from.position();
        if !matches!(from.datatype()?, Type::U8 | Type::U16 | Type::U32 | Type::U64) {
            return Err(Malformed::Encoding);
        }
        let field = from.u64()?;
        if field <= previous || from.position() - start != uint_len(field) {
            return Err(Malformed::NotCanonical);
        }
        skip(&mut from)?;
        previous = field;
        count += 1;
    }
    Ok(count)
}

/// Steps over one value of a field that this version does not know. Stricter than the decoder's own:
/// no floats, and nothing of indefinite length, whose end could be forged.
fn skip(from: &mut Decoder<'_>) -> Result<(), Malformed> {
    let mut values = 1_u64;
    while values > 0 {
        values -= 1;
        let inside = match from.datatype()? {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => from.u64().map(|_| 0)?,
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => from.int().map(|_| 0)?,
            Type::Bool => from.bool().map(|_| 0)?,
            Type::Null => from.null().map(|()| 0)?,
            Type::Bytes => from.bytes().map(|_| 0)?,
            Type::String => from.str().map(|_| 0)?,
            Type::Array => array_len(from)?,
            Type::Map => from.map()?.ok_or(Malformed::NotCanonical)?.saturating_mul(2),
            Type::Tag => from.tag().map(|_| 1)?,
            _ => return Err(Malformed::Encoding),
        };
        values = values.saturating_add(inside);
    }
    Ok(())
}

/// Length of the shortest encoding of an unsigned integer.
fn uint_len(value: u64) -> usize {
    match value {
        0..=0x17 => 1,
        0x18..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}
