//! `syncd tracker`: from the command line to a serving tracker, and back in order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::desk::Desk;
use super::http::Http;
use super::listen::{Listening, bind_all};
use super::rendezvous::{self, RelayLimits, Rendezvous, RendezvousConfig, RendezvousError, RendezvousSocket};
use super::state::{Loaded, load};
use super::swarms::Limits;
use super::udp::{ForeignDatagrams, Udp};
use super::upkeep::Upkeep;
use crate::home::HomeError;
use crate::process;

/// The port of trackers since there are any.
pub const USUAL_PORT: u16 = 6969;
/// One swarm may take a tenth of all places, and this many in any case.
const SMALLEST_SWARM: usize = 1_000;
/// What an index can hold.
const LARGEST_SWARM: usize = 16_000_000;

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to answer, over UDP and TCP; empty for everywhere on the [usual port](USUAL_PORT).
    pub listen: Vec<SocketAddr>,
    /// Where the state is kept; `None` for nowhere.
    pub state: Option<PathBuf>,
    /// How often it is saved.
    pub save_every: Duration,
    /// Minutes after which clients announce again.
    pub interval_minutes: u16,
    /// Peers that are remembered.
    pub max_peers: usize,
    /// Places of one IPv4 address or IPv6 /64.
    pub max_peers_per_address: u32,
    /// Requests of one IPv4 address or IPv6 /64 in a second; 0 for any number.
    pub max_requests_per_address: u32,
    /// What is passed between devices that cannot reach each other; `None` for nothing.
    pub relays: Option<RelayLimits>,
    /// Threads for UDP; `None` for one for each core.
    pub threads: Option<usize>,
}

impl Options {
    fn limits(&self) -> Limits {
        Limits {
            peers: self.max_peers,
            peers_per_swarm: (self.max_peers / 10).clamp(SMALLEST_SWARM, LARGEST_SWARM),
            peers_per_source: self.max_peers_per_address,
            interval_minutes: self.interval_minutes,
        }
    }

    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(cores).max(1)
    }
}

/// A tracker could not start, or not end well; a sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    /// An address cannot be listened on.
    #[error("the tracker cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The state file cannot be read or written.
    #[error("the state of the tracker: {0}")]
    State(#[from] HomeError),
    /// Devices cannot be introduced.
    #[error("the introducer of the tracker: {0}")]
    Rendezvous(#[from] RendezvousError),
    /// The system gives less than any process needs.
    #[error("the tracker cannot run: {0}")]
    System(#[from] io::Error),
}

/// Runs a tracker in this process until SIGTERM or SIGINT. `is_ready` is told where it answers.
///
/// # Errors
/// What keeps it from starting, and a state that could not be saved at the end.
pub fn run(options: Options, is_ready: impl FnOnce(&[SocketAddr])) -> Result<(), TrackerError> {
    process::raise_descriptor_limit();
    let desk = Arc::new(Desk::new(options.limits(), options.max_requests_per_address));
    if let Some(file) = &options.state {
        load_state(&desk, file)?;
    }
    let listening = bind_all(&options.listen, USUAL_PORT, options.threads())
        .map_err(|(address, cause)| TrackerError::Listen { address, cause })?;
    let upkeep = Upkeep::start(&desk, options.state, options.save_every)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(&desk, listening, options.relays, is_ready));
    let saved = upkeep.finish();
    served?;
    saved?;
    tracing::info!("stopped");
    Ok(())
}

fn load_state(desk: &Desk, file: &std::path::Path) -> Result<(), HomeError> {
    match load(file, &desk.swarms, desk.now().tick())? {
        Loaded::Nothing => tracing::info!(file = %file.display(), "there is no state yet"),
        Loaded::Peers(peers) => tracing::info!(file = %file.display(), peers, "the state is back"),
        Loaded::PutAside { to, why } => tracing::warn!(
            file = %file.display(), put_aside = %to.display(), %why,
            "the state could not be used; the tracker starts empty and learns anew"
        ),
    }
    Ok(())
}

/// Serves until a signal says stop.
async fn serve(
    desk: &Arc<Desk>,
    listening: Vec<Listening>,
    relays: Option<RelayLimits>,
    is_ready: impl FnOnce(&[SocketAddr]),
) -> Result<(), TrackerError> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (mut addresses, mut bound, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
    for Listening { address, udp, tcp } in listening {
        addresses.push(address);
        bound.push(udp);
        listeners.push(TcpListener::from_std(tcp)?);
    }
    let (udp, foreign) = Udp::start(desk, bound)?;
    let rendezvous = foreign.into_iter().map(|datagrams| start_rendezvous(datagrams, relays.clone()));
    let rendezvous = rendezvous.collect::<Result<Vec<_>, _>>()?;
    *desk.introducers.write() = rendezvous.iter().map(Rendezvous::gauge).collect();
    let http = Http::start(desk, listeners);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = ?addresses, "the tracker answers over UDP and TCP");
    is_ready(&addresses);
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping");
    for rendezvous in &rendezvous {
        rendezvous.close().await;
    }
    drop(http);
    drop(udp);
    Ok(())
}

/// Introduces devices on the tracker's port, and relays between those that cannot reach each other.
fn start_rendezvous(
    datagrams: ForeignDatagrams,
    relays: Option<RelayLimits>,
) -> Result<Rendezvous, RendezvousError> {
    let socket = RendezvousSocket::Shared(datagrams);
    let limits = rendezvous::Limits::default();
    Rendezvous::start(RendezvousConfig { socket, limits, relays })
}
