//! Threads that hash what a scan finds.
//!
//! Short files are handed over several at a time, both ways: to wake a thread for each would take
//! longer than to hash it. Long ones go alone, so that every thread has something to do.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::Scope;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::{NodeId, RelPath};

use super::{AT_ONCE_BYTES, HashContext, HashError, HashedFile, hash_file, hash_found};
use crate::disk::DiskStat;

/// Short files that are handed over at once.
const BATCH: usize = 16;
/// Batches of answers that wait for the scan: workers pause when it does not take them.
const ANSWERS: usize = 16;

/// What a worker has to say.
pub(in crate::folder) enum Answer<T> {
    /// Nodes of a chunk list, to be saved before the file that they belong to is told of.
    Nodes(Vec<(NodeId, Bytes)>),
    /// A job is done.
    Done(T, Result<HashedFile, HashError>),
}

/// A file to be hashed, and what `lstat` has just said of it.
struct Job<T> {
    path: RelPath,
    found: DiskStat,
    task: T,
}

/// Threads that hash. `T` is what the asker wants to have back with the answer.
pub(in crate::folder) struct Pool<T> {
    jobs: Sender<Vec<Job<T>>>,
    answers: Receiver<Vec<Answer<T>>>,
    /// Not handed over yet.
    batch: Vec<Job<T>>,
    /// Answers that have come and are not taken yet.
    ready: VecDeque<Answer<T>>,
    waiting: usize,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts `threads` workers, at least one, that end when the pool is dropped.
    pub(in crate::folder) fn start<'scope>(
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
        Self { jobs, answers, batch: Vec::new(), ready: VecDeque::new(), waiting: 0 }
    }

    /// Hands in a job; never waits. Whoever hands in many takes answers meanwhile.
    pub(in crate::folder) fn push(&mut self, path: RelPath, found: &DiskStat, task: T) {
        self.waiting += 1;
        let is_long = found.stat.size > AT_ONCE_BYTES;
        if is_long {
            self.hand_over();
        }
        self.batch.push(Job { path, found: *found, task });
        if is_long || self.batch.len() >= BATCH {
            self.hand_over();
        }
    }

    /// How many jobs are not answered yet.
    pub(in crate::folder) fn waiting(&self) -> usize {
        self.waiting
    }

    /// An answer, if there is one within this time. What was handed in begins now at the latest.
    pub(in crate::folder) fn take(&mut self, patience: Duration) -> Option<Answer<T>> {
        self.hand_over();
        if self.ready.is_empty() {
            self.ready.extend(self.answers.recv_timeout(patience).ok()?);
        }
        let answer = self.ready.pop_front()?;
        if matches!(answer, Answer::Done(..)) {
            self.waiting -= 1;
        }
        Some(answer)
    }

    fn hand_over(&mut self) {
        if !self.batch.is_empty() {
            // The workers hold the other end for as long as this pool lives.
            let _ = self.jobs.send(std::mem::take(&mut self.batch));
        }
    }
}

fn work<T>(cx: &HashContext, todo: &Mutex<Receiver<Vec<Job<T>>>>, answer: &SyncSender<Vec<Answer<T>>>) {
    let mut buffer = Vec::new();
    loop {
        // Held while waiting: the next idle worker queues for the lock instead of for the jobs.
        let jobs = todo.lock().recv();
        let Ok(jobs) = jobs else { return };
        let mut keep = |nodes| {
            let told = answer.send(vec![Answer::Nodes(nodes)]);
            told.map_err(|_| io::Error::other("the scan has ended"))
        };
        let done = jobs.into_iter().map(|Job { path, found, task }| {
            Answer::Done(task, hash(cx, &path, &found, &mut buffer, &mut keep))
        });
        if answer.send(done.collect()).is_err() {
            return;
        }
    }
}

fn hash(
    cx: &HashContext,
    path: &RelPath,
    found: &DiskStat,
    buffer: &mut Vec<u8>,
    keep: &mut dyn FnMut(Vec<(NodeId, Bytes)>) -> io::Result<()>,
) -> Result<HashedFile, HashError> {
    if cx.stop.load(Ordering::Relaxed) {
        return Err(HashError::Stopped);
    }
    match hash_found(cx, path, found, buffer)? {
        Some(hashed) => Ok(hashed),
        None => hash_file(cx, path, buffer, keep),
    }
}
