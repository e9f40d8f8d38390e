//! Small packets that open the way through our gateway for a device that is about to dial us.
//!
//! They go out from the port of the links. Since others say where to, they are bounded like dials
//! of hints: nobody can make us send a stranger more than a few hundred bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::rendezvous::datagram::PUNCH_PACKET;
use tokio::time::sleep;

use crate::net::hub::Hub;

/// Packets for one introduction; with pauses that grow by [`STEP`], over 4.5 s.
const PACKETS: u32 = 10;
const STEP: Duration = Duration::from_millis(100);
/// Several may introduce the same two: what follows so soon is the same.
const SAME: Duration = Duration::from_secs(5);
/// Introductions for one address within [`SPAN`]: as often as a hint is dialled.
const PER_ADDRESS: usize = 3;
const SPAN: Duration = Duration::from_secs(600);
/// Introductions within a minute, in all.
const RATE: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// What was sent lately.
#[derive(Default)]
pub(in crate::net) struct Punches(Mutex<VecDeque<(SocketAddr, Duration)>>);

impl Punches {
    /// Whether packets may be sent there, which then counts as done.
    fn allow(&self, to: SocketAddr, now: Duration) -> bool {
        let mut sent = self.0.lock();
        while sent.front().is_some_and(|(_, at)| *at + SPAN <= now) {
            sent.pop_front();
        }
        let there = || sent.iter().filter(|(address, _)| *address == to);
        let is_same = there().any(|(_, at)| now < *at + SAME);
        let lately = sent.iter().filter(|(_, at)| now < *at + MINUTE).count();
        if is_same || there().count() >= PER_ADDRESS || lately >= RATE {
            return false;
        }
        sent.push_back((to, now));
        true
    }
}

/// Sends the packets, if they may be sent there.
pub(super) fn punch(hub: &Arc<Hub>, to: SocketAddr) {
    if !hub.reach.punches.allow(to, hub.now()) {
        return;
    }
    let hub = Arc::downgrade(hub);
    tokio::spawn(async move {
        for number in 0..PACKETS {
            sleep(STEP * number).await;
            let Some(hub) = hub.upgrade().filter(|hub| !hub.is_closed()) else { return };
            if hub.book.lock().is_connected_at(to) {
                return;
            }
            hub.endpoints.send_beside(to, &PUNCH_PACKET);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_make_us_send_much_to_an_address_or_in_all() {
        let punches = Punches::default();
        let address = |n: u8| SocketAddr::from(([9, 9, 9, n], 4455));
        let second = |n: u64| Duration::from_secs(n);
        let to_one = (0..600).filter(|n| punches.allow(address(1), second(*n))).count();
        assert_eq!(to_one, 3);
        let at_once = (2..200).filter(|n| punches.allow(address(*n), second(600))).count();
        assert_eq!(at_once, 20);
        assert!(punches.allow(address(1), second(1200)));
    }
}
