//! Giving memory back: what was kept to be quick is given up when the daemon comes to rest.
//!
//! Rest is seen by the processor time of the process, so that no part of it has to say when it is
//! done: a device that only serves others is never anything but idle in its own eyes.

use std::sync::Weak;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::folders::Folders;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(5);
/// Who has worked no more than this between two looks rests: some saves are no work.
const QUIET: Duration = Duration::from_millis(50);
/// Less work than this leaves too little behind to be worth the looking through.
const WORTH: Duration = Duration::from_millis(250);

/// How much the process has worked.
#[derive(Debug, Default)]
struct Work {
    /// At the last look.
    before: Duration,
    /// When memory was last given back.
    given_back: Duration,
}

impl Work {
    /// Whether it is time to give memory back, the process having worked so much since its start.
    fn is_over(&mut self, worked: Duration) -> bool {
        let is_quiet = worked.saturating_sub(self.before) <= QUIET;
        self.before = worked;
        is_quiet && worked.saturating_sub(self.given_back) >= WORTH
    }
}

/// Gives memory back whenever much was done and nothing is, for as long as there are folders.
pub(super) async fn give_back_at_rest(folders: Weak<Folders>) {
    let mut work = Work::default();
    loop {
        tokio::time::sleep(LOOK).await;
        if !work.is_over(processor_time()) {
            continue;
        }
        let Some(folders) = folders.upgrade() else { return };
        let store = folders.store().clone();
        drop(folders);
        let rested = tokio::task::spawn_blocking(move || {
            store.rest();
            crate::memory::give_back();
        });
        let _ = rested.await;
        // What this has taken is no work.
        work.given_back = processor_time();
        work.before = work.given_back;
    }
}

fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_after_work_and_not_amid_it() {
        let ms = Duration::from_millis;
        let mut work = Work::default();
        assert!(!work.is_over(ms(10)), "nothing was done");
        assert!(!work.is_over(ms(2_000)), "it works");
        assert!(!work.is_over(ms(4_000)), "it still works");
        assert!(work.is_over(ms(4_010)), "it rests");
        work.given_back = ms(4_020);
        assert!(!work.is_over(ms(4_030)) && !work.is_over(ms(4_060)), "little was done since");
        assert!(work.is_over(ms(4_300)) || work.is_over(ms(4_310)), "much was done bit by bit");
    }
}
