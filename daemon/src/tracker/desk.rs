//! What both protocols share: the swarms, who may ask how much, what was counted, the time.

use parking_lot::RwLock;

use super::clock::{Clock, Now};
use super::counters::Counters;
use super::pace::Pace;
use super::rendezvous::{RendezvousGauge, RendezvousStatus};
use super::swarms::{Dice, Limits, Swarms};
use crate::random;

/// What an announce is told when it says nothing of how many it wants.
pub const USUAL_WANT: usize = 50;
/// More than this are never named of one family.
pub const MAX_WANT: usize = 200;

/// One tracker, behind whatever protocol.
#[derive(Debug)]
pub struct Desk {
    /// Who is where.
    pub swarms: Swarms,
    /// Who may ask.
    pub pace: Pace,
    /// What has happened.
    pub counters: Counters,
    /// The time.
    pub clock: Clock,
    /// What introduces devices and relays for them, one for each address.
    pub introducers: RwLock<Vec<RendezvousGauge>>,
    interval_seconds: u32,
}

impl Desk {
    /// A desk with empty swarms.
    pub fn new(limits: Limits, requests_per_second: u32) -> Self {
        Self {
            interval_seconds: u32::from(limits.interval_minutes) * 60,
            swarms: Swarms::new(limits, random::bytes()),
            pace: Pace::new(requests_per_second, random::bytes()),
            counters: Counters::default(),
            clock: Clock::start(),
            introducers: RwLock::default(),
        }
    }

    /// What introducers and relays do, all together.
    pub fn rendezvous(&self) -> RendezvousStatus {
        let mut all = RendezvousStatus::default();
        for status in self.introducers.read().iter().map(RendezvousGauge::read) {
            all.connections += status.connections;
            all.registrations += status.registrations;
            all.introductions += status.introductions;
            all.relays += status.relays;
            all.relays_lent += status.relays_lent;
            all.relayed_bytes += status.relayed_bytes;
            all.refusals += status.refusals;
        }
        all
    }

    /// This moment.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Seconds until a client shall announce again: the interval, up to a tenth more or less, so that
    /// those who came together do not come together for ever.
    pub fn draw_interval(&self, dice: &mut Dice) -> u32 {
        let spread = self.interval_seconds / 5;
        self.interval_seconds - spread / 2 + dice.below(spread as usize) as u32
    }

    /// Seconds before which a client need not announce again.
    pub fn min_interval(&self) -> u32 {
        self.interval_seconds / 2
    }
}
