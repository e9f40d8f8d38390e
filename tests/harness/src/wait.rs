//! The one way to wait: for a state, with a deadline.

use std::time::{Duration, Instant};

/// Long enough for anything that works, on a machine that is busy with something else: only what is
/// broken takes all of it.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often a state is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(40);

/// Returns what `look` finds, as soon as it finds something.
///
/// # Panics
/// When it has found nothing after [`PATIENCE`]; `what` says what was missing.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look)
}

/// The same with a patience of its own.
///
/// # Panics
/// When it has found nothing by then.
pub fn eventually_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Watches that nothing happens: `look` is asked for the whole time and says what has.
///
/// # Panics
/// As soon as it says something.
pub fn never_within(time: Duration, what: &str, mut look: impl FnMut() -> Option<String>) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        if let Some(seen) = look() {
            panic!("{what}, but after {:?}: {seen}", begun.elapsed());
        }
        std::thread::sleep(LOOK_AGAIN * 5);
    }
}
