//! Serving chunks and nodes to peers, chunks straight out of the user's files.
//!
//! What is sent was hashed just before: a file that no longer holds what its record says is told to
//! the scan, and the peer hears that the chunk is not here. Nothing is locked, copied or cached but
//! a few open files and short runs of chunk lists.

mod holders;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use keystore::ContentKey;
use parking_lot::Mutex;
use protocol::chunk::{ChunkId, MIN_CHUNK_BYTES};
use protocol::chunk_list::{ChunkList, ListError, Located};
use protocol::message::ChunkWanted;
use protocol::{ContentId, NodeId, NodeStore, RelPath, StoreError};

use super::stage::{Recent, Stage, staged_name};
use crate::disk::{Disk, Place, ReadFile};
pub use holders::{Holder, Holders};

/// So many files are kept open for serving.
const OPEN_FILES: usize = 32;
/// So many runs of chunk lists are remembered.
const RUNS: usize = 32;
/// Chunks in a run: peers ask for neighbours, some 4 MiB at once.
const RUN_CHUNKS: usize = 64;
/// Paths that are tried for one content.
const MAX_PATHS: usize = 8;
/// Changed files that are remembered to have been told.
const TOLD: usize = 256;

/// Is told of a path that does not hold what its record says; must not block.
pub type Changed = Box<dyn Fn(RelPath) + Send + Sync>;

/// Serves one folder. Many threads may use it at once.
pub struct Server {
    disk: Arc<dyn Disk>,
    holders: Arc<dyn Holders>,
    nodes: Arc<dyn NodeStore + Send + Sync>,
    content_key: ContentKey,
    stage: Arc<Stage>,
    changed: Changed,
    sources: Mutex<Recent<ContentId, Source>>,
    runs: Mutex<Runs>,
    told: Mutex<Recent<(RelPath, ContentId), ()>>,
}

/// Runs of chunk lists, by content and number of the first chunk.
type Runs = Recent<(ContentId, u64), Arc<[Located]>>;

/// An open file that is said to hold a content.
#[derive(Clone)]
struct Source {
    size: u64,
    file: Arc<dyn ReadFile>,
    /// The user's; `None` in staging.
    path: Option<RelPath>,
}

impl Server {
    /// Serves what `holders` and `stage` know.
    pub fn new(
        disk: Arc<dyn Disk>,
        holders: Arc<dyn Holders>,
        nodes: Arc<dyn NodeStore + Send + Sync>,
        content_key: ContentKey,
        stage: Arc<Stage>,
        changed: Changed,
    ) -> Self {
        Self {
            disk,
            holders,
            nodes,
            content_key,
            stage,
            changed,
            sources: Mutex::new(Recent::new(OPEN_FILES)),
            runs: Mutex::new(Recent::new(RUNS)),
            told: Mutex::new(Recent::new(TOLD)),
        }
    }

