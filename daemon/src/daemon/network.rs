//! Starting the network of a daemon.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use keystore::DeviceKey;
use tokio::sync::watch;

use super::Context;
use crate::api::error::{ApiError, Class};
use crate::discovery::Reachable;
use crate::home::write_atomic;
use crate::net::{Backoff, Events, Net, NetConfig, NetError};

/// Where devices look for each other when nobody says otherwise.
const DEFAULT_PORT: u16 = 4455;

/// Listens where the command line says; else on the default port, and when that is taken on a free
/// one, which is then kept.
pub(super) fn start(context: &Context, device: &DeviceKey) -> Result<(Net, Events), ApiError> {
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
    let unspecified = unspecified();
    let any = |port| vec![SocketAddr::new(unspecified, port)];
    let kept_path = context.home.directory().join("port");
    let kept = std::fs::read_to_string(&kept_path).ok().and_then(|text| text.trim().parse::<u16>().ok());
    for port in [kept, Some(DEFAULT_PORT)].into_iter().flatten() {
        if let Ok(started) = listen(any(port)) {
            return Ok(started);
        }
    }
    let started = listen(any(0)).map_err(|error| refused(&error))?;
    if let Some(address) = started.0.local_addresses().first() {
        write_atomic(&kept_path, format!("{}\n", address.port()).as_bytes())?;
    }
    Ok(started)
}

/// The address that stands for both families, or for IPv4 where the system knows no other.
pub(super) fn unspecified() -> IpAddr {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Under which ports the world reaches us, as long as somebody wants to know.
pub(super) fn reachable(net: &Net) -> watch::Receiver<Reachable> {
    let mut known = net.reachable();
    let now = *known.borrow_and_update();
    let (told, receiver) = watch::channel(Reachable { v4: now.v4, v6: now.v6 });
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = told.closed() => return,
                changed = known.changed() => if changed.is_err() {
                    told.closed().await; // the network has ended: nothing changes any more
                    return;
                }
            }
            let now = *known.borrow_and_update();
            told.send_replace(Reachable { v4: now.v4, v6: now.v6 });
        }
    });
    receiver
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
