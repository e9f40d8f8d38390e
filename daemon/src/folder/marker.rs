//! The marker: how a folder knows that its root is still its root.
//!
//! An unmounted disk, an emptied mount point, a foreign disk or a clone must never look like a
//! user's deletion. So `.syncd/marker` holds a random id that the database knows too, and a start
//! counter with a nonce that both redraw together at each start. Whether a root that has its marker
//! but no files is a mass deletion is the caller's question, not this module's.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::disk::{ControlName, Disk, DiskLock, Kind, Place, RealDisk, SpecialBits};

const FIRST_LINE: &str = "syncd marker 1";

/// What the marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The folder's root on this device; not shared with anybody.
    pub root_id: [u8; 16],
    /// The last start.
    pub start: Start,
}

/// One start of the daemon with this folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Counts up by one.
    pub count: u64,
    /// Random, so that two copies that counted on are told apart.
    pub nonce: [u8; 16],
}

/// The starts that a database knows. `next` is written before the marker and becomes `last` after
/// it, so that a crash between the two looks like neither side being behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownStarts {
    /// The start that both sides had.
    pub last: Start,
    /// A start that was about to be written to the marker.
    pub next: Option<Start>,
}

/// How database and disk compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starts {
    /// The database knows no start: it is new, or was lost.
    Fresh,
    /// They were last used together.
    Same,
    /// The database is old (put back from a backup): its records are not to be trusted.
    DatabaseBehind,
    /// The disk is old or a clone: `ROLLBACK_SUSPECTED`.
    DiskBehind,
}

/// Why a root is not to be worked on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootTrouble {
    /// The directory has no marker: an unmounted disk, most likely.
    #[error("the folder's marker `.syncd/marker` is missing: is its disk mounted?")]
    MarkerMissing,
    /// The marker is another folder's, or no marker at all.
    #[error("the marker `.syncd/marker` belongs to another folder or disk")]
    MarkerMismatch,
    /// Nothing is at the path, or something else than a directory.
    #[error("the folder's directory is gone, or something else has taken its place")]
    TypeChanged,
    /// Another directory has the path now, with this folder's marker (mounted anew, or put back):
    /// open it again.
    #[error("the folder's directory was replaced while it was in use")]
    Replaced,
    /// It cannot be read.
    #[error("the folder's directory cannot be read: {0}")]
    Unreadable(String),
}

impl RootTrouble {
    /// The code of the hold.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MarkerMissing => "ROOT_MARKER_MISSING",
            Self::MarkerMismatch => "ROOT_MARKER_MISMATCH",
            Self::TypeChanged | Self::Replaced => "ROOT_TYPE_CHANGED",
            Self::Unreadable(_) => "ROOT_UNREADABLE",
        }
    }
}

/// Why a control directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another daemon works on this directory.
    #[error("another syncd works on this directory")]
    InUse,
    /// `.syncd` or something in it is no directory.
    #[error("`.syncd` is in the way: it should be a directory with `staging` and `archive`")]
    NotADirectory,
    /// The disk failed.
    #[error("the control directory `.syncd` cannot be made: {0}")]
    Disk(#[from] io::Error),
}

impl Marker {
    /// The text of the file.
    pub fn encode(&self) -> Vec<u8> {
        let (root, nonce) = (hex(&self.root_id), hex(&self.start.nonce));
        format!("{FIRST_LINE}\nroot {root}\nstarts {}\nnonce {nonce}\n", self.start.count).into_bytes()
    }

    /// Reads the text; `None` if it is anything else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let root_id = unhex(lines.next()?.strip_prefix("root ")?)?;
        let count = lines.next()?.strip_prefix("starts ")?.parse().ok()?;
        let nonce = unhex(lines.next()?.strip_prefix("nonce ")?)?;
        Some(Self { root_id, start: Start { count, nonce } })
    }

    /// Writes it durably, whole.
    pub fn save(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.write_control(ControlName::Marker, &self.encode())
    }

    /// Reads the marker below an open root, and checks that it is this folder's.
    pub fn load(disk: &dyn Disk, root_id: &[u8; 16]) -> Result<Self, RootTrouble> {
        let bytes = disk.read_control(ControlName::Marker).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => RootTrouble::MarkerMissing,
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory => {
                RootTrouble::MarkerMismatch
            }
            _ => RootTrouble::Unreadable(e.to_string()),
        })?;
        Self::parse(&bytes).filter(|m| m.root_id == *root_id).ok_or(RootTrouble::MarkerMismatch)
    }
}