    /// The bytes of chunks in the order of `wanted`, verified; `None`: it is not here (any more), or
    /// was never one. Asking for many at once is cheaper than for each.
    pub fn chunks(&self, wanted: &[ChunkWanted]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let holders = self.holders(wanted)?;
        let of = |wanted: &ChunkWanted| holders.get(&wanted.content).map(Vec::as_slice);
        // Files of one directory come one after the other: it is looked up once for them.
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|at| of(&wanted[*at]).and_then(<[Holder]>::first).map(|(path, _)| path));
        let mut chunks = vec![None; wanted.len()];
        for at in order {
            chunks[at] = self.chunk(&wanted[at], of(&wanted[at]))?;
        }
        Ok(chunks)
    }

    /// Who is said to hold the contents of which no file is open.
    fn holders(&self, wanted: &[ChunkWanted]) -> Result<BTreeMap<ContentId, Vec<Holder>>, StoreError> {
        let mut contents: Vec<_> = {
            let mut open = self.sources.lock();
            let contents = wanted.iter().map(|wanted| wanted.content);
            contents.filter(|content| open.find(content).is_none()).collect()
        };
        contents.sort_unstable();
        contents.dedup();
        if contents.is_empty() {
            return Ok(BTreeMap::new());
        }
        let holders = self.holders.holders(&contents, MAX_PATHS)?;
        Ok(contents.into_iter().zip(holders).collect())
    }

    /// `holders`: of its content, if they were asked for.
    fn chunk(&self, wanted: &ChunkWanted, holders: Option<&[Holder]>) -> Result<Option<Bytes>, StoreError> {
        let kept = self.sources.lock().find(&wanted.content);
        if let Some(source) = kept {
            if let Some(bytes) = self.read(&source, wanted)? {
                return Ok(Some(bytes));
            }
            self.sources.lock().forget(&wanted.content);
        }
        let asked;
        let holders = match holders {
            Some(holders) => holders,
            None => {
                asked = self.holders.holders(&[wanted.content], MAX_PATHS)?.pop().unwrap_or_default();
                &asked[..]
            }
        };
        for (path, size) in holders {
            let bytes = match is_one_chunk(*size) {
                true => self.read_whole(path, *size, wanted),
                false => match self.open(path, *size, &wanted.content) {
                    Some(source) => self.serve(source, wanted)?,
                    None => None,
                },
            };
            if bytes.is_some() {
                return Ok(bytes);
            }
        }
        match self.open_staged(wanted) {
            Some(source) => self.serve(source, wanted),
            None => Ok(None),
        }
    }

    /// The bytes of nodes, in the order of the ids; `None`: not here.
    pub fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        ids.iter().map(|id| self.nodes.load(id)).collect()
    }

    /// Closes all files, so that nothing is kept busy.
    pub fn close_files(&self) {
        self.sources.lock().clear();
    }

    /// Reads from a source that was just opened, and keeps it if it is good.
    fn serve(&self, source: Source, wanted: &ChunkWanted) -> Result<Option<Bytes>, StoreError> {
        let bytes = self.read(&source, wanted)?;
        if bytes.is_some() && !is_one_chunk(source.size) {
            self.sources.lock().keep(wanted.content, source);
        }
        Ok(bytes)
    }

    fn open(&self, path: &RelPath, size: u64, content: &ContentId) -> Option<Source> {
        match self.disk.open(&Place::Folder(path.clone())) {
            Ok(file) => Some(Source { size, file: file.into(), path: Some(path.clone()) }),
            Err(_) => {
                self.tell(path, content);
                None
            }
        }
    }

    /// A content of one chunk: its id is the chunk's, and its file need not stay open.
    fn read_whole(&self, path: &RelPath, size: u64, wanted: &ChunkWanted) -> Option<Bytes> {
        if wanted.number != 0 || u64::from(wanted.len) != size {
            return None;
        }
        let file = self.disk.open(&Place::Folder(path.clone()));
        let bytes = file.and_then(|file| read_chunk(&*file, wanted.len as usize, 0));
        match bytes {
            Ok(bytes) if ChunkId(wanted.content.0).verify(&self.content_key, &bytes) => Some(bytes.into()),
            _ => {
                self.tell(path, &wanted.content);
                None
            }
        }
    }

    /// What is being gathered is served as far as it is here and verified.
    fn open_staged(&self, wanted: &ChunkWanted) -> Option<Source> {
        let size = self.stage.size_if_here(&wanted.content, wanted.number)?;
        let file = self.disk.open(&Place::Staged(staged_name(&wanted.content))).ok()?;
        Some(Source { size, file: file.into(), path: None })
    }

    fn read(&self, source: &Source, wanted: &ChunkWanted) -> Result<Option<Bytes>, StoreError> {
        let Some(chunk) = self.locate(&wanted.content, source.size, wanted.number)? else { return Ok(None) };
        // Holes are never asked for: their length says it all.
        if chunk.len != wanted.len || chunk.id.is_hole() {
            return Ok(None);
        }
        // Bounded: a list with a longer chunk than the greatest is refused.
        let bytes = read_chunk(&*source.file, chunk.len as usize, chunk.offset);
        if let Ok(bytes) = bytes
            && chunk.id.verify(&self.content_key, &bytes)
        {
            return Ok(Some(bytes.into()));
        }
        if let Some(path) = &source.path {
            self.tell(path, &wanted.content);
        }
        Ok(None)
    }

    /// Where a chunk lies in its file. A list that is not whole is as good as none.
    fn locate(&self, content: &ContentId, size: u64, number: u64) -> Result<Option<Located>, StoreError> {
        let first = number - number % RUN_CHUNKS as u64;
        let at = (number - first) as usize;
        let kept = self.runs.lock().find(&(*content, first));
        if let Some(run) = kept {
            return Ok(run.get(at).copied());
        }
        let run = ChunkList::load(&*self.nodes, content, size)
            .and_then(|list| list.iter_from(first).take(RUN_CHUNKS).collect::<Result<Arc<[_]>, _>>());
        match run {
            Ok(run) => {
                let chunk = run.get(at).copied();
                if !run.is_empty() {
                    self.runs.lock().keep((*content, first), run);
                }
                Ok(chunk)
            }
            Err(ListError::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Once for each content that a path is said to hold, and not again before it holds another.
    fn tell(&self, path: &RelPath, content: &ContentId) {
        let key = (path.clone(), *content);
        let mut told = self.told.lock();
        if told.find(&key).is_none() {
            told.keep(key, ());
            drop(told);
            (self.changed)(path.clone());
        }
    }
}

/// Whether a content of this size has but one chunk, and the chunk's id.
fn is_one_chunk(size: u64) -> bool {
    size <= MIN_CHUNK_BYTES as u64
}

/// Reads so many bytes, or fails if the file ends before.
fn read_chunk(file: &dyn ReadFile, len: usize, mut offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let most = len - bytes.len();
        match file.append_at(&mut bytes, most, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => offset += read as u64,
        }
    }
    Ok(bytes)
}
