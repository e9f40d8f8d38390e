//! Adding a folder: what is refused, and what is made on disk.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::{FolderId, FolderSecret, KeyFile, KeyFileFolder, Link, parse_key_or_link};

use super::folders::{broken, path_of};
use crate::api::error::{ApiError, Class};
use crate::api::types::AddRequest;
use crate::disk::{Disk, RealDisk, SpecialBits};
use crate::folder::Folder;
use crate::folder::marker::{self, ClaimError, Marker, Start};
use crate::home::Home;
use crate::store::{DatabaseError, Store};

/// A request that may be carried out.
pub(super) struct Joining {
    secret: FolderSecret,
    path: PathBuf,
    name: String,
    created: bool,
    /// Addresses in the link.
    pub(super) addresses: Vec<String>,
    /// Trackers in the link.
    pub(super) trackers: Vec<String>,
    /// The folder is here already, and this is a stronger key for it.
    pub(super) upgrade: Option<FolderSecret>,
}

impl Joining {
    /// Checks a request against what is there.
    pub(super) fn check(
        request: &AddRequest,
        keys: &KeyFile,
        folders: &BTreeMap<FolderId, Arc<Folder>>,
        home: Option<&Home>,
    ) -> Result<Self, ApiError> {
        let link = request.key.as_deref().map(|text| {
            parse_key_or_link(text).map_err(|error| {
                ApiError::new(Class::Usage, "BAD_KEY", error.to_string())
                    .next("copy the key again: a letter and 32 characters A-Z and 2-7")
            })
        });
        let link = link.transpose()?;
        let created = link.is_none();
        let wish = Path::new(&request.dir);
        let path = directory(wish, created, |parent| refuse_inside(wish, parent, folders, home))?;
        let link = link.unwrap_or_else(|| FolderSecret::new(crate::random::bytes()).into());
        let Link { secret, name: linked_name, addresses, trackers, .. } = link;
        let id = secret.folder_id();
        let here = keys.folders.iter().find(|row| row.secret.folder_id() == id);
        let upgrade = match here {
            Some(row) if path_of(&row.path) == path && secret.capability() > row.secret.capability() => {
                Some(secret.clone())
            }
            Some(row) => return Err(already_here(row)),
            None => None,
        };
        if upgrade.is_none() {
            refuse_overlap(&path, folders, home)?;
        }
        let base = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = request.name.clone().or(linked_name).or(base).unwrap_or_else(|| "folder".into());
        Ok(Self { secret, path, name, created, addresses, trackers, upgrade })
    }

    /// The folder's id.
    pub(super) fn id(&self) -> FolderId {
        self.secret.folder_id()
    }

    /// Makes the control directory and the marker.
    pub(super) fn prepare_root(&self) -> Result<KeyFileFolder, ApiError> {
        let shown = self.path.display().to_string();
        let failed = |error: &dyn std::fmt::Display| {
            ApiError::new(Class::Failed, "DIRECTORY_UNUSABLE", format!("{shown} cannot be used: {error}"))
                .at(shown.clone())
                .next("make sure that this user may read and write it")
        };
        let disk = RealDisk::open(&self.path, SpecialBits::Strip).map_err(|error| failed(&error))?;
        let lock = marker::claim(&disk).map_err(|error| match error {
            ClaimError::InUse => {
                ApiError::new(Class::Conflict, "DIRECTORY_IN_USE", format!("{shown}: {error}"))
                    .at(shown.clone())
                    .next("stop the other daemon, or remove the folder there first")
            }
            other => failed(&other),
        })?;
        let root_id = crate::random::bytes();
        let start = Start { count: 0, nonce: crate::random::bytes() };
        Marker { root_id, start }.save(&disk as &dyn Disk).map_err(|error| failed(&error))?;
        drop(lock);
        Ok(KeyFileFolder {
            secret: self.secret.clone(),
            path: self.path.as_os_str().as_bytes().to_vec(),
            name: self.name.clone(),
            root_id,
            opening: None,
            created: self.created,
        })
    }
}

