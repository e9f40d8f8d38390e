//! A port that the gateway lets the world reach us by: PCP and NAT-PMP first, which take one packet,
//! then UPnP.
//!
//! A mapping is renewed at half of its life and removed at the end of the network, since some
//! gateways keep it for ever. When the gateway is another one, it is made there.

mod gateway;
mod upnp;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crab_nat::{InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::MappingStatus;
use crate::net::hub::Hub;

/// How long a gateway shall keep a mapping that is not renewed.
const LEASE_SECONDS: u32 = 3600;
/// No mapping is renewed more often, whatever the gateway says of its life.
const SHORTEST_LIFE: Duration = Duration::from_secs(120);
/// The first and the longest pause after a failure. Gateways without any of the protocols are many.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);
/// How often it is looked whether the gateway is still the same.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long the gateway may take to remove a mapping when the daemon ends.
const REMOVE_WITHIN: Duration = Duration::from_secs(2);
/// A gateway is near: three packets within a second.
const TIMEOUTS: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 2,
    max_retry_timeout: Some(Duration::from_secs(1)),
};
/// Slow gateways take seconds to answer a search.
const SEARCH_WITHIN: Duration = Duration::from_secs(6);

/// Whom to ask.
pub(super) struct Gateways {
    /// By PCP and NAT-PMP; none: not known.
    pub(super) pmp: Option<Ipv4Addr>,
    /// By UPnP.
    pub(super) upnp: Search,
}

impl Gateways {
    /// Those of this machine.
    fn of_system() -> Self {
        Self { pmp: gateway::default_gateway(), upnp: Search { to: None, within: SEARCH_WITHIN } }
    }
}

/// How a UPnP gateway is looked for.
pub(super) struct Search {
    /// Whom to ask; none: everybody in our network.
    pub(super) to: Option<SocketAddr>,
    pub(super) within: Duration,
}

/// A mapping that stands.
pub(super) struct Mapping {
    kind: Kind,
    external_ip: Option<IpAddr>,
    external_port: u16,
    life: Duration,
}

enum Kind {
    Pmp(PortMapping),
    Upnp(upnp::Mapped),
}

impl Mapping {
    /// Has the UDP port mapped, in whichever way succeeds.
    ///
    /// # Errors
    /// A sentence that says what each way has answered.
    pub(super) async fn make(gateways: &Gateways, port: NonZeroU16) -> Result<Self, String> {
        let pmp = match gateways.pmp {
            Some(gateway) => make_pmp(gateway, port).await,
            None => Err("no gateway is known".to_owned()),
        };
        let pmp_error = match pmp {
            Ok(mapping) => return Ok(mapping),
            Err(error) => error,
        };
        match upnp::map(&gateways.upnp, port.get(), LEASE_SECONDS).await {
            Ok(mapped) => Ok(Self {
                external_ip: mapped.external_ip,
                external_port: mapped.external_port,
                life: Duration::from_secs(u64::from(LEASE_SECONDS)),
                kind: Kind::Upnp(mapped),
            }),
            Err(error) => Err(format!("PCP and NAT-PMP: {pmp_error}; UPnP: {error}")),
        }
    }

    /// Asks for another life of it; the port may have become another.
    pub(super) async fn renew(&mut self) -> Result<(), String> {
        match &mut self.kind {
            Kind::Pmp(mapping) => {
                mapping.renew().await.map_err(|error| error.to_string())?;
                self.external_port = mapping.external_port().get();
            }
            Kind::Upnp(mapped) => {
                mapped.renew(LEASE_SECONDS).await?;
                self.external_port = mapped.external_port;
            }
        }
        Ok(())
    }

