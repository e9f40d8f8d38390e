//! A daemon whose folders are made up, served on the socket of a real home.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use syncd::api::control::Control;
use syncd::api::error::{ApiError, Class};
use syncd::api::routes::{Api, router};
use syncd::api::types::*;
use syncd::api::{serve, socket};
use syncd::config::{LiveConfig, Surroundings};
use syncd::home::Home;
use tempfile::TempDir;
use tokio::sync::{Notify, watch};

pub(crate) const PHOTOS: &str = "aaaabbbbccccddddeeeeffff22";
pub(crate) const WORK: &str = "aaaazzzzyyyyxxxxwwwwvvvv33";
pub(crate) const NOTES: &str = "qqqqrrrrssssttttuuuuvvvv44";
/// A key that exists in documentation only.
pub(crate) const READ_KEY: &str = "BLZAUABVOPOBJ5AUGKSQIRE7EMFK7QDAX";

/// A home, a fake that is served in it, and what the fake was asked.
pub(crate) struct Stage {
    pub(crate) place: TempDir,
    pub(crate) home: Home,
    pub(crate) fake: Arc<Fake>,
    /// Whoever serves the fake stops when this goes.
    pub(crate) serving: watch::Sender<()>,
}

impl Stage {
    /// Serves the fake from now on.
    pub(crate) fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path().join("home")).unwrap();
        let config = LiveConfig::open(&home, Surroundings::default()).unwrap();
        let fake = Arc::new(Fake { config, asked: Mutex::default() });
        let listener = socket::bind(&home.socket()).unwrap();
        let serving = watch::Sender::new(());
        tokio::spawn(serve::serve_unix(listener, router(api(&fake)), serving.subscribe()));
        Self { place, home, fake, serving }
    }
}

pub(crate) fn api(fake: &Arc<Fake>) -> Api<Fake> {
    Api { control: fake.clone(), stop: Arc::new(Notify::new()) }
}

pub(crate) struct Fake {
    config: LiveConfig,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Fake {
    fn note<T>(&self, what: String, answer: T) -> Result<T, ApiError> {
        self.asked.lock().unwrap().push(what);
        Ok(answer)
    }
}

fn row(id: &str, name: &str, state: FolderState) -> FolderRow {
    FolderRow {
        folder_id: id.to_owned(),
        name: name.to_owned(),
        path: format!("/data/{name}"),
        capability: Capability::Write,
        state,
        reason: None,
        message: None,
        files: 1_204,
        bytes: 3_300_000_000,
        need_files: 0,
        need_bytes: 0,
        peers: 2,
        seeds: 1,
        leeches: 1,
        down_rate: 0,
        up_rate: 0,
        problems: 0,
        local_changes: 0,
        conflicts: 0,
        head: Some("00ff".repeat(16)),
        discovery: discovery(),
    }
}

fn discovery() -> Vec<WayRow> {
    let now = syncd::cli::ways::now();
    let way = |way: &str, source: Option<&str>| WayRow {
        way: way.to_owned(),
        source: source.map(str::to_owned),
        enabled: true,
        ..WayRow::default()
    };
    vec![
        WayRow { found: 1, ..way("lan", Some("the local network: eth0 (IPv4 and IPv6)")) },
        WayRow {
            last_announce: Some(now - 150),
            next: Some(now + 1_730),
            found: 4,
            ..way("tracker", Some("udp://tracker.example:6969"))
        },
        WayRow {
            next: Some(now + 330),
            error: Some("it refused: not on the\u{1b}[2J white list".to_owned()),
            ..way("tracker", Some("https://a-long-name.tracker.example:443/announce"))
        },
        WayRow { enabled: false, ..way("dht", None) },
        WayRow { enabled: false, ..way("exchange", None) },
        WayRow { found: 1, ..way("pinned", Some("server.example:4455")) },
    ]
}

fn rows() -> Vec<FolderRow> {
    let mut work = row(WORK, "work", FolderState::Held);
    work.reason = Some("MASS_DELETE".to_owned());
    work.message = Some("812 of 1,000 files are gone from the disk".to_owned());
    let mut notes = row(NOTES, "no\u{1b}[2Jtes", FolderState::Syncing);
    notes.capability = Capability::Read;
    (notes.need_files, notes.need_bytes, notes.down_rate) = (3, 5 << 20, 2 << 20);
    (notes.problems, notes.local_changes, notes.conflicts) = (1, 2, 1);
    vec![row(PHOTOS, "photos", FolderState::Idle), work, notes]
}

fn folder_keys(id: &str, name: &str, path: &str) -> FolderKeys {
    FolderKeys {
        folder_id: id.to_owned(),
        name: name.to_owned(),
        path: path.to_owned(),
        keys: Keys { read_write: Some(format!("A{}", "A".repeat(32))), read_only: READ_KEY.to_owned() },
        link: format!("syncd://A{}?n=photos", "A".repeat(32)),
        link_read_only: format!("syncd://{READ_KEY}?n=photos"),
        fingerprint: "tidy-otter-42".to_owned(),
        discovery_id: "0123456789abcdef0123456789abcdef01234567".to_owned(),
    }
}

impl Control for Fake {
    async fn status(&self, folder: Option<&str>) -> Result<Status, ApiError> {
        let folders = rows().into_iter().filter(|row| folder.is_none_or(|id| row.folder_id == id)).collect();
        let (device_id, version) = ("device".to_owned(), "0".to_owned());
        Ok(Status {
            folders,
            device_id,
            listen: vec!["[::]:4455".to_owned()],
            version,
            reach: Reach::default(),
        })
    }

