//! What the API shows of a folder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keystore::{Capability, FolderSecret};
use protocol::engine::{Activity, Reason, Unapplied};

use super::links;
use crate::api::error::{ApiError, Class};
use crate::api::types::{
    self, ArchiveRow, FolderKeys, FolderListRow, FolderRow, FolderState, IntroducerRow, Keys, PeerRow,
    Problem, Reach,
};
use crate::folder::Folder;
use crate::folder::archive::Archived;
use crate::folder::kept::reason_code;
use crate::folder::runner::Runner;
use crate::folder::stage::is_no_space;
use crate::net::{IntroducerStatus, NatKind, ReachStatus};

/// How long `status` waits for the watcher to have said everything.
const WATCHER_PATIENCE: Duration = Duration::from_millis(500);

/// The code of what does not fit on the disk.
const NO_SPACE: &str = "NO_SPACE";

/// What is said while records are being made anew.
const REBUILT: &str = "the records of this folder were lost, or older than its files: everything is compared \
    anew, and nothing is deleted";

/// A folder's row in `status`.
pub(super) async fn row(folder: &Arc<Folder>) -> Result<FolderRow, ApiError> {
    let all_noticed = folder.hands().all_noticed(WATCHER_PATIENCE).await;
    let (name, path, secret) = (folder.name().to_owned(), path(folder), folder.secret().clone());
    let conflicts = folder.conflicts();
    let rates = folder.hands().rates();
    let asked = folder.ask(move |runner| {
        let (state, reason, message) = state_of(runner, all_noticed);
        let totals = runner.engine.totals();
        let (need_files, need_bytes) = runner.engine.need();
        let (seeds, peers) = runner.engine.seeds();
        let unapplied = runner.engine.unapplied().values();
        let (local, others): (Vec<_>, Vec<_>) =
            unapplied.filter(|why| is_told(why)).partition(|why| why.reason == Reason::LocalChange);
        FolderRow {
            folder_id: secret.folder_id().to_string(),
            name,
            path,
            capability: capability(secret.capability()),
            state,
            reason,
            message,
            files: totals.files,
            bytes: totals.bytes,
            need_files,
            need_bytes,
            peers: peers as u64,
            seeds: seeds as u64,
            leeches: (peers - seeds) as u64,
            down_rate: rates.0,
            up_rate: rates.1,
            problems: others.len() as u64,
            local_changes: local.len() as u64,
            conflicts,
            head: runner.engine.head().map(|head| head.to_string()),
            discovery: Vec::new(),
        }
    });
    match asked.await {
        Some(row) => Ok(row),
        None => Ok(ended(folder)),
    }
}

/// What the folder is doing, why, and as a sentence.
fn state_of(runner: &Runner, all_noticed: bool) -> (FolderState, Option<String>, Option<String>) {
    if let Some(failure) = &runner.failure {
        return (FolderState::Error, Some("LOOP".into()), Some(failure.clone()));
    }
    let state = match runner.engine.activity() {
        Activity::Paused => FolderState::Paused,
        Activity::Held => FolderState::Held,
        Activity::Scanning => FolderState::Scanning,
        Activity::Syncing => FolderState::Syncing,
        Activity::Idle if all_noticed && !runner.hands.is_looking_again() => FolderState::Idle,
        Activity::Idle => FolderState::Scanning,
    };
    if let (FolderState::Held, Some(hold)) = (state, runner.engine.hold()) {
        return (state, Some(hold.code.to_owned()), Some(hold.message.clone()));
    }
    let is_moving = matches!(state, FolderState::Scanning | FolderState::Syncing);
    if runner.rebuilding && is_moving {
        return (state, Some("DB_REBUILT".into()), Some(REBUILT.into()));
    }
    let unfit = runner.engine.unapplied().values().filter(|why| does_not_fit(why)).count();
    if unfit > 0 && state != FolderState::Paused {
        let message = format!(
            "{unfit} files do not fit on this disk, and are tried again every half minute; all others are synced"
        );
        return (state, Some(NO_SPACE.into()), Some(message));
    }
    match runner.hands.watch_trouble().filter(|_| state != FolderState::Paused) {
        Some((code, message)) => (state, code.map(str::to_owned), Some(message)),
        None => (state, None, None),
    }
}

fn ended(folder: &Folder) -> FolderRow {
    FolderRow {
        folder_id: folder.secret().folder_id().to_string(),
        name: folder.name().to_owned(),
        path: path(folder),
        capability: capability(folder.secret().capability()),
        state: FolderState::Error,
        reason: Some("LOOP".into()),
        message: Some("the folder's loop has ended; the daemon's log says why".into()),
        files: 0,
        bytes: 0,
        need_files: 0,
        need_bytes: 0,
        peers: 0,
        seeds: 0,
        leeches: 0,
        down_rate: 0,
        up_rate: 0,
        problems: 0,
        local_changes: 0,
        conflicts: 0,
        head: None,
        discovery: Vec::new(),
    }
}

