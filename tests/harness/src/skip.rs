//! What a machine does not allow is skipped, out loud, and never counted as tried.

use std::io::Write;

/// Says on standard error, past the capture of the test runner, that this story was not told and why.
/// Lines that begin with `skipped:` can be counted. The caller returns.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let story = thread.name().unwrap_or("a story"); // the test runner names threads by tests
    // In one piece, so that it stays a line of its own among those of others.
    let line = format!("skipped: {story}: {why}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// Whether this process may mount and make devices. If not, says that the story is skipped.
pub fn is_root() -> bool {
    let is_root = effective_user_is_root();
    if !is_root {
        skipped("it needs root, to mount or to make a device");
    }
    is_root
}

fn effective_user_is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}
