//! The folders of a running daemon: which there are, and what the API may do to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keystore::{DeviceKey, FolderId, KeyFile, KeyFileFolder};
use parking_lot::RwLock;
use protocol::engine::Event;
use protocol::{NodeId, RelPath};

use super::join::{self, Joining};
use super::ways::{Real, Ways};
use super::{Context, doctor, rows};
use crate::api::control::Control;
use crate::api::error::{ApiError, Class};
use crate::api::types::{
    AddRequest, ArchiveRow, Diagnosis, FolderKeys, FolderListRow, FolderRow, PeerRow, Problem, Restored,
    Status,
};
use crate::config::LiveConfig;
use crate::folder::archived::BroughtBack;
use crate::folder::{Folder, FolderSetup};
use crate::home::{Home, read_private, write_atomic};
use crate::net::Net;
use crate::store::Store;

/// All folders of this daemon.
pub(super) struct Folders {
    home: Home,
    /// The home lies in the control directory of its only folder.
    is_inside: bool,
    pub(super) config: Arc<LiveConfig>,
    device: DeviceKey,
    store: Store,
    pub(super) net: Arc<Net>,
    pub(super) ways: Ways,
    pub(super) folders: Arc<RwLock<BTreeMap<FolderId, Arc<Folder>>>>,
    /// What is in the key file; also the order of folders. One change at a time.
    keys: tokio::sync::Mutex<KeyFile>,
    stopping: Arc<AtomicBool>,
}

impl Folders {
    /// Opens keys and database, starts the network and every folder.
    pub(super) async fn start(context: Context) -> Result<Arc<Self>, ApiError> {
        let keys = load_keys(&context.home)?;
        let store = join::open_database(&context.home, &keys)?;
        let (net, events) = super::network::start(&context, &keys.device)?;
        let (listen, reachable) = (net.local_addresses(), super::network::reachable(&net));
        let home = context.home.directory().to_owned();
        let (ways, hints) = Ways::new(Real { listen, reachable, home });
        let folders = Arc::new(Self {
            home: context.home,
            is_inside: context.is_inside,
            config: context.config,
            device: keys.device.clone(),
            store,
            net: Arc::new(net),
            ways,
            folders: Arc::default(),
            keys: tokio::sync::Mutex::new(keys),
            stopping: Arc::default(),
        });
        tokio::spawn(super::following::deliver(events, Arc::clone(&folders.folders)));
        let rows: Vec<_> = folders.keys.lock().await.folders.iter().map(copy_of).collect();
        for row in &rows {
            if let Err(error) = folders.run(row, false) {
                tracing::error!(folder = %row.name, %error, "the folder cannot start");
            }
        }
        folders.follow_settings();
        tokio::spawn(super::following::forward(hints, Arc::downgrade(&folders)));
        tokio::spawn(super::interfaces::follow(Arc::downgrade(&folders)));
        tokio::spawn(super::sweep::keep_small(Arc::downgrade(&folders)));
        tokio::spawn(super::rest::give_back_at_rest(Arc::downgrade(&folders)));
        Ok(folders)
    }

    /// Starts the loop of a folder.
    fn run(&self, row: &KeyFileFolder, fresh: bool) -> Result<Arc<Folder>, ApiError> {
        let id = row.secret.folder_id();
        let store = self.store.folder(&id.0).map_err(|error| broken("the database", &error))?;
        let settings = self.config.current().effective(&id.to_string());
        let discovery = settings.discovery.clone();
        let setup = FolderSetup {
            secret: row.secret.clone(),
            name: row.name.clone(),
            root: path_of(&row.path),
            root_id: row.root_id,
            created: row.created,
            opening: row.opening.clone(),
            fresh,
            store,
            net: Arc::clone(&self.net),
            settings,
        };
        let folder = Folder::start(setup).map_err(|error| broken("the folder's thread", &error))?;
        self.folders.write().insert(id, Arc::clone(&folder));
        folder.go_online();
        self.look_for_peers(&folder, discovery);
        Ok(folder)
    }

    pub(super) fn folder(&self, id: &str) -> Result<Arc<Folder>, ApiError> {
        let found = id.parse::<FolderId>().ok().and_then(|id| self.folders.read().get(&id).cloned());
        found.ok_or_else(|| {
            ApiError::new(Class::NotFound, "FOLDER_NOT_FOUND", format!("there is no folder {id}"))
        })
    }

    /// In the order in which they were added.
    async fn in_order(&self) -> Vec<Arc<Folder>> {
        let keys = self.keys.lock().await;
        let folders = self.folders.read();
        keys.folders.iter().filter_map(|row| folders.get(&row.secret.folder_id()).cloned()).collect()
    }

    /// The folders, in no order.
    pub(super) fn all(&self) -> Vec<Arc<Folder>> {
        self.folders.read().values().cloned().collect()
    }