/// Opens a root and checks whose it is.
pub fn open_root(
    root: &Path,
    special: SpecialBits,
    root_id: &[u8; 16],
) -> Result<(RealDisk, Marker), RootTrouble> {
    let disk = RealDisk::open(root, special).map_err(|e| match Errno::from_io_error(&e) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => RootTrouble::TypeChanged,
        _ => RootTrouble::Unreadable(e.to_string()),
    })?;
    let marker = Marker::load(&disk, root_id)?;
    Ok((disk, marker))
}

/// Checks that the path still shows the directory that `disk` holds open, with the folder's marker.
/// To be asked before a scan, *after* it (its findings are thrown away if not), and before a batch.
pub fn check_root(root: &Path, disk: &dyn Disk, root_id: &[u8; 16]) -> Result<Marker, RootTrouble> {
    let unreadable = |e: io::Error| RootTrouble::Unreadable(e.to_string());
    let (shown, marker) = open_root(root, SpecialBits::Strip, root_id)?;
    let identity = |disk: &dyn Disk| -> io::Result<Option<(u64, u64)>> {
        let stat = disk.stat(&Place::Root)?;
        Ok(stat.filter(|s| s.kind == Kind::Directory).map(|s| (s.device, s.stat.inode)))
    };
    if identity(&shown).map_err(unreadable)? != identity(disk).map_err(unreadable)? {
        return Err(RootTrouble::Replaced);
    }
    Ok(marker)
}

/// Makes what is missing of the control directory and takes its lock. Also adopts one that another
/// folder or an earlier life has left, unless another daemon holds its lock: its archive stays, and
/// the caller writes a marker of its own.
pub fn claim(disk: &dyn Disk) -> Result<DiskLock, ClaimError> {
    for name in [ControlName::Directory, ControlName::Staging, ControlName::Archive] {
        let place = Place::Control(name);
        match disk.make_directory(&place, 0o700) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if disk.stat(&place)?.is_none_or(|s| s.kind != Kind::Directory) {
                    return Err(ClaimError::NotADirectory);
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
    disk.set_mode(&Place::Control(ControlName::Directory), 0o700)?;
    disk.lock().map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => ClaimError::InUse,
        _ => ClaimError::Disk(e),
    })
}

/// Compares the last start that each side knows.
pub fn compare(database: Option<&KnownStarts>, marker: &Marker) -> Starts {
    let Some(known) = database else { return Starts::Fresh };
    if known.last == marker.start || known.next == Some(marker.start) {
        return Starts::Same;
    }
    // Equal counts and other nonces: two copies counted on, and this is not our disk's line.
    if marker.start.count > known.last.count { Starts::DatabaseBehind } else { Starts::DiskBehind }
}

fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 16];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    const ID: [u8; 16] = [7; 16];

    fn marker(count: u64, nonce: u8) -> Marker {
        Marker { root_id: ID, start: Start { count, nonce: [nonce; 16] } }
    }

    /// A claimed root `r` below a directory of its own.
    fn root() -> (TempDir, std::path::PathBuf, RealDisk) {
        let above = tempfile::tempdir().expect("a directory");
        let root = above.path().join("r");
        fs::create_dir(&root).expect("mkdir");
        let disk = RealDisk::open(&root, SpecialBits::Strip).expect("open");
        drop(claim(&disk).expect("claim"));
        marker(1, 1).save(&disk).expect("save");
        (above, root, disk)
    }

    #[test]
    fn a_marker_is_read_back_and_anything_else_is_refused() {
        let written = marker(17, 9);
        assert_eq!(Marker::parse(&written.encode()), Some(written.clone()));
        let text = String::from_utf8(written.encode()).expect("text");
        for broken in [
            String::new(),
            text.replace("marker 1", "marker 2"),
            text.replace("07", "7"),
            text.replace("17", "-17"),
            text.replace("root", "toor"),
        ] {
            assert_eq!(Marker::parse(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn a_root_that_is_not_what_it_was_is_named_by_its_trouble() {
        type Deed = fn(&Path);
        let stories: [(&str, Deed, Option<RootTrouble>); 8] = [
            ("untouched", |_| {}, None),
            (
                "emptied",
                |r| fs::remove_dir_all(r.join(".syncd")).expect("rm"),
                Some(RootTrouble::MarkerMissing),
            ),
            (
                "another folder's marker",
                |r| {
                    let foreign = Marker { root_id: [8; 16], ..marker(1, 1) };
                    fs::write(r.join(".syncd/marker"), foreign.encode()).expect("write");
                },
                Some(RootTrouble::MarkerMismatch),
            ),
            (
                "by hand",
                |r| fs::write(r.join(".syncd/marker"), b"").expect("write"),
                Some(RootTrouble::MarkerMismatch),
            ),
            (
                "gone",
                |r| fs::rename(r, r.with_file_name("away")).expect("mv"),
                Some(RootTrouble::TypeChanged),
            ),
            (
                "a file",
                |r| {
                    fs::rename(r, r.with_file_name("away")).expect("mv");
                    fs::write(r, b"").expect("write");
                },
                Some(RootTrouble::TypeChanged),
            ),
            (
                "a link to itself",
                |r| {
                    fs::rename(r, r.with_file_name("away")).expect("mv");
                    symlink(r.with_file_name("away"), r).expect("link");
                },
                Some(RootTrouble::TypeChanged),
            ),
            (
                "an empty directory, as below a mount that has gone",
                |r| {
                    fs::rename(r, r.with_file_name("away")).expect("mv");
                    fs::create_dir(r).expect("mkdir");
                },
                Some(RootTrouble::MarkerMissing),
            ),
        ];
        for (story, deed, expected) in stories {
            let (_above, path, disk) = root();
            deed(&path);
            assert_eq!(check_root(&path, &disk, &ID).err(), expected, "{story}");
        }
    }

    #[test]
    fn another_copy_of_the_root_at_its_path_is_to_be_opened_again() {
        let (_above, path, disk) = root();
        fs::rename(&path, path.with_file_name("away")).expect("mv");
        fs::create_dir_all(path.join(".syncd")).expect("mkdir");
        fs::write(path.join(".syncd/marker"), marker(1, 1).encode()).expect("write");
        let trouble = check_root(&path, &disk, &ID).expect_err("replaced");
        assert_eq!((&trouble, trouble.code()), (&RootTrouble::Replaced, "ROOT_TYPE_CHANGED"));
        drop(disk);
        assert!(open_root(&path, SpecialBits::Strip, &ID).is_ok());
    }

    #[test]
    fn a_left_over_control_directory_is_adopted_unless_it_is_in_use() {
        let (_above, path, disk) = root();
        fs::write(path.join(".syncd/staging/op-1"), b"left").expect("write");
        let lock = claim(&disk).expect("adopted");
        let other = RealDisk::open(&path, SpecialBits::Strip).expect("open");
        assert!(matches!(claim(&other), Err(ClaimError::InUse)));
        drop(lock);
        claim(&other).expect("free again");
        assert!(path.join(".syncd/staging/op-1").exists());
        fs::remove_dir_all(path.join(".syncd")).expect("rm");
        symlink("/tmp", path.join(".syncd")).expect("link");
        assert!(matches!(claim(&other), Err(ClaimError::NotADirectory)));
    }

    #[test]
    fn the_side_that_is_behind_is_known() {
        let start = |count, nonce| marker(count, nonce).start;
        let known = |next| KnownStarts { last: start(5, 5), next };
        assert_eq!(compare(None, &marker(5, 5)), Starts::Fresh);
        assert_eq!(compare(Some(&known(None)), &marker(5, 5)), Starts::Same);
        assert_eq!(compare(Some(&known(Some(start(6, 6)))), &marker(6, 6)), Starts::Same, "crash between");
        assert_eq!(compare(Some(&known(Some(start(6, 6)))), &marker(5, 5)), Starts::Same, "crash between");
        assert_eq!(compare(Some(&known(None)), &marker(6, 6)), Starts::DatabaseBehind);
        assert_eq!(compare(Some(&known(None)), &marker(4, 4)), Starts::DiskBehind);
        assert_eq!(compare(Some(&known(None)), &marker(5, 9)), Starts::DiskBehind, "a clone that went on");
    }
}
