//! Starting the network of a daemon.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use keystore::DeviceKey;
use tokio::sync::{mpsc, watch};

use super::Context;
use crate::api::error::{ApiError, Class};
use crate::discovery::Reachable;
use crate::home::write_atomic;
use crate::net::{Backoff, Net, NetConfig, NetError, NetEvent};

/// Where devices look for each other when nobody says otherwise.
const DEFAULT_PORT: u16 = 4455;

/// Listens where the command line says; else on the default port, and when that is taken on a free
/// one, which is then kept.
pub(super) fn start(
    context: &Context,
    device: &DeviceKey,
) -> Result<(Net, mpsc::Receiver<NetEvent>), ApiError> {
    let listen = |listen: Vec<SocketAddr>| {
        Net::start(NetConfig {
            listen,
            device: device.clone(),
            name: context.config.current().daemon().name,
            seed: crate::random::bytes(),
            backoff: Backoff::default(),
        })
    };
    if !context.listen.is_empty() {
        return listen(context.listen.clone()).map_err(|error| refused(&error));
    }
    let any = |port| vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))];
    // Where IPv6 is switched off.
    let any_v4 = |port| vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
    let listen = |port| listen(any(port)).or_else(|_| listen(any_v4(port)));
    let kept_path = context.home.directory().join("port");
    let kept = std::fs::read_to_string(&kept_path).ok().and_then(|text| text.trim().parse::<u16>().ok());
    for port in [kept, Some(DEFAULT_PORT)].into_iter().flatten() {
        if let Ok(started) = listen(port) {
            return Ok(started);
        }
    }
    let started = listen(0).map_err(|error| refused(&error))?;
    if let Some(address) = started.0.local_addresses().first() {
        write_atomic(&kept_path, format!("{}\n", address.port()).as_bytes())?;
    }
    Ok(started)
}

/// Under which ports the world reaches us, as long as the ways want to know.
pub(super) fn reachable(net: &Net) -> watch::Receiver<Reachable> {
    let (sender, receiver) = watch::channel(listened_on(&net.local_addresses()));
    // Whoever waits for a change must not hear of an end.
    tokio::spawn(async move { sender.closed().await });
    receiver
}

/// The ports that we listen on; `[::]` serves both families.
fn listened_on(addresses: &[SocketAddr]) -> Reachable {
    let port = |of: fn(&SocketAddr) -> bool| addresses.iter().find(|at| of(at)).map(SocketAddr::port);
    let is_both = |at: &SocketAddr| at.is_ipv6() && at.ip().is_unspecified();
    Reachable { v4: port(SocketAddr::is_ipv4).or_else(|| port(is_both)), v6: port(SocketAddr::is_ipv6) }
}

fn refused(error: &NetError) -> ApiError {
    let (code, next) = match error {
        NetError::Listen { .. } => {
            ("LISTEN", "is another daemon running there? choose another port with --listen IP:PORT")
        }
        NetError::Tls(_) => ("SYSTEM", "this is a fault of syncd or of the system; please report it"),
    };
    ApiError::new(Class::Failed, code, error.to_string()).next(next)
}
