//! Serves a router on the home's socket and on loopback TCP, within limits that need no credentials.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
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

/// Answers on the Unix socket until the future is dropped. Only our own user and root are heard.
pub async fn serve_unix(listener: UnixListener, router: Router) {
    let user = rustix::process::geteuid().as_raw();
    let mut connections = Connections::new(router);
    loop {
        match listener.accept().await {
            Ok((stream, _)) if stream.peer_cred().is_ok_and(|peer| [0, user].contains(&peer.uid())) => {
                connections.add(stream).await;
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
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

/// Answers on TCP, behind the guard, until the future is dropped.
pub async fn serve_tcp(listener: TcpListener, router: Router, guard: Guard) {
    let guarded = router.layer(axum::middleware::from_fn_with_state(guard, stand_guard));
    let mut connections = Connections::new(guarded);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.add(stream).await,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// The connections of one listener; all end when it is dropped.
struct Connections {
    router: Router,
    free: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(router: Router) -> Self {
        Self { router, free: Arc::new(Semaphore::new(MAX_CONNECTIONS)), tasks: JoinSet::new() }
    }

    /// Serves the stream beside the others, once there is room for it.
    async fn add(&mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        let Ok(permit) = self.free.clone().acquire_owned().await else { return };
        let service = TowerToHyperService::new(self.router.clone());
        self.tasks.spawn(async move {
            let _permit = permit;
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(MAX_BUFFER_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(cause) = served.await {
                tracing::debug!(%cause, "an API connection ended early");
            }
        });
    }
}
