//! Addresses at which a device was reached before, in this run or an earlier one.
//!
//! They were proven, so they are no hints; yet the device may be gone and a stranger may have its
//! address now. So they are dialled as often as a pinned peer for half an hour, then every ten
//! minutes, and it is told when that is in vain ([`DialBook::poll_unreached`]), for whoever keeps
//! them to forget. While nobody at all is connected nothing is held against them: it may be our own
//! network that is down.

use std::net::SocketAddr;
use std::time::Duration;

use keystore::{DeviceId, FolderId};

use super::entry::{Entry, Heard};
use super::{Backoff, DialBook, FoundBy, Target};

/// So many failures in a row, some half an hour, before an address is dialled less often.
const PATIENCE: u32 = 30;
/// By how much less often.
const LESS_OFTEN: u32 = 10;
/// After so many failures in a row that were not our network's, it is told: some six hours at ten
/// minutes each.
const VAIN: u32 = 36;
/// Addresses of one device for one folder: both families, at home and elsewhere.
const MAX_OF_DEVICE: usize = 4;

impl DialBook {
    /// A device was reached at an address: dial it when the device is not connected.
    pub(in crate::net) fn remember(
        &mut self,
        folder: FolderId,
        address: SocketAddr,
        device: DeviceId,
        now: Duration,
    ) {
        let (target, key) = (Target::Address(address), (folder, FoundBy::Remembered));
        // Most of what is remembered is so already: that is said of everybody at each change.
        let known = self.entries.get_mut(&target).filter(|entry| entry.device == Some(device));
        if let Some(heard) = known.and_then(|entry| entry.wanted.get_mut(&key)) {
            heard.at = now;
            return;
        }
        if !self.entries.contains_key(&target) && !self.make_room(FoundBy::Remembered, None, now) {
            return;
        }
        let entry = self.entries.entry(target).or_insert_with(|| Entry::new(FoundBy::Remembered, now));
        entry.wanted.insert(key, Heard { at: now, namer: None });
        entry.device = Some(device);
        let mut of_device: Vec<(Duration, Target)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.device == Some(device))
            .filter_map(|(target, entry)| Some((entry.wanted.get(&key)?.at, target.clone())))
            .collect();
        of_device.sort();
        let too_many = of_device.len().saturating_sub(MAX_OF_DEVICE);
        for (_, target) in &of_device[..too_many] {
            if let Some(entry) = self.entries.get_mut(target) {
                entry.wanted.remove(&key);
            }
        }
        self.drop_unwanted();
    }

    /// Takes it back.
    pub(in crate::net) fn forget(&mut self, folder: FolderId, address: SocketAddr) {
        if let Some(entry) = self.entries.get_mut(&Target::Address(address)) {
            entry.wanted.remove(&(folder, FoundBy::Remembered));
        }
        self.drop_unwanted();
    }

    /// A remembered address that has been dialled in vain for hours.
    pub(in crate::net) fn poll_unreached(&mut self) -> Option<(FolderId, SocketAddr)> {
        self.unreached.pop_front()
    }
}

impl Entry {
    /// Nobody but our own memory says that something is there.
    pub(super) fn is_only_remembered(&self, now: Duration) -> bool {
        let mut ways = self.ways(now).peekable();
        ways.peek().is_some() && ways.all(|(by, _)| by == FoundBy::Remembered)
    }

    pub(super) fn longest_pause(&self, backoff: &Backoff, now: Duration) -> Duration {
        let is_stale = self.failures > PATIENCE && self.is_only_remembered(now);
        backoff.most * if is_stale { LESS_OFTEN } else { 1 }
    }

    /// Counts the end of a dial; the folders that remember the address if it was often in vain.
    pub(super) fn count_vain(&mut self, proven: bool, is_online: bool) -> Vec<FolderId> {
        self.vain = if proven { 0 } else { self.vain + u32::from(is_online) };
        if self.vain < VAIN {
            return Vec::new();
        }
        self.vain = 0;
        let remembering = self.wanted.keys().filter(|(_, by)| *by == FoundBy::Remembered);
        remembering.map(|(folder, _)| *folder).collect()
    }
}

#[cfg(test)]
#[path = "remembered_tests.rs"]
mod tests;
