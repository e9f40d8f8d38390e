//! Taking from an earlier version of a file what the new one has as well.
//!
//! Chunks that lie side by side in the new file are read, verified and written together, by several
//! threads: while one waits for the disk, others hash. Where files can share blocks, those that have not
//! moved are not even written (ioctl_ficlone(2)).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use keystore::ContentKey;
use parking_lot::Mutex;
use protocol::ContentId;
use protocol::RelPath;
use protocol::chunk::{ChunkId, MAX_CHUNK_BYTES};
use protocol::chunk_list::{ChunkList, Located, parse_node};
use protocol::engine::Prepare;
use protocol::{NodeId, StoreError};

use super::pages::Pages;
use super::{Missing, Stage, Unwritten, staged_name};
use crate::disk::{Disk, Place, ReadFile, StagedName};

/// From this length on what is copied is not kept in memory for whoever reads it next, but goes past
/// the cache. (What comes from the network would have to be copied for that, which costs as much.)
const LARGE_BYTES: u64 = 16 << 20;
/// What is written at once, about.
const RUN_BYTES: usize = 2 << 20;
/// Fewer runs than this are copied before another thread has started.
const RUNS_A_THREAD: usize = 3;
/// So many threads beyond those that have a core to hash wait for the disk.
const WAITING: usize = 2;
/// More do not make one file faster.
const MOST_THREADS: usize = 6;

/// Whether a content of this length goes past the cache, which wants room taken before.
pub(super) fn is_large(size: u64) -> bool {
    size >= LARGE_BYTES
}

/// Chunks that lie side by side.
struct Run {
    /// Each with the place where the earlier file has it.
    chunks: Vec<(Missing, u64)>,
    bytes: usize,
}

impl Stage {
    /// Begins with the blocks of an earlier version, where files can share them and most of the bytes
    /// have stayed where they were: those are neither written nor take room a second time. What the
    /// staged file really holds shows later.
    pub(super) fn share(&self, wish: &Prepare, list: &ChunkList<'_>) -> Result<bool, StoreError> {
        let Some((path, earlier)) = &wish.earlier else { return Ok(false) };
        if !is_large(wish.size) || self.cannot_share.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let Some(earlier) = self.list_of(earlier)? else { return Ok(false) };
        if unmoved_bytes(list, &earlier) < wish.size / 2 {
            return Ok(false);
        }
        let shared = self.disk.share_with_staged(&Place::Folder(path.clone()), &staged_name(&wish.content));
        if shared.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
            self.cannot_share.store(true, Ordering::Relaxed);
        }
        Ok(shared.is_ok())
    }

    /// The chunk list of a content of some length, if it has one that is here.
    fn list_of(&self, content: &ContentId) -> Result<Option<ChunkList<'_>>, StoreError> {
        let Some(root) = self.nodes.load(&NodeId(content.0))? else { return Ok(None) };
        let Ok(root) = parse_node(&root) else { return Ok(None) };
        Ok(ChunkList::load(&*self.nodes, content, root.bytes()).ok())
    }

    /// Copies chunks that an earlier version of the file has as well. What it cannot give, for
    /// whatever reason, the network brings.
    pub(super) fn reuse(
        &self,
        (wanted, size): (&ContentId, u64),
        path: &RelPath,
        earlier: &ContentId,
        missing: &mut BTreeMap<u64, Missing>,
    ) -> Result<(), ReuseError> {
        let Some(list) = self.list_of(earlier)? else { return Ok(()) };
        let mut places: BTreeMap<ChunkId, Option<u64>> =
            missing.values().map(|chunk| (chunk.id, None)).collect();
        for chunk in list.iter().map_while(Result::ok) {
            if let Some(place) = places.get_mut(&chunk.id) {
                place.get_or_insert(chunk.offset);
            }
        }
        let copying = Copying {
            key: &self.content_key,
            disk: &*self.disk,
            from: Place::Folder(path.clone()),
            to: staged_name(wanted),
            is_large: is_large(size),
            runs: runs(missing, &places),
            next: AtomicUsize::new(0),
            done: Mutex::default(),
        };
        let done = copying.run()?;
        missing.retain(|_, chunk| !done.contains(&chunk.offset));
        Ok(())
    }
}

