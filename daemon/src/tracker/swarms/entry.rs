//! One peer of a swarm: its address as it is told to others, and two bytes about it.

/// Minutes since some moment before the start, in a circle of eleven days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick(u16);

const TICK_BITS: u16 = (1 << 14) - 1;
const CONFIRMED: u16 = 1 << 14;
const SEED: u16 = 1 << 15;

impl Tick {
    /// The tick of a minute.
    pub fn of_minute(minute: u64) -> Self {
        Self(u16::try_from(minute & u64::from(TICK_BITS)).expect("14 bits"))
    }

    /// Minutes from an earlier tick to this one.
    pub fn since(self, earlier: Self) -> u16 {
        self.0.wrapping_sub(earlier.0) & TICK_BITS
    }

    /// Fourteen bits.
    pub fn to_bits(self) -> u16 {
        self.0
    }

    /// From fourteen bits; more mean nothing.
    pub fn from_bits(bits: u16) -> Self {
        Self(bits & TICK_BITS)
    }

    /// The tick that was so many minutes before this one.
    #[must_use]
    pub fn minus(self, minutes: u16) -> Self {
        Self(self.0.wrapping_sub(minutes) & TICK_BITS)
    }
}

/// When a peer was heard of, whether it has shown to stay, and whether it has everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u16);

impl Stamp {
    pub(super) fn new(now: Tick, is_seed: bool) -> Self {
        Self(now.0 | if is_seed { SEED } else { 0 })
    }

    /// The stamp after another announce.
    ///
    /// Who comes back within `settling` minutes of its first announce has shown nothing yet: it keeps
    /// its first tick, so that a flood cannot make itself look settled by repeating itself.
    #[must_use]
    pub(super) fn renewed(self, now: Tick, is_seed: bool, settling: u16) -> Self {
        let keeps_first_tick = !self.is_confirmed() && now.since(self.tick()) < settling;
        let base = if keeps_first_tick { self.0 & TICK_BITS } else { now.0 | CONFIRMED };
        Self(base | if is_seed { SEED } else { 0 })
    }

    /// The same, heard of at another tick.
    #[must_use]
    pub(super) fn at(self, tick: Tick) -> Self {
        Self(self.0 & !TICK_BITS | tick.0)
    }

    pub(super) fn tick(self) -> Tick {
        Tick(self.0 & TICK_BITS)
    }

    pub(super) fn is_seed(self) -> bool {
        self.0 & SEED != 0
    }

    pub(super) fn is_confirmed(self) -> bool {
        self.0 & CONFIRMED != 0
    }

    pub(super) fn to_bits(self) -> u16 {
        self.0
    }

    pub(super) fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

/// A peer, in N + 2 bytes: N is 6 for IPv4, 18 for IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<const N: usize> {
    pub(super) address: [u8; N],
    pub(super) stamp: Stamp,
}

impl<const N: usize> Entry<N> {
    /// What lies in places without a peer.
    pub(super) const NONE: Self = Self { address: [0; N], stamp: Stamp(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_round_in_a_circle() {
        let before = Tick::of_minute(u64::from(TICK_BITS) - 1);
        let after = Tick::of_minute(u64::from(TICK_BITS) + 4);
        assert_eq!(after.since(before), 5);
        assert_eq!(after.minus(5), before);
    }

    #[test]
    fn repeating_itself_at_once_settles_nobody() {
        let first = Stamp::new(Tick::of_minute(100), false);
        let repeated = first.renewed(Tick::of_minute(106), true, 7);
        assert!(!repeated.is_confirmed() && repeated.is_seed());
        assert_eq!(repeated.tick(), Tick::of_minute(100));
        let settled = repeated.renewed(Tick::of_minute(107), false, 7);
        assert!(settled.is_confirmed() && !settled.is_seed());
        assert_eq!(settled.tick(), Tick::of_minute(107));
        assert_eq!(settled.renewed(Tick::of_minute(108), false, 7).tick(), Tick::of_minute(108));
    }

    #[test]
    fn an_entry_costs_two_bytes_more_than_its_address() {
        assert_eq!((size_of::<Entry<6>>(), size_of::<Entry<18>>()), (8, 20));
    }
}
