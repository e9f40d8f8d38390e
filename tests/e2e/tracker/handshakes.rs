//! QUIC as clients of the introducer speak it, which shares the tracker's UDP port.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use harness::eventually;
use harness::wait::PATIENCE;
use protocol::rendezvous::ALPN;
use quinn::{ClientConfig, Endpoint};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::hostile::tls::Credentials;

/// A machine that dials.
pub(super) struct Dialer {
    runtime: Runtime,
    endpoint: Endpoint,
    config: ClientConfig,
}

impl Dialer {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let endpoint = {
            let _inside = runtime.enter();
            Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
        };
        Self { runtime, endpoint, config: Credentials::new().client_of(ALPN) }
    }

    /// The first packets of so many handshakes, each of which a server will answer to whoever sends it.
    pub(super) fn first_packets(&self, count: usize) -> Vec<Vec<u8>> {
        let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sink.set_read_timeout(Some(PATIENCE)).unwrap();
        let _inside = self.runtime.enter();
        let dial = |_| {
            let to = sink.local_addr().unwrap();
            self.endpoint.connect_with(self.config.clone(), to, "tracker").unwrap()
        };
        let mut first = BTreeMap::new();
        // One after the other, so that the sink holds them all.
        for number in 0..count {
            let _dialling = dial(number);
            eventually("it is sent", || {
                let mut packet = vec![0; 2_048];
                let len = sink.recv(&mut packet).unwrap();
                packet.truncate(len);
                let is_first = len >= 1_200 && packet[0] & 0xf0 == 0xc0;
                let id = packet[6..6 + usize::from(packet[5])].to_vec();
                (is_first && first.insert(id, packet).is_none()).then_some(())
            });
        }
        first.into_values().collect()
    }

    /// Whether a handshake with that server comes to its end.
    pub(super) fn is_answered(&self, server: SocketAddr) -> bool {
        let _inside = self.runtime.enter();
        let dial = self.endpoint.connect_with(self.config.clone(), server, "tracker").unwrap();
        self.runtime.block_on(timeout(PATIENCE, dial)).is_ok_and(|connected| connected.is_ok())
    }
}
