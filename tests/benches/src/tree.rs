//! Trees that are the same on every machine, and whether two are.
//!
//! Content comes from a fixed seed and cannot be compressed, but for half of [`Base::Sources`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use harness::Seed;

/// Files or directories that programs keep at the root for themselves.
const CONTROL: [&str; 4] = [".syncd", ".stfolder", ".stignore", ".stversions"];
/// How much is made or compared at once.
const PIECE_BYTES: usize = 1 << 20;
/// The directory that is renamed.
pub(crate) const BEFORE: &str = "before";
/// The file of [`Base::One`].
pub(crate) const BIG: &str = "big.bin";

/// What a tree is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Base {
    /// One file.
    One { bytes: u64 },
    /// Files of one size, a hundred in a directory.
    Small { files: u64, bytes: u64 },
    /// The same, below a directory that can be renamed.
    Below { files: u64, bytes: u64 },
    /// All in one directory, the root.
    Flat { files: u64, bytes: u64 },
    /// A fifth of the files lies in one directory.
    Crowd { files: u64, bytes: u64 },
    /// Nested directories and log-normal sizes, half of it text, as of a source checkout.
    Sources { files: u64, bytes: u64 },
}

/// What a tree amounts to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Files, without directories.
    pub(crate) files: u64,
    /// Their lengths.
    pub(crate) bytes: u64,
}

impl Base {
    /// The same with that many times the files, or bytes where there is but one file.
    pub(crate) fn scaled(self, scale: f64) -> Self {
        let times = |number: u64, least: u64| ((number as f64 * scale) as u64).max(least);
        match self {
            Self::One { bytes } => Self::One { bytes: times(bytes, 4 << 20) },
            Self::Small { files, bytes } => Self::Small { files: times(files, 10), bytes },
            Self::Below { files, bytes } => Self::Below { files: times(files, 10), bytes },
            Self::Flat { files, bytes } => Self::Flat { files: times(files, 10), bytes },
            Self::Crowd { files, bytes } => Self::Crowd { files: times(files, 10), bytes },
            Self::Sources { files, bytes } => {
                Self::Sources { files: times(files, 10), bytes: times(bytes, 10_000) }
            }
        }
    }

    /// About how much disk one copy takes: files fill blocks.
    pub(crate) fn disk_bytes(self) -> u64 {
        match self {
            Self::One { bytes } => bytes,
            Self::Small { files, bytes }
            | Self::Below { files, bytes }
            | Self::Flat { files, bytes }
            | Self::Crowd { files, bytes } => files * (bytes.next_multiple_of(4096) + 256),
            Self::Sources { files, bytes } => bytes + files * 4096,
        }
    }

    /// How long one file may be.
    pub(crate) fn largest_bytes(self) -> u64 {
        match self {
            Self::One { bytes } | Self::Sources { bytes, .. } => bytes,
            Self::Small { bytes, .. }
            | Self::Below { bytes, .. }
            | Self::Flat { bytes, .. }
            | Self::Crowd { bytes, .. } => bytes,
        }
    }

    /// Makes it in a directory that is there.
    pub(crate) fn make(self, root: &Path) -> io::Result<()> {
        match self {
            Self::One { bytes } => one(&root.join(BIG), bytes),
            Self::Small { files, bytes } => small(root, 0..files, bytes),
            Self::Below { files, bytes } => small(&root.join(BEFORE), 0..files, bytes),
            Self::Flat { files, bytes } => flat(root, files, bytes),
            Self::Crowd { files, bytes } => {
                let crowd = root.join("crowd");
                fs::create_dir(&crowd)?;
                flat(&crowd, files / 5, bytes)?;
                small(root, files / 5..files, bytes)
            }
            Self::Sources { files, bytes } => sources(root, files, bytes),
        }
    }
}

fn one(path: &Path, bytes: u64) -> io::Result<()> {
    let (mut seed, mut file) = (Seed::new(bytes), File::create(path)?);
    let mut rest = bytes;
    while rest > 0 {
        let piece = rest.min(PIECE_BYTES as u64);
        file.write_all(&seed.bytes(piece as usize))?;
        rest -= piece;
    }
    Ok(())
}

