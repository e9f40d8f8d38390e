//! Which paths are not wanted on this device.
//!
//! The patterns of the `.syncignore` at the root, in the syntax of `.gitignore`, then those of this
//! device's settings, which have the last word. The file itself is synced like any other and can
//! not be ignored. `.syncignore` files further down mean nothing: what is ignored must be known
//! without walking the folder. Ignoring is local, and never a deletion: see the scan.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use protocol::RelPath;
use protocol::engine::{IGNORE_FILE, Rules};

use crate::disk::{Disk, Place};

/// Longest file of patterns that is read; what is longer is no list of patterns.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The rules of one folder. A snapshot: loaded again when the file or the settings change.
#[derive(Debug)]
pub struct Ignored {
    lines: Vec<String>,
    rules: Gitignore,
    problems: Vec<String>,
}

impl Ignored {
    /// Ignores nothing.
    pub fn nothing() -> Self {
        Self::new([])
    }

    /// Reads the folder's file and adds `patterns`. An error means that the rules are not known;
    /// whoever has older ones goes on with those. A line that is no pattern is a problem, the rest
    /// counts.
    pub fn load(disk: &dyn Disk, patterns: &[String]) -> io::Result<Self> {
        let text = read_file(disk)?;
        let text = String::from_utf8_lossy(&text);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        Ok(Self::new(text.lines().chain(patterns.iter().map(String::as_str))))
    }

    /// Rules from lines.
    pub fn new<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut builder = GitignoreBuilder::new("");
        let mut problems = Vec::new();
        let lines: Vec<_> = lines.into_iter().map(str::to_owned).collect();
        for line in &lines {
            if let Err(e) = builder.add_line(None, line) {
                problems.push(format!("`{}` is no pattern: {e}", line.escape_debug()));
            }
        }
        let rules = builder.build().unwrap_or_else(|e| {
            problems.push(format!("the patterns cannot be used: {e}"));
            Gitignore::empty()
        });
        Self { lines, rules, problems }
    }

    /// Whether these are the same rules.
    pub fn is_same(&self, other: &Self) -> bool {
        self.lines == other.lines
    }

    /// Lines that are no patterns, for people.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The same for a path below directories that are known not to be ignored.
    pub fn is_ignored_here(&self, path: &RelPath, is_dir: bool) -> bool {
        !self.rules.is_empty()
            && !is_ignore_file(path)
            && self.rules.matched(as_path(path), is_dir).is_ignore()
    }
}

impl Rules for Ignored {
    /// As a walk from the root down finds it: nothing below an ignored directory is wanted again.
    fn is_ignored(&self, path: &RelPath, is_directory: bool) -> bool {
        !self.rules.is_empty()
            && (path.ancestors().any(|above| self.is_ignored_here(&above, true))
                || self.is_ignored_here(path, is_directory))
    }
}

/// Whether this is the file with the rules.
pub fn is_ignore_file(path: &RelPath) -> bool {
    path.as_bytes() == IGNORE_FILE.as_bytes()
}

fn as_path(path: &RelPath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}

fn read_file(disk: &dyn Disk) -> io::Result<Vec<u8>> {
    let path = RelPath::parse(IGNORE_FILE.as_bytes()).expect("a plain name");
    let file = match disk.open(&Place::Folder(path)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let size = file.stat()?.stat.size;
    if size > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "`.syncignore` is longer than 1 MiB"));
    }
    let mut bytes = vec![0; size as usize];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    #[test]
    fn what_is_below_an_ignored_directory_is_ignored() {
        let rules = Ignored::new(["node_modules/", "*.o", "!keep.o", "/only-here"]);
        for (text, is_dir, ignored) in [
            ("a/node_modules", true, true),
            ("a/node_modules", false, false),
            ("a/node_modules/b/c", false, true),
            ("x.o", false, true),
            ("keep.o", false, false),
            ("only-here", false, true),
            ("a/only-here", false, false),
        ] {
            assert_eq!(rules.is_ignored(&path(text), is_dir), ignored, "{text}");
        }
    }

    #[test]
    fn nothing_below_an_ignored_directory_is_wanted_again() {
        let rules = Ignored::new(["build/", "!build/keep"]);
        assert!(rules.is_ignored(&path("build/keep"), false));
    }

    #[test]
    fn the_file_with_the_rules_cannot_ignore_itself() {
        let rules = Ignored::new([".*"]);
        assert!(rules.is_ignored(&path(".profile"), false));
        assert!(!rules.is_ignored(&path(IGNORE_FILE), false));
    }

    #[test]
    fn a_line_that_is_no_pattern_is_told_and_the_rest_counts() {
        let rules = Ignored::new(["a{b", "*.tmp"]);
        assert_eq!(rules.problems().len(), 1);
        assert!(rules.is_ignored(&path("x.tmp"), false));
    }
}
