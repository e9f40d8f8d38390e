//! Paths inside a folder, parsed once so that no later code has to doubt them.
//!
//! A [`RelPath`] cannot leave the folder, cannot name the control directory, and is bounded in
//! length and depth. Its bytes are the user's, exactly: no case folding, no normalisation.
//! Paths are ordered by component, so that a directory is one contiguous range.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Longest name that a path component may have, in bytes (`NAME_MAX` of Linux).
pub const MAX_NAME_BYTES: usize = 255;
/// Longest path, in bytes: four times `PATH_MAX`, since files are reached by descriptors.
pub const MAX_PATH_BYTES: usize = 16 * 1024;
/// Deepest path, in components. Bounds recursion and the number of implied directories.
pub const MAX_DEPTH: usize = 512;
/// The control directory; in any case of letters and at any depth it is never synced.
pub const CONTROL_DIRECTORY: &str = ".syncd";

/// A path below the root of a folder: one or more names joined by `/`, never empty.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Arc<[u8]>);

/// Why some bytes are no [`RelPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No component at all, or an empty one (`a//b`, a leading or trailing `/`).
    #[error("a name in the path is empty")]
    EmptyName,
    /// `.` or `..`.
    #[error("the path contains `.` or `..`")]
    Dots,
    /// A NUL byte.
    #[error("the path contains a NUL byte")]
    Nul,
    /// The control directory, in any case, with or without code points that some systems ignore.
    #[error("the name `.syncd` is reserved")]
    Reserved,
    /// More than [`MAX_NAME_BYTES`] in a name.
    #[error("a name is longer than 255 bytes")]
    NameTooLong,
    /// More than [`MAX_PATH_BYTES`] or [`MAX_DEPTH`].
    #[error("the path is too long or too deep")]
    TooLong,
}

impl RelPath {
    /// Parses `/`-separated bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        for (depth, name) in bytes.split(|b| *b == b'/').enumerate() {
            if depth >= MAX_DEPTH {
                return Err(PathError::TooLong);
            }
            check_name(name)?;
        }
        Ok(Self(bytes.into()))
    }

    /// Parses the first `shared` bytes of this path and what else follows them.
    pub(crate) fn parse_beside(&self, shared: usize, rest: &[u8]) -> Result<Self, PathError> {
        let start = self.0.get(..shared).unwrap_or(&self.0);
        if start.len() + rest.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        let mut short = [0; 256];
        let bytes: Arc<[u8]> = match short.get_mut(..start.len() + rest.len()) {
            Some(bytes) => {
                bytes[..start.len()].copy_from_slice(start);
                bytes[start.len()..].copy_from_slice(rest);
                (&*bytes).into()
            }
            None => [start, rest].concat().into(),
        };
        // Of the names that are shared as a whole it is known that they are sound.
        let new = start.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        bytes[new..].split(|b| *b == b'/').try_for_each(check_name)?;
        let path = Self(bytes);
        if path.depth() > MAX_DEPTH { Err(PathError::TooLong) } else { Ok(path) }
    }

    /// The path of `name` inside `directory` (`None` is the root).
    pub fn join(directory: Option<&Self>, name: &[u8]) -> Result<Self, PathError> {
        let Some(directory) = directory else {
            check_name(name)?;
            return Ok(Self(name.into()));
        };
        let mut bytes = Vec::with_capacity(directory.0.len() + 1 + name.len());
        bytes.extend_from_slice(&directory.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        if bytes.len() > MAX_PATH_BYTES || directory.depth() >= MAX_DEPTH {
            return Err(PathError::TooLong);
        }
        check_name(name)?;
        Ok(Self(bytes.into()))
    }

    /// The bytes, `/`-separated.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component.
    pub fn name(&self) -> &[u8] {
        match self.0.iter().rposition(|b| *b == b'/') {
            Some(slash) => &self.0[slash + 1..],
            None => &self.0,
        }
    }

    /// The directory that holds this path; `None` is the root.
    pub fn parent(&self) -> Option<Self> {
        Some(Self(self.directory_bytes()?.into()))
    }

    /// Whether both lie directly in the same directory.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.directory_bytes() == other.directory_bytes()
    }

    /// Whether this path lies directly in `directory` (`None` is the root).
    pub fn is_directly_in(&self, directory: Option<&Self>) -> bool {
        self.directory_bytes() == directory.map(Self::as_bytes)
    }

    fn directory_bytes(&self) -> Option<&[u8]> {
        Some(&self.0[..self.0.iter().rposition(|b| *b == b'/')?])
    }

    /// All directories above this path, the nearest first, without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// The names, outermost first.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/')
    }

    /// How many names the path has, at least one.
    pub fn depth(&self) -> usize {
        1 + self.0.iter().filter(|b| **b == b'/').count()
    }

    /// Whether this path lies strictly below `directory` (`None` is the root, above everything).
    pub fn is_below(&self, directory: Option<&Self>) -> bool {
        directory
            .is_none_or(|d| self.0.len() > d.0.len() && self.0[d.0.len()] == b'/' && self.0.starts_with(&d.0))
    }
}

fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" => Err(PathError::EmptyName),
        b"." | b".." => Err(PathError::Dots),
        _ if name.contains(&0) => Err(PathError::Nul),
        _ if name.contains(&b'/') => Err(PathError::EmptyName),
        _ if name.len() > MAX_NAME_BYTES => Err(PathError::NameTooLong),
        _ if is_control_name(name) => Err(PathError::Reserved),
        _ => Ok(()),
    }
}

/// Whether `name` is the control directory, as some file system might see it: in any case of
/// letters, and with code points that HFS+ ignores in comparisons (git's CVE-2014-9390).
pub fn is_control_name(name: &[u8]) -> bool {
    if name.eq_ignore_ascii_case(CONTROL_DIRECTORY.as_bytes()) {
        return true;
    }
    if name.is_ascii() {
        return false;
    }
    let Ok(text) = std::str::from_utf8(name) else { return false };
    let visible: String = text.chars().filter(|c| !is_ignorable(*c)).collect();
    visible.to_lowercase() == CONTROL_DIRECTORY
}

fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_paths(&self.0, &other.0)
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares `/`-separated bytes component by component: `/` ranks below every other byte, so
/// `a/b` comes before `a-b`, and everything below `a` right after `a`.
pub fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    let at = common_len(a, b);
    match (a.get(at), b.get(at)) {
        (Some(x), Some(y)) => separator_first(*x).cmp(&separator_first(*y)),
        _ => a.len().cmp(&b.len()),
    }
}

/// How many bytes two paths have in common. Neighbours have most, so words are compared.
fn common_len(a: &[u8], b: &[u8]) -> usize {
    let mut at = 0;
    while let (Some(x), Some(y)) = (a[at..].first_chunk(), b[at..].first_chunk()) {
        let differing = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differing != 0 {
            return at + differing.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at
}

fn separator_first(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// For people: printable, with everything else escaped.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || is_ignorable(c) {
                    write!(f, "{}", c.escape_unicode())?;
                } else {
                    write!(f, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_the_folder_or_touch_its_control_directory_are_refused() {
        for (bytes, error) in [
            (&b""[..], PathError::EmptyName),
            (b"/etc", PathError::EmptyName),
            (b"a//b", PathError::EmptyName),
            (b"a/", PathError::EmptyName),
            (b"..", PathError::Dots),
            (b"a/../b", PathError::Dots),
            (b"./a", PathError::Dots),
            (b"a\0b", PathError::Nul),
            (b".syncd", PathError::Reserved),
            (b"a/.SyncD/b", PathError::Reserved),
            (".s\u{200c}yncd".as_bytes(), PathError::Reserved),
            (&[b'x'; 256], PathError::NameTooLong),
        ] {
            assert_eq!(RelPath::parse(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        assert_eq!(RelPath::parse(&b"a/".repeat(600)[..1199]), Err(PathError::TooLong));
    }

    #[test]
    fn a_path_beside_another_is_parsed_as_if_it_were_alone() {
        let before = RelPath::parse(b"a/bc/d").expect("valid");
        for shared in 0..=6 {
            for rest in [&b""[..], b"x", b"/", b"/x", b".", b"./x", b"..", b"b/.syncd", b"b//c", b"\0"] {
                let whole = [&before.as_bytes()[..shared], rest].concat();
                assert_eq!(
                    before.parse_beside(shared, rest),
                    RelPath::parse(&whole),
                    "{}",
                    whole.escape_ascii()
                );
            }
        }
        let deep = RelPath::parse(&b"a/".repeat(512)[..1023]).expect("valid");
        assert_eq!(deep.parse_beside(1023, b"/b"), Err(PathError::TooLong));
    }

    #[test]
    fn a_directory_is_a_contiguous_range() {
        let mut paths: Vec<_> = ["a-b", "a", "a/z", "a.txt", "b", "a/b/c", "a/b"]
            .iter()
            .map(|p| RelPath::parse(p.as_bytes()).expect("valid"))
            .collect();
        paths.sort();
        let shown: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a", "a/b", "a/b/c", "a/z", "a-b", "a.txt", "b"]);
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let path = RelPath::parse(b"a\x1b[31m\nb\xff").expect("valid");
        assert_eq!(path.to_string(), "a\\u{1b}[31m\\u{a}b\\xff");
    }
}
