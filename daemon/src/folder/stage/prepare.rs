//! What this disk has already of a wanted content.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use keystore::ContentKey;
use parking_lot::Mutex;
use protocol::chunk::{ChunkId, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};
use protocol::chunk_list::{ChunkList, ListError, Located, parse_node};
use protocol::engine::Prepare;
use protocol::message::ChunkWanted;
use protocol::{ContentId, NodeId, RelPath, StoreError};

use super::{Content, Missing, Stage, Unwritten, Wanted, cannot_write, staged_content, staged_name};
use crate::disk::{Disk, DiskStat, Kind, Place, ReadFile, StagedName, WriteFile};

/// Fewer chunks than this are copied before another thread has started.
const COPIES_A_THREAD: usize = 16;

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
        let is_there = staged.is_some() || wish.same.iter().any(|path| self.copy(path, wish));
        let (mut missing, mut made_with) = (BTreeMap::new(), None);
        if !is_there && wish.size <= MIN_CHUNK_BYTES as u64 && wish.size > 0 {
            // Made when its only chunk arrives: a first sync has very many of these.
            collect(&list, |chunk| add(&mut missing, chunk))?;
            made_with = Some(wish.mode);
        } else {
            let file = self.disk.stage(&staged_name(&wish.content))?;
            file.set_length(wish.size)?;
            self.verify(&*file, &list, is_there, &mut missing)?;
            if let (false, Some((path, content))) = (missing.is_empty(), &wish.earlier) {
                self.reuse(&wish.content, path, content, &mut missing)?;
            }
        }
        Ok(self.want(wish, missing, made_with))
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
    ) -> Vec<ChunkWanted> {
        let answer = refs(&wish.content, &missing);
        let mut wanted = self.wanted.lock();
        wanted.missing_bytes += missing.values().map(|missing| u64::from(missing.len)).sum::<u64>();
        let content = Content { size: wish.size, missing, unwritten: Unwritten::default(), made_with };
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
        let mut needs = 0;
        collect(list, |chunk| needs += if chunk.id.is_hole() { 0 } else { u64::from(chunk.len) })?;
        let needs = needs.saturating_sub(staged.map_or(0, |staged| staged.allocated));
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

    /// Copies chunks that an earlier version of the file has as well. What it cannot give, for
    /// whatever reason, the network brings.
    fn reuse(
        &self,
        wanted: &ContentId,
        path: &RelPath,
        content: &ContentId,
        missing: &mut BTreeMap<u64, Missing>,
    ) -> Result<(), PrepareError> {
        let Some(root) = self.nodes.load(&NodeId(content.0))? else { return Ok(()) };
        let Ok(root) = parse_node(&root) else { return Ok(()) };
        let Ok(list) = ChunkList::load(&*self.nodes, content, root.bytes()) else { return Ok(()) };
        let mut places: BTreeMap<ChunkId, Vec<Missing>> = BTreeMap::new();
        for chunk in missing.values() {
            places.entry(chunk.id).or_default().push(*chunk);
        }
        let here = list.iter().map_while(Result::ok);
        let copies: Vec<_> =
            here.filter_map(|chunk| Some(Copy { to: places.remove(&chunk.id)?, chunk })).collect();
        let from = Place::Folder(path.clone());
        let done = copy_chunks(&self.content_key, &*self.disk, &from, &staged_name(wanted), &copies)?;
        missing.retain(|_, chunk| !done.contains(&chunk.offset));
        Ok(())
    }
}

/// A chunk of another file, and what it is good for.
struct Copy {
    chunk: Located,
    to: Vec<Missing>,
}

/// Copies chunks that verify to a staged file, on several threads if they are many. Answers the
/// offsets that were written.
fn copy_chunks(
    key: &ContentKey,
    disk: &dyn Disk,
    from: &Place,
    to: &StagedName,
    copies: &[Copy],
) -> io::Result<BTreeSet<u64>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    let work = || {
        let Ok(source) = disk.open(from) else { return Ok(()) };
        let target = disk.stage(to)?;
        let mut buffer = vec![0; MAX_CHUNK_BYTES];
        let mut unwritten = Unwritten::default();
        while let Some(Copy { chunk, to }) = copies.get(next.fetch_add(1, Ordering::Relaxed)) {
            let bytes = &mut buffer[..chunk.len as usize];
            if read_exactly(&*source, bytes, chunk.offset).is_err() || !chunk.id.verify(key, bytes) {
                continue;
            }
            for missing in to.iter().filter(|missing| missing.len == chunk.len) {
                target.write_at(bytes, missing.offset)?;
                done.lock().insert(missing.offset);
                if let Some((from, to)) = unwritten.add(missing.offset, u64::from(missing.len)) {
                    target.write_back(from, to - from);
                }
            }
        }
        Ok(())
    };
    let threads = (copies.len() / COPIES_A_THREAD).min(most_threads());
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for other in others {
            result = result.and(other.join().unwrap_or_else(|_| Err(io::Error::other("a copy has failed"))));
        }
        result
    })?;
    Ok(done.into_inner())
}

/// As many as the cores that hash, within reason for one file.
fn most_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
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

/// Fills the buffer, or fails if the file ends before.
fn read_exactly<F: ReadFile + ?Sized>(file: &F, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
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
