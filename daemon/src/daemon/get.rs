//! `syncd get`: a folder fetched once, by a daemon inside the command.
//!
//! It has a home of its own, in the directory that it fills: `DIR/.syncd/get`. So it neither needs nor
//! disturbs a running daemon, an interrupted fetch goes on where it was, also after the directory was
//! moved, and nothing is left elsewhere. When all is here, `.syncd` goes (an archive that has something
//! in it stays). Settings are those of the user's home, which is only read.
//!
//! Nothing is published from here: of a key that may write, only the part that reads is used.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::{FolderSecret, KeyFile, Link, parse_key_or_link};

use super::folders::Folders;
use super::network::unspecified;
use super::{Context, start_log};
use crate::api::control::Control;
use crate::api::error::{ApiError, Class};
use crate::api::types::{AddRequest, Finding, FolderRow, Problem, Severity};
use crate::config::{LiveConfig, Surroundings};
use crate::folder::Folder;
use crate::home::{Home, HomeLock, read_private, write_atomic};
use crate::process;

/// The home below the control directory.
const HOME: &str = "get";

/// What is to be fetched, and where to.
#[derive(Debug)]
pub struct Order {
    /// A key or a link.
    pub key: String,
    /// The directory, absolute; its last component is made if it is not there.
    pub dir: PathBuf,
    /// The settings file whose values hold, if there is one.
    pub settings: PathBuf,
    /// UDP addresses for peers; empty for a free port.
    pub listen: Vec<std::net::SocketAddr>,
    /// Addresses of peers, beside those in the link.
    pub peers: Vec<String>,
}

/// A folder on its way.
pub struct Getting {
    folders: Arc<Folders>,
    folder: Arc<Folder>,
    id: String,
    control: PathBuf,
    _lock: HomeLock,
}

impl Getting {
    /// Starts to fetch, or goes on with what was interrupted.
    ///
    /// # Errors
    /// When the key is none, or the directory cannot be used.
    pub async fn start(order: Order) -> Result<Self, ApiError> {
        process::protect_secrets();
        process::raise_descriptor_limit();
        start_log("off");
        let link = reader(&order.key)?;
        let control = prepare(&order.dir)?;
        let home = Home::open(control.join(HOME))?;
        let lock = home.lock()?;
        take_settings(&order.settings, &home)?;
        let is_resumed = resume(&home, &link, &order.dir)?;
        let config = Arc::new(LiveConfig::open(&home, Surroundings::of_this_machine())?);
        let folders = start(home, config, order.listen).await?;
        let id = link.secret.folder_id().to_string();
        if is_resumed {
            folders.keep_trackers(link.secret.folder_id(), &link.trackers)?;
        } else {
            let dir = text_of(&order.dir)?;
            let key = Some(link.to_text().to_string());
            folders.add(AddRequest { dir, key, name: None }).await?;
        }
        let folder = folders.folder(&id)?;
        let _ = folder.linked(&link.addresses);
        for peer in &order.peers {
            folders.peer_add(&id, peer).await?;
        }
        Ok(Self { folders, folder, id, control, _lock: lock })
    }

    /// How far it is.
    ///
    /// # Errors
    /// When the folder's loop has ended.
    pub async fn row(&self) -> Result<FolderRow, ApiError> {
        let mut status = self.folders.status(Some(&self.id)).await?;
        status.folders.pop().ok_or_else(|| ApiError::new(Class::Failed, "LOOP", "the folder is gone"))
    }

    /// Returns when all is here.
    ///
    /// # Errors
    /// When it is held: somebody has to decide something.
    pub async fn complete(&self) -> Result<(), ApiError> {
        self.folders.wait(&self.id, None, 0).await.map(|_| ())
    }

    /// The paths that cannot be had or were left as they were.
    ///
    /// # Errors
    /// When the folder's loop has ended.
    pub async fn problems(&self) -> Result<Vec<Problem>, ApiError> {
        self.folders.problems(&self.id).await
    }

    /// What keeps peers away.
    pub async fn troubles(&self) -> Vec<Finding> {
        let found = self.folders.doctor(Some(&self.id)).await.map(|all| all.findings).unwrap_or_default();
        found.into_iter().filter(|finding| finding.severity == Severity::Problem).collect()
    }

