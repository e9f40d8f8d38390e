//! The home directory: where one daemon keeps what is not the user's.
//!
//! It is made, or tightened, to 0700, locked by one daemon at a time, and knows the names of the files
//! in it. [`write_atomic`] is the one way to write a small file that must never be half there.
//! What the files mean is not its business.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The largest small file that [`read_private`] accepts: a key file of 10,000 folders stays below it.
const MAX_PRIVATE_BYTES: u64 = 8 << 20;

/// A home could not be used; a sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The directory cannot be made, read or tightened.
    #[error("the home {} cannot be used: {cause}", path.display())]
    Unusable {
        /// The home.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Someone else owns the directory, so 0700 would not protect us from them.
    #[error("the home {} belongs to user {owner}, not to you", path.display())]
    NotOurs {
        /// The home.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
    },
    /// Another daemon holds the lock.
    #[error("a daemon already runs in {}{}", path.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Taken {
        /// The home.
        path: PathBuf,
        /// What the holder wrote into the lock file.
        pid: Option<u32>,
    },
    /// A file with secrets can be read or written by others.
    #[error("{} can be read or changed by others (mode {mode:04o})", path.display())]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file of the home cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// An opened home directory.
#[derive(Debug, Clone)]
pub struct Home {
    directory: PathBuf,
}

impl Home {
    /// Names a home without touching the disk; what a command does that only talks to the daemon.
    pub fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Makes the directory, or tightens it, to 0700.
    ///
    /// # Errors
    /// When it cannot be made, is not a directory, or belongs to somebody else.
    pub fn open(directory: PathBuf) -> Result<Self, HomeError> {
        let unusable = |cause| HomeError::Unusable { path: directory.clone(), cause };
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(unusable)?;
        let found = fs::metadata(&directory).map_err(unusable)?;
        let user = rustix::process::geteuid().as_raw();
        if found.uid() != user {
            return Err(HomeError::NotOurs { path: directory, owner: found.uid() });
        }
        if found.mode() & 0o777 != 0o700 {
            fs::set_permissions(&directory, Permissions::from_mode(0o700)).map_err(unusable)?;
        }
        let directory = fs::canonicalize(&directory).map_err(unusable)?;
        Ok(Self { directory })
    }

    /// The directory itself; absolute when the home was opened.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The socket on which the local API answers.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("api.sock")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.directory.join("syncd.db")
    }

    /// Folder keys and the device key, outside the database so that they survive its loss.
    pub fn keys(&self) -> PathBuf {
        self.directory.join("keys")
    }

    /// The bearer token of the API on TCP.
    pub fn api_token(&self) -> PathBuf {
        self.directory.join("api-token")
    }

    /// Where a daemon in the background writes its log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The settings.
    pub fn config(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    /// Takes the home for this process, until the lock is dropped.
    ///
    /// # Errors
    /// [`HomeError::Taken`] names the process that holds it.
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let path = self.directory.join("lock");
        let failed = |cause| HomeError::File { path: path.clone(), cause };
        let mut options = OpenOptions::new();
        // Not truncated: until the lock is ours, the number in it is another daemon's.
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = (&mut file).take(32).read_to_string(&mut text);
                let pid = text.trim().parse().ok();
                return Err(HomeError::Taken { path: self.directory.clone(), pid });
            }
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(HomeLock { _file: file })
    }
}

/// Holds the home for one daemon; the system lets go of it however the process ends.
#[derive(Debug)]
pub struct HomeLock {
    _file: File,
}

/// The home to use when none is named: `$XDG_DATA_HOME/syncd`, else `~/.local/share/syncd`.
///
/// `variable` looks up the environment. As XDG says, a relative `XDG_DATA_HOME` does not count.
pub fn default_directory(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    Some(data?.join("syncd"))
}

