//! Paths as keys: `/` becomes 0x00, so that comparing bytes compares components.

use protocol::RelPath;

use super::error::{DatabaseError, Result};

/// The key of a path; the root's is empty.
pub(super) fn key(path: Option<&RelPath>) -> Vec<u8> {
    let bytes = path.map(RelPath::as_bytes).unwrap_or_default();
    bytes.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

/// The path that has this key; `None` is the root.
pub(super) fn path(key: &[u8]) -> Result<Option<RelPath>> {
    if key.is_empty() {
        return Ok(None);
    }
    let bytes: Vec<u8> = key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect();
    RelPath::parse(&bytes).map(Some).map_err(|error| DatabaseError::row(&error.to_string()))
}

/// The path that has this key, which is not the root's.
pub(super) fn path_below_root(bytes: &[u8]) -> Result<RelPath> {
    path(bytes)?.ok_or_else(|| DatabaseError::row("an empty path"))
}

/// Whether `key` is strictly below `directory`.
pub(super) fn is_below(key: &[u8], directory: &[u8]) -> bool {
    if directory.is_empty() {
        return !key.is_empty();
    }
    key.len() > directory.len() && key[directory.len()] == 0 && key.starts_with(directory)
}

/// The end of the range of keys that begins at `directory` and holds it and all below.
pub(super) fn end(directory: &[u8]) -> Vec<u8> {
    let mut end = directory.to_vec();
    end.push(1);
    end
}

/// Splits a key into its directory's and its name.
pub(super) fn split(key: &[u8]) -> (&[u8], &[u8]) {
    match key.iter().rposition(|byte| *byte == 0) {
        Some(at) => (&key[..at], &key[at + 1..]),
        None => (&[], key),
    }
}
