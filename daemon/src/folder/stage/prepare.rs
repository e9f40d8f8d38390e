//! What this disk has already of a wanted content.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use protocol::chunk::{MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};
use protocol::chunk_list::{ChunkList, ListError, Located};
use protocol::engine::Prepare;
use protocol::message::ChunkWanted;
use protocol::{ContentId, RelPath, StoreError};

use super::reuse::{ReuseError, is_large, read_exactly};
use super::{Content, Missing, Stage, Unwritten, Wanted, cannot_write, staged_content, staged_name};
use crate::disk::{DiskStat, Kind, Place, WriteFile};

/// Why a content cannot be staged; a sentence for people.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("no space: needs {}, {} free", size(*.needs), size(*.free))]
    NoSpace { needs: u64, free: u64 },
    #[error(transparent)]
    List(#[from] ListError),
    #[error("{}", cannot_write(.0))]
    Disk(#[from] io::Error),
}

impl From<StoreError> for PrepareError {
    fn from(error: StoreError) -> Self {
        Self::List(error.into())
    }
}

impl From<ReuseError> for PrepareError {
    fn from(error: ReuseError) -> Self {
        match error {
            ReuseError::Disk(error) => error.into(),
            ReuseError::Store(error) => error.into(),
        }
    }
}

impl Stage {
    /// `free` is what was free on the disk when a short content asked last: they are many, and each
    /// is little.
    pub(super) fn prepare_one(
        &self,
        wish: &Prepare,
        free: &mut Option<u64>,
    ) -> Result<Vec<ChunkWanted>, PrepareError> {
        let staged = match self.may_be_staged(wish)? {
            true => self.disk.stat(&Place::Staged(staged_name(&wish.content)))?,
            false => None,
        };
        if let Some(missing) = self.known(wish, staged.as_ref()) {
            return Ok(missing);
        }
        self.drop_content(&wish.content);
        let list = ChunkList::load(&*self.nodes, &wish.content, wish.size)?;
        if wish.size > MIN_CHUNK_BYTES as u64 {
            *free = None;
        }
        self.check_space(&list, staged.as_ref(), free)?;
        let is_copied = staged.is_none()
            && (wish.same.iter().any(|path| self.copy(path, wish)) || self.share(wish, &list)?);
        let is_there = staged.is_some() || is_copied;
        let (mut missing, mut made_with, mut has_room) = (BTreeMap::new(), None, false);
        if !is_there && wish.size <= MIN_CHUNK_BYTES as u64 && wish.size > 0 {
            // Made when its only chunk arrives: a first sync has very many of these.
            collect(&list, |chunk| add(&mut missing, chunk))?;
            made_with = Some(wish.mode);
        } else {
            let file = self.disk.stage(&staged_name(&wish.content))?;
            file.set_length(wish.size)?;
            self.verify(&*file, &list, is_there, &mut missing)?;
            // What comes into room that is taken already need not find any, page by page. Blocks that may
            // be shared are none: what is written there goes elsewhere.
            has_room = !is_copied && is_large(wish.size) && !missing.is_empty() && take_room(&*file, &list)?;
            if let (false, Some((path, content))) = (missing.is_empty(), &wish.earlier) {
                self.reuse((&wish.content, wish.size), path, content, &mut missing)?;
            }
        }
        Ok(self.want(wish, missing, made_with, has_room))
    }

    /// Not worth a look for each of very many short files: what is staged is known. Where that is
    /// wrong, the bytes come once more and are written into the file that is there.
    fn may_be_staged(&self, wish: &Prepare) -> io::Result<bool> {
        if wish.size > MIN_CHUNK_BYTES as u64 || wish.size == 0 {
            return Ok(true);
        }
        let is_known = |wanted: &Wanted| {
            let left = wanted.left.as_ref()?;
            Some(left.contains(&wish.content) || wanted.contents.contains_key(&wish.content))
        };
        if let Some(known) = is_known(&self.wanted.lock()) {
            return Ok(known);
        }
        let found: BTreeSet<_> = self.leftovers()?.iter().filter_map(staged_content).collect();
        let mut wanted = self.wanted.lock();
        wanted.left.get_or_insert_default().extend(found);
        Ok(is_known(&wanted).unwrap_or(true))
    }

    /// What is missing of a content that has been prepared in this run, and is still there.
    fn known(&self, wish: &Prepare, staged: Option<&DiskStat>) -> Option<Vec<ChunkWanted>> {
        let wanted = self.wanted.lock();
        let content = wanted.contents.get(&wish.content).filter(|content| content.size == wish.size)?;
        let is_there =
            staged.is_some_and(|staged| staged.kind == Kind::File && staged.stat.size == wish.size);
        let to_be_made =
            staged.is_none() && wish.size <= MIN_CHUNK_BYTES as u64 && !content.missing.is_empty();
        (is_there || to_be_made).then(|| refs(&wish.content, &content.missing))
    }

    fn want(
        &self,
        wish: &Prepare,
        missing: BTreeMap<u64, Missing>,
        made_with: Option<u16>,
        has_room: bool,
    ) -> Vec<ChunkWanted> {
        let answer = refs(&wish.content, &missing);
        let mut wanted = self.wanted.lock();
        let unwritten = Unwritten::default();
        let content = Content { size: wish.size, missing, unwritten, made_with, has_room };
        wanted.missing_bytes += content.promised_bytes();
        wanted.contents.insert(wish.content, content);
        answer
    }

    /// Everything that was promised before must still find room.
    fn check_space(
        &self,
        list: &ChunkList<'_>,
        staged: Option<&DiskStat>,
        free: &mut Option<u64>,
    ) -> Result<(), PrepareError> {
        let needs = filled_bytes(list)?.saturating_sub(staged.map_or(0, |staged| staged.allocated));
        let promised = self.wanted.lock().missing_bytes;
        let free = match *free {
            Some(free) => free,
            None => *free.insert(self.disk.free_bytes()?),
        };
        let free = free.saturating_sub(promised);
        if needs > free { Err(PrepareError::NoSpace { needs, free }) } else { Ok(()) }
    }

    /// Copies a path that is said to hold the content. What it really holds shows later.
    fn copy(&self, path: &RelPath, wish: &Prepare) -> bool {
        let at = Place::Folder(path.clone());
        let fits = |found: DiskStat| found.kind == Kind::File && found.stat.size == wish.size;
        let found = self.disk.stat(&at).ok().flatten();
        found.is_some_and(fits) && self.disk.copy_to_staged(&at, &staged_name(&wish.content)).is_ok()
    }

    /// Finds out which chunks the staged file has. Where it should be a hole it becomes zeros.
    fn verify(
        &self,
        file: &dyn WriteFile,
        list: &ChunkList<'_>,
        has_bytes: bool,
        missing: &mut BTreeMap<u64, Missing>,
    ) -> Result<(), PrepareError> {
        let mut buffer = vec![0; if has_bytes { MAX_CHUNK_BYTES } else { 0 }];
        for chunk in list.iter() {
            let chunk = chunk?;
            if !has_bytes {
                let empty = chunk.len == 0 && chunk.id.verify(&self.content_key, &[]);
                if !chunk.id.is_hole() && !empty {
                    add(missing, chunk);
                }
                continue;
            }
            let bytes = &mut buffer[..chunk.len as usize];
            read_exactly(file, bytes, chunk.offset)?;
            if chunk.id.verify(&self.content_key, bytes) {
                continue;
            }
            if chunk.id.is_hole() {
                bytes.fill(0);
                file.write_at(bytes, chunk.offset)?;
            } else {
                add(missing, chunk);
            }
        }
        Ok(())
    }
}

/// Takes room for all that is no hole. Whether it has got it: ZFS says yes and takes none.
pub(super) fn take_room(file: &dyn WriteFile, list: &ChunkList<'_>) -> Result<bool, PrepareError> {
    Ok(allocate(file, list)? && file.stat()?.allocated >= filled_bytes(list)?)
}

/// Bytes of what is no hole.
fn filled_bytes(list: &ChunkList<'_>) -> Result<u64, ListError> {
    let mut bytes = 0;
    collect(list, |chunk| bytes += if chunk.id.is_hole() { 0 } else { u64::from(chunk.len) })?;
    Ok(bytes)
}

fn allocate(file: &dyn WriteFile, list: &ChunkList<'_>) -> Result<bool, ListError> {
    let (mut run, mut is_done) = (0..0, true);
    let mut take =
        |run: Range<u64>| is_done &= run.is_empty() || file.allocate(run.start, run.end - run.start);
    collect(list, |chunk| {
        let end = chunk.offset + u64::from(chunk.len);
        match chunk.id.is_hole() {
            true => take(std::mem::replace(&mut run, end..end)),
            false => run.end = end,
        }
    })?;
    take(run);
    Ok(is_done)
}

fn add(missing: &mut BTreeMap<u64, Missing>, chunk: Located) {
    missing.insert(chunk.number, Missing { id: chunk.id, offset: chunk.offset, len: chunk.len });
}

fn collect(list: &ChunkList<'_>, mut chunk: impl FnMut(Located)) -> Result<(), ListError> {
    list.iter().try_for_each(|located| located.map(&mut chunk))
}

fn refs(content: &ContentId, missing: &BTreeMap<u64, Missing>) -> Vec<ChunkWanted> {
    missing.iter().map(|(number, m)| ChunkWanted { content: *content, number: *number, len: m.len }).collect()
}

/// Bytes for people: 3.2 GB.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "kB", "MB", "GB", "TB"] {
        if value < 1000.0 || unit == "TB" {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{bytes} bytes")
}
