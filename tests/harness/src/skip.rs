//! What a machine does not allow is skipped, out loud, and never counted as tried.

use std::io::Write;

/// Says on standard error, past the capture of the test runner, that a story was not told and why.
/// Lines that begin with `skipped:` can be counted. The caller returns.
pub fn skipped(story: &str, why: &str) {
    let _ = writeln!(std::io::stderr().lock(), "skipped: {story}: {why}");
}

/// Whether this process may mount, make devices and namespaces.
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}
