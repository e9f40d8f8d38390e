//! Which of the addresses that a tracker names are our own: trackers tell us of ourselves.
//!
//! Behind a NAT we do not always recognise ourselves; a dial to oneself ends when the other side
//! turns out to be the same device.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::ask::Answer;

/// The interfaces are not listed more often.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct OwnAddresses {
    interfaces: Vec<IpAddr>,
    looked_at: Option<Instant>,
}

impl OwnAddresses {
    /// The others of an answer to what we announced with `port`.
    pub(super) fn others(&mut self, answer: &Answer, port: u16) -> Vec<SocketAddr> {
        self.look();
        let is_own = |peer: &SocketAddr| {
            peer.port() == port
                && (self.interfaces.contains(&peer.ip()) || answer.external_ip == Some(peer.ip()))
        };
        answer.peers.iter().filter(|peer| !is_own(peer)).copied().collect()
    }

    fn look(&mut self) {
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return;
        }
        self.looked_at = Some(Instant::now());
        // Without a list we dial ourselves, which does no harm.
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        self.interfaces = interfaces.iter().map(if_addrs::Interface::ip).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_recognised_by_address_and_port_together() {
        let external = IpAddr::from([198, 51, 100, 1]);
        let peers = vec![
            ([127, 0, 0, 1], 7).into(),
            ([127, 0, 0, 1], 8).into(),
            (external, 7).into(),
            (external, 8).into(),
            ([198, 51, 100, 2], 7).into(),
        ];
        let answer = Answer { external_ip: Some(external), peers: peers.clone(), ..Answer::from(external) };
        assert_eq!(OwnAddresses::default().others(&answer, 7), [peers[1], peers[3], peers[4]]);
    }
}
