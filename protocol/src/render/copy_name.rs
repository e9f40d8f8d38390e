//! Names of conflict copies, from the losing entry and its origin's first label alone, so that
//! every device finds the same name without asking anyone.
//!
//! `report (conflict 2026-11-21 14.03.22 anna 3f9c01).txt`: the entry's mtime in UTC, the label,
//! and a tag of path and version (one commit can lose at two paths that share a base name). An
//! older mark is taken out of the whole name first, so marks never nest.

use crate::entry::Entry;
use crate::path::{MAX_NAME_BYTES, MAX_PATH_BYTES, PathError, RelPath};

/// Fewest hexadecimal digits of a tag; it grows while another file has the name.
pub const MIN_TAG_DIGITS: usize = 6;
/// Most digits of a tag: the whole hash.
pub const MAX_TAG_DIGITS: usize = 64;
/// Longer ones are no extension, but part of the stem.
const MAX_EXTENSION_BYTES: usize = 32;
/// Of the year 9999; times in names are cut to 1970 … 9999, so that a year has four digits.
const LAST_SECOND: i64 = 253_402_300_799;
const TAG_CONTEXT: &str = "syncd 2026-11-21 tag in the name of a conflict copy";
const OPENING: &[u8] = b" (conflict ";

/// The path of the conflict copy that shows `loser`, with a tag of so many digits.
///
/// Fails only if the directory's path leaves no room for a copy's name.
pub fn copy_path(loser: &Entry, label: &str, digits: usize) -> Result<RelPath, PathError> {
    let directory = loser.path.parent();
    let room = match &directory {
        Some(directory) => MAX_PATH_BYTES.saturating_sub(directory.as_bytes().len() + 1),
        None => MAX_PATH_BYTES,
    };
    let name = name_within(loser, label, digits, room.min(MAX_NAME_BYTES));
    RelPath::join(directory.as_ref(), &name)
}

/// The last component of [`copy_path`], at most 255 bytes. `label` has no `/`, no parenthesis and
/// no control character, and at most 32 bytes.
pub fn copy_name(loser: &Entry, label: &str, digits: usize) -> Vec<u8> {
    name_within(loser, label, digits, MAX_NAME_BYTES)
}

fn name_within(loser: &Entry, label: &str, digits: usize, max_bytes: usize) -> Vec<u8> {
    let plain = without_marks(loser.path.name());
    let (stem, extension) = split_extension(&plain);
    let when = utc(loser.metadata.mtime.seconds);
    let tag = &tag(loser)[..digits.min(MAX_TAG_DIGITS)];
    let mark = format!(" (conflict {when} {label} {tag})");
    let room = max_bytes.saturating_sub(mark.len() + extension.len());
    let mut name = cut(stem, room).to_vec();
    name.extend_from_slice(mark.as_bytes());
    name.extend_from_slice(extension);
    name
}

/// 64 hexadecimal digits, of path and version.
fn tag(loser: &Entry) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(TAG_CONTEXT);
    hasher.update(&loser.version.origin.0);
    hasher.update(&loser.version.seq.to_be_bytes());
    hasher.update(loser.path.as_bytes());
    hasher.finalize().to_hex().to_string()
}

/// Whether a name carries the mark of a conflict copy; no other name can be one.
pub fn has_mark(name: &[u8]) -> bool {
    name.contains(&b'(') && (0..name.len()).any(|at| mark_length(&name[at..]).is_some())
}

/// The name without any marks, from left to right; what only comes together by that is left.
fn without_marks(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut at = 0;
    while at < name.len() {
        match mark_length(&name[at..]) {
            Some(length) => at += length,
            None => {
                plain.push(name[at]);
                at += 1;
            }
        }
    }
    plain
}

/// How many bytes at the start of `text` are a mark:
/// ` \(conflict \d{4,}-\d\d-\d\d \d\d\.\d\d\.\d\d [^()/]* [0-9a-f]{6,64}\)`.
fn mark_length(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(OPENING)?;
    let year = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if year < 4 {
        return None;
    }
    const TIME: &[u8] = b"-dd-dd dd.dd.dd ";
    let time = rest.get(year..year + TIME.len())?;
    let matches = time
        .iter()
        .zip(TIME)
        .all(|(b, wanted)| if *wanted == b'd' { b.is_ascii_digit() } else { b == wanted });
    if !matches {
        return None;
    }
    // Neither label nor tag has a parenthesis, so the first one must be the closing one, and the
    // tag is what follows the last space before it.
    let label_and_tag = &rest[year + TIME.len()..];
    let end = label_and_tag.iter().position(|b| matches!(b, b'(' | b')' | b'/'))?;
    let space = label_and_tag[..end].iter().rposition(|b| *b == b' ')?;
    let tag = &label_and_tag[space + 1..end];
    let is_tag = (MIN_TAG_DIGITS..=MAX_TAG_DIGITS).contains(&tag.len())
        && tag.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (label_and_tag[end] == b')' && is_tag).then_some(OPENING.len() + year + TIME.len() + end + 1)
}

/// Stem, and extension with its dot. `.profile` and `README` have none.
fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|b| *b == b'.') {
        Some(dot) if dot > 0 && name.len() - dot - 1 <= MAX_EXTENSION_BYTES => name.split_at(dot),
        _ => (name, b""),
    }
}

