//! The state file: who is in which swarm, over restarts.
//!
//! [`load`] reads it at the start, [`save`] replaces it whole, so that a `kill -9` at any moment leaves
//! the last state or the one before. A tracker can do without it: clients announce again within the
//! half hour. So a file that cannot be read is put aside, never the reason for not serving.

mod format;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use self::format::FormatError;
use super::swarms::{Swarms, Tick};
use crate::home::{HomeError, write_atomic_with};

/// What a state of so many peers takes at most: each in a swarm of its own, and all of IPv6.
const BYTES_A_PEER: u64 = 52;
/// For the head, the checksum, and a limit that was lowered.
const SPARE_BYTES: u64 = 64 << 20;

/// What was found at the start.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded {
    /// There was no file.
    Nothing,
    /// So many peers are back.
    Peers(usize),
    /// The file could not be used and was put aside.
    PutAside {
        /// Where it is now.
        to: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads the file into the swarms.
///
/// # Errors
/// When it cannot be opened or read, or not be put aside: then it would be overwritten.
pub fn load(path: &Path, swarms: &Swarms, now: Tick) -> Result<Loaded, HomeError> {
    let failed = |cause| HomeError::File { path: path.to_owned(), cause };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Nothing),
        Err(cause) => return Err(failed(cause)),
    };
    let most = swarms.limits().peers as u64 * BYTES_A_PEER + SPARE_BYTES;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    match format::read(swarms, now, unix_seconds(), &bytes) {
        Ok(peers) => Ok(Loaded::Peers(peers)),
        Err(error) => {
            let to = aside(path, error);
            fs::rename(path, &to).map_err(failed)?;
            Ok(Loaded::PutAside { to, why: error.to_string() })
        }
    }
}

/// Replaces the file by the state of now. The tracker goes on meanwhile.
///
/// # Errors
/// What the system says; the old file is then still there.
pub fn save(path: &Path, swarms: &Swarms, now: Tick) -> Result<(), HomeError> {
    write_atomic_with(path, |file| {
        let mut out = BufWriter::with_capacity(256 << 10, file);
        format::write(swarms, now, unix_seconds(), &mut out)?;
        out.flush()
    })
}

/// Where a file goes that cannot be used. One of each kind is kept.
fn aside(path: &Path, error: FormatError) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(match error {
        FormatError::Newer => ".newer",
        FormatError::Foreign => ".foreign",
        FormatError::Damaged => ".damaged",
    });
    name.into()
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