/// The canonical directory; joining makes its last component.
fn directory(
    path: &Path,
    must_exist: bool,
    refuse: impl FnOnce(&Path) -> Result<(), ApiError>,
) -> Result<PathBuf, ApiError> {
    let shown = path.display().to_string();
    let missing = |what: &str, next: &str| {
        ApiError::new(Class::Failed, "DIRECTORY_MISSING", format!("{shown} {what}"))
            .at(shown.clone())
            .next(next)
    };
    match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => {
            let message = format!("{shown} is not a directory");
            return Err(ApiError::new(Class::Failed, "NOT_A_DIRECTORY", message)
                .at(shown)
                .next("name a directory; a single file is shared by sharing the directory around it"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && must_exist => {
            return Err(missing("does not exist", "make it first, or check the spelling"));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            refuse(path.parent().unwrap_or(path))?;
            std::fs::create_dir(path).map_err(|error| {
                missing(&format!("cannot be made: {error}"), "make the directory around it first")
            })?;
        }
        Err(error) => {
            return Err(ApiError::new(
                Class::Failed,
                "DIRECTORY_UNUSABLE",
                format!("{shown} cannot be read: {error}"),
            )
            .at(shown)
            .next("make sure that this user may read it"));
        }
    }
    path.canonicalize().map_err(|error| broken("the directory", &error))
}

fn already_here(row: &KeyFileFolder) -> ApiError {
    let path = path_of(&row.path).display().to_string();
    let message = format!("this folder is here already: `{}` at {path}", row.name);
    ApiError::new(Class::Conflict, "FOLDER_EXISTS", message)
        .at(path)
        .next("`syncd status` shows it; `syncd remove` forgets it if it should live elsewhere")
}

/// Refuses a directory inside or around another folder, or one that holds or lies in the home. By
/// device and inode of all ancestors, since paths lie (bind mounts, links).
fn refuse_overlap(
    path: &Path,
    folders: &BTreeMap<FolderId, Arc<Folder>>,
    home: Option<&Home>,
) -> Result<(), ApiError> {
    let ours = lineage(path);
    let shown = path.display().to_string();
    if let Some(home) = home.filter(|home| overlap(&ours, &lineage(home.directory()))) {
        return Err(overlaps_home(&shown, home));
    }
    for folder in folders.values() {
        let theirs = lineage(folder.root());
        if overlap(&ours, &theirs) {
            let (code, how) = match ours.first() == theirs.first() {
                true => ("ALREADY_SHARED", "is"),
                false if ours.len() > theirs.len() => ("NESTED", "lies inside"),
                false => ("NESTED", "lies around"),
            };
            return Err(overlaps(&shown, code, how, folder));
        }
    }
    Ok(())
}

/// Refuses to make a directory inside a folder or the home: before anything is made.
fn refuse_inside(
    path: &Path,
    parent: &Path,
    folders: &BTreeMap<FolderId, Arc<Folder>>,
    home: Option<&Home>,
) -> Result<(), ApiError> {
    let above = lineage(parent);
    let inside = |outer: &Path| lineage(outer).first().is_some_and(|root| above.contains(root));
    let shown = path.display().to_string();
    if let Some(home) = home.filter(|home| inside(home.directory())) {
        return Err(overlaps_home(&shown, home));
    }
    match folders.values().find(|folder| inside(folder.root())) {
        Some(folder) => Err(overlaps(&shown, "NESTED", "lies inside", folder)),
        None => Ok(()),
    }
}

fn overlaps_home(shown: &str, home: &Home) -> ApiError {
    let message = format!("{shown} and the daemon's home {} overlap", home.directory().display());
    ApiError::new(Class::Conflict, "OVERLAPS_HOME", message)
        .at(shown)
        .next("share another directory, or move the home with --home")
}

fn overlaps(shown: &str, code: &str, how: &str, folder: &Folder) -> ApiError {
    let message = match code {
        "NESTED" => {
            format!("{shown} {how} {}, which is the folder `{}`", folder.root().display(), folder.name())
        }
        _ => format!("{shown} {how} the folder `{}` already", folder.name()),
    };
    ApiError::new(Class::Conflict, code, message)
        .at(shown)
        .next("`syncd list` shows all folders; folders cannot lie in each other")
}

/// Device and inode of a directory and all above it, the directory first.
fn lineage(path: &Path) -> Vec<(u64, u64)> {
    path.ancestors()
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|found| (found.dev(), found.ino()))
        .collect()
}

fn overlap(one: &[(u64, u64)], other: &[(u64, u64)]) -> bool {
    let holds =
        |inner: &[(u64, u64)], outer: &[(u64, u64)]| outer.first().is_some_and(|root| inner.contains(root));
    holds(one, other) || holds(other, one)
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn check_address(address: &str) -> Result<(), ApiError> {
    let good = address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0) && address.len() <= 260
    });
    if good {
        return Ok(());
    }
    let message = format!("`{address}` is no address");
    Err(ApiError::new(Class::Usage, "BAD_ADDRESS", message)
        .next("write it as host:port, for example 192.0.2.7:4455 or [2001:db8::7]:4455"))
}

/// Opens the database; a damaged one is put aside, and everything in it is found again.
pub(super) fn open_database(home: &Home, keys: &KeyFile) -> Result<Store, ApiError> {
    let path = home.database();
    match Store::open(&path) {
        Ok(store) => Ok(store),
        Err(error) if error.is_damaged() => {
            let aside = path.with_extension(format!("damaged-{}", crate::folder::kept::seconds_since_1970()));
            tracing::error!(%error, aside = %aside.display(), folders = keys.folders.len(),
                "the database is damaged: it is put aside and made anew");
            for suffix in ["", "-wal", "-shm"] {
                let with = |path: &Path| {
                    let mut text = path.as_os_str().to_owned();
                    text.push(suffix);
                    PathBuf::from(text)
                };
                let _ = std::fs::rename(with(&path), with(&aside));
            }
            Store::open(&path).map_err(|error| unusable(&path, &error))
        }
        Err(error) => Err(unusable(&path, &error)),
    }
}

fn unusable(path: &Path, error: &DatabaseError) -> ApiError {
    ApiError::new(Class::Failed, "DATABASE", format!("the database cannot be opened: {error}"))
        .at(path.display().to_string())
        .next("is the disk full or read-only, or was this home made by a newer syncd?")
}