fn flat(root: &Path, files: u64, bytes: u64) -> io::Result<()> {
    let mut seed = Seed::new(files);
    let mut write = |number| fs::write(root.join(format!("f{number:06}.dat")), seed.bytes(bytes as usize));
    (0..files).try_for_each(&mut write)
}

fn small(root: &Path, numbers: std::ops::Range<u64>, bytes: u64) -> io::Result<()> {
    let mut seed = Seed::new(numbers.end);
    let mut directory = (u64::MAX, PathBuf::new());
    for number in numbers {
        let hundred = number / 100;
        if directory.0 != hundred {
            directory = (hundred, root.join(format!("d{:02}/d{:02}", hundred / 100, hundred % 100)));
            fs::create_dir_all(&directory.1)?;
        }
        fs::write(directory.1.join(format!("f{number:06}.dat")), seed.bytes(bytes as usize))?;
    }
    Ok(())
}

fn sources(root: &Path, files: u64, bytes: u64) -> io::Result<()> {
    const ENDINGS: [&str; 8] = ["rs", "c", "h", "md", "json", "png", "o", "txt"];
    let mut seed = Seed::new(files);
    let words: Vec<String> = (0..4_000).map(|_| word(&mut seed)).collect();
    let mut text = Vec::new();
    while text.len() < 4 << 20 {
        text.extend_from_slice(words[seed.below(words.len())].as_bytes());
        text.push(b' ');
    }
    let mut directories = vec![(root.to_owned(), 0)];
    for number in 0..files / 12 {
        let (parent, depth) = &directories[seed.below(directories.len())];
        if *depth < 8 {
            let (name, depth) = (format!("{}{number}", words[seed.below(words.len())]), depth + 1);
            directories.push((parent.join(name), depth));
        }
    }
    for (directory, _) in &directories {
        fs::create_dir_all(directory)?;
    }
    let sizes: Vec<f64> = (0..files).map(|_| (1.6 * normal(&mut seed)).exp()).collect();
    let factor = bytes as f64 / sizes.iter().sum::<f64>();
    for (number, size) in sizes.into_iter().enumerate() {
        let length = (size * factor) as usize + 1;
        let content = if seed.below(2) == 0 {
            let start = seed.below(text.len());
            text.iter().copied().cycle().skip(start).take(length).collect()
        } else {
            seed.bytes(length)
        };
        let ending = ENDINGS[seed.below(ENDINGS.len())];
        let (directory, _) = &directories[seed.below(directories.len())];
        fs::write(directory.join(format!("f{number}.{ending}")), content)?;
    }
    Ok(())
}

fn word(seed: &mut Seed) -> String {
    let length = 2 + seed.below(11);
    (0..length).map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz_"[seed.below(27)])).collect()
}

/// Nearly normal: the sum of twelve even draws.
fn normal(seed: &mut Seed) -> f64 {
    (0..12).map(|_| (seed.number() >> 11) as f64 / (1_u64 << 53) as f64).sum::<f64>() - 6.0
}

/// What is at a path, as far as all programs keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Directory,
    File { size: u64, mode: u32, mtime: (i64, i64) },
}

/// Files and bytes below a root.
pub(crate) fn totals(root: &Path) -> io::Result<Totals> {
    let mut totals = Totals::default();
    for found in read(root)?.values() {
        if let Found::File { size, .. } = found {
            totals.files += 1;
            totals.bytes += size;
        }
    }
    Ok(totals)
}

/// How many files are below a directory that may be changing, or not be there.
pub(crate) fn count(directory: &Path) -> u64 {
    let list = fs::read_dir(directory).into_iter().flatten().flatten();
    let count_one = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => count(&entry.path()),
        Ok(_) => 1,
        Err(_) => 0,
    };
    list.map(count_one).sum()
}

/// Whether nothing is at a root but what programs keep there.
pub(crate) fn is_bare(root: &Path) -> bool {
    let mut list = fs::read_dir(root).into_iter().flatten().flatten();
    list.all(|entry| is_control(&entry.file_name()))
}