    /// Has it removed.
    pub(super) async fn remove(self) {
        let removed = async {
            match self.kind {
                Kind::Pmp(mapping) => mapping.try_drop().await.map_err(|(error, _)| error.to_string()),
                Kind::Upnp(mapped) => mapped.remove().await,
            }
        };
        match timeout(REMOVE_WITHIN, removed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "the port mapping was not removed"),
            Err(_) => debug!("the gateway does not answer; its port mapping stays until its time is over"),
        }
    }

    fn protocol(&self) -> &'static str {
        match &self.kind {
            Kind::Upnp(_) => "UPnP",
            Kind::Pmp(mapping) => match mapping.mapping_type() {
                PortMappingType::NatPmp => "NAT-PMP",
                PortMappingType::Pcp { .. } => "PCP",
            },
        }
    }

    pub(super) fn status(&self) -> MappingStatus {
        MappingStatus {
            is_on: true,
            protocol: Some(self.protocol()),
            external: Some((self.external_ip, self.external_port)),
            error: None,
        }
    }
}

async fn make_pmp(gateway: Ipv4Addr, port: NonZeroU16) -> Result<Mapping, String> {
    let client = gateway::own_address_towards(gateway).map_err(|error| error.to_string())?;
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: Some(LEASE_SECONDS),
        timeout_config: Some(TIMEOUTS),
    };
    let made = PortMapping::new(gateway.into(), client, InternetProtocol::Udp, port, options).await;
    let made = made.map_err(|error| format!("gateway {gateway}: {error}"))?;
    let external_ip = match made.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => Some(external_ip.to_canonical()),
        PortMappingType::NatPmp => {
            natpmp::external_address(gateway.into(), Some(TIMEOUTS)).await.ok().map(IpAddr::V4)
        }
    };
    Ok(Mapping {
        external_ip: external_ip.filter(|ip| !ip.is_unspecified()),
        external_port: made.external_port().get(),
        life: Duration::from_secs(u64::from(made.lifetime())),
        kind: Kind::Pmp(made),
    })
}

/// Keeps a mapping until it is told to stop, and removes it then.
pub(super) async fn run(hub: Weak<Hub>, port: NonZeroU16, stop: Arc<Notify>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let gateways = Gateways::of_system();
        let made = tokio::select! {
            made = Mapping::make(&gateways, port) => made,
            () = stop.notified() => return,
        };
        match made {
            Ok(mapping) => {
                pause = FIRST_PAUSE;
                info!(
                    protocol = mapping.protocol(),
                    port = mapping.external_port,
                    "the gateway maps a port to us"
                );
                if !tell(&hub, mapping.status()) || !keep(&hub, mapping, &gateways, &stop).await {
                    return;
                }
            }
            Err(error) => {
                debug!(%error, "no port mapping");
                let status = MappingStatus { is_on: true, error: Some(error), ..MappingStatus::default() };
                if !tell(&hub, status) || !wait(pause, &gateways, &stop).await {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Renews a mapping until that fails or the gateway is another one; false when it is to stop.
async fn keep(hub: &Weak<Hub>, mut mapping: Mapping, gateways: &Gateways, stop: &Notify) -> bool {
    loop {
        let half = mapping.life.max(SHORTEST_LIFE) / 2;
        if !wait(half, gateways, stop).await {
            mapping.remove().await;
            return false;
        }
        if gateway::default_gateway() != gateways.pmp {
            debug!("the gateway is another one");
            return true;
        }
        if let Err(error) = mapping.renew().await {
            debug!(%error, "the port mapping was not renewed");
            return true;
        }
        if !tell(hub, mapping.status()) {
            mapping.remove().await;
            return false;
        }
    }
}

/// Waits, less long if the gateway changes; false when it is to stop.
async fn wait(pause: Duration, gateways: &Gateways, stop: &Notify) -> bool {
    let end = Instant::now() + pause;
    while Instant::now() < end && gateway::default_gateway() == gateways.pmp {
        tokio::select! {
            () = sleep(LOOK_EVERY.min(end.saturating_duration_since(Instant::now()))) => {}
            () = stop.notified() => return false,
        }
    }
    true
}

/// Tells the network what has become of it; false when that has ended.
fn tell(hub: &Weak<Hub>, status: MappingStatus) -> bool {
    let Some(hub) = hub.upgrade().filter(|hub| !hub.is_closed()) else { return false };
    hub.reach.state.lock().mapping = status;
    super::update(&hub);
    true
}

#[cfg(test)]
mod tests;
