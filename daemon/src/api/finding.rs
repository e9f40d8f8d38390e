//! The documents about finding peers: how they are looked for, how this device is reached, and what
//! `doctor` has found. Reached through [`types`](super::types).

use serde::{Deserialize, Serialize};

/// One way of finding peers of a folder, or one of those that it asks. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayRow {
    /// `lan`, `tracker`, `dht`, `exchange`, `pinned` or `link`.
    pub way: String,
    /// Who is asked, told or dialled: a tracker's URL, a pinned address, the interfaces of beacons.
    pub source: Option<String>,
    /// Whether the settings want it.
    pub enabled: bool,
    /// When it last told of us with success.
    pub last_announce: Option<u64>,
    /// When it will do so again.
    pub next: Option<u64>,
    /// Addresses that its last answer named.
    pub found: u64,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// It is an alternative to a tracker that answers, and not asked meanwhile.
    #[serde(default)]
    pub stands_by: bool,
}

/// How others reach this device, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// What is between it and the world: `open`, `nat` (one address for everybody), `symmetric` (another
    /// port for everybody), `unknown`.
    pub nat: String,
    /// The addresses at which others see it.
    pub observed: Vec<String>,
    /// Whether the router is asked to let peers in.
    pub port_mapping: bool,
    /// By which protocol it does: `PCP`, `NAT-PMP` or `UPnP`.
    pub mapped_by: Option<String>,
    /// The mapped port, with the address if that is known.
    pub mapped: Option<String>,
    /// Why no port is mapped.
    pub mapping_error: Option<String>,
    /// Trackers that introduce devices to each other.
    pub introducers: Vec<IntroducerRow>,
    /// Links that go through a relay now.
    pub relayed: u64,
}

/// A tracker that may introduce devices to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntroducerRow {
    /// `host:port`.
    pub tracker: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Why it is not.
    pub error: Option<String>,
}

/// What `doctor` has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// About the daemon and the machine first, then about each folder.
    pub findings: Vec<Finding>,
}

/// One thing that `doctor` has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A name for programs, such as `TRACKER_REFUSES`.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// The folder that it is about; none for the daemon and the machine.
    pub folder_id: Option<String>,
    /// What that folder is called.
    pub folder: Option<String>,
    /// What is so, in one or two sentences.
    pub message: String,
    /// What a person can do.
    pub next: Option<String>,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Good,
    /// Worth knowing; nothing is lost by it.
    Note,
    /// It keeps peers away, or will.
    Problem,
}
