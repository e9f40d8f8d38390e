//! `syncd daemon`: from an empty process to a serving daemon, and back in order.
//!
//! It wires parts together and decides nothing: home and lock, settings, log, folders, API, signals.

mod doctor;
mod facts;
mod finding;
mod folders;
mod following;
mod get;
mod interfaces;
mod join;
mod links;
mod network;
mod rest;
mod rows;
mod sweep;
#[cfg(test)]
mod tests;
mod wait;
mod ways;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

pub use self::facts::findings_without_daemon;
use self::folders::Folders;
pub use self::get::{Getting, Order};
use crate::api::control::Control;
use crate::api::error::{ApiError, Class};
use crate::api::guard::{Guard, token_of};
use crate::api::routes::{Api, router};
use crate::api::{serve, socket};
use crate::config::{LiveConfig, Surroundings};
use crate::home::Home;
use crate::process;

/// What is logged unless `SYNCD_LOG` says otherwise. `mainline` complains every two seconds while there
/// is no network, which `status` says better.
pub(crate) const LOG_FILTER: &str = "warn,syncd=info,mainline=off";

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// UDP addresses for peers; empty for the default port, or a kept free one.
    pub listen: Vec<SocketAddr>,
    /// Serve the API here too.
    pub api: Option<SocketAddr>,
    /// Leave the terminal that started us; for `syncd up`.
    pub detached: bool,
}

/// What the folders need from the process around them.
pub struct Context {
    /// Where files of the daemon lie; locked.
    pub home: Home,
    /// The settings, and news of their changes.
    pub config: Arc<LiveConfig>,
    /// UDP addresses for peers; empty for the default port, or a kept free one.
    pub listen: Vec<SocketAddr>,
    /// The home lies in the control directory of its only folder.
    pub is_inside: bool,
}

/// Runs a daemon in this process until it is told to stop.
///
/// # Errors
/// What keeps it from starting. Once it serves, trouble belongs to folders, not to the daemon.
pub fn run(directory: PathBuf, options: Options) -> Result<(), ApiError> {
    if options.detached {
        // Not a group leader after a plain spawn, so this fails only if we lead a session already.
        let _ = rustix::process::setsid();
    }
    crate::memory::share_heaps();
    process::protect_secrets();
    process::raise_descriptor_limit();
    start_log(LOG_FILTER);
    let home = Home::open(directory)?;
    let lock = home.lock()?;
    let config = LiveConfig::open(&home, Surroundings::of_this_machine());
    let config = config.map_err(|error| ApiError::from(error).at(home.config().display().to_string()))?;
    let config = Arc::new(config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| system("the runtime cannot start", &cause))?;
    let ended = runtime.block_on(async {
        let (home, config, listen) = (home.clone(), config.clone(), options.listen);
        let context = Context { home: home.clone(), config: config.clone(), listen, is_inside: false };
        let tcp = match options.api {
            Some(address) => Some((serve::bind_tcp(address).await?, token_of(&home)?)),
            None => None,
        };
        let folders = Folders::start(context).await?;
        let unix =
            socket::bind(&home.socket()).map_err(|cause| system("the API socket cannot be made", &cause))?;
        supervise(folders, unix, tcp, &config).await
    });
    let _ = std::fs::remove_file(home.socket());
    drop(runtime);
    drop(lock); // last: who waits for the lock finds everything closed
    ended
}

/// Serves until a signal or a request says stop, then stops the folders while the API still answers.
async fn supervise<C: Control>(
    control: Arc<C>,
    unix: UnixListener,
    tcp: Option<(tokio::net::TcpListener, String)>,
    config: &LiveConfig,
) -> Result<(), ApiError> {
    let stop = Arc::new(Notify::new());
    let router = router(Api { control: control.clone(), stop: stop.clone() });
    let (serving, last_words) = watch::channel(());
    let mut servers = JoinSet::new();
    if let Some((listener, token)) = tcp {
        let address = listener.local_addr().map_err(|cause| system("the API address is lost", &cause))?;
        tracing::info!(%address, "the API answers on TCP");
        let guard = Guard::new(&token, address);
        servers.spawn(serve::serve_tcp(listener, router.clone(), guard, last_words.clone()));
    }
    servers.spawn(serve::serve_unix(unix, router, last_words));
    let catch = |kind| signal(kind).map_err(|cause| system("signals cannot be caught", &cause));
    let (mut term, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    let mut hangup = catch(SignalKind::hangup())?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "syncd runs");
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
            () = stop.notified() => break,
            _ = hangup.recv() => match config.reload() {
                Ok(()) => tracing::info!("the settings were read again"),
                Err(error) => tracing::error!(%error, "the settings stay as they were"),
            },
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping");
    control.shutdown().await;
    drop(serving);
    while servers.join_next().await.is_some() {}
    tracing::info!("stopped");
    Ok(())
}

/// Logs to standard error: what `SYNCD_LOG` says, else `usual`.
pub(crate) fn start_log(usual: &str) {
    let filter = EnvFilter::try_from_env("SYNCD_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = log.with_ansi(std::io::stderr().is_terminal()).try_init();
}

fn system(what: &str, cause: &std::io::Error) -> ApiError {
    ApiError::new(Class::Failed, "SYSTEM", format!("{what}: {cause}"))
}
