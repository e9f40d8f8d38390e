//! Files that never hold still: tried less and less often.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::{RelPath, Timestamp};

use super::parts::elapsed;

/// How long a file rests after it has changed under us for the first time; doubled each time.
const FIRST: Duration = Duration::from_millis(200);
/// A file that is rewritten for ever is read once in this time.
const LONGEST: Duration = Duration::from_secs(60);
/// So often in vain, and people are told.
const WORTH_TELLING: u32 = 5;
/// More are not kept: the ones beyond are tried too often.
const MAX_FILES: usize = 4096;

/// What is known of files that changed while they were read.
#[derive(Debug, Default)]
pub struct Unrest {
    files: Mutex<BTreeMap<RelPath, Restless>>,
}

#[derive(Debug, Clone, Copy)]
struct Restless {
    failures: u32,
    last: Timestamp,
}

impl Restless {
    fn rest(&self) -> Duration {
        FIRST.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST)
    }
}

impl Unrest {
    /// How much longer the file is left alone, if it is.
    pub(super) fn remaining(&self, path: &RelPath, now: Timestamp) -> Option<Duration> {
        let file = *self.files.lock().get(path)?;
        let remaining = file.rest().saturating_sub(elapsed(file.last, now));
        // A clock that was set back must not make the rest longer.
        (!remaining.is_zero() && now >= file.last).then_some(remaining)
    }

    /// The file has changed again while it was read. Answers how long it is left alone now.
    pub(super) fn note(&self, path: &RelPath, now: Timestamp) -> Duration {
        let mut files = self.files.lock();
        if files.len() >= MAX_FILES && !files.contains_key(path) {
            files.retain(|_, file| elapsed(file.last, now) < 2 * LONGEST);
        }
        let failures = files.get(path).map_or(0, |file| file.failures).saturating_add(1);
        let file = Restless { failures, last: now };
        if files.len() < MAX_FILES || files.contains_key(path) {
            files.insert(path.clone(), file);
        }
        file.rest()
    }

    /// Whether people should know.
    pub(super) fn is_worth_telling(&self, path: &RelPath) -> bool {
        self.files.lock().get(path).is_some_and(|file| file.failures >= WORTH_TELLING)
    }

    /// The file was read whole, or is gone.
    pub(super) fn forget(&self, path: &RelPath) {
        self.files.lock().remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_rewritten_for_ever_is_read_once_a_minute() {
        let unrest = Unrest::default();
        let path = RelPath::parse(b"disk.img").expect("a path");
        let mut now = Timestamp { seconds: 1_000, nanos: 0 };
        assert_eq!(unrest.remaining(&path, now), None);
        for _ in 0..20 {
            unrest.note(&path, now);
        }
        now.seconds += 59;
        assert_eq!(unrest.remaining(&path, now), Some(Duration::from_secs(1)));
        assert!(unrest.is_worth_telling(&path));
        now.seconds += 1;
        assert_eq!(unrest.remaining(&path, now), None);
    }
}
