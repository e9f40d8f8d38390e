//! The typed values of all settings, as they hold for the daemon or for one folder.

use std::time::Duration;

use toml_edit::Value;

use super::Surroundings;
use super::duration::parse_duration;
use super::rate::parse_rate;
use super::setting::{self, Setting};

/// How often a folder without change notifications is looked at, if nothing else is set.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// Whether beacons are sent and heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lan {
    /// Not at all.
    Off,
    /// On the loopback interface only.
    Loopback,
    /// On every interface.
    On,
}

/// What becomes of a reader's own edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalChanges {
    /// They stay and are reported.
    Keep,
    /// They go to the archive.
    Revert,
}

/// The ways of finding peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// Beacons in the local network.
    pub lan: Lan,
    /// The Mainline DHT.
    pub dht: bool,
    /// Where to enter the DHT; empty for well-known nodes.
    pub dht_bootstrap: Vec<String>,
    /// Trackers to announce to; alternatives are one item, with blanks between them.
    pub trackers: Vec<String>,
    /// News about peers between peers.
    pub peer_exchange: bool,
    /// Addresses that neither a person nor the file has named: where peers were reached before, and what
    /// peers say of where they and others are. No setting; off when the daemon is offline.
    pub unnamed: bool,
    /// Port mapping at the router.
    pub port_mapping: bool,
    /// Packets through a relay as the last way.
    pub relay: bool,
}

/// All settings, typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What peers see; never empty.
    pub name: String,
    /// The ways of finding peers.
    pub discovery: Discovery,
    /// Bytes a second to receive, `None` without limit.
    pub limits_down: Option<u64>,
    /// Bytes a second to send, `None` without limit.
    pub limits_up: Option<u64>,
    scan_interval: Duration,
    scan_interval_is_set: bool,
    /// How long the archive keeps a file; 0 for ever.
    pub archive_days: u32,
    /// The percentage of deletions beyond which a folder holds; 0 is off.
    pub hold_deletions: u8,
    /// What becomes of a reader's own edits.
    pub reader_local_changes: LocalChanges,
    /// Show even a first sync only when it is whole.
    pub atomic: bool,
    /// Paths to change at the very end of a step.
    pub last: Vec<String>,
}

impl Settings {
    /// The time between full scans, `None` for never; `polled` where nothing reports changes.
    pub fn scan_interval(&self, polled: bool) -> Option<Duration> {
        let interval = if polled && !self.scan_interval_is_set { POLL_INTERVAL } else { self.scan_interval };
        (!interval.is_zero()).then_some(interval)
    }

    /// Types the values that `of` finds; it says also whether the file names them.
    pub(super) fn build(surroundings: &Surroundings, of: impl Fn(&Setting) -> (Value, bool)) -> Self {
        let get = |key| of(setting::find(key).expect("only names from the table are asked for"));
        let switch = |key| get(key).0.as_bool().unwrap_or_default();
        let number = |key| get(key).0.as_integer().unwrap_or_default();
        let text = |key| get(key).0.as_str().unwrap_or_default().trim().to_owned();
        let list = |key| list_of(&get(key).0);
        let (interval, scan_interval_is_set) = get("scan.interval");
        let name = [text("name"), surroundings.host_name.clone()].into_iter().find(|name| !name.is_empty());
        Self {
            name: name.unwrap_or_else(|| "unnamed".to_owned()),
            discovery: discovery(surroundings.offline, get),
            limits_down: parse_rate(&get("limits.down").0).unwrap_or_default(),
            limits_up: parse_rate(&get("limits.up").0).unwrap_or_default(),
            scan_interval: parse_duration(&interval).unwrap_or_default(),
            scan_interval_is_set,
            archive_days: u32::try_from(number("archive.days")).unwrap_or_default(),
            hold_deletions: u8::try_from(number("hold.deletions")).unwrap_or_default(),
            reader_local_changes: match text("reader.local_changes").as_str() {
                "revert" => LocalChanges::Revert,
                _ => LocalChanges::Keep,
            },
            atomic: switch("atomic"),
            last: list("last"),
        }
    }
}

/// Offline, a way of finding peers is on only if the file names it, and port mapping never is; the DHT
/// also needs an entrance of its own, because the well-known ones are the internet. What was remembered
/// is named nowhere.
fn discovery(offline: bool, get: impl Fn(&'static str) -> (Value, bool)) -> Discovery {
    let switch = |key| {
        let (value, named) = get(key);
        value.as_bool().unwrap_or_default() && (named || !offline)
    };
    let dht_bootstrap = list_of(&get("discovery.dht_bootstrap").0);
    let dht_wanted = get("discovery.dht").0.as_bool().unwrap_or_default();
    let (lan, lan_is_named) = get("discovery.lan");
    let trackers = list_of(&get("discovery.trackers").0);
    Discovery {
        lan: match (lan.as_bool(), lan.as_str()) {
            _ if offline && !lan_is_named => Lan::Off,
            (Some(true), _) => Lan::On,
            (_, Some(_)) => Lan::Loopback,
            _ => Lan::Off,
        },
        dht: dht_wanted && (!offline || !dht_bootstrap.is_empty()),
        dht_bootstrap,
        peer_exchange: switch("discovery.peer_exchange"),
        unnamed: !offline,
        port_mapping: switch("discovery.port_mapping") && !offline,
        // Nobody relays but the trackers, which the file names.
        relay: get("discovery.relay").0.as_bool().unwrap_or_default() && (!offline || !trackers.is_empty()),
        trackers,
    }
}

fn list_of(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
