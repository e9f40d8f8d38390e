//! Hashing files: what a file holds at one moment, or that it does not hold still.
//!
//! A file's content counts only if nothing about it changed from before its first byte was read
//! until after its last. [`hash_file`] reads one file; a pool reads several at once, with a
//! bounded number of threads and one buffer each. Nothing here knows records or rules.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::Scope;

use bytes::Bytes;
use keystore::ContentKey;
use parking_lot::Mutex;
use protocol::chunk::ContentHasher;
use protocol::{Content, ContentId, NodeId, RelPath, Timestamp};
use rustix::io::Errno;

use crate::disk::{Disk, DiskStat, Place, ReadFile};

/// One read. More no longer makes it faster, and each thread has a buffer of it.
const PIECE_BYTES: usize = 1024 * 1024;
/// Answers that wait for the scan: workers pause when it does not take them.
const ANSWERS: usize = 64;

/// What scans have done so far, for `status`.
#[derive(Debug, Default)]
pub struct Progress {
    /// Paths that were looked at.
    pub looked_at: AtomicU64,
    /// Bytes that were read and hashed.
    pub hashed_bytes: AtomicU64,
}

/// A file's content at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedFile {
    /// What it holds.
    pub content: Content,
    /// What `lstat` said, the same before and after.
    pub stat: DiskStat,
    /// The clock just before that, to tell whether the stat may be trusted.
    pub looked_at: Timestamp,
}

/// Why a file was not hashed.
#[derive(Debug)]
pub enum HashError {
    /// It changed meanwhile, has gone or is another kind of thing: look again later.
    Unstable,
    /// It cannot be read, or the nodes of its list cannot be saved.
    Io(io::Error),
    /// Told to stop.
    Stopped,
}

/// Everything that hashing needs, shared by all threads.
#[derive(Clone)]
pub struct HashContext {
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// Keys the ids.
    pub content_key: ContentKey,
    /// What `status` shows.
    pub progress: Arc<Progress>,
    /// Set to give up soon.
    pub stop: Arc<AtomicBool>,
    /// The wall clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Reads and names the file at `path`. `keep` gets the nodes of its chunk list as they close,
/// children before parents; they are garbage if the answer is an error.
pub fn hash_file(
    cx: &HashContext,
    path: &RelPath,
    buffer: &mut Vec<u8>,
    keep: &mut dyn FnMut(Vec<(NodeId, Bytes)>) -> io::Result<()>,
) -> Result<HashedFile, HashError> {
    let at = Place::Folder(path.clone());
    let looked_at = (cx.now)();
    let file = cx.disk.open(&at).map_err(classify)?;
    let before = file.stat().map_err(classify)?;
    buffer.resize(PIECE_BYTES, 0);
    let mut hasher = ContentHasher::new(&cx.content_key);
    let mut read = 0;
    while read < before.stat.size {
        if cx.stop.load(Ordering::Relaxed) {
            return Err(HashError::Stopped);
        }
        let piece = match file.read_at(buffer, read).map_err(classify)? {
            0 => return Err(HashError::Unstable),
            length => &buffer[..length],
        };
        hasher.update(piece);
        read += piece.len() as u64;
        cx.progress.hashed_bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        let nodes = hasher.take_nodes();
        if !nodes.is_empty() {
            keep(nodes).map_err(HashError::Io)?;
        }
    }
    let after = file.stat().map_err(classify)?;
    let named = cx.disk.stat(&at).map_err(classify)?;
    if read != before.stat.size || !is_same(&after, &before) || !named.is_some_and(|n| is_same(&n, &before)) {
        return Err(HashError::Unstable);
    }
    let hashed = hasher.finish();
    if !hashed.nodes.is_empty() {
        keep(hashed.nodes).map_err(HashError::Io)?;
    }
    let content = Content::File { id: hashed.id, size: hashed.size };
    Ok(HashedFile { content, stat: before, looked_at })
}

/// Names what an open file holds, which nobody else writes to: its content id and length.
pub fn hash_open(
    cx: &HashContext,
    file: &dyn ReadFile,
    keep: &mut dyn FnMut(Vec<(NodeId, Bytes)>) -> io::Result<()>,
) -> io::Result<(ContentId, u64)> {
    let mut hasher = ContentHasher::new(&cx.content_key);
    let mut buffer = vec![0; PIECE_BYTES];
    let mut read = 0;
    loop {
        let length = file.read_at(&mut buffer, read)?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        read += length as u64;
        keep(hasher.take_nodes())?;
    }
    let hashed = hasher.finish();
    keep(hashed.nodes)?;
    Ok((hashed.id, hashed.size))
}

/// Whether a file is the same, untouched. The number of links and the allocation may change.
fn is_same(one: &DiskStat, other: &DiskStat) -> bool {
    one.kind == other.kind && one.stat == other.stat && one.device == other.device
}

/// A file that has gone, or become a link or a FIFO, is looked at again; everything else is told.
fn classify(error: io::Error) -> HashError {
    let other_kind = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => {
            HashError::Unstable
        }
        _ if other_kind => HashError::Unstable,
        _ => HashError::Io(error),
    }
}

/// What a worker has to say.
pub(super) enum Answer<T> {
    /// Nodes of a chunk list, to be saved before the file that they belong to is told of.
    Nodes(Vec<(NodeId, Bytes)>),
    /// A job is done.
    Done(T, Result<HashedFile, HashError>),
}

/// Threads that hash. `T` is what the asker wants to have back with the answer.
pub(super) struct Pool<T> {
    jobs: Sender<(RelPath, T)>,
    answers: Receiver<Answer<T>>,
    waiting: usize,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts `threads` workers, at least one, that end when the pool is dropped.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        cx: &'scope HashContext,
        threads: usize,
    ) -> Self {
        let (jobs, todo) = mpsc::channel();
        let (answer, answers) = mpsc::sync_channel(ANSWERS);
        let todo = Arc::new(Mutex::new(todo));
        for _ in 0..threads.max(1) {
            let (todo, answer) = (Arc::clone(&todo), answer.clone());
            scope.spawn(move || work(cx, &todo, &answer));
        }
        Self { jobs, answers, waiting: 0 }
    }

    /// Hands in a job; never waits. Whoever hands in many takes answers meanwhile.
    pub(super) fn push(&mut self, path: RelPath, task: T) {
        // The workers hold the other end for as long as this pool lives.
        let _ = self.jobs.send((path, task));
        self.waiting += 1;
    }

    /// How many jobs are not answered yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// An answer, if there is one within this time.
    pub(super) fn take(&mut self, patience: std::time::Duration) -> Option<Answer<T>> {
        let answer = self.answers.recv_timeout(patience).ok()?;
        if matches!(answer, Answer::Done(..)) {
            self.waiting -= 1;
        }
        Some(answer)
    }
}

fn work<T>(cx: &HashContext, todo: &Mutex<Receiver<(RelPath, T)>>, answer: &SyncSender<Answer<T>>) {
    let mut buffer = Vec::new();
    loop {
        // Held while waiting: the next idle worker queues for the lock instead of for the job.
        let job = todo.lock().recv();
        let Ok((path, task)) = job else { return };
        let mut keep =
            |nodes| answer.send(Answer::Nodes(nodes)).map_err(|_| io::Error::other("the scan has ended"));
        let hashed = if cx.stop.load(Ordering::Relaxed) {
            Err(HashError::Stopped)
        } else {
            hash_file(cx, &path, &mut buffer, &mut keep)
        };
        if answer.send(Answer::Done(task, hashed)).is_err() {
            return;
        }
    }
}
