//! What is done every minute or so, on a thread of its own: forgetting who is silent, and keeping the
//! state file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::state::save;
use crate::home::HomeError;

/// Peers are counted in minutes, so there is nothing to forget in between.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The thread.
pub(super) struct Upkeep {
    stop: Sender<()>,
    thread: JoinHandle<Result<(), HomeError>>,
}

struct Keeper {
    desk: Arc<Desk>,
    file: Option<PathBuf>,
    /// What [`Swarms::changes`](super::swarms::Swarms::changes) said at the last save.
    saved: u64,
}

impl Upkeep {
    /// Starts it. The file, if there is one, is as the swarms are now.
    pub(super) fn start(
        desk: &Arc<Desk>,
        file: Option<PathBuf>,
        save_every: Duration,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let mut keeper = Keeper { desk: Arc::clone(desk), file, saved: desk.swarms.changes() };
        let run = move || {
            let (mut sweep_at, mut save_at) = (Instant::now() + SWEEP_EVERY, Instant::now() + save_every);
            loop {
                let pause = sweep_at.min(save_at).saturating_duration_since(Instant::now());
                match stopped.recv_timeout(pause) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return keeper.save(),
                }
                let now = Instant::now();
                if now >= sweep_at {
                    keeper.desk.swarms.sweep(keeper.desk.now().tick());
                    sweep_at = now + SWEEP_EVERY;
                }
                if now >= save_at {
                    if let Err(error) = keeper.save() {
                        tracing::error!(%error, "the state could not be saved; the tracker goes on");
                    }
                    save_at = Instant::now() + save_every;
                }
            }
        };
        let thread = thread::Builder::new().name("tracker-upkeep".to_owned()).spawn(run)?;
        Ok(Self { stop, thread })
    }

    /// Saves for the last time.
    ///
    /// # Errors
    /// When the state could not be saved.
    pub(super) fn finish(self) -> Result<(), HomeError> {
        let _ = self.stop.send(());
        // A panic has been reported where it happened.
        self.thread.join().unwrap_or(Ok(()))
    }
}

impl Keeper {
    fn save(&mut self) -> Result<(), HomeError> {
        let Some(file) = &self.file else { return Ok(()) };
        let changes = self.desk.swarms.changes();
        // A tracker that nobody asks leaves the disk alone.
        if changes != self.saved {
            save(file, &self.desk.swarms, self.desk.now().tick())?;
            self.saved = changes;
        }
        Ok(())
    }
}