/// How others reach this device.
pub(super) fn reach(status: ReachStatus) -> Reach {
    let mut observed: Vec<String> = status.observed.iter().map(|(_, address)| address.to_string()).collect();
    observed.sort();
    observed.dedup();
    Reach {
        nat: match status.nat {
            NatKind::Open => "open",
            NatKind::EndpointIndependent => "nat",
            NatKind::Symmetric => "symmetric",
            NatKind::Unknown => "unknown",
        }
        .to_owned(),
        observed,
        port_mapping: status.mapping.is_on,
        mapped_by: status.mapping.protocol.map(str::to_owned),
        mapped: status.mapping.external.map(|(ip, port)| match ip {
            Some(ip) => SocketAddr::new(ip, port).to_string(),
            None => format!("port {port}"),
        }),
        mapping_error: status.mapping.error,
        introducers: status.introducers.into_iter().map(introducer).collect(),
        relayed: status.relayed as u64,
    }
}

fn introducer(status: IntroducerStatus) -> IntroducerRow {
    IntroducerRow { tracker: status.tracker, connected: !status.connected.is_empty(), error: status.error }
}

/// A folder's row in `list`.
pub(super) async fn list_row(folder: &Arc<Folder>) -> Result<FolderListRow, ApiError> {
    let state = folder.ask(|runner| state_of(runner, true).0).await;
    Ok(FolderListRow {
        folder_id: folder.secret().folder_id().to_string(),
        name: folder.name().to_owned(),
        path: path(folder),
        capability: capability(folder.secret().capability()),
        state: state.unwrap_or(FolderState::Error),
    })
}

/// Why a folder is held.
pub(super) async fn reason(folder: &Arc<Folder>) -> Result<Option<String>, ApiError> {
    Ok(folder.ask(|runner| runner.engine.hold().map(|hold| hold.code.to_owned())).await.flatten())
}

/// A folder's keys, and links with that size, those addresses and trackers.
pub(super) fn keys(folder: &Folder, size: u64, addresses: &[String], trackers: &[String]) -> FolderKeys {
    let secret = folder.secret();
    let read_only = secret.read_only_key().to_string();
    let link = |secret: &FolderSecret| links::link(secret.clone(), folder.name(), size, addresses, trackers);
    FolderKeys {
        folder_id: secret.folder_id().to_string(),
        name: folder.name().to_owned(),
        path: path(folder),
        keys: Keys {
            read_write: secret.read_write_key().map(|key| key.to_string()),
            read_only: read_only.clone(),
        },
        link: link(secret),
        link_read_only: FolderSecret::parse(&read_only).map(|reader| link(&reader)).unwrap_or_default(),
        fingerprint: secret.fingerprint(),
        discovery_id: secret.discovery_id().to_string(),
    }
}

/// A folder's peers.
pub(super) async fn peers(folder: &Arc<Folder>) -> Result<Vec<PeerRow>, ApiError> {
    let rows = folder.ask(|runner| {
        let rows = runner.peers.iter().map(|(id, peer)| PeerRow {
            device_id: id.to_string(),
            name: peer.info().name.clone(),
            address: peer.info().address.to_string(),
            found_by: peer.info().found_by.as_str().to_owned(),
            direct: peer.info().direct,
            capability: capability(peer.info().capability),
            complete: runner.engine.is_complete(id),
            down_rate: runner.hands.peer_rates(id).0,
            up_rate: runner.hands.peer_rates(id).1,
        });
        rows.collect()
    });
    rows.await.ok_or_else(loop_ended)
}

/// The paths that cannot be synced, and a reader's local changes.
pub(super) async fn problems(folder: &Arc<Folder>) -> Result<Vec<Problem>, ApiError> {
    let rows = folder.ask(|runner| {
        let unapplied = runner.engine.unapplied().iter().filter(|(_, why)| is_told(why));
        let rows = unapplied.map(|(path, why)| Problem {
            path: path.to_string(),
            code: code(why).to_owned(),
            message: match why.reason {
                Reason::LocalChange => "changed here; `syncd revert` gives the change up".to_owned(),
                _ => why.message.clone(),
            },
        });
        rows.collect()
    });
    rows.await.ok_or_else(loop_ended)
}

/// Not what takes its turn, nor what is not wanted here.
fn is_told(why: &Unapplied) -> bool {
    !matches!(why.reason, Reason::Waiting | Reason::Ignored)
}

fn code(why: &Unapplied) -> &'static str {
    if does_not_fit(why) { NO_SPACE } else { reason_code(why.reason) }
}

fn does_not_fit(why: &Unapplied) -> bool {
    why.reason == Reason::Problem && is_no_space(&why.message)
}

/// A row of the archive.
pub(super) fn archive_row(found: &Archived) -> ArchiveRow {
    let (path, stamp) = (found.at.path.to_string(), found.at.stamp.as_str().to_owned());
    ArchiveRow {
        stored: format!(".syncd/archive/{stamp}/{path}"),
        path,
        archived: stamp,
        bytes: found.stat.stat.size,
    }
}

fn loop_ended() -> ApiError {
    let message = "the folder's loop has ended";
    ApiError::new(Class::Failed, "LOOP", message).next("the daemon's log says why; restart it")
}

fn path(folder: &Folder) -> String {
    folder.root().display().to_string()
}

fn capability(capability: Capability) -> types::Capability {
    match capability {
        Capability::Write => types::Capability::Write,
        Capability::Read => types::Capability::Read,
        Capability::Store => types::Capability::Store,
    }
}
