//! Records as few bytes: a record of a file is one row of some hundred bytes.
//!
//! Numbers are LEB128, times are relative where that is shorter, and what nearly always follows
//! from something else (the one entry has the record's own path, the disk's mtime is the
//! metadata's) is one bit.

use std::sync::Arc;

use protocol::{
    Content, ContentId, EntryKey, Metadata, Origin, Record, RelPath, Shown, Stat, Timestamp, Version,
};

use super::error::{DatabaseError, Result};

const KIND: u8 = 0b11;
const FILE: u8 = 1;
const SYMLINK: u8 = 2;
const IGNORED: u8 = 1 << 2;
const HAS_STAT: u8 = 1 << 3;
const HAS_OWNER: u8 = 1 << 4;
const HAS_ATTRIBUTES: u8 = 1 << 5;
const ONE_ENTRY_HERE: u8 = 1 << 6;
const SEVERAL_ENTRIES: u8 = 1 << 7;

const SAME_SIZE: u8 = 1;
const SAME_MTIME: u8 = 1 << 1;

/// What a row of `records` holds besides its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The first 8 bytes of a file's content id; the rest is in the body.
    pub(super) tag: Option<i64>,
    /// The inode, if there is a stat.
    pub(super) inode: Option<i64>,
    /// Stands for several entries, or for one of another path.
    pub(super) copy: bool,
    /// All else.
    pub(super) body: Vec<u8>,
}

/// The first 8 bytes of a content id, as its index has them.
pub(super) fn tag(id: &ContentId) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.0[..8]);
    i64::from_be_bytes(first)
}

pub(super) fn encode_record(path: &RelPath, record: &Record) -> Row {
    let mut body = encode_shown(path, &record.shown);
    if record.ignored {
        body.1[0] |= IGNORED;
    }
    if let Some(stat) = &record.stat {
        body.1[0] |= HAS_STAT;
        put_stat(&mut body.1, stat, &record.shown);
    }
    let entries = &record.shown.entries;
    let copy = entries.len() > 1 || entries.iter().any(|entry| entry.path != *path);
    let inode = record.stat.map(|stat| stat.inode.cast_signed());
    Row { tag: body.0, inode, copy, body: body.1 }
}

pub(super) fn decode_record(path: &RelPath, row: &Row) -> Result<Record> {
    let mut input = Input(&row.body);
    let (flags, shown) = input.shown(path, row.tag)?;
    let stat = match (flags & HAS_STAT != 0, row.inode) {
        (true, Some(inode)) => Some(input.stat(inode.cast_unsigned(), &shown)?),
        (false, None) => None,
        _ => return Err(DatabaseError::row("a stat without inode")),
    };
    input.end()?;
    Ok(Record { shown, stat, ignored: flags & IGNORED != 0 })
}

/// A target of the journal: one blob.
pub(super) fn encode_target(path: &RelPath, shown: &Shown) -> Vec<u8> {
    let (tag, body) = encode_shown(path, shown);
    let mut blob = tag.unwrap_or_default().to_be_bytes().to_vec();
    blob.extend_from_slice(&body);
    blob
}

pub(super) fn decode_target(path: &RelPath, blob: &[u8]) -> Result<Shown> {
    let mut input = Input(blob);
    let tag = i64::from_be_bytes(input.array()?);
    let (_, shown) = input.shown(path, Some(tag))?;
    input.end()?;
    Ok(shown)
}

/// A stat alone, for displaced files.
pub(super) fn encode_stat(stat: &Stat) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    put_number(&mut out, stat.inode);
    put_number(&mut out, stat.size);
    put_time(&mut out, stat.mtime, 0);
    put_time(&mut out, stat.ctime, stat.mtime.seconds);
    put_number(&mut out, u64::from(stat.mode));
    out
}

pub(super) fn decode_stat(bytes: &[u8]) -> Result<Stat> {
    let mut input = Input(bytes);
    let (inode, size) = (input.number()?, input.number()?);
    let mtime = input.time(0)?;
    let ctime = input.time(mtime.seconds)?;
    let mode = input.small()?;
    input.end()?;
    Ok(Stat { inode, size, mtime, ctime, mode })
}

fn encode_shown(path: &RelPath, shown: &Shown) -> (Option<i64>, Vec<u8>) {
    let mut out = Vec::with_capacity(96);
    let (kind, tag) = match &shown.content {
        Content::Directory => (0, None),
        Content::File { id, .. } => (FILE, Some(tag(id))),
        Content::Symlink { .. } => (SYMLINK, None),
    };
    out.push(kind);
    match &shown.content {
        Content::Directory => {}
        Content::File { id, size } => {
            out.extend_from_slice(&id.0[8..]);
            put_number(&mut out, *size);
        }
        Content::Symlink { target } => put_bytes(&mut out, target),
    }
    put_metadata(&mut out, &shown.metadata);
    put_entries(&mut out, path, &shown.entries);
    (tag, out)
}

fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    put_time(out, metadata.mtime, 0);
    put_number(out, u64::from(metadata.mode));
    if let Some((user, group)) = metadata.owner {
        out[0] |= HAS_OWNER;
        put_number(out, u64::from(user));
        put_number(out, u64::from(group));
    }
    if !metadata.attributes.is_empty() {
        out[0] |= HAS_ATTRIBUTES;
        put_number(out, metadata.attributes.len() as u64);
        for (name, value) in &metadata.attributes {
            put_bytes(out, name);
            put_bytes(out, value);
        }
    }
}

fn put_entries(out: &mut Vec<u8>, path: &RelPath, entries: &[EntryKey]) {
    match entries {
        [] => {}
        [only] if only.path == *path => {
            out[0] |= ONE_ENTRY_HERE;
            put_version(out, only.version);
        }
        several => {
            out[0] |= SEVERAL_ENTRIES;
            put_number(out, several.len() as u64);
            for entry in several {
                put_version(out, entry.version);
                // Paths are never empty: that is free to say «the record's own».
                let other = if entry.path == *path { &[] } else { entry.path.as_bytes() };
                put_bytes(out, other);
            }
        }
    }
}

fn put_stat(out: &mut Vec<u8>, stat: &Stat, shown: &Shown) {
    let (same_size, same_mtime) =
        (stat.size == shown.content.size_bytes(), stat.mtime == shown.metadata.mtime);
    out.push((u8::from(same_size) * SAME_SIZE) | (u8::from(same_mtime) * SAME_MTIME));
    if !same_size {
        put_number(out, stat.size);
    }
    if !same_mtime {
        put_time(out, stat.mtime, 0);
    }
    put_time(out, stat.ctime, stat.mtime.seconds);
    put_number(out, u64::from(stat.mode));
}

fn put_version(out: &mut Vec<u8>, version: Version) {
    put_number(out, version.seq);
    out.extend_from_slice(&version.origin.0);
}

fn put_time(out: &mut Vec<u8>, time: Timestamp, since: i64) {
    let seconds = time.seconds.wrapping_sub(since);
    put_number(out, (seconds.cast_unsigned() << 1) ^ (seconds >> 63).cast_unsigned());
    put_number(out, u64::from(time.nanos));
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is left to read. Lengths are checked against it before anything is allocated.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn shown(&mut self, path: &RelPath, tag: Option<i64>) -> Result<(u8, Shown)> {
        let [flags] = self.array()?;
        let content = match (flags & KIND, tag) {
            (0, _) => Content::Directory,
            (FILE, Some(tag)) => {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&tag.to_be_bytes());
                id[8..].copy_from_slice(self.take(24)?);
                Content::File { id: ContentId(id), size: self.number()? }
            }
            (SYMLINK, _) => Content::Symlink { target: Arc::from(self.bytes()?) },
            _ => return Err(DatabaseError::row("unknown kind")),
        };
        let metadata = self.metadata(flags)?;
        let entries = self.entries(flags, path)?;
        Ok((flags, Shown { content, metadata, entries }))
    }

    fn metadata(&mut self, flags: u8) -> Result<Metadata> {
        let mtime = self.time(0)?;
        let mode = self.small()?;
        let mut metadata = Metadata { mtime, mode, ..Metadata::default() };
        if flags & HAS_OWNER != 0 {
            metadata.owner = Some((self.small()?, self.small()?));
        }
        if flags & HAS_ATTRIBUTES != 0 {
            for _ in 0..self.number()? {
                metadata.attributes.push((self.bytes()?.to_vec(), self.bytes()?.to_vec()));
            }
        }
        Ok(metadata)
    }

    fn entries(&mut self, flags: u8, path: &RelPath) -> Result<Vec<EntryKey>> {
        if flags & ONE_ENTRY_HERE != 0 {
            return Ok(vec![EntryKey { path: path.clone(), version: self.version()? }]);
        }
        let mut entries = Vec::new();
        if flags & SEVERAL_ENTRIES != 0 {
            for _ in 0..self.number()? {
                let version = self.version()?;
                let path = match self.bytes()? {
                    [] => path.clone(),
                    other => RelPath::parse(other).map_err(|error| DatabaseError::row(&error.to_string()))?,
                };
                entries.push(EntryKey { path, version });
            }
        }
        Ok(entries)
    }

    fn stat(&mut self, inode: u64, shown: &Shown) -> Result<Stat> {
        let [flags] = self.array()?;
        let size = if flags & SAME_SIZE != 0 { shown.content.size_bytes() } else { self.number()? };
        let mtime = if flags & SAME_MTIME != 0 { shown.metadata.mtime } else { self.time(0)? };
        let ctime = self.time(mtime.seconds)?;
        Ok(Stat { inode, size, mtime, ctime, mode: self.small()? })
    }

    fn version(&mut self) -> Result<Version> {
        Ok(Version { seq: self.number()?, origin: Origin(self.array()?) })
    }

    fn time(&mut self, since: i64) -> Result<Timestamp> {
        let zigzag = self.number()?;
        let seconds = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        Ok(Timestamp { seconds: seconds.wrapping_add(since), nanos: self.small()? })
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Result<T> {
        T::try_from(self.number()?).map_err(|_| DatabaseError::row("a number is too large"))
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DatabaseError::row("a number does not end"))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.small()?;
        self.take(length)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or_else(|| DatabaseError::row("it is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(DatabaseError::row("it is too long")) }
    }
}
