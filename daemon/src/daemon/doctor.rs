//! Why peers are missing: facts in, findings in plain words out. Pure; a table in the tests.
//!
//! A finding says what is so, and what a person can do. The order is that of reading: what holds for
//! the machine, then each folder, the cause before its consequences.

use std::net::SocketAddr;
use std::time::Duration;

use crate::api::types::{Finding, FolderRow, FolderState, Reach, Severity, WayRow};
use crate::net::{FoundBy, KnownAddress};

/// Before this a clock has not been set: this program was not written yet. (2026-01-01.)
const NOT_BEFORE: u64 = 1_767_225_600;
/// How long the first answers of all ways may take; before, nobody there is no news.
const FIRST_ANSWERS: Duration = Duration::from_secs(15);
/// Addresses that are listed; the rest is counted.
const MAX_LISTED: usize = 3;

/// What is known of the machine, the daemon and its folders.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// `SYNCD_OFFLINE` is set.
    pub(super) is_offline: bool,
    /// An interface other than loopback is up and has an address.
    pub(super) has_network: bool,
    /// Where the daemon answers; nothing when none runs.
    pub(super) listen: Vec<SocketAddr>,
    /// The smallest buffer that a UDP socket was granted, and what was asked for, in bytes.
    pub(super) buffer: Option<(usize, usize)>,
    /// How others reach the daemon.
    pub(super) reach: Reach,
    /// Seconds since 1970, by the clock of this machine.
    pub(super) clock: u64,
    /// The folders.
    pub(super) folders: Vec<FolderFacts>,
}

impl Facts {
    /// The daemon can be reached from this machine alone, because it was told so.
    fn is_local(&self) -> bool {
        !self.listen.is_empty() && self.listen.iter().all(|at| at.ip().is_loopback())
    }

    fn lacks_network(&self) -> bool {
        !self.has_network && !self.is_local()
    }
}

/// What is known of a folder.
#[derive(Debug, Clone)]
pub(super) struct FolderFacts {
    pub(super) row: FolderRow,
    pub(super) fingerprint: String,
    pub(super) discovery_id: String,
    /// Made here: others have to join it.
    pub(super) is_created: bool,
    /// How long peers have been looked for.
    pub(super) looking_for: Duration,
    /// Where peers are looked for.
    pub(super) known: Vec<KnownAddress>,
}

/// What follows from the facts.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = of_machine(facts);
    for folder in &facts.folders {
        found.extend(of_folder(folder, facts));
    }
    found
}

fn finding(severity: Severity, code: &str, message: impl Into<String>) -> Finding {
    Finding {
        code: code.to_owned(),
        severity,
        folder_id: None,
        folder: None,
        message: message.into(),
        next: None,
    }
}

