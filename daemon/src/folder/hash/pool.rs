//! Threads that hash what a scan finds.
//!
//! Short files are handed over several at a time, both ways: to wake a thread for each would take
//! longer than to hash it. Long ones go alone, so that every thread has something to do.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{Builder, Scope};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::{Content, NodeId, RelPath};

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
    /// What it held when it was looked at before.
    before: Option<Content>,
    task: T,
}

/// Threads that hash. `T` is what the asker wants to have back with the answer.
pub(in crate::folder) struct Pool<T> {
    jobs: Sender<Vec<Job<T>>>,
    answers: Receiver<Vec<Answer<T>>>,
    /// Not handed over yet.
    batch: Vec<Job<T>>,
    /// Batches that were handed over and are not done.
    under_way: usize,
    threads: usize,
    /// Answers that have come and are not taken yet.
    ready: VecDeque<Answer<T>>,
    waiting: usize,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts `threads` workers, at least one, that end when the pool is dropped; fewer where the system
    /// gives no more.
    ///
    /// # Errors
    /// When it gives none.
    pub(in crate::folder) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        cx: &'scope HashContext,
        threads: usize,
    ) -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel();
        let (answer, answers) = mpsc::sync_channel(ANSWERS);
        let todo = Arc::new(Mutex::new(todo));
        let mut started = 0;
        while started < threads.max(1) {
            let (todo, answer) = (Arc::clone(&todo), answer.clone());
            match Builder::new().spawn_scoped(scope, move || work(cx, &todo, &answer)) {
                Ok(_) => started += 1,
                Err(error) if started == 0 => return Err(error),
                Err(_) => break,
            }
        }
        let (batch, ready) = (Vec::new(), VecDeque::new());
        Ok(Self { jobs, answers, batch, under_way: 0, threads: started, ready, waiting: 0 })
    }

    /// Hands in a job; never waits. Whoever hands in many takes answers meanwhile.
    pub(in crate::folder) fn push(
        &mut self,
        path: RelPath,
        found: &DiskStat,
        before: Option<Content>,
        task: T,
    ) {
        self.waiting += 1;
        let is_long = found.stat.size > AT_ONCE_BYTES;
        if is_long {
            self.hand_over();
        }
        self.batch.push(Job { path, found: *found, before, task });
        if is_long || self.batch.len() >= BATCH {
            self.hand_over();
        }
    }

    /// How many jobs are not answered yet.
    pub(in crate::folder) fn waiting(&self) -> usize {
        self.waiting
    }

    /// An answer, if there is one within this time. What was handed in begins as soon as a thread has
    /// nothing to do.
    pub(in crate::folder) fn take(&mut self, patience: Duration) -> Option<Answer<T>> {
        if self.ready.is_empty() {
            if self.under_way < self.threads {
                self.hand_over();
            }
            let answers = self.answers.recv_timeout(patience).ok()?;
            self.under_way -= usize::from(matches!(answers.last(), Some(Answer::Done(..))));
            self.ready.extend(answers);
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
            self.under_way += 1;
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
        let done = jobs.into_iter().map(|Job { path, found, before, task }| {
            Answer::Done(task, hash(cx, &path, (&found, before.as_ref()), &mut buffer, &mut keep))
        });
        if answer.send(done.collect()).is_err() {
            return;
        }
    }
}

fn hash(
    cx: &HashContext,
    path: &RelPath,
    (found, before): (&DiskStat, Option<&Content>),
    buffer: &mut Vec<u8>,
    keep: &mut dyn FnMut(Vec<(NodeId, Bytes)>) -> io::Result<()>,
) -> Result<HashedFile, HashError> {
    if cx.stop.load(Ordering::Relaxed) {
        return Err(HashError::Stopped);
    }
    match hash_found(cx, path, found, buffer)? {
        Some(hashed) => Ok(hashed),
        None => hash_file(cx, path, before, buffer, keep),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Place};
    use crate::folder::scan::tests::support::{World, path};

    /// Patience that is never needed.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn short_files_are_handed_over_together_and_long_ones_alone() {
        let world = World::new();
        let files = world.files();
        let push = |pool: &mut Pool<u32>, number: u32, len: usize| {
            let name = number.to_string();
            world.write(&name, vec![b'x'; len]);
            let found = world.disk.stat(&Place::Folder(path(&name))).expect("stat").expect("there");
            pool.push(path(&name), &found, None, number);
        };
        std::thread::scope(|scope| {
            let mut pool = Pool::start(scope, &files, 2).expect("threads");
            (0..20).for_each(|number| push(&mut pool, number, 5));
            assert_eq!((pool.under_way, pool.batch.len()), (1, 4));
            push(&mut pool, 20, 100_000);
            assert_eq!((pool.under_way, pool.batch.len()), (3, 0));
            (21..24).for_each(|number| push(&mut pool, number, 5));
            let mut done = Vec::new();
            while pool.waiting() > 0 {
                match pool.take(LONG).expect("an answer comes") {
                    Answer::Done(number, hashed) => {
                        done.push((number, hashed.expect("hashed").content.size_bytes()));
                    }
                    Answer::Nodes(nodes) => {
                        assert!(!done.iter().any(|(number, _)| *number == 20), "{nodes:?}");
                    }
                }
            }
            done.sort_unstable();
            let expected = (0..24).map(|number| (number, if number == 20 { 100_000 } else { 5 }));
            assert_eq!(done, expected.collect::<Vec<_>>());
            assert_eq!(pool.under_way, 0);
        });
    }
}
