//! Serves a router on the home's socket and on loopback TCP, within limits that need no credentials.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::error::{ApiError, Class};
use super::guard::{Guard, stand_guard};

/// Connections at a time: more than the 500 slow strangers that must not shut out a real request.
const MAX_CONNECTIONS: usize = 1_000;
/// What a connection may buffer: with all of them, 16 MiB.
const MAX_BUFFER_BYTES: usize = 16 << 10;
/// How long a client may take for its headers, and stay silent between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after an accept that failed: mostly no descriptors are left, and asking again at once
/// would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers that are being given may still take at the end; a long poll is cut off.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Says that it is time to stop, by a value or by the end of its sender.
pub type Stop = watch::Receiver<()>;

/// Answers on the Unix socket until `stop`. Only our own user and root are heard.
pub async fn serve_unix(listener: UnixListener, router: Router, mut stop: Stop) {
    let user = rustix::process::geteuid().as_raw();
    let mut connections = Connections::new(router, stop.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        match accepted {
            Ok((stream, _)) if stream.peer_cred().is_ok_and(|peer| [0, user].contains(&peer.uid())) => {
                connections.add(stream).await;
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    connections.finish().await;
}

/// Binds the API to a loopback address.
///
/// # Errors
/// `NOT_LOOPBACK` for any other address, and when it is taken.
pub async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ApiError> {
    if !address.ip().is_loopback() {
        let message = format!("--api {address}: the API is served to this machine only");
        return Err(ApiError::new(Class::Usage, "NOT_LOOPBACK", message)
            .next("use 127.0.0.1 or [::1]; from elsewhere, forward the port with ssh -L"));
    }
    TcpListener::bind(address).await.map_err(|cause: io::Error| {
        ApiError::new(Class::Failed, "API_ADDRESS", format!("--api {address} cannot be used: {cause}"))
            .next("give another port, or 0 for any")
    })
}

/// Answers on TCP, behind the guard, until `stop`.
pub async fn serve_tcp(listener: TcpListener, router: Router, guard: Guard, mut stop: Stop) {
    let guarded = router.layer(axum::middleware::from_fn_with_state(guard, stand_guard));
    let mut connections = Connections::new(guarded, stop.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        match accepted {
            Ok((stream, _)) => connections.add(stream).await,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    connections.finish().await;
}

/// The connections of one listener; all end when it is dropped.
struct Connections {
    router: Router,
    stop: Stop,
    free: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(router: Router, stop: Stop) -> Self {
        Self { router, stop, free: Arc::new(Semaphore::new(MAX_CONNECTIONS)), tasks: JoinSet::new() }
    }

    /// Serves the stream beside the others, once there is room for it.
    async fn add(&mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        let Ok(permit) = self.free.clone().acquire_owned().await else { return };
        let (service, stop) = (TowerToHyperService::new(self.router.clone()), self.stop.clone());
        self.tasks.spawn(async move {
            serve_stream(stream, service, stop).await;
            drop(permit);
        });
    }

    /// Lets every connection give the answer that it is giving.
    async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn serve_stream(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: TowerToHyperService<Router>,
    mut stop: Stop,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        _ = stop.changed() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_WORDS, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(cause) = ended {
        tracing::debug!(%cause, "an API connection ended early");
    }
}