    /// The database.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Set when the daemon stops.
    pub(super) fn stopping(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopping)
    }

    /// The roots that the folders use beside those in the database; `None` if one of them may have
    /// made nodes that nothing names yet.
    pub(super) async fn roots_in_use(&self) -> Option<Vec<NodeId>> {
        let folders = self.all();
        let mut roots = Vec::new();
        for folder in folders {
            let asked = folder.ask(|runner| {
                let is_busy = runner.engine.is_busy() || runner.hands.is_tending();
                (!is_busy).then(|| runner.engine.roots())
            });
            // Nothing is said by a folder whose loop has ended.
            if let Some(of_folder) = asked.await {
                roots.extend(of_folder?);
            }
        }
        Some(roots)
    }

    async fn forget_key(&self, id: FolderId) -> Result<(), ApiError> {
        let mut keys = self.keys.lock().await;
        keys.folders.retain(|row| row.secret.folder_id() != id);
        self.save_keys(&keys)
    }

    fn save_keys(&self, keys: &KeyFile) -> Result<(), ApiError> {
        Ok(write_atomic(&self.home.keys(), &keys.encode())?)
    }
}

impl Control for Folders {
    async fn status(&self, folder: Option<&str>) -> Result<Status, ApiError> {
        let folders = match folder {
            Some(id) => vec![self.folder(id)?],
            None => self.in_order().await,
        };
        let mut all = Vec::with_capacity(folders.len());
        for folder in folders {
            let discovery = self.ways_of(&folder);
            all.push(FolderRow { discovery, ..rows::row(&folder).await? });
        }
        Ok(Status {
            folders: all,
            device_id: self.device.id().to_string(),
            listen: self.net.local_addresses().iter().map(ToString::to_string).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            reach: rows::reach(self.net.reach_status()),
        })
    }

    async fn list(&self) -> Result<Vec<FolderListRow>, ApiError> {
        let mut all = Vec::new();
        for folder in self.in_order().await {
            all.push(rows::list_row(&folder).await?);
        }
        Ok(all)
    }

    async fn add(&self, request: AddRequest) -> Result<FolderKeys, ApiError> {
        let mut keys = self.keys.lock().await;
        let home = (!self.is_inside).then_some(&self.home);
        let mut joining = Joining::check(&request, &keys, &self.folders.read(), home)?;
        self.keep_trackers(joining.id(), &joining.trackers)?;
        if let Some(stronger) = joining.upgrade.take() {
            let id = stronger.folder_id();
            let row = keys.folders.iter_mut().find(|row| row.secret.folder_id() == id);
            if let Some(row) = row {
                row.secret = stronger;
                let row = copy_of(row);
                self.save_keys(&keys)?;
                let old = self.folders.write().remove(&id);
                if let Some(old) = old {
                    old.stop().await;
                }
                let folder = self.run(&row, false)?;
                let _ = folder.linked(&joining.addresses);
                return Ok(self.keys_of(&folder, 0));
            }
        }
        let row = joining.prepare_root()?;
        keys.folders.push(copy_of(&row));
        self.save_keys(&keys)?;
        let folder = self.run(&row, true)?;
        let _ = folder.linked(&joining.addresses);
        Ok(self.keys_of(&folder, 0))
    }

    async fn keys(&self, folder: &str) -> Result<FolderKeys, ApiError> {
        let folder = self.folder(folder)?;
        let size = folder.ask(|runner| runner.engine.totals().bytes).await;
        Ok(self.keys_of(&folder, size.unwrap_or_default()))
    }

    async fn peers(&self, folder: &str) -> Result<Vec<PeerRow>, ApiError> {
        rows::peers(&self.folder(folder)?).await
    }

    async fn peer_add(&self, folder: &str, address: &str) -> Result<(), ApiError> {
        join::check_address(address)?;
        self.folder(folder)?.pin(address, true).map_err(|error| broken("the database", &error))
    }

    async fn peer_remove(&self, folder: &str, address: &str) -> Result<(), ApiError> {
        self.folder(folder)?.pin(address, false).map_err(|error| broken("the database", &error))
    }

    async fn problems(&self, folder: &str) -> Result<Vec<Problem>, ApiError> {
        rows::problems(&self.folder(folder)?).await
    }

    async fn doctor(&self, folder: Option<&str>) -> Result<Diagnosis, ApiError> {
        let folders = match folder {
            Some(id) => vec![self.folder(id)?],
            None => self.in_order().await,
        };
        Ok(Diagnosis { findings: doctor::findings(&self.facts(&folders).await?) })
    }

    async fn pause(&self, folder: &str) -> Result<(), ApiError> {
        self.folder(folder)?.pause(true).map_err(|error| broken("the database", &error))
    }

    async fn resume(&self, folder: &str) -> Result<(), ApiError> {
        self.folder(folder)?.pause(false).map_err(|error| broken("the database", &error))
    }

