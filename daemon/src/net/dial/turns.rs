//! Whose turn it is among targets that are all due, and for whom there is room.
//!
//! What the user named comes first, then beacons, then what was reached before. Hints share what is
//! left: the way that was dialled for least in the last minute has the next turn, and within it the
//! namer. So a tracker that names ten thousand addresses of strangers delays the one address that a
//! peer names by a few dials, whoever lies or leaves out what.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{
    DialBook, Entry, FoundBy, HINT_DIALS, HINT_RATE, HINT_RATE_OF_WAY, HINTS_IN_FLIGHT, MAX_HINTS_OF_WAY,
    MAX_IN_FLIGHT, MAX_TARGETS, REMEMBERED_IN_FLIGHT, Target,
};

/// So long a namer that had no room is not asked about again: a flood is not weighed one by one.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// Less is earlier: first what is no hint by its way, then hints by how much was dialled for their
/// way and for their namer.
pub(super) type Turn = (bool, usize, usize);

/// What may be dialled just now.
pub(super) struct Limits {
    any: bool,
    remembered: bool,
    hints: bool,
    /// Dials of hints that count, by IP.
    of_ip: BTreeMap<IpAddr, usize>,
}

/// A namer by one of the ways, and when it had no room.
pub(super) type Refused = (FoundBy, Option<IpAddr>, Duration);

impl DialBook {
    pub(super) fn limits(&self) -> Limits {
        let dialing: Vec<FoundBy> = self
            .entries
            .values()
            .filter(|entry| entry.in_flight && !entry.is_linked)
            .map(|entry| entry.dialed_as)
            .collect();
        let remembered = dialing.iter().filter(|by| **by == FoundBy::Remembered).count();
        let hints = dialing.iter().filter(|by| by.is_hint()).count();
        let mut of_ip = BTreeMap::new();
        for (_, ip) in &self.hint_ips {
            *of_ip.entry(*ip).or_default() += 1;
        }
        Limits {
            of_ip,
            any: dialing.len() < MAX_IN_FLIGHT,
            remembered: remembered < REMEMBERED_IN_FLIGHT,
            hints: hints < HINTS_IN_FLIGHT && self.hint_dials.len() < HINT_RATE,
        }
    }

    /// The earliest turn that one of its ways gives a target; none if it may not be dialled now.
    pub(super) fn turn(
        &self,
        target: &Target,
        entry: &Entry,
        limits: &Limits,
        now: Duration,
    ) -> Option<(Turn, FoundBy, Option<IpAddr>)> {
        let turns = entry.ways(now).filter_map(|(by, namer)| {
            let may = match by {
                _ if !limits.any => false,
                FoundBy::Remembered => limits.remembered,
                by if by.is_hint() => limits.hints && self.may_knock(target, entry, limits),
                _ => true,
            };
            if !may {
                return None;
            }
            if !by.is_hint() {
                return Some(((false, by as usize, 0), by, None));
            }
            let of_way = self.hint_dials.iter().filter(|(_, other, _)| *other == by);
            let of_namer = of_way.clone().filter(|(.., other)| *other == namer).count();
            let of_way = of_way.count();
            (of_way < HINT_RATE_OF_WAY).then_some(((true, of_way, of_namer), by, namer))
        });
        turns.min_by_key(|(turn, by, _)| (*turn, *by))
    }

    /// Whether a hint may be dialled again: not often, and not often at any port of a stranger's.
    fn may_knock(&self, target: &Target, entry: &Entry, limits: &Limits) -> bool {
        let Target::Address(address) = target else { return false };
        let ports = SocketAddr::new(address.ip(), 0)..=SocketAddr::new(address.ip(), u16::MAX);
        let is_stranger = self.owners.range(ports).next().is_none();
        let knocked = target.ip().and_then(|ip| limits.of_ip.get(&ip)).copied().unwrap_or(0);
        entry.has_tries() && (knocked < HINT_DIALS || !is_stranger)
    }

    /// Whether a new target may be remembered. A way whose room is used up takes it from the namer
    /// that has most of it.
    pub(super) fn make_room(&mut self, found_by: FoundBy, namer: Option<IpAddr>, now: Duration) -> bool {
        if self.entries.len() >= MAX_TARGETS {
            self.expire(now);
        }
        if !found_by.is_hint() {
            return self.entries.len() < MAX_TARGETS || found_by != FoundBy::Remembered;
        }
        let is_refused = |(by, who, at)| (by, who) == (found_by, namer) && now < at + REFUSED_FOR;
        if self.refused.is_some_and(is_refused) {
            return false;
        }
        let is_made = self.make_room_of_way(found_by, namer);
        if !is_made {
            self.refused = Some((found_by, namer, now));
        }
        is_made
    }

    fn make_room_of_way(&mut self, found_by: FoundBy, namer: Option<IpAddr>) -> bool {
        let mut of_namers: BTreeMap<Option<IpAddr>, usize> = BTreeMap::new();
        for entry in self.entries.values() {
            let named = entry.wanted.iter().find(|((_, by), _)| *by == found_by);
            if let Some((_, heard)) = named {
                *of_namers.entry(heard.namer).or_default() += 1;
            }
        }
        let of_way: usize = of_namers.values().sum();
        if of_way < MAX_HINTS_OF_WAY && self.entries.len() < MAX_TARGETS {
            return true;
        }
        let ours = of_namers.get(&namer).copied().unwrap_or(0);
        let most = of_namers.into_iter().max_by_key(|(_, count)| *count);
        most.is_some_and(|(greedy, count)| ours + 1 < count && self.drop_hint_of(found_by, greedy))
    }

    /// Forgets a target that nobody but this namer has named. What was dialled is kept: else it would
    /// be dialled anew.
    fn drop_hint_of(&mut self, found_by: FoundBy, namer: Option<IpAddr>) -> bool {
        let is_his = |entry: &Entry| {
            let mut wanted = entry.wanted.iter();
            let is_idle = !entry.in_flight && entry.attempts.is_empty();
            is_idle && wanted.all(|((_, by), heard)| *by == found_by && heard.namer == namer)
        };
        let found = self.entries.iter().find(|(_, entry)| is_his(entry)).map(|(target, _)| target.clone());
        found.is_some_and(|target: Target| self.entries.remove(&target).is_some())
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
