//! How the peers of each folder are found: what settings and links say, carried to whoever looks, and
//! what came of it, for `status`, `keys` and `doctor`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use keystore::FolderId;

use super::folders::Folders;
use super::links::{self, Whereabouts};
use super::rows;
use crate::api::error::ApiError;
use crate::api::types::{FolderKeys, WayRow};
use crate::config::{Discovery, KeyPath};
use crate::discovery::tracker::{self, TrackerUrl};
use crate::folder::Folder;
use crate::net::{FoundBy, KnownAddress, NatKind, ReachStatus};

impl Folders {
    /// Finds a folder's peers as these settings say, from now on.
    pub(super) fn look_for_peers(&self, folder: &Arc<Folder>, settings: Discovery) {
        let (id, discovery) = (folder.secret().folder_id(), folder.secret().discovery_id());
        let introducers = tracker::urls(&settings.trackers).filter_map(introducer).collect();
        self.net.set_rendezvous(id, discovery, introducers, settings.relay);
        self.ways.set_folder(id, discovery, settings);
    }

    /// Has the router let peers in, where that makes sense.
    pub(super) fn map_port(&self, settings: &Discovery) {
        let is_local = self.net.local_addresses().iter().all(|at| at.ip().is_loopback());
        self.net.set_port_mapping(settings.port_mapping && !is_local);
    }

    /// Keeps the trackers of a link with those of its folder: in the settings file, where a person sees
    /// them and takes them out again, and which outlasts a lost database.
    pub(super) fn keep_trackers(&self, folder: FolderId, linked: &[String]) -> Result<(), ApiError> {
        let key = format!("folder.{folder}.discovery.trackers");
        let have = self.config.current().effective(&folder.to_string()).discovery.trackers;
        if let Some(all) = links::with_linked_trackers(&have, linked) {
            let list: toml_edit::Array = all.iter().map(String::as_str).collect();
            self.config.set(&KeyPath::parse(&key)?, &toml_edit::Value::from(list).to_string())?;
        }
        Ok(())
    }

    /// A folder's keys and links.
    pub(super) fn keys_of(&self, folder: &Folder, size: u64) -> FolderKeys {
        let settings = self.config.current().effective(&folder.secret().folder_id().to_string());
        let trackers: Vec<_> = tracker::urls(&settings.discovery.trackers).map(with_scheme).collect();
        let whereabouts = Whereabouts {
            seen: seen_at(&self.net.reach_status()),
            pinned: folder.pinned(),
            listen: self.net.local_addresses(),
            interfaces: links::interfaces(),
        };
        rows::keys(folder, size, &whereabouts.best(), &trackers)
    }

    /// How a folder's peers are looked for.
    pub(super) fn ways_of(&self, folder: &Folder) -> Vec<WayRow> {
        let id = folder.secret().folder_id();
        let mut rows = self.ways.status(id);
        let enabled = folder.settings().discovery.peer_exchange;
        rows.push(WayRow { way: "exchange".to_owned(), enabled, ..WayRow::default() });
        let named = |known: &KnownAddress| matches!(known.found_by, FoundBy::Pinned | FoundBy::Link);
        rows.extend(self.net.known(id).into_iter().filter(named).map(address_row));
        rows
    }
}

/// An address that a person or a link has named.
fn address_row(known: KnownAddress) -> WayRow {
    let times = if known.failures == 1 { "once".to_owned() } else { format!("{} times", known.failures) };
    let has_failed = known.failures > 0 && !known.is_connected;
    WayRow {
        way: known.found_by.as_str().to_owned(),
        source: Some(known.address),
        enabled: true,
        found: u64::from(known.is_connected),
        error: has_failed.then(|| format!("dialled {times}, and no peer of this folder has answered")),
        ..WayRow::default()
    }
}

/// Where `syncd tracker` introduces devices: beside the tracker, whatever that is spoken to by.
fn introducer(tracker: &str) -> Option<String> {
    tracker.parse::<TrackerUrl>().ok().map(|url| url.authority())
}

/// Where the world reaches us: at a mapped port, or where others see us if they all see the same.
fn seen_at(reach: &ReachStatus) -> Vec<SocketAddr> {
    let observed = reach.observed.iter().map(|(_, address)| *address);
    let mut seen: Vec<SocketAddr> = match reach.nat {
        NatKind::Symmetric => observed.clone().filter(SocketAddr::is_ipv6).collect(),
        _ => observed.clone().collect(),
    };
    if let Some((ip, port)) = reach.mapping.external {
        let ip = ip.or_else(|| observed.map(|address| address.ip()).find(IpAddr::is_ipv4));
        seen.retain(SocketAddr::is_ipv6); // what is mapped stays longer
        ip.iter().for_each(|ip| seen.insert(0, SocketAddr::new(*ip, port)));
    }
    seen.sort_by_key(SocketAddr::is_ipv6);
    seen.dedup();
    seen
}

/// A tracker without a scheme is one over UDP; links name it in full.
fn with_scheme(tracker: &str) -> String {
    if tracker.contains("://") { tracker.to_owned() } else { format!("udp://{tracker}") }
}