    async fn remove(&self, folder: &str) -> Result<(), ApiError> {
        let folder = self.folder(folder)?;
        let id = folder.secret().folder_id();
        self.forget_key(id).await?;
        self.folders.write().remove(&id);
        self.ways.remove_folder(id);
        folder.stop().await;
        folder.remove_marker();
        let store = self.store.clone();
        let forgotten = tokio::task::spawn_blocking(move || store.forget(&id.0)).await;
        forgotten
            .map_err(|error| broken("the database", &error))?
            .map_err(|error| broken("the database", &error))?;
        Ok(self.config.forget_folder(&id.to_string())?)
    }

    async fn rescan(&self, folder: &str) -> Result<(), ApiError> {
        self.folder(folder)?.event(Event::Noticed(protocol::engine::Noticed::Everything));
        Ok(())
    }

    async fn approve(&self, folder: &str) -> Result<(), ApiError> {
        self.folder(folder)?.approve().await;
        Ok(())
    }

    async fn revert(&self, folder: &str, path: Option<&str>) -> Result<(), ApiError> {
        let folder = self.folder(folder)?;
        let path = path.map(rel_path).transpose()?;
        if folder.is_writer() && rows::reason(&folder).await?.as_deref() != Some("MASS_DELETE") {
            let message = "this device may write: its changes are everyone's, so there is nothing to revert";
            return Err(ApiError::new(Class::Failed, "NOTHING_TO_REVERT", message)
                .next("`syncd archive list` shows what was replaced or removed"));
        }
        folder.revert(path);
        Ok(())
    }

    async fn archive_list(&self, folder: &str, path: Option<&str>) -> Result<Vec<ArchiveRow>, ApiError> {
        let path = path.map(rel_path).transpose()?;
        let found = self.folder(folder)?.archive_list(path).await;
        let found = found.map_err(|error| broken("the archive", &error))?;
        Ok(found.iter().map(rows::archive_row).collect())
    }

    async fn archive_restore(&self, folder: &str, path: Option<&str>) -> Result<Restored, ApiError> {
        let path = path.map(rel_path).transpose()?;
        let brought_back = self.folder(folder)?.archive_restore(path).await;
        let BroughtBack { restored, taken } = brought_back.map_err(|error| broken("the archive", &error))?;
        if let ([], [first, ..]) = (&restored[..], &taken[..]) {
            let message = format!("`{first}` is there now, and what is there is never overwritten");
            return Err(ApiError::new(Class::Conflict, "PATH_TAKEN", message)
                .at(first.to_string())
                .next("move it away first; or copy the file out of `.syncd/archive` by hand"));
        }
        if restored.is_empty() {
            let message = "the archive has nothing there";
            return Err(ApiError::new(Class::NotFound, "NOT_IN_ARCHIVE", message)
                .next("`syncd archive list FOLDER` shows what it has"));
        }
        Ok(Restored { restored: restored.iter().map(ToString::to_string).collect() })
    }

    async fn wait(&self, folder: &str, timeout: Option<Duration>, peers: u64) -> Result<Status, ApiError> {
        let found = self.folder(folder)?;
        super::wait::wait(&found, timeout, peers).await?;
        self.status(Some(folder)).await
    }

    fn config(&self) -> &LiveConfig {
        &self.config
    }

    async fn shutdown(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let folders: Vec<_> = std::mem::take(&mut *self.folders.write()).into_values().collect();
        let stopped = async {
            for folder in folders {
                folder.stop().await;
            }
        };
        tokio::join!(self.ways.close(), stopped);
        self.net.close().await;
    }
}

fn load_keys(home: &Home) -> Result<KeyFile, ApiError> {
    let path = home.keys();
    let Some(bytes) = read_private(&path)? else {
        let keys = KeyFile { device: DeviceKey::from_seed(crate::random::bytes()), folders: Vec::new() };
        write_atomic(&path, &keys.encode())?;
        return Ok(keys);
    };
    KeyFile::decode(&bytes).map_err(|error| {
        ApiError::new(Class::Failed, "KEYS_DAMAGED", format!("the key file cannot be read: {error}"))
            .at(path.display().to_string())
            .next("put it back from a backup; each line of it is one key, in plain text")
    })
}

fn copy_of(row: &KeyFileFolder) -> KeyFileFolder {
    KeyFileFolder {
        secret: row.secret.clone(),
        path: row.path.clone(),
        name: row.name.clone(),
        root_id: row.root_id,
        opening: row.opening.clone(),
        created: row.created,
    }
}

/// The path that some bytes of the key file name.
pub(super) fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned()
}

fn rel_path(text: &str) -> Result<RelPath, ApiError> {
    RelPath::parse(text.trim_end_matches('/').as_bytes()).map_err(|error| {
        ApiError::new(Class::Usage, "BAD_PATH", format!("`{text}` is no path inside the folder: {error}"))
            .next("give the path relative to the folder's root")
    })
}

/// Something of ours failed.
pub(super) fn broken(what: &str, error: &dyn std::error::Error) -> ApiError {
    ApiError::new(Class::Failed, "SYSTEM", format!("{what} failed: {error}"))
}