    async fn list(&self) -> Result<Vec<FolderListRow>, ApiError> {
        Ok(rows().into_iter().map(FolderListRow::from).collect())
    }

    async fn add(&self, request: AddRequest) -> Result<FolderKeys, ApiError> {
        if request.dir.ends_with("/missing") && request.key.is_none() {
            return Err(ApiError::new(
                Class::NotFound,
                "NO_SUCH_DIRECTORY",
                "there is no such directory to share",
            )
            .at(request.dir)
            .next("make it first, or give a key to join a folder"));
        }
        let keys = folder_keys(PHOTOS, request.name.as_deref().unwrap_or("photos"), "/data/photos");
        self.note(format!("add {} key {:?}", request.dir, request.key), keys)
    }

    async fn keys(&self, folder: &str) -> Result<FolderKeys, ApiError> {
        Ok(folder_keys(folder, "photos", "/data/photos"))
    }

    async fn peers(&self, _: &str) -> Result<Vec<PeerRow>, ApiError> {
        Ok(vec![PeerRow {
            device_id: "abcdefghijklmnop".to_owned(),
            name: "anna\nlaptop".to_owned(),
            address: "192.0.2.7:4455".to_owned(),
            found_by: "lan".to_owned(),
            direct: true,
            capability: Capability::Write,
            complete: true,
            down_rate: 1_500_000,
            up_rate: 0,
        }])
    }

    async fn peer_add(&self, folder: &str, address: &str) -> Result<(), ApiError> {
        self.note(format!("peer_add {folder} {address}"), ())
    }

    async fn peer_remove(&self, folder: &str, address: &str) -> Result<(), ApiError> {
        self.note(format!("peer_remove {folder} {address}"), ())
    }

    async fn problems(&self, _: &str) -> Result<Vec<Problem>, ApiError> {
        let (path, code) = ("a\tb".to_owned(), "NAME".to_owned());
        Ok(vec![Problem { path, code, message: "this disk cannot hold the name".to_owned() }])
    }

    async fn doctor(&self, folder: Option<&str>) -> Result<Diagnosis, ApiError> {
        let finding = |severity, message: &str, next: Option<&str>| Finding {
            code: "CODE".to_owned(),
            severity,
            folder_id: None,
            folder: None,
            message: message.to_owned(),
            next: next.map(str::to_owned),
        };
        let mut findings = vec![
            finding(Severity::Good, "peers are answered on UDP [::]:4455", None),
            finding(Severity::Note, "the UDP buffers are small", Some("make them larger")),
        ];
        for name in ["photos", "no\u{1b}[2Jtes"].iter().take(if folder.is_some() { 1 } else { 2 }) {
            let folder = Some((*name).to_owned());
            let next = Some("is the key right?");
            findings.push(Finding { folder, ..finding(Severity::Problem, "nobody is there", next) });
        }
        Ok(Diagnosis { findings })
    }

    async fn pause(&self, folder: &str) -> Result<(), ApiError> {
        self.note(format!("pause {folder}"), ())
    }

    async fn resume(&self, folder: &str) -> Result<(), ApiError> {
        self.note(format!("resume {folder}"), ())
    }

    async fn remove(&self, folder: &str) -> Result<(), ApiError> {
        self.note(format!("remove {folder}"), ())
    }

    async fn rescan(&self, folder: &str) -> Result<(), ApiError> {
        self.note(format!("rescan {folder}"), ())
    }

    async fn approve(&self, folder: &str) -> Result<(), ApiError> {
        self.note(format!("approve {folder}"), ())
    }

    async fn revert(&self, folder: &str, path: Option<&str>) -> Result<(), ApiError> {
        self.note(format!("revert {folder} {path:?}"), ())
    }

    async fn archive_list(&self, _: &str, path: Option<&str>) -> Result<Vec<ArchiveRow>, ApiError> {
        let path = path.unwrap_or("a b.txt").to_owned();
        let (archived, stored) = ("2026-11-21T14.03.22Z".to_owned(), ".syncd/archive/x".to_owned());
        Ok(vec![ArchiveRow { path, archived, bytes: 12, stored }])
    }

    async fn archive_restore(&self, folder: &str, path: Option<&str>) -> Result<Restored, ApiError> {
        self.note(format!("restore {folder} {path:?}"), Restored { restored: vec!["a b.txt".to_owned()] })
    }

    async fn wait(&self, folder: &str, timeout: Option<Duration>, peers: u64) -> Result<Status, ApiError> {
        match folder {
            WORK => Err(ApiError::new(Class::Held, "MASS_DELETE", "`work` is held")),
            NOTES => Err(ApiError::new(
                Class::TimedOut,
                "TIMED_OUT",
                format!("`notes` is not in sync after {} s", timeout.unwrap_or_default().as_secs_f64()),
            )),
            _ => {
                self.note(format!("wait {folder} {timeout:?} {peers}"), ())?;
                self.status(Some(folder)).await
            }
        }
    }

    fn config(&self) -> &LiveConfig {
        &self.config
    }

    async fn shutdown(&self) {}
}
