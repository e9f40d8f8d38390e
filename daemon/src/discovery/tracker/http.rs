//! One GET over HTTP or HTTPS, with all that a hostile answer could do bounded.
//!
//! One connection for each request: an announce comes twice an hour. Redirects stay with their
//! scheme, and never lead from the internet into a private network: a tracker must not be able to
//! make us ask the router's web page something.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use hyper::http::response::Parts;
use hyper::rt::{Read, Write};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::names::Names;
use super::url::{Host, Scheme, TrackerUrl};
use super::{Family, TrackerError};

/// The longest answer; 50 peers take 300 bytes, or some 5,000 in the old form.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// The longest head of an answer.
const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
const MAX_REDIRECTS: usize = 3;
/// For one request, from the connection to the last byte.
const WITHIN: Duration = Duration::from_secs(20);

/// What was answered, by whom.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) from: SocketAddr,
    pub(super) status: u16,
    pub(super) body: Bytes,
}

pub(super) struct Http {
    tls: Result<TlsConnector, rustls::Error>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    /// Trusts the certificate authorities that browsers trust.
    pub(super) fn new() -> Self {
        Self::trusting(RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()))
    }

    pub(super) fn trusting(roots: RootCertStore) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let tls = builder.with_safe_default_protocol_versions().map(|builder| {
            let mut config = builder.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsConnector::from(Arc::new(config))
        });
        Self { tls }
    }

    /// Asks for `target` (path and query) at a tracker, over one family; `turn` says which of its
    /// addresses is tried.
    pub(super) async fn get(
        &self,
        url: &TrackerUrl,
        target: String,
        (names, family): (&Names, Family),
        turn: usize,
    ) -> Result<Fetched, TrackerError> {
        let (mut url, mut target, mut came_from) = (url.clone(), target, None::<SocketAddr>);
        let mut redirects = 0;
        loop {
            let addresses = names.resolve(&url, family).await?;
            let address = addresses[turn % addresses.len()];
            let redirect = |address, why| TrackerError::Redirect { address, why };
            if let Some(from) = came_from.filter(|from| !may_lead(from.ip(), address.ip())) {
                return Err(redirect(from, "into a private network"));
            }
            let exchange = timeout(WITHIN, self.exchange(&url, &target, address)).await;
            let (head, body) = exchange.map_err(|_| TrackerError::Silent { address })??;
            let status = head.status.as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Ok(Fetched { from: address, status, body });
            }
            let location = head.headers.get(LOCATION).and_then(|location| location.to_str().ok());
            if redirects == MAX_REDIRECTS {
                return Err(redirect(address, "more than three times"));
            }
            let next = follow(&url, location.unwrap_or_default()).map_err(|why| redirect(address, why))?;
            (url, target) = next;
            (came_from, redirects) = (Some(address), redirects + 1);
        }
    }

    async fn exchange(
        &self,
        url: &TrackerUrl,
        target: &str,
        address: SocketAddr,
    ) -> Result<(Parts, Bytes), TrackerError> {
        let unreachable = |cause| TrackerError::Unreachable { address, cause };
        let stream = TcpStream::connect(address).await.map_err(unreachable)?;
        let answer = if url.scheme == Scheme::Https {
            let stream = self.secure(url, stream).await.map_err(unreachable)?;
            send(TokioIo::new(stream), url, target).await
        } else {
            send(TokioIo::new(stream), url, target).await
        };
        answer.map_err(|cause| TrackerError::Malformed { address, why: cause.to_string() })
    }

    async fn secure(&self, url: &TrackerUrl, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let tls = self.tls.as_ref().map_err(|cause| io::Error::other(cause.to_string()))?;
        let name = match &url.host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
        };
        tls.connect(name, stream).await
    }
}

/// What cannot be caught otherwise: hyper's errors, and that of a body that is too long.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn send(
    stream: impl Read + Write + Unpin + Send + 'static,
    url: &TrackerUrl,
    target: &str,
) -> Result<(Parts, Bytes), BoxError> {
    let request = Request::get(target)
        .header(HOST, host_header(url))
        .header(USER_AGENT, concat!("syncd/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_HEADERS);
    let (mut sender, connection) = builder.handshake(stream).await?;
    let exchange = async {
        let answer: Response<Incoming> = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        Ok((head, Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes()))
    };
    // The connection moves its bytes only while it is polled. It may end before the answer is
    // taken, never the other way round; with this future both are gone.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

/// The port is left out where it is the usual one: some servers compare.
fn host_header(url: &TrackerUrl) -> String {
    match (url.scheme, url.port) {
        (Scheme::Http, 80) | (Scheme::Https, 443) => url.host.to_string(),
        _ => url.authority(),
    }
}

/// Where a redirect leads: the tracker, and path and query.
fn follow(from: &TrackerUrl, location: &str) -> Result<(TrackerUrl, String), &'static str> {
    if location.starts_with('/') && !location.starts_with("//") {
        let is_clean = location.bytes().all(|byte| byte.is_ascii_graphic());
        return is_clean.then(|| (from.clone(), location.to_owned())).ok_or("to a path that is none");
    }
    if !location.contains("://") {
        return Err("without saying where to");
    }
    let url: TrackerUrl = location.parse().map_err(|_| "to what is no URL")?;
    if url.scheme != from.scheme {
        return Err("over another protocol");
    }
    let target = url.path.clone();
    Ok((url, target))
}

/// Whether a server may send us on to another.
fn may_lead(from: IpAddr, to: IpAddr) -> bool {
    !is_private(to) || is_private(from)
}

/// Whether an address is this machine's or of a network that the internet does not see.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || (a == 100 && (64..128).contains(&b)) // carriers' networks
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests;