/// At most `room` bytes of `stem`, cut at a character. Names need not be UTF-8: what is invalid
/// elsewhere stays as it is.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    if stem.len() <= room {
        return stem;
    }
    let stem = &stem[..room];
    let broken = stem.utf8_chunks().last().map_or(&b""[..], |chunk| chunk.invalid());
    match std::str::from_utf8(broken) {
        Err(error) if error.error_len().is_none() => &stem[..room - broken.len()],
        _ => stem,
    }
}

/// `2026-11-21 14.03.22`, in UTC.
fn utc(seconds: i64) -> String {
    let seconds = seconds.clamp(0, LAST_SECOND);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date after Howard Hinnant's `civil_from_days`: years begin in March, so that the
    // leap day is the last of a year, and 400 years are always 146,097 days.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}.{minute:02}.{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, Metadata, Origin, Timestamp, Version};

    const NOW: i64 = 1_795_269_802;

    fn loser(path: &[u8], seconds: i64) -> Entry {
        let mtime = Timestamp { seconds, nanos: 0 };
        Entry {
            path: RelPath::parse(path).expect("a valid path"),
            version: Version { seq: 3, origin: Origin(*b"anna0001") },
            found: false,
            content: Content::Directory,
            metadata: Metadata { mtime, ..Metadata::default() },
            extra: Default::default(),
        }
    }

    fn name(of: &[u8], seconds: i64) -> String {
        let entry = loser(of, seconds);
        let name = copy_name(&entry, "anna", 6);
        String::from_utf8_lossy(&name).replace(&tag(&entry)[..6], "TAG")
    }

    #[test]
    fn names_are_those_of_the_specification() {
        let now = "(conflict 2026-11-21 14.03.22 anna TAG)";
        for (of, stem, extension) in [
            ("report.txt", "report", ".txt"),
            (".profile", ".profile", ""),
            ("README", "README", ""),
            ("a.tar.gz", "a.tar", ".gz"),
            ("a.", "a", "."),
            ("report (conflict 2026-11-21 14.03.22 anna 3f9c01).txt", "report", ".txt"),
            ("report (conflict 2026-11-21 14.03.22 anna lap top 3f9c01)", "report", ""),
            (
                "a (conflict 12026-11-21 14.03.22  3f9c01) (conflict 2026-11-21 14.03.22 b 3f9c0111).z",
                "a",
                ".z",
            ),
            (
                "a (conflict 2026-11-21 14.03.22 b 3f9c0) .z",
                "a (conflict 2026-11-21 14.03.22 b 3f9c0) ",
                ".z",
            ),
            ("a (conflict 2026-11-21 14.03.22 3f9c01).z", "a (conflict 2026-11-21 14.03.22 3f9c01)", ".z"),
            (
                "a (conflict 2026-11-21 14.03.22 b 3F9c01).z",
                "a (conflict 2026-11-21 14.03.22 b 3F9c01)",
                ".z",
            ),
            (" (conflict 2026-11-21 14.03.22 anna 3f9c01)", "", ""),
            ("f.eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "f.eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee", ""),
            ("f.eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "f", ".eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"),
            ("a (conflict  (conflict 2026-11-21 14.03.22 anna 3f9c01)b", "a (conflict b", ""),
        ] {
            assert_eq!(name(of.as_bytes(), NOW), format!("{stem} {now}{extension}"), "{of}");
        }
    }

    #[test]
    fn times_are_utc_between_1970_and_9999() {
        for (seconds, text) in [
            (-5, "1970-01-01 00.00.00"),
            (951_782_400, "2000-02-29 00.00.00"),
            (4_107_542_399, "2100-02-28 23.59.59"),
            (NOW, "2026-11-21 14.03.22"),
            (LAST_SECOND + 9, "9999-12-31 23.59.59"),
            (i64::MIN, "1970-01-01 00.00.00"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn the_tag_is_a_wire_format() {
        assert_eq!(
            tag(&loser(b"d/report.txt", NOW)),
            "1ab9189b1d122622a59747717d3b2c1759b5fe8258fea32cb0989c5c7581c751"
        );
        let path = copy_path(&loser(b"d/report.txt", NOW), "anna", 8).expect("it fits");
        assert_eq!(path.to_string(), "d/report (conflict 2026-11-21 14.03.22 anna 1ab9189b).txt");
    }

    #[test]
    fn the_stem_is_cut_at_a_character_and_invalid_bytes_stay() {
        let long = "ü".repeat(125) + ".txt";
        let name = copy_name(&loser(long.as_bytes(), NOW), "anna", 6);
        assert!((254..=255).contains(&name.len()) && std::str::from_utf8(&name).is_ok());
        let mut bytes = [0xff; 250];
        bytes[100..104].copy_from_slice(b".a.b");
        let name = copy_name(&loser(&bytes, NOW), "anna", 6);
        assert_eq!(name.len(), 255);
        assert!(name.starts_with(&[0xff; 100]) && has_mark(&name));
        assert_eq!(copy_name(&loser(b"a\xe2\x82.b", NOW), "anna", 6)[..4], *b"a\xe2\x82 ");
    }

    #[test]
    fn a_copy_in_the_deepest_place_still_has_a_valid_path() {
        let deep = [&b"d".repeat(250)[..]; 65].join(&b'/');
        for length in 16_290..=16_314 {
            let path = &deep[..length];
            let Ok(path) = copy_path(&loser(path, NOW), "anna", 64) else { continue };
            assert!(path.as_bytes().len() <= MAX_PATH_BYTES);
        }
    }
}
