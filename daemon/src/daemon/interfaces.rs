//! Noticing that the network of this machine has changed: other addresses, or a sleep.
//!
//! Both are looked for every few seconds, which works everywhere and costs one system call. Addresses
//! of the link alone are not looked at: container hosts make and remove them all the time, and no
//! route depends on them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Weak;
use std::time::{Duration, Instant, SystemTime};

use super::folders::Folders;

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So many looks later, ways of finding peers that could not be started are tried again.
const LOOKS_UNTIL_RETRY: u32 = 6;
/// A network that changes all the time is followed this often.
const BETWEEN: Duration = Duration::from_secs(15);
/// By so much the wall clock gets ahead of the steady one only when the machine sleeps, or the clock
/// is set.
const ASLEEP: Duration = Duration::from_secs(10);

/// Makes everything that finds peers look again when the network has changed, for as long as the
/// daemon runs.
pub(super) async fn follow(folders: Weak<Folders>) {
    let mut watch = Watch::new(addresses().unwrap_or_default(), Instant::now(), SystemTime::now());
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for looks in 1.. {
        ticks.tick().await;
        let Some(folders) = folders.upgrade() else { return };
        let change = watch.handle_look(addresses(), Instant::now(), SystemTime::now());
        if let Some(change) = change {
            tracing::info!(?change, "the network has changed: peers are looked for anew");
            folders.net.network_changed();
            folders.ways.look_again();
        } else if looks % LOOKS_UNTIL_RETRY == 0 {
            folders.ways.retry();
        }
    }
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// The machine has other addresses.
    Addresses,
    /// It was asleep.
    Sleep,
}

/// What was seen last.
struct Watch {
    addresses: BTreeSet<IpAddr>,
    steady: Instant,
    wall: SystemTime,
    changed: Option<Instant>,
}

impl Watch {
    fn new(addresses: BTreeSet<IpAddr>, steady: Instant, wall: SystemTime) -> Self {
        Self { addresses, steady, wall, changed: None }
    }

    /// Compares; addresses that could not be listed are as before.
    fn handle_look(
        &mut self,
        addresses: Option<BTreeSet<IpAddr>>,
        steady: Instant,
        wall: SystemTime,
    ) -> Option<Change> {
        let ahead = wall.duration_since(self.wall).unwrap_or_default();
        let has_slept = ahead > steady.duration_since(self.steady) + ASLEEP;
        (self.steady, self.wall) = (steady, wall);
        let may_change = self.changed.is_none_or(|at| steady.duration_since(at) >= BETWEEN);
        let changed = addresses.filter(|addresses| *addresses != self.addresses);
        let is_other = changed.is_some() && (may_change || has_slept);
        if let Some(addresses) = changed.filter(|_| is_other) {
            self.addresses = addresses;
        }
        if !is_other && !has_slept {
            return None;
        }
        self.changed = Some(steady);
        Some(if has_slept { Change::Sleep } else { Change::Addresses })
    }
}

/// The addresses of this machine that others can know it by.
fn addresses() -> Option<BTreeSet<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    // One that is down keeps its addresses, and nobody is reached over it.
    let addresses = interfaces.iter().filter(|interface| interface.is_oper_up()).map(if_addrs::Interface::ip);
    Some(addresses.filter(|ip| is_known_outside(*ip)).collect())
}

fn is_known_outside(ip: IpAddr) -> bool {
    let is_of_link = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !ip.is_loopback() && !is_of_link
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch, and clocks that can be turned.
    struct Story {
        watch: Watch,
        steady: Instant,
        wall: SystemTime,
    }

    impl Story {
        fn new() -> Self {
            let (steady, wall) = (Instant::now(), SystemTime::now());
            Self { watch: Watch::new(of(&[1]), steady, wall), steady, wall }
        }

        /// Looks after some seconds, in which the machine also slept for some.
        fn look(&mut self, addresses: Option<&[u8]>, seconds: u64, asleep: u64) -> Option<Change> {
            self.steady += Duration::from_secs(seconds);
            self.wall += Duration::from_secs(seconds + asleep);
            self.watch.handle_look(addresses.map(of), self.steady, self.wall)
        }
    }

    fn of(addresses: &[u8]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|n| IpAddr::from([10, 0, 0, *n])).collect()
    }

    #[test]
    fn an_address_that_comes_or_goes_is_a_change_and_only_once() {
        let mut story = Story::new();
        assert_eq!(story.look(Some(&[1]), 5, 0), None);
        assert_eq!(story.look(Some(&[1, 2]), 5, 0), Some(Change::Addresses));
        assert_eq!(story.look(Some(&[1, 2]), 15, 0), None);
        assert_eq!(story.look(Some(&[]), 5, 0), Some(Change::Addresses));
    }

    #[test]
    fn a_network_that_flaps_is_followed_every_quarter_of_a_minute() {
        let mut story = Story::new();
        let changes = (0_u8..60).filter(|n| story.look(Some(&[*n]), 5, 0).is_some());
        assert_eq!(changes.count(), 20);
    }

    #[test]
    fn what_changed_too_soon_after_a_change_is_told_later() {
        let mut story = Story::new();
        assert_eq!(story.look(Some(&[2]), 5, 0), Some(Change::Addresses));
        assert_eq!(story.look(Some(&[3]), 5, 0), None);
        assert_eq!(story.look(Some(&[3]), 10, 0), Some(Change::Addresses));
    }

    #[test]
    fn a_sleep_is_a_change_though_the_addresses_are_the_same() {
        let mut story = Story::new();
        assert_eq!(story.look(Some(&[1]), 5, 3600), Some(Change::Sleep));
        assert_eq!(story.look(Some(&[1]), 5, 0), None);
        assert_eq!(story.look(Some(&[1]), 300, 0), None, "a busy machine looks late, and has not slept");
    }

    #[test]
    fn addresses_that_cannot_be_listed_and_a_clock_set_back_are_no_change() {
        let mut story = Story::new();
        assert_eq!(story.look(None, 5, 0), None);
        story.wall -= Duration::from_secs(3600);
        assert_eq!(story.look(Some(&[1]), 5, 0), None);
    }
}
