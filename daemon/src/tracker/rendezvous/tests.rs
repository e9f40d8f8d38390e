//! Devices on loopback, each with a QUIC client of its own, that ask an introducer.

use std::net::UdpSocket;

use harness::wait::PATIENCE;
use keystore::DiscoveryId;
use protocol::frame::FrameDecoder;
use protocol::rendezvous::{ALPN, Ask, MAX_RENDEZVOUS_BYTES, Refusal, Tell, datagram};
use quinn::{ClientConfig, Connection, RecvStream, SendStream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;

use super::*;

const DOCS: DiscoveryId = DiscoveryId([1; 20]);

fn start(relays: Option<RelayLimits>) -> Rendezvous {
    let socket = RendezvousSocket::Bind("127.0.0.1:0".parse().unwrap());
    Rendezvous::start(RendezvousConfig { socket, limits: Limits::default(), relays }).unwrap()
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

struct Device {
    _endpoint: Endpoint,
    _connection: Connection,
    send: SendStream,
    receive: RecvStream,
    decoder: FrameDecoder,
    address: SocketAddr,
}

impl Device {
    /// Connects and registers.
    async fn new(server: &Rendezvous, discoveries: &[DiscoveryId]) -> Self {
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let quic = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = ClientConfig::new(Arc::new(quic));
        let connecting = endpoint.connect_with(config, server.local_address(), "tracker").unwrap();
        let connection = connecting.await.unwrap();
        let (send, receive) = connection.open_bi().await.unwrap();
        let decoder = FrameDecoder::new(MAX_RENDEZVOUS_BYTES);
        let address = endpoint.local_addr().unwrap();
        let mut device =
            Self { _endpoint: endpoint, _connection: connection, send, receive, decoder, address };
        device.ask(Ask::Register { discoveries: discoveries.to_vec() }).await;
        assert_eq!(device.told().await, Tell::Observed { address });
        device
    }

    async fn ask(&mut self, ask: Ask) {
        self.send.write_chunk(ask.encode().encode()).await.unwrap();
    }

    async fn told(&mut self) -> Tell {
        let next = async {
            loop {
                if let Some(frame) = self.decoder.next_frame().unwrap() {
                    return Tell::parse(&frame).unwrap().unwrap();
                }
                let chunk = self.receive.read_chunk(4096, true).await.unwrap().unwrap();
                self.decoder.push(&chunk.bytes);
            }
        };
        timeout(PATIENCE, next).await.expect("something is told")
    }

    /// Asks for a relay to the other and has both of them told.
    async fn relay(&mut self, other: &mut Self) -> (u16, [Vec<u8>; 2]) {
        self.ask(Ask::Relay { number: 1, discovery: DOCS, address: other.address }).await;
        let (mine, theirs) = (self.told().await, other.told().await);
        match (mine, theirs) {
            (
                Tell::Relayed { number: Some(1), port, token: a, dial: true, address, .. },
                Tell::Relayed { number: None, port: same, token: b, dial: false, .. },
            ) if port == same => {
                assert_eq!(address, other.address);
                (port, [a, b].map(|token| datagram::encode_join(&token).to_vec()))
            }
            other => panic!("both are lent a relay, not {other:?}"),
        }
    }
}

/// Waits until all that is registered is known.
async fn registered(server: &Rendezvous, count: usize) {
    let known = async {
        while server.status().registrations != count {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, known).await.expect("the registrations arrive");
}

async fn two(server: &Rendezvous) -> (Device, Device) {
    let pair = (Device::new(server, &[DOCS]).await, Device::new(server, &[DOCS]).await);
    registered(server, 2).await;
    pair
}

/// A UDP socket of somebody on loopback.
fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2000];
    let len = socket.recv(&mut buffer).expect("something comes");
    buffer[..len].to_vec()
}

/// Nothing comes for a while that is long on loopback.
fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket.recv(&mut [0; 2000]).is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_are_told_of_each_other_and_one_of_them_dials() {
    let server = start(None);
    let (mut anna, mut ben) = two(&server).await;
    anna.ask(Ask::Introduce { number: 7, discovery: DOCS, address: ben.address }).await;
    let (discovery, address) = (DOCS, ben.address);
    let expected = Tell::Introduced { number: Some(7), discovery, address, dial: true };
    assert_eq!(anna.told().await, expected);
    let address = anna.address;
    assert_eq!(ben.told().await, Tell::Introduced { number: None, discovery, address, dial: false });
    anna.ask(Ask::Relay { number: 8, discovery: DOCS, address: ben.address }).await;
    assert_eq!(anna.told().await, Tell::Refused { number: 8, why: Refusal::NoRelay });
    assert_eq!((server.status().introductions, server.status().refusals), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_an_address_where_no_device_of_the_swarm_is_connected() {
    let server = start(Some(RelayLimits::default()));
    let (mut anna, _ben) = two(&server).await;
    let mallory = Device::new(&server, &[DiscoveryId([9; 20])]).await;
    registered(&server, 3).await;
    for address in ["11.1.1.1:4455".parse().unwrap(), mallory.address] {
        let victim: SocketAddr = address;
        // On loopback all share an address: ask for the ones that are not of the swarm.
        let discovery = if victim == mallory.address { DiscoveryId([9; 20]) } else { DOCS };
        anna.ask(Ask::Introduce { number: 1, discovery, address: victim }).await;
        assert_eq!(anna.told().await, Tell::Refused { number: 1, why: Refusal::NotThere });
        anna.ask(Ask::Relay { number: 2, discovery, address: victim }).await;
        assert_eq!(anna.told().await, Tell::Refused { number: 2, why: Refusal::NotThere });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_passes_packets_of_quic_between_the_two_and_nothing_else() {
    let server = start(Some(RelayLimits::default()));
    let (mut anna, mut ben) = two(&server).await;
    let (port, tokens) = anna.relay(&mut ben).await;
    let relay = SocketAddr::from(([127, 0, 0, 1], port));
    let (a, b, stranger) = (socket(), socket(), socket());
    a.send_to(&[0xc0, 1], relay).unwrap();
    a.send_to(&tokens[0], relay).unwrap();
    b.send_to(&tokens[1], relay).unwrap();
    for device in [&mut anna, &mut ben] {
        assert_eq!(device.told().await, Tell::RelayReady { port });
    }
    stranger.send_to(&[0xc0, 2], relay).unwrap();
    stranger.send_to(&tokens[0][..16], relay).unwrap();
    a.send_to(&[0x0f, 3], relay).unwrap();
    a.send_to(&[0xc0, 4], relay).unwrap();
    assert_eq!(received(&b), [0xc0, 4]);
    b.send_to(&[0x40, 5], relay).unwrap();
    assert_eq!(received(&a), [0x40, 5]);
    assert!(is_silent(&stranger));
    assert_eq!(server.status().relayed_bytes, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_device_with_both_tokens_is_not_echoed() {
    let server = start(Some(RelayLimits::default()));
    let (mut anna, mut ben) = two(&server).await;
    let (port, tokens) = anna.relay(&mut ben).await;
    let relay = SocketAddr::from(([127, 0, 0, 1], port));
    let a = socket();
    for token in &tokens {
        a.send_to(token, relay).unwrap();
    }
    a.send_to(&[0xc0, 4], relay).unwrap();
    assert!(is_silent(&a));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_two_have_one_relay_until_they_end_it() {
    let server = start(Some(RelayLimits::default()));
    let (mut anna, mut ben) = two(&server).await;
    let (port, _) = anna.relay(&mut ben).await;
    ben.ask(Ask::Relay { number: 5, discovery: DOCS, address: anna.address }).await;
    assert_eq!(ben.told().await, Tell::Refused { number: 5, why: Refusal::AlreadyRelayed });
    ben.ask(Ask::EndRelay { port }).await;
    let ended = async {
        while server.status().relays != 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ended).await.expect("it ends");
    anna.relay(&mut ben).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_are_bounded_for_an_address_and_take_ports_of_the_range() {
    let spare = socket().local_addr().unwrap().port();
    let limits = RelayLimits { ports: Some(spare..=spare), per_ip: 1, ..RelayLimits::default() };
    let server = start(Some(limits));
    let (mut anna, mut ben) = two(&server).await;
    let mut carl = Device::new(&server, &[DOCS]).await;
    registered(&server, 3).await;
    let (port, _) = anna.relay(&mut ben).await;
    assert_eq!(port, spare);
    carl.ask(Ask::Relay { number: 5, discovery: DOCS, address: ben.address }).await;
    assert_eq!(carl.told().await, Tell::Refused { number: 5, why: Refusal::NoRelay });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_keeps_its_rate() {
    let limits = RelayLimits { bytes_per_second: 100_000, ..RelayLimits::default() };
    let server = start(Some(limits));
    let (mut anna, mut ben) = two(&server).await;
    let (port, tokens) = anna.relay(&mut ben).await;
    let relay = SocketAddr::from(([127, 0, 0, 1], port));
    let (a, b) = (socket(), socket());
    a.send_to(&tokens[0], relay).unwrap();
    b.send_to(&tokens[1], relay).unwrap();
    assert_eq!(anna.told().await, Tell::RelayReady { port });
    let start = std::time::Instant::now();
    let mut passed = 0;
    // The burst is 19,000 bytes; the rest takes its time.
    for _ in 0..60 {
        a.send_to(&[0xc0; 1000], relay).unwrap();
        passed += received(&b).len();
    }
    assert_eq!(passed, 60_000);
    assert!(start.elapsed() > Duration::from_millis(350), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_relays_keep_a_rate_together() {
    let limits = RelayLimits { total: TotalRate::new(100_000), ..RelayLimits::default() };
    let server = start(Some(limits.clone()));
    // What another relay, on whatever address of the tracker, has just passed on.
    assert!(limits.total.spend(50_000).is_some());
    let (mut anna, mut ben) = two(&server).await;
    let (port, tokens) = anna.relay(&mut ben).await;
    let relay = SocketAddr::from(([127, 0, 0, 1], port));
    let (a, b) = (socket(), socket());
    a.send_to(&tokens[0], relay).unwrap();
    b.send_to(&tokens[1], relay).unwrap();
    assert_eq!(anna.told().await, Tell::RelayReady { port });
    let start = std::time::Instant::now();
    let passed: usize = (0..60)
        .map(|_| {
            a.send_to(&[0xc0; 1000], relay).unwrap();
            received(&b).len()
        })
        .sum();
    assert_eq!(passed, 60_000);
    // All but what may pass at once, and what of it is due to pass while this one begins.
    assert!(start.elapsed() > Duration::from_millis(450), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_talks_nonsense_is_shut_out_and_the_others_stay() {
    let server = start(None);
    let (mut anna, mut ben) = two(&server).await;
    anna.send.write_all(&[0xff; 100]).await.unwrap();
    assert!(matches!(anna.receive.read_to_end(100).await, Err(_) | Ok(_)));
    registered(&server, 1).await;
    ben.ask(Ask::Introduce { number: 1, discovery: DOCS, address: anna.address }).await;
    assert_eq!(ben.told().await, Tell::Refused { number: 1, why: Refusal::NotThere });
}
