//! What the beacons show of themselves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use keystore::FolderId;
use tokio::time::Instant;

use super::LanOverview;
use crate::discovery::{Way, WayStatus};

/// A peer counts as found for so long after its last beacon, which is three rounds at rest.
const COUNTS_FOR: Duration = Duration::from_secs(100);
/// Peers counted for a folder.
const MAX_COUNTED: usize = 256;

/// What is known of all folders, and of each.
#[derive(Debug, Default)]
pub(super) struct Board {
    interfaces: Vec<String>,
    /// Beacons of others can come in.
    hears: bool,
    /// Whether a beacon went out in the last round.
    speaks: Option<bool>,
    sent: u64,
    heard: u64,
    found: u64,
    /// Of the last look at the interfaces.
    look_errors: Vec<String>,
    /// Of the last round.
    round_errors: Vec<String>,
    next: Option<SystemTime>,
    folders: BTreeMap<FolderId, Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    announced: Option<SystemTime>,
    peers: BTreeMap<SocketAddr, Instant>,
}

impl Board {
    pub(super) fn add(&mut self, folder: FolderId) {
        self.folders.entry(folder).or_default();
    }

    pub(super) fn remove(&mut self, folder: FolderId) {
        self.folders.remove(&folder);
    }

    /// The interfaces were looked at.
    pub(super) fn handle_look(&mut self, interfaces: Vec<String>, hears: bool, errors: Vec<String>) {
        (self.interfaces, self.hears, self.look_errors) = (interfaces, hears, errors);
    }

    /// A round was sent for these folders.
    pub(super) fn handle_round(&mut self, sent: u64, errors: Vec<String>, folders: &[FolderId]) {
        self.sent += sent;
        self.speaks = Some(sent > 0);
        self.round_errors = errors;
        if sent == 0 {
            return;
        }
        for folder in folders {
            if let Some(shown) = self.folders.get_mut(folder) {
                shown.announced = Some(SystemTime::now());
            }
        }
    }

    /// When the next round is due.
    pub(super) fn set_next(&mut self, next: SystemTime) {
        self.next = Some(next);
    }

    /// A foreign beacon was read.
    pub(super) fn handle_beacon(&mut self) {
        self.heard += 1;
    }

    /// A peer in a folder was heard.
    pub(super) fn handle_peer(&mut self, folder: FolderId, address: SocketAddr, was_told: bool) {
        self.found += u64::from(was_told);
        let Some(shown) = self.folders.get_mut(&folder) else { return };
        let now = Instant::now();
        if shown.peers.len() >= MAX_COUNTED {
            shown.peers.retain(|_, heard| now < *heard + COUNTS_FOR);
        }
        if shown.peers.len() < MAX_COUNTED || shown.peers.contains_key(&address) {
            shown.peers.insert(address, now);
        }
    }

    pub(super) fn overview(&self) -> LanOverview {
        LanOverview {
            interfaces: self.interfaces.clone(),
            sent: self.sent,
            heard: self.heard,
            found: self.found,
            errors: self.look_errors.iter().chain(&self.round_errors).cloned().collect(),
        }
    }

    pub(super) fn status(&self, folder: FolderId) -> WayStatus {
        let source = match self.interfaces.as_slice() {
            [] => "the local network".to_owned(),
            interfaces => format!("the local network: {}", interfaces.join(", ")),
        };
        let (mut found, mut last_announce) = (0, None);
        if let Some(shown) = self.folders.get(&folder) {
            let now = Instant::now();
            found = shown.peers.values().filter(|heard| now < **heard + COUNTS_FOR).count();
            last_announce = shown.announced;
        }
        WayStatus {
            way: Way::Lan,
            source,
            last_announce,
            next: self.next,
            found,
            error: self.error(),
            stands_by: false,
        }
    }

    /// What keeps all beacons from going out or coming in. As long as some do, it is no failure.
    fn error(&self) -> Option<String> {
        let first = |errors: &[String], else_: &str| errors.first().map_or(else_.to_owned(), Clone::clone);
        if self.interfaces.is_empty() {
            return Some(first(&self.look_errors, "no network interface to speak on; is the network up?"));
        }
        if !self.hears {
            return Some(first(&self.look_errors, "beacons of others are not heard"));
        }
        let is_mute = self.speaks == Some(false);
        is_mute.then(|| first(&self.round_errors, "no beacon went out"))
    }
}
