//! How fast bytes travel, measured from the counters of the links.

use std::collections::BTreeMap;
use std::time::Instant;

use keystore::DeviceId;
use parking_lot::Mutex;

use crate::net::Peer;

/// Bytes a second, by peer.
#[derive(Default)]
pub struct Rates(Mutex<BTreeMap<DeviceId, Rate>>);

struct Rate {
    at: Instant,
    bytes: (u64, u64),
    per_second: (u64, u64),
}

impl Rates {
    /// Reads the counters; the rates are those since the last time.
    pub fn measure(&self, peers: &BTreeMap<DeviceId, Peer>) {
        let mut rates = self.0.lock();
        rates.retain(|id, _| peers.contains_key(id));
        for (id, peer) in peers {
            let (at, bytes) = (Instant::now(), (peer.bytes_down(), peer.bytes_up()));
            let before = rates.get(id);
            let per_second = before.map_or((0, 0), |before| {
                let millis = u64::try_from((at - before.at).as_millis()).unwrap_or(u64::MAX).max(1);
                let rate = |now: u64, then: u64| now.saturating_sub(then).saturating_mul(1000) / millis;
                (rate(bytes.0, before.bytes.0), rate(bytes.1, before.bytes.1))
            });
            rates.insert(*id, Rate { at, bytes, per_second });
        }
    }

    /// Over all peers.
    pub fn total(&self) -> (u64, u64) {
        self.0
            .lock()
            .values()
            .fold((0, 0), |sum, rate| (sum.0 + rate.per_second.0, sum.1 + rate.per_second.1))
    }

    /// Of one peer.
    pub fn of(&self, peer: &DeviceId) -> (u64, u64) {
        self.0.lock().get(peer).map_or((0, 0), |rate| rate.per_second)
    }
}
