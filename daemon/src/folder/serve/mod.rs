//! Serving chunks and nodes to peers, chunks straight out of the user's files.
//!
//! What is sent was hashed just before: a file that no longer holds what its record says is told to
//! the scan, and the peer hears that the chunk is not here. Nothing is locked, copied or cached but
//! a few open files and short runs of chunk lists.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use keystore::ContentKey;
use parking_lot::Mutex;
use protocol::chunk_list::{ChunkList, ListError, Located};
use protocol::message::ChunkWanted;
use protocol::{Content, ContentId, NodeId, NodeStore, Records, RelPath, StoreError};

use super::stage::{Recent, Stage, staged_name};
use crate::disk::{Disk, Place, ReadFile};

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
    records: Arc<dyn Records + Send + Sync>,
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
    file: Arc<Mutex<Box<dyn ReadFile>>>,
    /// The user's; `None` in staging.
    path: Option<RelPath>,
}

impl Server {
    /// Serves what `records` and `stage` know.
    pub fn new(
        disk: Arc<dyn Disk>,
        records: Arc<dyn Records + Send + Sync>,
        nodes: Arc<dyn NodeStore + Send + Sync>,
        content_key: ContentKey,
        stage: Arc<Stage>,
        changed: Changed,
    ) -> Self {
        Self {
            disk,
            records,
            nodes,
            content_key,
            stage,
            changed,
            sources: Mutex::new(Recent::new(OPEN_FILES)),
            runs: Mutex::new(Recent::new(RUNS)),
            told: Mutex::new(Recent::new(TOLD)),
        }
    }

    /// The bytes of a chunk, verified; `None`: it is not here (any more), or was never one.
    pub fn chunk(&self, wanted: &ChunkWanted) -> Result<Option<Bytes>, StoreError> {
        let kept = self.sources.lock().find(&wanted.content);
        if let Some(source) = kept {
            if let Some(bytes) = self.read(&source, wanted)? {
                return Ok(Some(bytes));
            }
            self.sources.lock().forget(&wanted.content);
        }
        for path in self.records.with_content(&wanted.content, MAX_PATHS)? {
            let Some(source) = self.open(&path, &wanted.content)? else { continue };
            if let Some(bytes) = self.serve(source, wanted)? {
                return Ok(Some(bytes));
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
        if bytes.is_some() {
            self.sources.lock().keep(wanted.content, source);
        }
        Ok(bytes)
    }

    fn open(&self, path: &RelPath, content: &ContentId) -> Result<Option<Source>, StoreError> {
        let Some(record) = self.records.record(path)? else { return Ok(None) };
        let Content::File { id, size } = record.shown.content else { return Ok(None) };
        if id != *content {
            return Ok(None);
        }
        match self.disk.open(&Place::Folder(path.clone())) {
            Ok(file) => {
                let file = Arc::new(Mutex::new(file));
                Ok(Some(Source { size, file, path: Some(path.clone()) }))
            }
            Err(_) => {
                self.tell(path, content);
                Ok(None)
            }
        }
    }

    /// What is being gathered is served as far as it is here and verified.
    fn open_staged(&self, wanted: &ChunkWanted) -> Option<Source> {
        let size = self.stage.size_if_here(&wanted.content, wanted.number)?;
        let file = self.disk.open(&Place::Staged(staged_name(&wanted.content))).ok()?;
        Some(Source { size, file: Arc::new(Mutex::new(file)), path: None })
    }

    fn read(&self, source: &Source, wanted: &ChunkWanted) -> Result<Option<Bytes>, StoreError> {
        let Some(chunk) = self.locate(&wanted.content, source.size, wanted.number)? else { return Ok(None) };
        // Holes are never asked for: their length says it all.
        if chunk.len != wanted.len || chunk.id.is_hole() {
            return Ok(None);
        }
        // Bounded: a list with a longer chunk than the greatest is refused.
        let bytes = read_chunk(&**source.file.lock(), chunk.len as usize, chunk.offset);
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
