//! Our own tracker, over both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use syncd::discovery::tracker::scrape;
use syncd::tracker::desk::Desk;
use syncd::tracker::http::Http;
use syncd::tracker::swarms::Limits;
use syncd::tracker::udp::{Bound, Udp};
use tokio::net::TcpListener;

use crate::device::{DOCS, Device};

/// A tracker on one loopback address; it ends when dropped.
struct Tracker {
    address: SocketAddr,
    _udp: Udp,
    _http: Http,
}

impl Tracker {
    /// `None` where there is no such address.
    async fn start(ip: IpAddr) -> Option<Self> {
        let limits =
            Limits { peers: 1000, peers_per_swarm: 1000, peers_per_source: 1000, interval_minutes: 30 };
        let desk = Arc::new(Desk::new(limits, 0));
        let listener = TcpListener::bind((ip, 0)).await.ok()?;
        let address = listener.local_addr().unwrap();
        let bound = Bound::bind(address, true, 1).unwrap();
        let (udp, _) = Udp::start(&desk, vec![bound]).unwrap();
        Some(Self { address, _udp: udp, _http: Http::start(&desk, vec![listener]) })
    }

    fn urls(&self) -> [String; 2] {
        [format!("udp://{}", self.address), format!("http://{}/announce", self.address)]
    }
}

#[tokio::test]
async fn over_both_families_and_protocols_devices_find_each_other_until_they_go() {
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        let Some(tracker) = Tracker::start(ip).await else { continue };
        for [one, other] in [[0, 1], [1, 0]].map(|order| order.map(|at: usize| tracker.urls()[at].clone())) {
            let anna = Device::new(2001, std::slice::from_ref(&one));
            anna.is_announced().await;
            let mut ben = Device::new(2002, std::slice::from_ref(&other));
            ben.finds(&anna, ip).await;
            for url in tracker.urls() {
                let totals = scrape(&url, DOCS.1).await.unwrap().totals;
                assert_eq!((totals.seeders, totals.leechers), (0, 2), "{url}");
            }
            anna.trackers.close().await;
            ben.trackers.close().await;
            let totals = scrape(&one, DOCS.1).await.unwrap().totals;
            assert_eq!((totals.seeders, totals.leechers), (0, 0), "{one}");
        }
    }
}
