//! TLS as a hostile peer speaks it: any certificate will do, and nothing is verified.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// What `syncd` speaks, and what its proofs are bound to.
const ALPN: &[u8] = b"syncd/1";
const EXPORTER_LABEL: &[u8] = b"EXPORTER-syncd-1-join";

/// A key and a certificate of one's own.
pub(crate) struct Credentials {
    pub(crate) fingerprint: [u8; 32],
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Credentials {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().der().clone();
        Self { fingerprint: *blake3::hash(&certificate).as_bytes(), certificate, key: key.serialize_der() }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    /// To dial with. Tickets for early data are kept, should anybody give one.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client_of(ALPN)
    }

    /// To dial those who speak something else.
    pub(crate) fn client_of(&self, alpn: &[u8]) -> ClientConfig {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Anything(Arc::clone(&provider)));
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = builder.with_client_auth_cert(vec![self.certificate.clone()], self.key()).unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        config.enable_early_data = true;
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
    }

    /// To be dialled with.
    pub(crate) fn server(&self) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Anything(Arc::clone(&provider)));
        let builder = rustls::ServerConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let builder = builder.with_client_cert_verifier(verifier);
        let mut config = builder.with_single_cert(vec![self.certificate.clone()], self.key()).unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).unwrap()))
    }
}

/// Keying material of the connection, to bind proofs to.
pub(crate) fn exporter(connection: &quinn::Connection) -> [u8; 32] {
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").unwrap();
    exporter
}

/// The fingerprint of what the other side has shown.
pub(crate) fn peer_fingerprint(connection: &quinn::Connection) -> [u8; 32] {
    let shown = connection.peer_identity().unwrap().downcast::<Vec<CertificateDer<'static>>>().unwrap();
    *blake3::hash(&shown[0]).as_bytes()
}

/// Accepts all.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Anything {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
