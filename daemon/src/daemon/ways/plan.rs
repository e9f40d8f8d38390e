//! What is to run for which folders: a pure function of the folders' settings.

use std::collections::BTreeMap;

use keystore::{DiscoveryId, FolderId};

use crate::config::{Discovery, Lan};

/// One thing that runs and finds peers for some folders. Folders whose settings differ in what cannot
/// be shared (where beacons go, where the DHT is entered) get one each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Beacons on every interface.
    Lan,
    /// Beacons on loopback alone.
    LanOnLoopback,
    /// All trackers.
    Trackers,
    /// The DHT that is entered there; empty for the well-known nodes.
    Dht(Vec<String>),
}

/// What one of them does for a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Under which name the folder's peers meet.
    pub(crate) discovery: DiscoveryId,
    /// Whom to ask; of trackers only.
    pub(crate) trackers: Vec<String>,
}

/// All that is to run.
pub(crate) type Plan = BTreeMap<Source, BTreeMap<FolderId, Wish>>;

/// A folder and how its peers are to be found.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) discovery: DiscoveryId,
    pub(crate) settings: Discovery,
}

/// What the settings of all folders come to. What no folder wants does not run.
pub(crate) fn plan(members: &BTreeMap<FolderId, Member>) -> Plan {
    let mut plan = Plan::new();
    for (folder, Member { discovery, settings }) in members {
        let mut want = |source, trackers| {
            let wish = Wish { discovery: *discovery, trackers };
            plan.entry(source).or_default().insert(*folder, wish);
        };
        match settings.lan {
            Lan::Off => {}
            Lan::Loopback => want(Source::LanOnLoopback, Vec::new()),
            Lan::On => want(Source::Lan, Vec::new()),
        }
        if !settings.trackers.is_empty() {
            want(Source::Trackers, settings.trackers.clone());
        }
        if settings.dht {
            want(Source::Dht(settings.dht_bootstrap.clone()), Vec::new());
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Surroundings};

    fn member(number: u8, settings: &str) -> (FolderId, Member) {
        let config = Config::parse(settings, Surroundings::default()).unwrap();
        let settings = config.daemon().discovery;
        (FolderId([number; 16]), Member { discovery: DiscoveryId([number; 20]), settings })
    }

    fn shown(folders: &[&str]) -> Vec<(Source, Vec<u8>)> {
        let members = (1..).zip(folders).map(|(number, settings)| member(number, settings)).collect();
        plan(&members)
            .into_iter()
            .map(|(source, of)| (source, of.keys().map(|id| id.0[0]).collect()))
            .collect()
    }

    #[test]
    fn each_way_runs_for_the_folders_that_want_it_and_only_then() {
        let public = Source::Dht(Vec::new());
        let off = "discovery.lan = false\ndiscovery.dht = false";
        assert_eq!(shown(&[]), []);
        assert_eq!(shown(&[off]), []);
        assert_eq!(shown(&["", off]), [(Source::Lan, vec![1]), (public.clone(), vec![1])]);
        let tracked = format!("{off}\ndiscovery.trackers = [\"udp://t.example:1\"]");
        assert_eq!(
            shown(&["", &tracked]),
            [(Source::Lan, vec![1]), (Source::Trackers, vec![2]), (public, vec![1])]
        );
    }

    #[test]
    fn folders_that_cannot_share_get_one_each() {
        let office = "discovery.lan = \"loopback\"\ndiscovery.dht_bootstrap = [\"10.0.0.1:6881\"]";
        assert_eq!(
            shown(&["", office]),
            [
                (Source::Lan, vec![1]),
                (Source::LanOnLoopback, vec![2]),
                (Source::Dht(Vec::new()), vec![1]),
                (Source::Dht(vec!["10.0.0.1:6881".to_owned()]), vec![2]),
            ]
        );
    }
}