    /// Stops in order. When all is here, `.syncd` goes too; else it stays for the next time.
    pub async fn stop(self, is_complete: bool) {
        self.folders.shutdown().await;
        if is_complete {
            self.folder.remove_marker();
            for name in [HOME, "staging"] {
                let _ = std::fs::remove_dir_all(self.control.join(name));
            }
            // Fails when replaced files are in it: they are not ours to delete.
            if std::fs::remove_dir(self.control.join("archive")).is_ok() {
                let _ = std::fs::remove_dir_all(&self.control);
            }
        }
    }
}

/// The link, with a key that only reads.
fn reader(key: &str) -> Result<Link, ApiError> {
    let bad = |error: &dyn std::fmt::Display| {
        ApiError::new(Class::Usage, "BAD_KEY", error.to_string())
            .next("compare it with what `syncd keys FOLDER` shows where it comes from")
    };
    let mut link = parse_key_or_link(key).map_err(|error| bad(&error))?;
    link.secret = FolderSecret::parse(&link.secret.read_only_key()).map_err(|error| bad(&error))?;
    Ok(link)
}

/// Makes the directory and its control directory; refuses one that is somebody's folder.
fn prepare(dir: &Path) -> Result<PathBuf, ApiError> {
    let shown = dir.display().to_string();
    let failed = |cause: std::io::Error| {
        ApiError::new(Class::Failed, "DIRECTORY_UNUSABLE", format!("{shown} cannot be used: {cause}"))
            .at(&shown)
            .next("make the directory around it first, and make sure that this user may write there")
    };
    for path in [dir.to_owned(), dir.join(".syncd")] {
        match std::fs::create_dir(&path) {
            Err(cause) if cause.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(cause)),
            _ => {}
        }
    }
    let control = dir.join(".syncd");
    let found = std::fs::symlink_metadata(&control).map_err(failed)?;
    if !found.is_dir() || (control.join("marker").exists() && !control.join(HOME).exists()) {
        let message = format!("{shown} is a folder that is kept in sync, or was one: it has .syncd");
        return Err(ApiError::new(Class::Conflict, "DIRECTORY_IN_USE", message)
            .at(shown)
            .next("fetch into another directory; `syncd add` joins a folder for good"));
    }
    Ok(control)
}

/// The user's settings hold here as well.
fn take_settings(from: &Path, home: &Home) -> Result<(), ApiError> {
    match std::fs::read(from) {
        Ok(text) => Ok(write_atomic(&home.config(), &text)?),
        Err(_) => Ok(()), // none yet, or not ours to read: the defaults
    }
}

/// Whether this home fetches the folder already; then its directory is where it is now.
fn resume(home: &Home, link: &Link, dir: &Path) -> Result<bool, ApiError> {
    let Some(bytes) = read_private(&home.keys())? else { return Ok(false) };
    let Ok(mut keys) = KeyFile::decode(&bytes) else { return Ok(false) };
    let Some(row) = keys.folders.first_mut() else { return Ok(false) };
    if row.secret.folder_id() != link.secret.folder_id() {
        let message = format!("another folder, `{}`, is being fetched into {}", row.name, dir.display());
        return Err(ApiError::new(Class::Conflict, "DIRECTORY_IN_USE", message)
            .at(dir.display().to_string())
            .next("fetch into another directory, or delete the .syncd in this one to give the other up"));
    }
    let canonical = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    row.path = canonical.as_os_str().as_bytes().to_vec();
    write_atomic(&home.keys(), &keys.encode())?;
    Ok(true)
}

/// Listens on a free port, where the command line says nothing: the usual one is the daemon's, which
/// may be started meanwhile.
async fn start(
    home: Home,
    config: Arc<LiveConfig>,
    listen: Vec<std::net::SocketAddr>,
) -> Result<Arc<Folders>, ApiError> {
    let free = vec![std::net::SocketAddr::new(unspecified(), 0)];
    let listen = if listen.is_empty() { free } else { listen };
    Folders::start(Context { home, config, listen, is_inside: true }).await
}

fn text_of(path: &Path) -> Result<String, ApiError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let message = format!("the path {} cannot be used: it is not UTF-8", path.display());
        ApiError::new(Class::Usage, "BAD_PATH", message)
    })
}
