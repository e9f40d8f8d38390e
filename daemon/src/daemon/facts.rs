//! Gathers what `doctor` judges.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::doctor::{self, Facts, FolderFacts};
use super::folders::Folders;
use super::links::interfaces;
use super::rows;
use crate::api::error::ApiError;
use crate::api::types::{Finding, FolderRow};
use crate::config::Surroundings;
use crate::folder::Folder;
use crate::net::SOCKET_BUFFER;

impl Folders {
    /// What is known of this daemon and these of its folders.
    pub(super) async fn facts(&self, folders: &[Arc<Folder>]) -> Result<Facts, ApiError> {
        let mut facts = Facts { listen: self.net.local_addresses(), ..of_machine() };
        facts.is_offline = self.config.is_offline();
        // Linux reports twice what can be used.
        let granted = self.net.socket_buffers().iter().map(|of| of.receive.min(of.send) / 2).min();
        facts.buffer = granted.map(|granted| (granted, SOCKET_BUFFER));
        facts.reach = rows::reach(self.net.reach_status());
        for folder in folders {
            facts.folders.push(self.facts_of(folder).await?);
        }
        Ok(facts)
    }

    async fn facts_of(&self, folder: &Arc<Folder>) -> Result<FolderFacts, ApiError> {
        let secret = folder.secret();
        let discovery = self.ways_of(folder);
        Ok(FolderFacts {
            row: FolderRow { discovery, ..rows::row(folder).await? },
            fingerprint: secret.fingerprint(),
            discovery_id: secret.discovery_id().to_string(),
            is_created: folder.is_created(),
            looking_for: self.ways.looking_for(secret.folder_id()),
            known: self.net.known(secret.folder_id()),
        })
    }
}

fn of_machine() -> Facts {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let has_network = interfaces().iter().any(|interface| match interface.address {
        std::net::IpAddr::V4(_) => true,
        // Each interface gives itself one of these, whether or not anything is at its other end.
        std::net::IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    });
    Facts { has_network, clock: since_1970.as_secs(), ..Facts::default() }
}

/// What can be said while no daemon runs.
pub fn findings_without_daemon() -> Vec<Finding> {
    let is_offline = Surroundings::of_this_machine().offline;
    doctor::findings(&Facts { is_offline, ..of_machine() })
}
