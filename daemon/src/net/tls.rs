//! TLS for links: it hides what is said and names nobody.
//!
//! Each start of the process makes a throw-away key and certificate. Both sides show one and accept
//! any, checking only that the handshake was signed with it; who the other side is gets settled
//! inside the connection, by proofs bound to the certificates and to the TLS exporter. There are no
//! tickets, no resumption and no early data, and no server name is sent.

use std::any::Any;
use std::sync::Arc;

use protocol::rendezvous;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::NetError;

/// The application protocol; its number changes when old and new can no longer talk.
pub(super) const ALPN: &[u8] = b"syncd/1";
/// What quinn wants to be told; it is not sent.
pub(super) const SERVER_NAME: &str = "syncd";
/// The label of the exporter that proofs are bound to.
pub(super) const EXPORTER_LABEL: &[u8] = b"EXPORTER-syncd-1-join";
/// Nobody needs more; ours have 221 bytes.
const MAX_CERTIFICATE: usize = 4096;

/// The BLAKE3 of a certificate.
pub(super) type Fingerprint = [u8; 32];

/// What a process shows on all its links.
pub(super) struct Credentials {
    pub(super) client: Arc<QuicClientConfig>,
    pub(super) server: Arc<QuicServerConfig>,
    /// For introducers: nothing is shown to them.
    pub(super) introducer: Arc<QuicClientConfig>,
    pub(super) fingerprint: Fingerprint,
}

impl Credentials {
    /// Makes a key and a certificate, for this process alone.
    pub(super) fn generate() -> Result<Self, NetError> {
        let tls = |error: Error| NetError::Tls(Box::new(error));
        let key =
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(|e| NetError::Tls(Box::new(e)))?;
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = params.self_signed(&key).map_err(|e| NetError::Tls(Box::new(e)))?.der().clone();
        let secret = || PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let mut client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_client_auth_cert(vec![certificate.clone()], secret())
            .map_err(tls)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = false;
        client.resumption = rustls::client::Resumption::disabled();
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls)?
            .with_client_cert_verifier(Arc::clone(&verifier) as Arc<dyn ClientCertVerifier>)
            .with_single_cert(vec![certificate.clone()], secret())
            .map_err(tls)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});

        let mut introducer = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        introducer.alpn_protocols = vec![rendezvous::ALPN.to_vec()];
        introducer.enable_sni = false;
        introducer.resumption = rustls::client::Resumption::disabled();

        let quic = |error: quinn::crypto::rustls::NoInitialCipherSuite| NetError::Tls(Box::new(error));
        Ok(Self {
            client: Arc::new(QuicClientConfig::try_from(client).map_err(quic)?),
            server: Arc::new(QuicServerConfig::try_from(server).map_err(quic)?),
            introducer: Arc::new(QuicClientConfig::try_from(introducer).map_err(quic)?),
            fingerprint: fingerprint(&certificate),
        })
    }
}

/// The fingerprint of the certificate that the other side has shown.
pub(super) fn peer_fingerprint(identity: Option<Box<dyn Any>>) -> Option<Fingerprint> {
    let certificates = identity?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    certificates.first().map(fingerprint)
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    *blake3::hash(certificate).as_bytes()
}

/// Accepts every certificate, of which only the key matters, and no bad signature.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl AnyCertificate {
    fn check_size(certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if certificate.len() > MAX_CERTIFICATE {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        Ok(())
    }

    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
}

/// TLS 1.2 is not offered, so nobody gets here.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken here".into()))
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::check_size(certificate).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::check_size(certificate).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
