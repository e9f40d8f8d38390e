//! Whole daemons in this process, on loopback, with homes and folders in temporary directories.

mod honesty;
mod independence;
mod roots;
mod upkeep;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::Context;
use super::folders::Folders;
use crate::api::control::Control;
use crate::api::types::{AddRequest, FolderRow, FolderState};
use crate::config::{LiveConfig, Surroundings};
use crate::home::Home;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon with one folder.
struct Device {
    folders: Arc<Folders>,
    home: PathBuf,
    root: PathBuf,
    id: String,
    key: String,
}

/// Runs a story; what it waits for is given up in the end.
fn story(tell: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let told = async { tokio::time::timeout(PATIENCE * 3, tell).await.expect("the story comes to an end") };
    runtime.expect("a runtime").block_on(told);
}

async fn start(home: &Path) -> Arc<Folders> {
    let home = Home::open(home.to_owned()).expect("a home");
    let surroundings = Surroundings { host_name: "test".into(), offline: true };
    let config = Arc::new(LiveConfig::open(&home, surroundings).expect("settings"));
    let listen = vec!["127.0.0.1:0".parse().expect("an address")];
    Folders::start(Context { home, config, listen, is_inside: false }).await.expect("a daemon")
}

impl Device {
    /// A daemon that shares, or joins, `<base>/<name>`.
    async fn new(base: &TempDir, name: &str, key: Option<&str>) -> Self {
        let (home, root) = (base.path().join(format!("home-{name}")), base.path().join(name));
        std::fs::create_dir_all(&root).expect("mkdir");
        let folders = start(&home).await;
        let dir = root.display().to_string();
        let keys =
            folders.add(AddRequest { dir, key: key.map(str::to_owned), name: None }).await.expect("added");
        let key = keys.keys.read_write.unwrap_or(keys.keys.read_only);
        Self { folders, home, root, id: keys.folder_id, key }
    }

    async fn meet(&self, other: &Self) {
        let address = other.folders.status(None).await.expect("status").listen.remove(0);
        self.folders.peer_add(&self.id, &address).await.expect("pinned");
    }

    async fn row(&self) -> FolderRow {
        self.folders.status(Some(&self.id)).await.expect("status").folders.remove(0)
    }

    async fn in_sync(&self) {
        self.folders.wait(&self.id, Some(PATIENCE), 0).await.expect("in sync");
    }

    async fn until(&self, what: &str, is_so: impl Fn(&FolderRow) -> bool) -> FolderRow {
        let by = Instant::now() + PATIENCE;
        loop {
            let row = self.row().await;
            if is_so(&row) {
                return row;
            }
            assert!(Instant::now() < by, "{what}: {row:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn held(&self, code: &str) {
        self.until(code, |row| row.state == FolderState::Held && row.reason.as_deref() == Some(code)).await;
    }

    async fn same_head(&self, other: &Self) {
        loop {
            let (ours, theirs) = (self.row().await.head, other.row().await.head);
            if ours.is_some() && ours == theirs {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.in_sync().await;
        other.in_sync().await;
    }

    fn check_root(&self) {
        for folder in self.folders.all() {
            folder.hands().check_root();
        }
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.root.join(path), bytes).expect("written");
    }

    /// Names at the root, without ours.
    fn names(&self) -> Vec<String> {
        let listed = std::fs::read_dir(&self.root).expect("a directory");
        let names = listed.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name != ".syncd").collect();
        names.sort();
        names
    }

    async fn stop(&self) {
        self.folders.shutdown().await;
    }
}
