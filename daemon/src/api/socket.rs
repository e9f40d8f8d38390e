//! The Unix socket of a home, also where its path is longer than a socket address can hold.
//!
//! The system allows 107 bytes. A longer path is reached through the descriptor of its directory,
//! `/proc/self/fd/N/api.sock`, which names the same inode; the working directory stays alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};

/// `sun_path` has 108 bytes, one of them for the end.
const MAX_SOCKET_PATH: usize = 107;

/// A path that fits, and the descriptor that must stay open while it is used.
struct Short {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

fn shorten(path: &Path) -> io::Result<Short> {
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return Ok(Short { path: path.to_owned(), _directory: None });
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory =
        rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok(Short { path, _directory: Some(directory) })
}

/// Listens at `path`, 0600. What a crashed daemon has left there is taken away: the caller holds the
/// lock of the home, so nobody answers on it.
///
/// # Errors
/// What the system said.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let short = shorten(path)?;
    let listener = UnixListener::bind(&short.path)?;
    // Until here the directory's 0700 has kept others away.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the daemon that listens at `path`.
///
/// # Errors
/// What the system said; `NotFound` and `ConnectionRefused` mean that no daemon runs.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let short = shorten(path)?;
    UnixStream::connect(&short.path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_deeper_than_the_system_allows_works() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("api.sock");
        let listener = bind(&path).unwrap();
        let (client, server) = tokio::join!(connect(&path), listener.accept());
        client.unwrap();
        server.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_left_over_socket_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("api.sock");
        drop(bind(&path).unwrap());
        assert_eq!(connect(&path).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let _listener = bind(&path).unwrap();
        connect(&path).await.unwrap();
    }
}