impl Finding {
    fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

fn of_machine(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if !facts.listen.is_empty() {
        let listen: Vec<_> = facts.listen.iter().map(ToString::to_string).collect();
        found.push(finding(
            Severity::Good,
            "LISTENING",
            format!("peers are answered on UDP {}", listen.join(", ")),
        ));
    }
    if facts.is_local() {
        let message = "the daemon listens on loopback alone: only daemons on this machine can be peers";
        found.push(
            finding(Severity::Note, "LOOPBACK_ONLY", message).next("start it without --listen 127.0.0.1"),
        );
    } else if facts.lacks_network() {
        let message = "this machine has no network: no interface but loopback is up and has an address";
        found.push(
            finding(Severity::Problem, "NO_NETWORK", message)
                .next("connect it; peers are looked for within seconds after there is an address"),
        );
    }
    if facts.is_offline {
        let message = "SYNCD_OFFLINE is set: peers are found only where they are pinned and in the ways that the \
                       settings file names; where they were reached before is not dialled";
        found.push(
            finding(Severity::Note, "OFFLINE", message)
                .next("start the daemon without it, or name a way: `syncd config set discovery.lan true`"),
        );
    }
    if facts.clock < NOT_BEFORE {
        let message = "the clock of this machine is wrong: it shows a time before this program was made";
        found.push(finding(Severity::Problem, "CLOCK", message).next(
            "set the clock; until then https trackers are refused, and names of conflict copies mislead",
        ));
    }
    if let Some((granted, asked)) = facts.buffer.filter(|(granted, asked)| granted < asked) {
        let message = format!(
            "the system grants UDP buffers of {} KiB where {} KiB were asked for: fast networks are not filled",
            granted / 1024,
            asked / 1024
        );
        found.push(finding(Severity::Note, "SMALL_BUFFERS", message).next(format!(
            "sysctl -w net.core.rmem_max={asked} net.core.wmem_max={asked}, then restart the daemon"
        )));
    }
    found.extend(of_reach(facts));
    found
}

/// What is between this device and the world.
fn of_reach(facts: &Facts) -> Option<Finding> {
    let reach = &facts.reach;
    let port = facts.listen.first().map_or(0, SocketAddr::port);
    let forward = format!(
        "forward UDP port {port} to this machine in the router, or switch on UPnP there; or leave it to a \
         `syncd tracker` in discovery.trackers, which introduces devices and relays where that fails"
    );
    if let (Some(mapped), Some(by)) = (&reach.mapped, &reach.mapped_by) {
        return Some(finding(
            Severity::Good,
            "PORT_MAPPED",
            format!("the router lets peers in at {mapped} ({by})"),
        ));
    }
    let seen = reach.observed.first().map(String::as_str).unwrap_or_default();
    let not_mapped = match (&reach.mapping_error, reach.port_mapping) {
        (Some(error), true) => format!("; it does not map a port to this machine: {error}"),
        (_, false) => "; it is not asked to map a port to this machine (discovery.port_mapping)".to_owned(),
        (None, true) => String::new(),
    };
    match reach.nat.as_str() {
        "open" => Some(finding(
            Severity::Good,
            "OPEN",
            format!("others see this device as it sees itself, at {seen}"),
        )),
        "nat" => {
            let message = format!(
                "this device is behind a router, which shows it to everyone at {seen}: peers reach it when \
                 they are introduced{not_mapped}"
            );
            Some(finding(Severity::Note, "NAT", message).next(forward))
        }
        "symmetric" => {
            let message = format!(
                "this device is behind a router that shows it to everyone at another port: peers that are \
                 behind one as well are reached through a relay{not_mapped}"
            );
            Some(finding(Severity::Note, "SYMMETRIC_NAT", message).next(forward))
        }
        _ => None,
    }
}

fn of_folder(folder: &FolderFacts, facts: &Facts) -> Vec<Finding> {
    let row = &folder.row;
    let mut found = Vec::new();
    found.extend(state(row));
    if row.peers > 0 {
        let peers = if row.peers == 1 { "1 peer is".to_owned() } else { format!("{} peers are", row.peers) };
        found.push(finding(Severity::Good, "HAS_PEERS", format!("{peers} connected")));
    } else {
        found.extend(why_nobody(folder, facts));
    }
    if row.peers == 0 && facts.lacks_network() {
        return about(row, found); // each way fails, and why was said
    }
    // What fails while peers are there costs nothing now, but may when they go.
    let severity = if row.peers > 0 { Severity::Note } else { Severity::Problem };
    found.extend(row.discovery.iter().filter_map(|way| broken_way(way, severity, folder)));
    about(row, found)
}

fn about(row: &FolderRow, mut found: Vec<Finding>) -> Vec<Finding> {
    for one in &mut found {
        (one.folder_id, one.folder) = (Some(row.folder_id.clone()), Some(row.name.clone()));
    }
    found
}

/// What the folder itself says.
fn state(row: &FolderRow) -> Option<Finding> {
    let message = row.message.clone();
    let reason = row.reason.clone().unwrap_or_default();
    match row.state {
        FolderState::Paused => Some(
            finding(Severity::Problem, "PAUSED", "it is paused, by `syncd pause`")
                .next(format!("`syncd resume {}` goes on", row.name)),
        ),
        FolderState::Held | FolderState::Error => {
            let code = if reason.is_empty() { "HELD" } else { reason.as_str() };
            let what = message.unwrap_or_else(|| "it is held".to_owned());
            Some(
                finding(Severity::Problem, code, what)
                    .next(format!("`syncd status {}` says what can be done", row.name)),
            )
        }
        _ => message.map(|message| {
            finding(Severity::Note, if reason.is_empty() { "DRAWBACK" } else { reason.as_str() }, message)
        }),
    }
}

/// Why a folder has no peers.
fn why_nobody(folder: &FolderFacts, facts: &Facts) -> Vec<Finding> {
    if facts.lacks_network() {
        return Vec::new(); // said already, and all else follows from it
    }
    let ways: Vec<&WayRow> = folder.row.discovery.iter().filter(|way| way.enabled && asks(way)).collect();
    let name = &folder.row.name;
    if ways.is_empty() && folder.known.is_empty() {
        let message =
            "nothing looks for peers: no way of finding them is switched on, and no address is pinned";
        return vec![finding(Severity::Problem, "NO_WAY", message).next(format!(
            "switch one on: `syncd config set discovery.lan true`, `syncd config set discovery.trackers \
             udp://HOST:PORT`; or pin a peer: `syncd peer add {name} HOST:PORT`"
        ))];
    }
    let mut found = Vec::new();
    let silent: Vec<&KnownAddress> =
        folder.known.iter().filter(|known| known.failures > 0 && !known.is_connected).collect();
    let untried = folder.known.len() - silent.len();
    if !silent.is_empty() {
        found.push(nobody_answers(&silent));
    }
    let asked: Vec<&str> = ways.iter().filter(|way| way.error.is_none()).map(|way| kind(&way.way)).collect();
    if untried == 0 && silent.is_empty() && !asked.is_empty() {
        found.push(nobody_there(folder, asked));
    }
    if untried > 0 && silent.is_empty() {
        let message = match untried {
            1 => "an address was found and is being dialled".to_owned(),
            _ => format!("{untried} addresses were found and are being dialled"),
        };
        found.push(finding(Severity::Note, "DIALLING", message).next("ask again in some seconds"));
    }
    if !ways.is_empty() && ways.iter().all(|way| way.way == "lan") {
        let message =
            "peers are looked for in this local network alone: no tracker is set, and the DHT is off";
        found.push(finding(Severity::Note, "ONLY_LAN", message).next(format!(
            "for peers elsewhere: `syncd config set --folder {name} discovery.trackers udp://HOST:PORT`, or \
             `syncd config set --folder {name} discovery.dht true`, there as well"
        )));
    }
    found
}

/// Whether a way finds somebody when nobody is connected yet.
fn asks(way: &WayRow) -> bool {
    matches!(way.way.as_str(), "lan" | "tracker" | "dht")
}

fn nobody_answers(silent: &[&KnownAddress]) -> Finding {
    let listed: Vec<String> = silent
        .iter()
        .take(MAX_LISTED)
        .map(|known| format!("{} ({})", known.address, known.found_by.as_str()))
        .collect();
    let more = silent.len().saturating_sub(MAX_LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!(
        "{} known, and no peer of this folder answers there: {}{more}",
        if silent.len() == 1 { "1 address is".to_owned() } else { format!("{} addresses are", silent.len()) },
        listed.join(", ")
    );
    let is_pinned = silent.iter().any(|known| known.found_by == FoundBy::Pinned);
    let next = match is_pinned {
        true => {
            "is the daemon there running, is the address still right (`syncd status --json` there shows its \
             port), and does its firewall or router let that UDP port in?"
        }
        false => {
            "is the daemon there running, and does its firewall or router let its UDP port in? `syncd doctor` \
             there says more; one of two devices must be reachable"
        }
    };
    finding(Severity::Problem, "NOBODY_ANSWERS", message).next(next)
}

/// `asked` are the ways that work.
fn nobody_there(folder: &FolderFacts, mut asked: Vec<&str>) -> Finding {
    let FolderFacts { fingerprint, is_created, looking_for, row, .. } = folder;
    if *looking_for < FIRST_ANSWERS {
        let message =
            format!("peers have been looked for since {} s; nobody has answered yet", looking_for.as_secs());
        return finding(Severity::Note, "LOOKING", message).next("ask again in a quarter of a minute");
    }
    asked.dedup();
    let message = format!("nobody else has told {} of this folder", asked.join(" or "));
    let next = match is_created {
        true => format!(
            "have others joined? `syncd keys {name} --link` prints what they need; on a device that has joined, \
             `syncd keys` must show the fingerprint {fingerprint}",
            name = row.name
        ),
        false => format!(
            "is the key right? `syncd keys {name}` shows the fingerprint {fingerprint} here; where the key comes \
             from it must be the same. Is a daemon running there, with one of these ways switched on?",
            name = row.name
        ),
    };
    finding(Severity::Problem, "NOBODY_THERE", message).next(next)
}

/// What a way is called in a sentence.
fn kind(way: &str) -> &str {
    match way {
        "lan" => "the local network",
        "tracker" => "the trackers",
        "dht" => "the DHT",
        other => other,
    }
}

/// A way that is switched on and does not work.
fn broken_way(way: &WayRow, severity: Severity, folder: &FolderFacts) -> Option<Finding> {
    let error = way.error.as_ref().filter(|_| way.enabled && asks(way))?;
    let source = way.source.as_deref().unwrap_or_default();
    Some(match way.way.as_str() {
        "tracker" if error.contains("refuse") => finding(
            severity,
            "TRACKER_REFUSES",
            format!("the tracker {source} does not want this folder: {error}"),
        )
        .next(format!(
            "a tracker with a white list wants this folder's discovery id, {}, on it; ask its operator, \
                     or set another tracker",
            folder.discovery_id
        )),
        "tracker" => finding(severity, "TRACKER_FAILS", format!("{source}: {error}")).next(
            "is its address right, is it up, and does a firewall let this machine out to it? A second \
                 tracker in discovery.trackers helps when one is down",
        ),
        "lan" => finding(severity, "LAN_FAILS", format!("no beacons in the local network: {error}"))
            .next("does a firewall let UDP port 4454 in and out?"),
        _ => finding(severity, "DHT_FAILS", format!("the DHT cannot be used: {error}"))
            .next("does a firewall let UDP out? `discovery.dht_bootstrap` can name other nodes to enter by"),
    })
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