/// Bytes of chunks that both have at the same place.
fn unmoved_bytes(one: &ChunkList<'_>, other: &ChunkList<'_>) -> u64 {
    let mut other = other.iter().map_while(Result::ok).peekable();
    let is_unmoved = |chunk: &Located| {
        while other.next_if(|before| before.offset < chunk.offset).is_some() {}
        other.peek().is_some_and(|there| there.offset == chunk.offset && there.id == chunk.id)
    };
    one.iter().map_while(Result::ok).filter(is_unmoved).map(|chunk| u64::from(chunk.len)).sum()
}

/// Why nothing could be staged.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReuseError {
    #[error(transparent)]
    Disk(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn runs(missing: &BTreeMap<u64, Missing>, places: &BTreeMap<ChunkId, Option<u64>>) -> Vec<Run> {
    let (mut runs, mut end) = (Vec::<Run>::new(), None);
    for chunk in missing.values() {
        let Some(place) = places.get(&chunk.id).copied().flatten() else { continue };
        let len = chunk.len as usize;
        match runs.last_mut().filter(|run| end == Some(chunk.offset) && run.bytes + len <= RUN_BYTES) {
            Some(run) => {
                run.chunks.push((*chunk, place));
                run.bytes += len;
            }
            None => runs.push(Run { chunks: vec![(*chunk, place)], bytes: len }),
        }
        end = Some(chunk.offset + u64::from(chunk.len));
    }
    runs
}

/// Runs on their way from one file to another.
struct Copying<'a> {
    key: &'a ContentKey,
    disk: &'a dyn Disk,
    from: Place,
    to: StagedName,
    is_large: bool,
    runs: Vec<Run>,
    /// The number of the run that is copied next.
    next: AtomicUsize,
    /// Offsets of the chunks that are written.
    done: Mutex<BTreeSet<u64>>,
}

impl Copying<'_> {
    /// Copies what verifies. Answers the offsets that were written.
    fn run(self) -> io::Result<BTreeSet<u64>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (self.runs.len() / RUNS_A_THREAD).min((cores + WAITING).min(MOST_THREADS));
        std::thread::scope(|scope| {
            // Where the system gives no thread, fewer copy.
            let start = |_| std::thread::Builder::new().spawn_scoped(scope, || self.work()).ok();
            let others: Vec<_> = (1..threads).filter_map(start).collect();
            let mut result = self.work();
            for other in others {
                let other = other.join().unwrap_or_else(|_| Err(io::Error::other("a copy has failed")));
                result = result.and(other);
            }
            result
        })?;
        Ok(self.done.into_inner())
    }

    fn work(&self) -> io::Result<()> {
        let Ok(source) = self.disk.open(&self.from) else { return Ok(()) };
        let target = self.disk.stage(&self.to)?;
        let longest = self.runs.iter().map(|run| run.bytes).max().unwrap_or(MAX_CHUNK_BYTES);
        let mut pages = Pages::new(longest);
        let mut unwritten = Unwritten::default();
        while let Some(run) = self.runs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let start = run.chunks[0].0.offset;
            let bytes = pages.at(start, run.bytes);
            for stretch in self.read(run, &*source, bytes) {
                let offset = start + stretch.start as u64;
                let verified = &bytes[stretch];
                match self.is_large {
                    true => target.write_past_cache(verified, offset)?,
                    false => target.write_at(verified, offset)?,
                }
                if let Some((from, to)) = unwritten.add(offset, verified.len() as u64) {
                    target.write_back(from, to - from);
                }
                let written = offset..offset + verified.len() as u64;
                let offsets = run.chunks.iter().map(|(chunk, _)| chunk.offset);
                self.done.lock().extend(offsets.filter(|offset| written.contains(offset)));
            }
        }
        Ok(())
    }

    /// Reads the chunks of a run; those that verify, as stretches.
    fn read(&self, run: &Run, source: &dyn ReadFile, bytes: &mut [u8]) -> Vec<std::ops::Range<usize>> {
        let (mut stretches, mut at) = (Vec::<std::ops::Range<usize>>::new(), 0);
        for (chunk, place) in &run.chunks {
            let range = at..at + chunk.len as usize;
            at = range.end;
            let place_of = &mut bytes[range.clone()];
            if read_exactly(source, place_of, *place).is_err() || !chunk.id.verify(self.key, place_of) {
                continue;
            }
            match stretches.last_mut().filter(|last| last.end == range.start) {
                Some(last) => last.end = range.end,
                None => stretches.push(range),
            }
        }
        stretches
    }
}

/// Fills the buffer, or fails if the file ends before.
pub(super) fn read_exactly<F: ReadFile + ?Sized>(
    file: &F,
    mut buffer: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
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
