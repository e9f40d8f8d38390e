//! How much each source may ask: a rate and a burst, in a table that never grows.
//!
//! A source has two possible slots. When both are busy with others, it takes the one that is less
//! so: whoever was there is remembered no longer, which errs in favour of those who ask.

use std::sync::atomic::{AtomicU64, Ordering};

use super::source::Source;
use super::swarms::Mixer;

/// Half a megabyte, and room for every source that is busy at one time.
const SLOTS: usize = 1 << 16;
/// The upper bits of a slot say whose it is, the lower ones until when it is paid for.
const UNTIL_BITS: u32 = 48;
/// Requests that may come at once, in seconds of the rate.
const BURST_SECONDS: u64 = 10;

/// Says who may ask now.
#[derive(Debug)]
pub struct Pace {
    slots: Box<[AtomicU64]>,
    mixer: Mixer,
    /// Microseconds that one request costs; 0 when nothing is limited.
    cost: u64,
}

impl Pace {
    /// Each source may ask `per_second` times, and ten seconds' worth at once; 0 sets no limit.
    pub fn new(per_second: u32, secret: [u8; 16]) -> Self {
        let cost = 1_000_000_u64.checked_div(u64::from(per_second)).map_or(0, |cost| cost.max(1));
        let slots = if cost == 0 { 0 } else { SLOTS };
        Self { slots: (0..slots).map(|_| AtomicU64::new(0)).collect(), mixer: Mixer::new(secret), cost }
    }

    /// Whether the source may ask now. `now` is in microseconds.
    ///
    /// Two threads that ask for one source at once may both be granted the same request: a limit
    /// need not be exact.
    pub fn is_granted(&self, source: Source, now: u64) -> bool {
        if self.cost == 0 {
            return true;
        }
        let hash = self.mixer.hash(&source.to_bytes());
        let tag = hash >> UNTIL_BITS;
        let slots = [hash as usize % SLOTS, (hash >> 20) as usize % SLOTS];
        let values = slots.map(|slot| self.slots[slot].load(Ordering::Relaxed));
        let own = values.iter().position(|value| value >> UNTIL_BITS == tag);
        let at = own.unwrap_or(usize::from(until(values[1]) < until(values[0])));
        let paid_until = own.map_or(now, |at| until(values[at]).max(now)) + self.cost;
        let is_granted = paid_until <= now + (BURST_SECONDS * 1_000_000).max(self.cost);
        if is_granted {
            self.slots[slots[at]].store(tag << UNTIL_BITS | paid_until, Ordering::Relaxed);
        }
        is_granted
    }
}

fn until(value: u64) -> u64 {
    value & ((1 << UNTIL_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u8) -> Source {
        Source::of([192, 0, 2, number].into())
    }

    #[test]
    fn a_burst_is_granted_and_then_the_rate() {
        let pace = Pace::new(5, [2; 16]);
        let granted = |now| (0..1_000).filter(|_| pace.is_granted(source(1), now)).count();
        assert_eq!(granted(1_000_000), 50);
        assert_eq!(granted(2_000_000), 5);
        assert_eq!(granted(2_000_000), 0);
        assert_eq!(granted(100_000_000), 50);
    }

    #[test]
    fn one_source_takes_nothing_from_another() {
        let pace = Pace::new(1, [2; 16]);
        while pace.is_granted(source(1), 1) {}
        assert!((2..200).all(|number| pace.is_granted(source(number), 1)));
        assert!(!pace.is_granted(source(1), 1));
    }

    #[test]
    fn without_a_rate_everything_is_granted() {
        let pace = Pace::new(0, [2; 16]);
        assert!((0..10_000).all(|_| pace.is_granted(source(1), 1)));
    }
}
