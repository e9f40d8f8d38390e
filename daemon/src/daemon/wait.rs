//! Waiting until a folder is in sync.

use std::sync::Arc;
use std::time::Duration;

use protocol::engine::Activity;
use tokio::time::{Instant, sleep, timeout_at};

use crate::api::error::{ApiError, Class};
use crate::folder::Folder;

/// How often a folder that is not in sync is looked at; a look costs microseconds.
const LOOK: Duration = Duration::from_millis(20);
/// How long one round waits for the watcher.
const WATCHER_PATIENCE: Duration = Duration::from_secs(2);

/// Where a folder stands.
enum Standing {
    InSync,
    NotYet,
    Stopped(String),
}

/// Returns when the folder is in sync, everything on disk from before the call has been seen, and
/// `peers` peers are complete at its head.
pub(super) async fn wait(
    folder: &Arc<Folder>,
    timeout: Option<Duration>,
    peers: u64,
) -> Result<(), ApiError> {
    let waiting = until_in_sync(folder, peers);
    let Some(timeout) = timeout else { return waiting.await };
    match timeout_at(Instant::now() + timeout, waiting).await {
        Ok(result) => result,
        Err(_) => {
            let message = format!("`{}` is not in sync after {} s", folder.name(), timeout.as_secs());
            Err(ApiError::new(Class::TimedOut, "TIMED_OUT", message)
                .next("`syncd status` shows what is missing; `syncd peers` shows who is there"))
        }
    }
}

async fn until_in_sync(folder: &Arc<Folder>, peers: u64) -> Result<(), ApiError> {
    // Once is enough: what happens on disk after the call is not waited for.
    let mut all_seen = None;
    loop {
        match stand(folder, peers).await? {
            Standing::Stopped(message) => {
                return Err(ApiError::new(Class::Held, "HELD", message)
                    .next("`syncd status` says why; `syncd resume`, `approve` or `revert` go on"));
            }
            Standing::InSync if all_seen == Some(true) => return Ok(()),
            _ => {}
        }
        if all_seen != Some(true) {
            all_seen = Some(see_all(folder).await);
            continue;
        }
        sleep(LOOK).await;
    }
}

/// Whether everything that was on disk before has been seen: the watcher has told all, or, where
/// nothing watches, a scan that began after the call has ended.
async fn see_all(folder: &Arc<Folder>) -> bool {
    let hands = Arc::clone(folder.hands());
    let polling = tokio::task::spawn_blocking(move || hands.is_polling()).await.unwrap_or(true);
    if !polling {
        let hands = Arc::clone(folder.hands());
        let told = tokio::task::spawn_blocking(move || hands.sync_watcher(WATCHER_PATIENCE)).await;
        return told.unwrap_or(false);
    }
    folder.event(protocol::engine::Event::Noticed(protocol::engine::Noticed::Everything));
    loop {
        match folder.ask(|runner| runner.engine.is_scan_due() && runner.engine.hold().is_none()).await {
            Some(true) => sleep(LOOK).await,
            _ => return true,
        }
    }
}

async fn stand(folder: &Arc<Folder>, peers: u64) -> Result<Standing, ApiError> {
    let created = folder.is_created();
    let asked = folder.ask(move |runner| {
        if let Some(failure) = &runner.failure {
            return Err(failure.clone());
        }
        let enough = runner.engine.seeds().0 as u64 >= peers;
        let is_all_known = !runner.hands.is_looking_again();
        Ok(match runner.engine.activity() {
            Activity::Paused => Standing::Stopped("the folder is paused".into()),
            Activity::Held => Standing::Stopped(
                runner.engine.hold().map_or_else(|| "the folder is held".into(), |hold| hold.message.clone()),
            ),
            Activity::Idle if enough && is_all_known && (created || runner.engine.has_first_head()) => {
                Standing::InSync
            }
            _ => Standing::NotYet,
        })
    });
    match asked.await {
        Some(Ok(standing)) => Ok(standing),
        Some(Err(failure)) => Err(ApiError::new(Class::Failed, "LOOP", failure)),
        None => Err(ApiError::new(Class::Failed, "LOOP", "the folder's loop has ended")),
    }
}
