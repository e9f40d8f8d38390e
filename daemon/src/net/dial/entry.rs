//! One target in the book: who wants it, what was tried, and when it is due.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use keystore::{DeviceId, FolderId};

use super::{FoundBy, HINT_DIALS, Target};

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) wanted: BTreeMap<(FolderId, FoundBy), Heard>,
    pub(super) due: Duration,
    pub(super) failures: u32,
    /// Failures in a row while others were connected, so that it was not our network's fault.
    pub(super) vain: u32,
    /// As what it was dialled last.
    pub(super) dialed_as: FoundBy,
    pub(super) in_flight: bool,
    /// In flight, and a folder in common was proven.
    pub(super) is_linked: bool,
    pub(super) attempts: VecDeque<Duration>,
    /// Of a name or a remembered address; another address's is in `owners`, for a while.
    pub(super) device: Option<DeviceId>,
}

/// That a target was named for a folder in some way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) at: Duration,
    /// Who said so, if it was a hint.
    pub(super) namer: Option<IpAddr>,
}

impl Entry {
    pub(super) fn new(found_by: FoundBy, now: Duration) -> Self {
        Self {
            wanted: BTreeMap::new(),
            due: now,
            failures: 0,
            vain: 0,
            dialed_as: found_by,
            in_flight: false,
            is_linked: false,
            attempts: VecDeque::new(),
            device: None,
        }
    }

    /// It was named. Who named it first stays its namer for as long as that is believed: to name what
    /// others have named takes nothing from them.
    pub(super) fn hear(&mut self, folder: FolderId, found_by: FoundBy, namer: Option<IpAddr>, now: Duration) {
        let new = Heard { at: now, namer };
        let heard = self.wanted.entry((folder, found_by)).or_insert(new);
        let is_believed = heard.is_believed(found_by, now);
        *heard = Heard { namer: if is_believed { heard.namer } else { namer }, ..new };
    }

    /// The ways that this was found and that are still believed, with who named it.
    pub(super) fn ways(&self, now: Duration) -> impl Iterator<Item = (FoundBy, Option<IpAddr>)> {
        let ways = self.wanted.iter();
        let ways =
            ways.filter(move |((_, by), heard)| heard.is_believed(*by, now) && !self.is_used_up(*by, heard));
        ways.map(|((_, by), heard)| (*by, heard.namer))
    }

    /// Anyone on the link can forge a beacon: one costs one dial, until a device has proved itself
    /// there.
    fn is_used_up(&self, by: FoundBy, heard: &Heard) -> bool {
        by == FoundBy::Lan && self.device.is_none() && self.attempts.back() >= Some(&heard.at)
    }

    /// The most trusted of them.
    pub(super) fn found_by(&self, now: Duration) -> Option<FoundBy> {
        self.ways(now).map(|(by, _)| by).min()
    }

    /// The most trusted of those for one folder.
    pub(super) fn found_for(&self, folder: FolderId, now: Duration) -> Option<FoundBy> {
        let ways =
            self.wanted.iter().filter(|((of, by), heard)| *of == folder && heard.is_believed(*by, now));
        ways.map(|((_, by), _)| *by).min()
    }

    pub(super) fn has_tries(&self) -> bool {
        self.attempts.len() < HINT_DIALS
    }
}

impl Heard {
    fn is_believed(&self, found_by: FoundBy, now: Duration) -> bool {
        now < self.at.saturating_add(found_by.life())
    }
}

impl Target {
    /// The machine, whatever the port.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.ip().to_canonical()),
            Self::Name(_) => None,
        }
    }
}
