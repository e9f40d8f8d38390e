//! A slow line between two machines: delay, a rate, a bounded queue, loss.
//!
//! The kernel of a virtual machine often has no `netem`. So each machine gets a TUN device, and a
//! [`Relay`] in this process carries the packets from one to the other when [`Way`] says so: all of
//! IP, for programs of any kind. What is decided is in `way`, what touches devices in `relay`.

mod relay;
mod way;

use std::time::Duration;

pub(crate) use relay::Relay;

/// What a line is like, in each direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    /// From one end to the other.
    pub(crate) delay: Duration,
    /// Bits a second.
    pub(crate) bits_per_second: u64,
    /// Packets that are lost, of a million.
    pub(crate) lost_per_million: u32,
}
