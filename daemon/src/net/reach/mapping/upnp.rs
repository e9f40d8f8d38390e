//! Port mapping by UPnP-IGD, with what its gateways are known for: some refuse leases that end, some
//! have the port in use.

use std::net::{IpAddr, SocketAddr};

use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, PortMappingProtocol, SearchOptions};

use super::{Search, gateway};

/// What the gateway shows for it.
const DESCRIPTION: &str = "syncd";
/// How many other ports are tried when ours is in use.
const TRIES: u16 = 5;

/// A mapping that stands.
pub(super) struct Mapped {
    gateway: igd_next::aio::Gateway<Tokio>,
    local: SocketAddr,
    pub(super) external_ip: Option<IpAddr>,
    pub(super) external_port: u16,
}

/// Looks for a gateway and has it map the port.
///
/// # Errors
/// A sentence.
pub(super) async fn map(search: &Search, port: u16, lease_seconds: u32) -> Result<Mapped, String> {
    let mut options = SearchOptions::default();
    options.timeout = Some(search.within);
    if let Some(to) = search.to {
        options.broadcast_address = to;
        options.allowed_gateway_ips = vec![to.ip()];
    }
    let gateway = search_gateway(options).await.map_err(|error| error.to_string())?;
    let local_ip = match gateway.addr.ip() {
        IpAddr::V4(ip) => gateway::own_address_towards(ip).map_err(|error| error.to_string())?,
        IpAddr::V6(_) => return Err("the gateway that answers does not do IPv4".to_owned()),
    };
    let local = SocketAddr::new(local_ip, port);
    let mut mapped = Mapped { gateway, local, external_ip: None, external_port: port };
    mapped.renew(lease_seconds).await?;
    let external_ip = mapped.gateway.get_external_ip().await.ok();
    mapped.external_ip = external_ip.filter(|ip| !ip.is_unspecified());
    Ok(mapped)
}

impl Mapped {
    /// Asks for the mapping, anew or for another life of it; first for the port that it has.
    pub(super) async fn renew(&mut self, lease_seconds: u32) -> Result<(), String> {
        let mut error = String::new();
        for number in 0..=TRIES {
            let port = if number == 0 { self.external_port } else { other_port() };
            match self.add(port, lease_seconds).await {
                Ok(()) => {
                    self.external_port = port;
                    return Ok(());
                }
                Err(refused @ AddPortError::PortInUse) => error = refused.to_string(),
                Err(refused) => return Err(refused.to_string()),
            }
        }
        Err(error)
    }

    async fn add(&self, port: u16, lease_seconds: u32) -> Result<(), AddPortError> {
        let add =
            |lease| self.gateway.add_port(PortMappingProtocol::UDP, port, self.local, lease, DESCRIPTION);
        match add(lease_seconds).await {
            // It stays until we remove it.
            Err(AddPortError::OnlyPermanentLeasesSupported) => add(0).await,
            other => other,
        }
    }

    pub(super) async fn remove(self) -> Result<(), String> {
        let removed = self.gateway.remove_port(PortMappingProtocol::UDP, self.external_port).await;
        removed.map_err(|error| error.to_string())
    }
}

/// A port that is no well-known one.
fn other_port() -> u16 {
    let random: [u8; 2] = crate::random::bytes();
    1024 + u16::from_le_bytes(random) % (u16::MAX - 1024)
}
