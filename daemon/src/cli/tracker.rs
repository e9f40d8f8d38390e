//! `syncd tracker`: runs a tracker in this process.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::args::TrackerArgs;
use super::reply::print;
use crate::api::error::{ApiError, Class};
use crate::daemon::{LOG_FILTER, start_log};
use crate::tracker::rendezvous::{RelayLimits, TotalRate};
use crate::tracker::serve::{self, Options, TrackerError};

/// What is logged beside a JSON document: nothing, as long as all is well.
const QUIET_FILTER: &str = "warn";

pub(super) fn run(args: TrackerArgs, json: bool) -> Result<(), ApiError> {
    start_log(if json { QUIET_FILTER } else { LOG_FILTER });
    let state = args.state.clone();
    let options = Options {
        listen: args.listen,
        state: args.state,
        save_every: Duration::from_secs(args.save_every.into()),
        interval_minutes: args.interval,
        max_peers: args.max_peers as usize,
        max_peers_per_address: args.max_peers_per_address,
        max_requests_per_address: args.max_requests_per_address,
        relays: (!args.no_relay).then(|| RelayLimits {
            ports: args.relay_ports,
            bytes_per_second: args.relay_rate,
            total: TotalRate::new(args.relay_total_rate),
            relays: args.max_relays.into(),
            ..RelayLimits::default()
        }),
        threads: args.threads.map(usize::from),
    };
    let say_where = |listen: &[SocketAddr]| {
        if json {
            let document = json!({ "listen": listen, "state": state, "version": env!("CARGO_PKG_VERSION") });
            print(&format!("{document}\n"));
        }
    };
    serve::run(options, say_where).map_err(failure)
}

fn failure(error: TrackerError) -> ApiError {
    let message = error.to_string();
    match error {
        TrackerError::Listen { cause, .. } => {
            let next = match cause.kind() {
                io::ErrorKind::AddrInUse => "stop what uses that port, or give another one with --listen",
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need root; give a higher one with --listen"
                }
                _ => "give an address of this machine with --listen IP:PORT",
            };
            ApiError::new(Class::Failed, "TRACKER_ADDRESS", message).next(next)
        }
        TrackerError::State(cause) => {
            let failure = ApiError::new(Class::Failed, "TRACKER_STATE", message);
            let failure = failure.next("give a file in a directory that this user can write, with --state");
            match cause {
                crate::home::HomeError::File { path, .. } => failure.at(path.display().to_string()),
                _ => failure,
            }
        }
        TrackerError::Rendezvous(_) | TrackerError::System(_) => {
            ApiError::new(Class::Failed, "SYSTEM", message)
        }
    }
}
