//! The documents of the API and of `--json`; other programs rely on these names.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::finding::{Diagnosis, Finding, IntroducerRow, Reach, Severity, WayRow};

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Read and write.
    Write,
    /// Read.
    Read,
    /// Hold ciphertext.
    Store,
}

/// What a folder is doing: the first that applies, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FolderState {
    /// Stopped by the user.
    Paused,
    /// Stopped by itself, waiting for a person.
    Held,
    /// Its loop cannot run.
    Error,
    /// Looking at the disk, or waiting for a first head.
    Scanning,
    /// Something is missing here.
    Syncing,
    /// Nothing to do.
    Idle,
}

/// One folder in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderRow {
    /// 26 characters of lower-case base32.
    pub folder_id: String,
    /// What it is called here.
    pub name: String,
    /// Its root directory.
    pub path: String,
    /// What our key allows.
    pub capability: Capability,
    /// What it is doing.
    pub state: FolderState,
    /// Why it is held or in error: a code such as `MASS_DELETE`.
    pub reason: Option<String>,
    /// The reason as a sentence.
    pub message: Option<String>,
    /// Files and links of the rendering.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files to fetch, change or remove here.
    pub need_files: u64,
    /// Bytes to fetch.
    pub need_bytes: u64,
    /// Connected peers.
    pub peers: u64,
    /// Of these, the complete ones.
    pub seeds: u64,
    /// Of these, the others.
    pub leeches: u64,
    /// Bytes a second received.
    pub down_rate: u64,
    /// Bytes a second sent.
    pub up_rate: u64,
    /// Paths that cannot be synced now.
    pub problems: u64,
    /// Paths that a reader has changed.
    pub local_changes: u64,
    /// Conflict copies shown.
    pub conflicts: u64,
    /// Hex of the entries root of the merged state.
    pub head: Option<String>,
    /// How peers are looked for, one row for each way and each one asked.
    #[serde(default)]
    pub discovery: Vec<WayRow>,
}

/// One folder in `list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderListRow {
    /// As in [`FolderRow`].
    pub folder_id: String,
    /// As in [`FolderRow`].
    pub name: String,
    /// As in [`FolderRow`].
    pub path: String,
    /// As in [`FolderRow`].
    pub capability: Capability,
    /// As in [`FolderRow`].
    pub state: FolderState,
}

/// The document of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// All folders, or the one that was asked for.
    pub folders: Vec<FolderRow>,
    /// This device.
    pub device_id: String,
    /// The addresses on which peers reach us.
    pub listen: Vec<String>,
    /// The program's version.
    pub version: String,
    /// How others reach this device.
    #[serde(default)]
    pub reach: Reach,
}

/// The document of `add` and `keys`. Its keys are secrets: never log it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderKeys {
    /// As in [`FolderRow`].
    pub folder_id: String,
    /// As in [`FolderRow`].
    pub name: String,
    /// As in [`FolderRow`].
    pub path: String,
    /// The keys.
    pub keys: Keys,
    /// The strongest key as a link, with what helps to find the folder.
    pub link: String,
    /// The read only key as such a link.
    #[serde(default)]
    pub link_read_only: String,
    /// To compare by ear.
    pub fingerprint: String,
    /// 40 hex digits; what a tracker's white list wants.
    pub discovery_id: String,
}

impl fmt::Debug for FolderKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FolderKeys").field("folder_id", &self.folder_id).finish_non_exhaustive()
    }
}

/// The keys of a folder, as text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The `A` key, if we have it.
    pub read_write: Option<String>,
    /// The `B` key.
    pub read_only: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// One connected or known peer of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRow {
    /// Its device id.
    pub device_id: String,
    /// What it calls itself.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// What found it: `lan`, `pinned`, `tracker`, …
    pub found_by: String,
    /// Not through a relay.
    pub direct: bool,
    /// What its key allows.
    pub capability: Capability,
    /// It has all that our head names.
    pub complete: bool,
    /// Bytes a second from it.
    pub down_rate: u64,
    /// Bytes a second to it.
    pub up_rate: u64,
}

/// A path that cannot be synced now, or that a reader has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Relative to the folder.
    pub path: String,
    /// A name for programs; `LOCAL_CHANGE` for a reader's edit, `COLLISION` for a name that the disk
    /// does not tell from another.
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// One file in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveRow {
    /// Where it was, relative to the folder.
    pub path: String,
    /// When it was put aside: the UTC time that names its directory.
    pub archived: String,
    /// Its size.
    pub bytes: u64,
    /// Where it lies, relative to the folder.
    pub stored: String,
}

/// What `archive restore` has brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Paths relative to the folder, as they are named now.
    pub restored: Vec<String>,
}

/// A request to share a directory or to join a folder.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// The directory, absolute.
    pub dir: String,
    /// A key or a link; without one a new folder is made.
    #[serde(default)]
    pub key: Option<String>,
    /// What to call the folder; without one the link or the directory names it.
    #[serde(default)]
    pub name: Option<String>,
}

impl fmt::Debug for AddRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddRequest").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// A request about a peer's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerRequest {
    /// `host:port`.
    pub address: String,
}

/// A request about one path, or about the whole folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathRequest {
    /// Relative to the folder; none means all.
    #[serde(default)]
    pub path: Option<String>,
}

/// A request to wait until a folder is in sync.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitRequest {
    /// Seconds; none is without end.
    #[serde(default)]
    pub timeout: Option<f64>,
    /// How many peers must be complete at our head as well.
    #[serde(default)]
    pub peers: u64,
}

/// A request to change a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigRequest {
    /// `limits.down`, or `folder.ID.limits.down`.
    pub key: String,
    /// TOML, or plain text.
    pub value: String,
}

/// A setting and its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigRow {
    /// Its name.
    pub key: String,
    /// The value that holds.
    pub value: serde_json::Value,
    /// Whether the file names it.
    pub set: bool,
}

/// The answer of a daemon that is about to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Its process.
    pub pid: u32,
}

impl From<FolderRow> for FolderListRow {
    fn from(row: FolderRow) -> Self {
        let FolderRow { folder_id, name, path, capability, state, .. } = row;
        Self { folder_id, name, path, capability, state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_with_keys_do_not_show_them_in_debug_text() {
        let keys = Keys { read_write: Some("ASECRET".to_owned()), read_only: "BSECRET".to_owned() };
        let text = String::new;
        let folder = FolderKeys {
            folder_id: text(),
            name: text(),
            path: text(),
            keys: keys.clone(),
            link: "syncd://ASECRET".to_owned(),
            link_read_only: "syncd://BSECRET".to_owned(),
            fingerprint: text(),
            discovery_id: text(),
        };
        let request = AddRequest { dir: text(), key: Some("ASECRET".to_owned()), name: None };
        let shown = format!("{keys:?} {folder:?} {request:?}");
        assert!(!shown.contains("SECRET"), "{shown}");
    }
}
