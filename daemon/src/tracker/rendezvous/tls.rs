//! TLS and the numbers of QUIC for an introducer. Nobody proves who he is: nothing depends on it.

use std::sync::Arc;
use std::time::Duration;

use protocol::rendezvous::{ALPN, MAX_RENDEZVOUS_BYTES};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::RendezvousError;

/// Devices send something every 20 s.
const IDLE_TIMEOUT_MS: u32 = 60_000;
/// Packets of strangers that wait for being accepted.
const MAX_INCOMING: usize = 256;

/// A configuration with a throw-away key.
pub(super) fn server_config(connections: usize) -> Result<ServerConfig, RendezvousError> {
    let failed = |error: rcgen::Error| RendezvousError::Tls(Box::new(error));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(failed)?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let certificate = params.self_signed(&key).map_err(failed)?.der().clone();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

    let failed = |error: rustls::Error| RendezvousError::Tls(Box::new(error));
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], secret)
        .map_err(failed)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    let quic = QuicServerConfig::try_from(tls).map_err(|error| RendezvousError::Tls(Box::new(error)))?;

    let mut config = ServerConfig::with_crypto(Arc::new(quic));
    config
        .transport_config(transport())
        .max_incoming(MAX_INCOMING.min(connections))
        // A connection's address is one at which devices are introduced to each other: it must not
        // become another that nobody has verified.
        .migration(false);
    Ok(config)
}

fn transport() -> Arc<TransportConfig> {
    let window = VarInt::from_u32(2 * MAX_RENDEZVOUS_BYTES as u32);
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(window)
        .receive_window(window)
        .send_window(64 << 10)
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(None::<Duration>)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        // Messages are small; looking for larger packets would only cost.
        .mtu_discovery_config(None);
    Arc::new(config)
}
