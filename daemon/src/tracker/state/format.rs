//! The bytes of the state file: a head, parts, and a checksum over both.
//!
//! | bytes | |
//! | --- | --- |
//! | 8 | `SYNCDTRK` |
//! | 4 | version, 1 |
//! | 8 | seconds since 1970 at which it was written |
//! | 2 | the tick at that moment, from which peers count |
//! | … | parts: 4 bytes of length, then records as in `swarms/export.rs`; a length of 0 ends them |
//! | 32 | BLAKE3 of all before |
//!
//! Numbers are little-endian.

use std::io::{self, Write};

use crate::tracker::swarms::{Aged, Swarms, Tick};

const MAGIC: [u8; 8] = *b"SYNCDTRK";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 22;
const CHECKSUM_BYTES: usize = 32;
/// Two days; older peers are forgotten with any interval that can be set.
const MAX_MINUTES: u64 = 2 * 24 * 60;

/// Why a state file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormatError {
    /// It is something else.
    #[error("it is not the state of a tracker")]
    Foreign,
    /// It was written by a later program.
    #[error("it was written by a newer version of syncd")]
    Newer,
    /// Bytes were changed or are missing.
    #[error("it is damaged")]
    Damaged,
}

/// Writes the state, one part after the other: no lock is held while the disk works.
///
/// # Errors
/// What `out` says.
pub(super) fn write(swarms: &Swarms, now: Tick, unix_seconds: u64, out: &mut impl Write) -> io::Result<()> {
    let mut checksum = blake3::Hasher::new();
    let mut put = |bytes: &[u8]| {
        checksum.update(bytes);
        out.write_all(bytes)
    };
    put(&MAGIC)?;
    put(&VERSION.to_le_bytes())?;
    put(&unix_seconds.to_le_bytes())?;
    put(&now.to_bits().to_le_bytes())?;
    let mut records = Vec::new();
    for part in 0..Swarms::PARTS {
        records.clear();
        swarms.export(part, &mut records);
        let length = u32::try_from(records.len()).map_err(io::Error::other)?;
        if length > 0 {
            put(&length.to_le_bytes())?;
            put(&records)?;
        }
    }
    put(&[0; 4])?;
    let checksum = checksum.finalize();
    out.write_all(checksum.as_bytes())
}

/// Reads a state into the swarms, and says how many peers it brought. Nothing is read of a file that
/// is not whole.
///
/// # Errors
/// When it is no such file, too new, or damaged.
pub(super) fn read(
    swarms: &Swarms,
    now: Tick,
    unix_seconds: u64,
    bytes: &[u8],
) -> Result<usize, FormatError> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(FormatError::Damaged)?;
    if *magic != MAGIC {
        return Err(FormatError::Foreign);
    }
    let (version, _) = rest.split_first_chunk::<4>().ok_or(FormatError::Damaged)?;
    if u32::from_le_bytes(*version) != VERSION {
        return Err(FormatError::Newer);
    }
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(FormatError::Damaged)?;
    if blake3::hash(body) != *checksum {
        return Err(FormatError::Damaged);
    }
    read_parts(swarms, now, unix_seconds, body).ok_or(FormatError::Damaged)
}

fn read_parts(swarms: &Swarms, now: Tick, unix_seconds: u64, body: &[u8]) -> Option<usize> {
    let (head, mut rest) = body.split_at_checked(HEAD_BYTES)?;
    let written_at = u64::from_le_bytes(head[12..20].try_into().ok()?);
    let written = Tick::from_bits(u16::from_le_bytes(head[20..].try_into().ok()?));
    // A clock that was set back makes nobody younger.
    let minutes = (unix_seconds.saturating_sub(written_at) / 60).min(MAX_MINUTES);
    let aged = Aged { written, minutes: u16::try_from(minutes).ok()?, now };
    let mut taken = 0;
    loop {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 {
            return Some(taken);
        }
        let (records, after) = after.split_at_checked(length)?;
        taken += swarms.import(records, aged)?;
        rest = after;
    }
}
