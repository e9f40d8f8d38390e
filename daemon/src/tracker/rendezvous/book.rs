//! Who is connected, from where, for which swarms; who may be introduced to whom. Pure: the time is
//! an argument.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keystore::DiscoveryId;
use protocol::rendezvous::Refusal;

use super::budget::Budget;
use super::{Limits, household};

/// Numbers the connections of this process.
pub(super) type DeviceNumber = u64;

/// Figures for a person and for graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RendezvousStatus {
    /// Devices that are connected now.
    pub connections: usize,
    /// Registered discovery ids now, over all devices.
    pub registrations: usize,
    /// Introductions made since the start.
    pub introductions: u64,
    /// Relays that are lent now.
    pub relays: usize,
    /// Relays lent since the start.
    pub relays_lent: u64,
    /// Bytes that relays have passed on since the start.
    pub relayed_bytes: u64,
    /// Questions that were refused since the start.
    pub refusals: u64,
}

/// All devices.
pub(super) struct Book {
    limits: Limits,
    devices: HashMap<DeviceNumber, Device>,
    per_household: HashMap<IpAddr, usize>,
    /// The latest connection from an address.
    by_address: HashMap<SocketAddr, DeviceNumber>,
    members: HashMap<(DiscoveryId, IpAddr), BTreeSet<DeviceNumber>>,
    registrations: usize,
    next: DeviceNumber,
}

struct Device {
    address: SocketAddr,
    discoveries: BTreeSet<DiscoveryId>,
    /// What it may ask.
    asks: Budget,
    /// What others may ask of it.
    introductions: Budget,
}

impl Book {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            devices: HashMap::new(),
            per_household: HashMap::new(),
            by_address: HashMap::new(),
            members: HashMap::new(),
            registrations: 0,
            next: 0,
        }
    }

    /// Lets a connection in, if there is room; it stays until [`Self::leave`].
    pub(super) fn enter(&mut self, address: SocketAddr, now: Duration) -> Option<DeviceNumber> {
        let from_there = self.per_household.get(&household(address.ip())).copied().unwrap_or(0);
        if self.devices.len() >= self.limits.connections || from_there >= self.limits.connections_per_ip {
            return None;
        }
        *self.per_household.entry(household(address.ip())).or_insert(0) += 1;
        self.next += 1;
        let device = Device {
            address,
            discoveries: BTreeSet::new(),
            asks: Budget::per_minute(self.limits.asks_per_minute, now),
            introductions: Budget::per_minute(self.limits.introductions_per_minute, now),
        };
        self.devices.insert(self.next, device);
        Some(self.next)
    }

    /// The handshake is done, so the address is the device's own.
    pub(super) fn handle_verified(&mut self, number: DeviceNumber) {
        if let Some(device) = self.devices.get(&number) {
            self.by_address.insert(device.address, number);
        }
    }

    pub(super) fn leave(&mut self, number: DeviceNumber) {
        self.register(number, Vec::new());
        let Some(device) = self.devices.remove(&number) else { return };
        if self.by_address.get(&device.address) == Some(&number) {
            self.by_address.remove(&device.address);
        }
        let home = household(device.address.ip());
        if let Some(count) = self.per_household.get_mut(&home) {
            *count -= 1;
            if *count == 0 {
                self.per_household.remove(&home);
            }
        }
    }

    /// Replaces the swarms of a device. Those for which there is no room are left out.
    pub(super) fn register(&mut self, number: DeviceNumber, discoveries: Vec<DiscoveryId>) {
        let Some(device) = self.devices.get_mut(&number) else { return };
        let ip = device.address.ip();
        let before = std::mem::take(&mut device.discoveries);
        self.registrations -= before.len();
        for discovery in before {
            if let Some(members) = self.members.get_mut(&(discovery, ip)) {
                members.remove(&number);
                if members.is_empty() {
                    self.members.remove(&(discovery, ip));
                }
            }
        }
        for discovery in discoveries {
            if self.registrations < self.limits.registrations && device.discoveries.insert(discovery) {
                self.registrations += 1;
                self.members.entry((discovery, ip)).or_default().insert(number);
            }
        }
    }

    /// Where a device is connected from.
    pub(super) fn address(&self, number: DeviceNumber) -> Option<SocketAddr> {
        self.devices.get(&number).map(|device| device.address)
    }

    /// The device that is meant by an address in a swarm: the one that is connected from there, else
    /// the latest one of that IP address, since a NAT may show others another port.
    pub(super) fn find(
        &mut self,
        asker: DeviceNumber,
        discovery: DiscoveryId,
        address: SocketAddr,
        now: Duration,
    ) -> Result<DeviceNumber, Refusal> {
        let device = self.devices.get_mut(&asker).ok_or(Refusal::NotThere)?;
        if !device.asks.take_one(now) {
            return Err(Refusal::TooOften);
        }
        let is_same_family = device.address.is_ipv4() == address.is_ipv4();
        if !is_same_family || !device.discoveries.contains(&discovery) {
            return Err(Refusal::NotThere);
        }
        let members = self.members.get(&(discovery, address.ip())).ok_or(Refusal::NotThere)?;
        let exact = self.by_address.get(&address).filter(|number| members.contains(number));
        let found = match exact {
            Some(number) => *number,
            None => *members.iter().rev().find(|number| **number != asker).ok_or(Refusal::NotThere)?,
        };
        if found == asker {
            return Err(Refusal::NotThere);
        }
        let target = self.devices.get_mut(&found).ok_or(Refusal::NotThere)?;
        if target.introductions.take_one(now) { Ok(found) } else { Err(Refusal::TooOften) }
    }

    pub(super) fn connections(&self) -> usize {
        self.devices.len()
    }

    pub(super) fn registrations(&self) -> usize {
        self.registrations
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
