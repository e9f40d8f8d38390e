//! The loop: asks what the book says, tells it what came of it, and passes on what was found.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::TrackerError;
use super::ask::{Answer, Asker};
use super::book::{Book, Job};
use super::own::OwnAddresses;
use super::swarm::{Heard, Step};
use crate::discovery::{Hint, Reachable, Way};

/// When nothing is due, and nothing to be waited for but what wakes the loop anyway.
const AT_REST: Duration = Duration::from_secs(3600);

/// What the loop shares with its owner.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) book: Mutex<Book>,
    pub(super) asker: Asker,
    /// The book has changed.
    pub(super) changed: Notify,
    /// Everything was taken back, after [`Book::end`].
    pub(super) ended: Notify,
    pub(super) start: Instant,
}

impl Shared {
    /// The book's time.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// What came of a job.
type Done = (Job, Result<Answer, TrackerError>);

pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) reachable: watch::Receiver<Reachable>,
    pub(super) hints: mpsc::Sender<Hint>,
    pub(super) own: OwnAddresses,
}

impl Run {
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut jobs: JoinSet<Done> = JoinSet::new();
        let mut is_watching = true;
        loop {
            let pause = self.start_jobs(&mut jobs);
            if shared.book.lock().has_ended() {
                shared.ended.notify_one();
                return;
            }
            tokio::select! {
                () = shared.changed.notified() => {}
                changed = self.reachable.changed(), if is_watching => match changed {
                    Ok(()) => self.on_reachable(),
                    Err(_) => is_watching = false,
                },
                Some(Ok(done)) = jobs.join_next() => self.on_done(done),
                () = sleep(pause) => {}
            }
        }
    }

    /// Begins all that may begin now; returns how long until there is more.
    fn start_jobs(&self, jobs: &mut JoinSet<Done>) -> Duration {
        let now = self.shared.now();
        let mut book = self.shared.book.lock();
        while let Some(job) = book.poll(now) {
            let shared = Arc::clone(&self.shared);
            jobs.spawn(async move {
                let answer = shared.asker.ask(&job).await;
                (job, answer)
            });
        }
        book.next_due().map_or(AT_REST, |due| due.saturating_sub(now))
    }

    fn on_reachable(&mut self) {
        let reachable = *self.reachable.borrow_and_update();
        self.shared.book.lock().handle_reachable(reachable, self.shared.now());
    }

    fn on_done(&mut self, (job, answer): Done) {
        if let Err(error) = &answer {
            debug!(tracker = %job.line.0, family = %job.line.1, folder = %job.folder, %error, "not announced");
        }
        let outcome = answer.map(|answer| self.pass_on(&job, &answer));
        let [jitter] = self.shared.asker.random().bytes();
        self.shared.book.lock().handle_outcome(&job, outcome, self.shared.now(), jitter);
    }

    fn pass_on(&mut self, job: &Job, answer: &Answer) -> Heard {
        let port = match job.step {
            Step::Announce { port, .. } => Some(port),
            Step::Count => None,
        };
        let others = port.map(|port| self.own.others(answer, port)).unwrap_or_default();
        for &address in &others {
            let hint = Hint { folder: job.folder, address, namer: answer.from, way: Way::Tracker };
            // When nobody keeps up, the rest is named again with the next answer.
            if self.hints.try_send(hint).is_err() {
                break;
            }
        }
        let &Answer { interval, min_interval, total, .. } = answer;
        Heard { interval, min_interval, found: others.len(), total }
    }
}
