//! A disk that is full.
//!
//! A file for which there is no room is a problem of its paths, and tried again with them; what fits
//! goes on. Where not even small things find room any more, the folder is held until there is some.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::engine::{Event, Hold};

use super::Hands;
use crate::folder::runner::Input;

/// So much more room than there was is worth another try, whatever is missing.
const WORTH_A_TRY: u64 = 16 << 20;
/// The first pause before another try where no room has shown; it doubles.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// The longest such pause: what did not fit may be wanted no more.
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);
/// With less room than this nothing can be written for long.
const HARDLY_ANY: u64 = 64 << 10;

/// What did not fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lack {
    needs: u64,
    /// What was free then.
    free: u64,
    since: Instant,
    patience: Duration,
    /// The folder is held for it now.
    is_held: bool,
}

impl Lack {
    fn is_over(&self, free: u64, now: Instant) -> bool {
        free >= self.free.saturating_add(self.needs.clamp(1, WORTH_A_TRY))
            || now >= self.since + self.patience
    }
}

impl Hands {
    /// A content did not fit. As long as there is any room, that is a problem of its paths alone.
    pub(super) fn does_not_fit(&self, bytes: u64) {
        let free = self.disk().and_then(|disk| disk.free_bytes().ok()).unwrap_or(0);
        if free < HARDLY_ANY {
            self.no_space(bytes);
        }
    }

    /// Something of about so many bytes did not fit.
    pub(super) fn no_space(&self, needs: u64) {
        let free = self.disk().and_then(|disk| disk.free_bytes().ok()).unwrap_or(0);
        {
            let mut lack = self.lack.lock();
            if lack.is_some_and(|lack| lack.is_held) {
                return;
            }
            let patience = lack.map_or(FIRST_PATIENCE, |lack| (lack.patience * 2).min(LONGEST_PATIENCE));
            *lack = Some(Lack { needs, free, since: Instant::now(), patience, is_held: true });
        }
        tracing::warn!(path = %self.path.display(), needs, free, "the disk is full");
        self.inputs.event(Event::Root(Some(Hold {
            code: "NO_SPACE",
            message: format!(
                "no space is left on the disk of {}; make room, and the folder goes on by itself",
                self.path.display()
            ),
        })));
    }

    /// Looks on another thread whether there is room again, and tells the loop.
    pub fn check_space(self: &Arc<Self>) {
        self.spawn(|hands| {
            let free = hands.disk().and_then(|disk| disk.free_bytes().ok()).unwrap_or(0);
            let is_over = hands.lack.lock().is_none_or(|lack| lack.is_over(free, Instant::now()));
            if is_over {
                hands.inputs.send(Input::Ask(Box::new(|runner| runner.has_room())));
            }
        });
    }

    /// The folder is not held for space any more; what does not fit now holds it again.
    pub fn try_space_again(&self) {
        if let Some(lack) = &mut *self.lack.lock() {
            lack.is_held = false;
        }
    }

    /// Everything is in its place: what was missing once is forgotten.
    pub fn has_space(&self) {
        let mut lack = self.lack.lock();
        if lack.is_some_and(|lack| !lack.is_held) {
            *lack = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_tried_again_when_there_is_room_or_after_a_while() {
        let now = Instant::now();
        let lack = |needs| Lack { needs, free: 1000, since: now, patience: FIRST_PATIENCE, is_held: true };
        assert!(!lack(500).is_over(1499, now));
        assert!(lack(500).is_over(1500, now));
        assert!(lack(1 << 40).is_over(1000 + WORTH_A_TRY, now), "enough for something else, perhaps");
        assert!(lack(0).is_over(1001, now) && !lack(0).is_over(1000, now));
        assert!(lack(500).is_over(0, now + FIRST_PATIENCE), "inodes, a quota, or nothing is wanted any more");
    }
}