/// Removes all but that.
pub(crate) fn make_bare(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if is_control(&entry.file_name()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// In what two trees differ, one line each: names, kinds, sizes, modes and times of files, contents.
pub(crate) fn differences(left: &Path, right: &Path) -> io::Result<Vec<String>> {
    let (ours, theirs) = (read(left)?, read(right)?);
    let mut found = Vec::new();
    for (path, here) in &ours {
        let what = match (here, theirs.get(path)) {
            (_, None) => "is missing",
            (a, Some(b)) if a != b => "has other metadata",
            (Found::File { .. }, _) if !is_same_content(&left.join(path), &right.join(path))? => {
                "has other content"
            }
            _ => continue,
        };
        found.push(format!("{} {what}", path.display()));
    }
    let more = theirs.keys().filter(|path| !ours.contains_key(*path));
    found.extend(more.map(|path| format!("{} is too much", path.display())));
    Ok(found)
}

fn read(root: &Path) -> io::Result<BTreeMap<PathBuf, Found>> {
    let mut all = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            if directory.as_os_str().is_empty() && is_control(&entry.file_name()) {
                continue;
            }
            let (path, stat) = (directory.join(entry.file_name()), entry.metadata()?);
            let found = if stat.is_dir() {
                open.push(path.clone());
                Found::Directory
            } else {
                let mtime = (stat.mtime(), stat.mtime_nsec());
                Found::File { size: stat.len(), mode: stat.mode() & 0o7777, mtime }
            };
            all.insert(path, found);
        }
    }
    Ok(all)
}

fn is_control(name: &OsString) -> bool {
    CONTROL.iter().any(|control| name == control)
}

fn is_same_content(left: &Path, right: &Path) -> io::Result<bool> {
    let (left, right) = (File::open(left)?, File::open(right)?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    loop {
        ours.clear();
        theirs.clear();
        (&left).take(PIECE_BYTES as u64).read_to_end(&mut ours)?;
        (&right).take(PIECE_BYTES as u64).read_to_end(&mut theirs)?;
        if ours != theirs {
            return Ok(false);
        }
        if ours.len() < PIECE_BYTES {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: Base = Base::Sources { files: 60, bytes: 100_000 };

    #[test]
    fn a_tree_made_twice_differs_in_times_alone() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        SOURCES.make(a.path()).unwrap();
        SOURCES.make(b.path()).unwrap();
        for path in read(a.path()).unwrap().keys() {
            let time = fs::metadata(a.path().join(path)).unwrap().modified().unwrap();
            File::open(b.path().join(path)).unwrap().set_modified(time).unwrap();
        }
        assert_eq!(differences(a.path(), b.path()).unwrap(), [""; 0]);
        let totals = totals(a.path()).unwrap();
        assert_eq!(totals.files, 60);
        assert!((90_000..110_000).contains(&totals.bytes), "{totals:?}");
    }

    #[test]
    fn what_differs_is_named() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (root, name, content) in
            [(&a, "gone", ""), (&a, "other", "x"), (&b, "more", ""), (&b, "other", "y")]
        {
            let file = root.path().join(name);
            fs::write(&file, content).unwrap();
            File::open(file).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }
        fs::create_dir(b.path().join(".syncd")).unwrap();
        let found = differences(a.path(), b.path()).unwrap();
        assert_eq!(found, ["gone is missing", "other has other content", "more is too much"]);
    }

    #[test]
    fn a_crowd_has_a_fifth_of_its_files_in_one_directory() {
        let root = tempfile::tempdir().unwrap();
        Base::Crowd { files: 1_000, bytes: 10 }.make(root.path()).unwrap();
        assert_eq!(fs::read_dir(root.path().join("crowd")).unwrap().count(), 200);
        assert_eq!(totals(root.path()).unwrap(), Totals { files: 1_000, bytes: 10_000 });
    }

    #[test]
    fn a_bare_tree_keeps_what_programs_have_there() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(".stfolder")).unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        assert!(!is_bare(root.path()));
        make_bare(root.path()).unwrap();
        assert!(is_bare(root.path()));
        assert!(root.path().join(".stfolder").exists());
    }
}