/// Writes a file so that the name shows all of the old bytes or all of the new ones, with mode 0600.
///
/// When it returns, the bytes survive a power cut.
///
/// # Errors
/// What the system said; the old file is then still there.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// The same for bytes that are better not held in memory all at once: `write` is given the new file.
///
/// # Errors
/// What the system or `write` said; the old file is then still there.
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), HomeError> {
    let failed = |cause| HomeError::File { path: path.to_owned(), cause };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = write_new(&temporary, write).and_then(|()| fs::rename(&temporary, path));
    if let Err(cause) = written {
        let _ = fs::remove_file(&temporary);
        return Err(failed(cause));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
}

fn write_new(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    // What lies there is a leftover of a process that had our number; a link is not followed.
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?; // the umask may have taken the owner's bits
    write(&mut file)?;
    file.sync_all()
}

/// Reads a file with secrets; `None` when there is none.
///
/// # Errors
/// [`HomeError::Loose`] when anyone but its owner can open it: the secret may be known by now, and that
/// is for a person to judge, so it is not tightened behind their back.
pub fn read_private(path: &Path) -> Result<Option<Vec<u8>>, HomeError> {
    let failed = |cause| HomeError::File { path: path.to_owned(), cause };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed(cause)),
    };
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(HomeError::Loose { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_PRIVATE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_PRIVATE_BYTES {
        return Err(failed(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    Ok(Some(bytes))
}

/// Opens a log for appending, 0600; one that has grown beyond 8 MiB is first put aside as `log.old`.
///
/// # Errors
/// What the system said.
pub fn open_log(path: &Path) -> Result<File, HomeError> {
    let failed = |cause| HomeError::File { path: path.to_owned(), cause };
    if fs::metadata(path).is_ok_and(|found| found.len() > 8 << 20) {
        fs::rename(path, path.with_extension("old")).map_err(failed)?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_home_is_made_private_and_a_loose_one_is_tightened() {
        let place = tempfile::tempdir().unwrap();
        let wanted = place.path().join("a/b");
        Home::open(wanted.clone()).unwrap();
        assert_eq!(mode(&wanted), 0o700);
        fs::set_permissions(&wanted, Permissions::from_mode(0o777)).unwrap();
        Home::open(wanted.clone()).unwrap();
        assert_eq!(mode(&wanted), 0o700);
    }

    #[test]
    fn a_home_that_is_a_file_is_refused_with_a_sentence() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("home");
        fs::write(&file, b"").unwrap();
        let error = Home::open(file).unwrap_err().to_string();
        assert!(error.contains("cannot be used"), "{error}");
    }

    #[test]
    fn the_second_daemon_of_a_home_is_told_which_process_has_it() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path().to_owned()).unwrap();
        let first = home.lock().unwrap();
        match home.lock() {
            Err(HomeError::Taken { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        home.lock().unwrap();
    }

    #[test]
    fn a_written_file_is_private_and_replaces_a_planted_link() {
        let place = tempfile::tempdir().unwrap();
        let victim = place.path().join("victim");
        fs::write(&victim, b"mine").unwrap();
        let path = place.path().join("keys");
        let temporary = place.path().join(format!("keys.{}.new", std::process::id()));
        std::os::unix::fs::symlink(&victim, &temporary).unwrap();
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("keys");
        assert!(read_private(&path).unwrap().is_none());
        write_atomic(&path, b"secret").unwrap();
        assert_eq!(read_private(&path).unwrap().unwrap(), b"secret");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = read_private(&path).unwrap_err();
        assert!(matches!(error, HomeError::Loose { mode: 0o644, .. }), "{error:?}");
    }

    #[test]
    fn the_default_home_follows_xdg_and_ignores_relative_paths() {
        let given = |data: Option<&str>| {
            let data = data.map(PathBuf::from);
            default_directory(|name| match name {
                "XDG_DATA_HOME" => data.clone(),
                _ => Some(PathBuf::from("/home/anna")),
            })
        };
        assert_eq!(given(Some("/data")), Some(PathBuf::from("/data/syncd")));
        assert_eq!(given(Some("data")), Some(PathBuf::from("/home/anna/.local/share/syncd")));
        assert_eq!(given(None), Some(PathBuf::from("/home/anna/.local/share/syncd")));
        assert_eq!(default_directory(|_| None), None);
    }
}
