//! Which gateway this machine has.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// Where Linux tells its routes. Elsewhere no gateway is known, and UPnP finds it by itself.
const ROUTES: &str = "/proc/thread-self/net/route";

/// The IPv4 gateway of the default route.
pub(super) fn default_gateway() -> Option<Ipv4Addr> {
    parse_routes(&std::fs::read_to_string(ROUTES).ok()?)
}

/// The gateway of the default route of least metric.
fn parse_routes(text: &str) -> Option<Ipv4Addr> {
    let routes = text.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, destination, gateway, _, _, _, metric, mask, ..] = fields[..] else { return None };
        let number = |hex: &str| u32::from_str_radix(hex, 16).ok();
        let is_default = number(destination)? == 0 && number(mask)? == 0;
        // The kernel prints the address as the number that its bytes make in memory.
        let gateway = Ipv4Addr::from(number(gateway)?.to_ne_bytes());
        (is_default && !gateway.is_unspecified()).then_some((metric.parse::<u32>().ok()?, gateway))
    });
    routes.min().map(|(_, gateway)| gateway)
}

/// Our address in the gateway's network.
pub(super) fn own_address_towards(gateway: Ipv4Addr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Sends nothing: the system only chooses a route.
    socket.connect((gateway, 9))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_of_least_metric_counts() {
        let gateway = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let text = format!(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             wlan0\t00000000\t{}\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
             eth0\t00000000\t{}\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             tun0\t00000000\t00000000\t0003\t0\t0\t1\t00000000\t0\t0\t0\n\
             eth0\t0000A8C0\t{}\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
            gateway([192, 168, 1, 1]),
            gateway([10, 0, 0, 1]),
            gateway([9, 9, 9, 9]),
        );
        assert_eq!(parse_routes(&text), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(parse_routes("garbage\nmore garbage\n"), None);
        assert_eq!(parse_routes(""), None);
    }
}
