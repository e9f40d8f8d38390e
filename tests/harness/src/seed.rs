//! Files that are the same for the same seed, and cannot be compressed.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A source of numbers that look random (splitmix64).
#[derive(Debug, Clone)]
pub struct Seed(u64);

impl Seed {
    /// The same seed, the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end.max(1) as u64).unwrap_or_default()
    }

    /// That many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// Names that tools have stumbled over, all of them legal.
const NAMES: [&[u8]; 32] = [
    b"plain.txt",
    b"two words",
    b" leading",
    b"trailing ",
    b"dot.",
    b"..double",
    b"-rf",
    b"--help",
    b"~",
    b"a\tb",
    b"line\nbreak",
    b"bell\x07",
    b"\x1b[31mred",
    b"quote\"s'",
    b"back\\slash",
    b"star*?<>|:",
    b"%s%n%d",
    b"$(id)",
    b"CON",
    b"aux.txt",
    b"a:b",
    "ümläut".as_bytes(),
    "u\u{308}mla\u{308}ut".as_bytes(),
    "\u{202e}gpj.exe".as_bytes(),
    "🦀.rs".as_bytes(),
    "日本語".as_bytes(),
    b"case",
    b"Case",
    b"CASE",
    b"latin-\xe9",
    b"\xff\xfe",
    b".hidden",
];

/// Fills a directory with some `count` files in directories, and one of everything else: hostile
/// names, modes, times before 1970 and after 2106, links of all sorts, empty directories and files,
/// holes, sizes around every border of chunking.
///
/// # Panics
/// When the disk does not play along.
pub fn every_kind(root: &Path, seed: u64, count: usize) {
    let mut seed = Seed::new(seed);
    small_files(root, &mut seed, count);
    for name in ["names", "modes", "times", "links", "sizes", "empty/below/deeper", "empty/beside"] {
        fs::create_dir_all(root.join(name)).expect("a directory");
    }
    for name in NAMES {
        fs::write(root.join("names").join(OsStr::from_bytes(name)), seed.bytes(20)).expect("a name");
    }
    let long = "n".repeat(255);
    fs::write(root.join("names").join(long), b"long").expect("a long name");
    for size in [0, 1, 64 << 10, (64 << 10) + 1, 256 << 10, (1 << 20) + 1, 3_000_000] {
        fs::write(root.join(format!("sizes/{size}")), seed.bytes(size)).expect("a file");
    }
    let holes = File::create(root.join("sizes/holes")).expect("a file");
    holes.set_len(8 << 20).expect("holes");
    for target in ["../names/plain.txt", "nowhere", "loop", "/etc/hostname", "../empty", "..", "with\nbreak"]
    {
        let name =
            format!("links/{}", if target == "loop" { "loop".to_owned() } else { seed.number().to_string() });
        symlink(target, root.join(name)).expect("a link");
    }
    modes_and_times(root);
}

fn modes_and_times(root: &Path) {
    let set = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode");
    for mode in [0o400, 0o600, 0o644, 0o755, 0o777, 0o711, 0o440] {
        let path = root.join(format!("modes/file-{mode:o}"));
        fs::write(&path, format!("{mode:o}")).expect("a file");
        set(&path, mode);
    }
    for mode in [0o700, 0o755, 0o555, 0o777] {
        let path = root.join(format!("modes/dir-{mode:o}"));
        fs::create_dir(&path).expect("a directory");
        fs::write(path.join("inside"), b"inside").expect("a file");
        set(&path, mode);
    }
    let after = |seconds| SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    let before = SystemTime::UNIX_EPOCH - Duration::new(86_400 * 365, 1);
    let times = [SystemTime::UNIX_EPOCH, after(1), after(1_700_000_000), after(1 << 32), before];
    for (number, time) in times.into_iter().enumerate() {
        let file = File::create(root.join(format!("times/{number}"))).expect("a file");
        file.set_times(FileTimes::new().set_modified(time)).expect("a time");
    }
}

/// Writes that many files of up to 4 KiB, twenty or so in a directory, three deep.
///
/// # Panics
/// When the disk does not play along.
pub fn small_files(root: &Path, seed: &mut Seed, count: usize) {
    for number in 0..count {
        let directory = root.join(format!("many/{:02}/{:03}", number / 400, number / 20));
        if number % 20 == 0 {
            fs::create_dir_all(&directory).expect("a directory");
        }
        let size = seed.below(4096);
        fs::write(directory.join(format!("file-{number}")), seed.bytes(size)).expect("a file");
    }
}
