//! When beacons are sent, and which foreign ones are looked at. Pure: the time is an argument.
//!
//! What it costs, for one folder (23 bytes of beacon) on one interface with both families: three
//! datagrams a round, 23 + 28 for each IPv4 one and 23 + 48 for the IPv6 one, 173 bytes; at rest
//! two rounds a minute, so 346 bytes a minute for each device.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// After a start or a change, the pauses between rounds: quick at first, since the other side may
/// just have started, then slower; the last one is kept.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// Answers to new peers are at least this far from the round before.
const ANSWER_PAUSE: Duration = Duration::from_millis(500);
/// A peer that was silent for this long (over three rounds) is new when it is heard again.
const FORGET_AFTER: Duration = Duration::from_secs(100);
/// How many beacons of one address are looked at in a burst, and how fast more are granted. One
/// round is up to three copies of each datagram.
const BURST: u32 = 24;
const GRANT_EVERY: Duration = Duration::from_millis(250);
/// How many addresses are remembered; beyond, none of a new address is looked at.
const MAX_SOURCES: usize = 1024;
/// How many of our nonces are remembered, to know our own beacons.
const OWN_NONCES: usize = 32;

/// Says when the next round is due.
#[derive(Debug)]
pub(super) struct Pace {
    step: usize,
    due: Duration,
    last: Option<Duration>,
    own: VecDeque<[u8; 8]>,
}

impl Pace {
    /// A pace whose first round is due at once.
    pub(super) fn new(now: Duration) -> Self {
        Self { step: 0, due: now, last: None, own: VecDeque::new() }
    }

    /// When the next round is due.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// A round was sent; `jitter` (0 to 255) spreads the next by up to a fifth.
    pub(super) fn handle_sent(&mut self, now: Duration, nonce: [u8; 8], jitter: u8) {
        let pause = PAUSES[self.step.min(PAUSES.len() - 1)];
        self.step = (self.step + 1).min(PAUSES.len() - 1);
        self.last = Some(now);
        self.due = now + pause - pause / 5 * u32::from(jitter) / 255;
        if self.own.len() == OWN_NONCES {
            self.own.pop_front();
        }
        self.own.push_back(nonce);
    }

    /// A folder or an interface came: speak now, and quickly for a while.
    pub(super) fn handle_change(&mut self, now: Duration) {
        self.step = 0;
        self.answer(now);
    }

    /// A new peer was heard: answer, so that it need not wait for our next round.
    pub(super) fn answer(&mut self, now: Duration) {
        let earliest = self.last.map_or(now, |last| last + ANSWER_PAUSE);
        self.due = self.due.min(earliest.max(now));
    }

    /// Whether a beacon with this nonce is our own.
    pub(super) fn is_own(&self, nonce: &[u8; 8]) -> bool {
        self.own.contains(nonce)
    }
}

#[derive(Debug)]
struct Source {
    heard: Duration,
    tokens: u32,
    granted: Duration,
}

/// Who was heard lately, and how often.
#[derive(Debug, Default)]
pub(super) struct Heard {
    sources: BTreeMap<IpAddr, Source>,
    peers: BTreeMap<(IpAddr, u16), Duration>,
}

impl Heard {
    /// Whether to look at a beacon from this address.
    pub(super) fn admit(&mut self, from: IpAddr, now: Duration) -> bool {
        if self.sources.len() >= MAX_SOURCES {
            self.sources.retain(|_, source| now < source.heard + FORGET_AFTER);
        }
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&from) {
            return false;
        }
        let source = self.sources.entry(from).or_insert(Source { heard: now, tokens: BURST, granted: now });
        source.heard = now;
        let grants = (now - source.granted).as_millis() / GRANT_EVERY.as_millis();
        let grants = u32::try_from(grants).unwrap_or(u32::MAX);
        if grants > 0 {
            source.tokens = source.tokens.saturating_add(grants).min(BURST);
            source.granted = now;
        }
        let admitted = source.tokens > 0;
        source.tokens = source.tokens.saturating_sub(1);
        admitted
    }

    /// A device with a folder of ours was heard there; says whether it is new.
    pub(super) fn handle_peer(&mut self, from: IpAddr, quic_port: u16, now: Duration) -> bool {
        if self.peers.len() >= MAX_SOURCES {
            self.peers.retain(|_, heard| now < *heard + FORGET_AFTER);
        }
        if self.peers.len() >= MAX_SOURCES {
            return false;
        }
        let before = self.peers.insert((from, quic_port), now);
        before.is_none_or(|heard| heard + FORGET_AFTER <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn rounds_are_quick_at_first_and_slow_at_rest() {
        let mut pace = Pace::new(at(0));
        let mut times = Vec::new();
        while times.len() < 8 {
            times.push(pace.due().as_millis());
            pace.handle_sent(pace.due(), [0; 8], 0);
        }
        assert_eq!(times, [0, 300, 1_300, 4_300, 14_300, 24_300, 54_300, 84_300]);
    }

    #[test]
    fn a_new_folder_is_told_soon_but_not_in_a_flood() {
        let mut pace = Pace::new(at(0));
        for _ in 0..6 {
            pace.handle_sent(pace.due(), [0; 8], 0);
        }
        let now = at(30_000);
        pace.handle_change(now);
        assert_eq!(pace.due(), now);
        pace.handle_sent(now, [0; 8], 0);
        pace.handle_change(now + at(10));
        assert_eq!(pace.due(), now + at(300));
        pace.handle_sent(pace.due(), [0; 8], 0);
        pace.answer(now + at(310));
        assert_eq!(pace.due(), now + at(600));
        pace.handle_sent(now + at(300), [0; 8], 0);
        pace.answer(now + at(310));
        assert_eq!(pace.due(), now + at(800));
    }

    #[test]
    fn own_beacons_are_known_for_many_rounds() {
        let mut pace = Pace::new(at(0));
        for n in 0..20 {
            pace.handle_sent(at(0), [n; 8], 0);
        }
        assert!(pace.is_own(&[3; 8]) && !pace.is_own(&[77; 8]));
    }

    #[test]
    fn a_flood_from_one_address_is_not_looked_at() {
        let mut heard = Heard::default();
        let (loud, calm) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let admitted = (0..1000).filter(|_| heard.admit(loud, at(5))).count();
        assert_eq!(admitted, 24);
        assert!(heard.admit(calm, at(5)));
        assert!(heard.admit(loud, at(300)));
    }

    #[test]
    fn a_peer_is_new_once_and_again_after_a_long_silence() {
        let mut heard = Heard::default();
        let peer = IpAddr::from([10, 0, 0, 1]);
        assert!(heard.handle_peer(peer, 1, at(0)));
        assert!(!heard.handle_peer(peer, 1, at(30_000)));
        assert!(heard.handle_peer(peer, 2, at(30_000)));
        assert!(heard.handle_peer(peer, 1, at(131_000)));
    }
}
