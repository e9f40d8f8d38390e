//! What `status` and the daemon's upkeep ask of an engine.

use std::collections::BTreeMap;

use keystore::DeviceId;

use crate::head::SignedHead;
use crate::path::RelPath;
use crate::state::{State, Totals};
use crate::store::NodeId;

use super::{Activity, Busy, Engine, FolderStore, Hold, Reason, Settings, Unapplied};

impl<S: FolderStore> Engine<S> {
    /// What the folder is doing.
    pub fn activity(&self) -> Activity {
        if self.paused {
            Activity::Paused
        } else if self.hold.is_some() {
            Activity::Held
        } else if self.first_head_by.is_some()
            || (!self.first_head && self.told.is_none())
            || !self.scanned
            || self.dirty.is_any()
            || matches!(self.busy, Busy::Scanning { .. })
        {
            Activity::Scanning
        } else if self.busy == Busy::Applying || self.is_behind() {
            Activity::Syncing
        } else {
            Activity::Idle
        }
    }

    /// Whether something that is known has not been applied, other than what cannot be.
    pub(super) fn is_behind(&self) -> bool {
        self.applied != self.state.entries
            || self.step.is_running()
            || self.pulls.is_any()
            || !self.revisit.is_empty()
            || self.unapplied.values().any(|u| u.reason == Reason::NoContent)
    }

    /// The hold, if there is one.
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// Files and bytes of the rendering.
    pub fn totals(&self) -> Totals {
        self.state.totals
    }

    /// The entries root of the merged state, once there is one.
    pub fn head(&self) -> Option<NodeId> {
        self.told.map(|(entries, _)| entries)
    }

    /// The merged state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What everyone who joins is told: the heads, and the entries of which all content is here.
    pub fn greeting(&self) -> (&[SignedHead], Option<NodeId>) {
        let heads = if self.told.is_some() { &self.heads[..] } else { &[] };
        (heads, self.complete.filter(|complete| *complete == self.state.entries))
    }

    /// Whether a folder that was joined by key has merged a first head.
    pub fn has_first_head(&self) -> bool {
        self.first_head
    }

    /// Files and bytes that are still to come or to go in the running step.
    pub fn need(&self) -> (u64, u64) {
        self.step.need(&self.staging)
    }

    /// Paths that are not what the state wants, and why.
    pub fn unapplied(&self) -> &BTreeMap<RelPath, Unapplied> {
        &self.unapplied
    }

    /// Peers that have all content of our head, and all peers.
    pub fn seeds(&self) -> (usize, usize) {
        let complete = self.peers.keys().filter(|peer| self.is_complete(peer)).count();
        (complete, self.peers.len())
    }

    /// Whether a peer has all content of our head.
    pub fn is_complete(&self, peer: &DeviceId) -> bool {
        self.peers.get(peer).is_some_and(|p| p.complete.is_some_and(|c| c == self.state.entries))
    }

    /// Changes the settings.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The database of the folder.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The roots of all trees and chunk lists that are in use or on their way here, but for those
    /// that a running scan or apply has made and not told of yet.
    pub fn roots(&self) -> Vec<NodeId> {
        let mut roots = vec![self.state.context_root, self.state.entries, self.applied];
        roots.extend(self.told.into_iter().flat_map(|(entries, context)| [entries, context]));
        if let Some(verifier) = &self.identity.verifier {
            let heads = self.heads.iter().filter_map(|head| head.open(verifier, self.identity.folder).ok());
            roots.extend(heads.flat_map(|head| [head.entries, head.context]));
        }
        roots.extend(self.step.roots());
        roots.extend(self.pulls.roots());
        roots.extend(self.staging.roots());
        roots
    }

    /// Whether a scan or an apply is running.
    pub fn is_busy(&self) -> bool {
        self.busy != Busy::No
    }

    /// Whether nothing is staged, or about to be, for the disk.
    pub fn wants_nothing_staged(&self) -> bool {
        self.busy == Busy::No && !self.step.is_running() && self.staging.is_empty()
    }

    /// Whether paths wait to be looked at, or are being looked at.
    pub fn is_scan_due(&self) -> bool {
        !self.scanned || self.dirty.is_any() || matches!(self.busy, Busy::Scanning { .. })
    }
}
