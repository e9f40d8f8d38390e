//! The sockets of beacons: one to listen for each family, one to send for each interface address.
//!
//! A sending socket is bound to the address of its interface: without that a machine without a
//! default route is silent, and one with several interfaces speaks on one of them only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use if_addrs::Interface;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{GROUP_V4, GROUP_V6, LanMode};

/// More interfaces than this are not spoken on (container hosts have hundreds).
const MAX_INTERFACES: usize = 32;

pub(super) struct Sockets {
    mode: LanMode,
    port: u16,
    listen_v4: Option<UdpSocket>,
    listen_v6: Option<UdpSocket>,
    senders: BTreeMap<(u32, IpAddr), Sender>,
    joined: BTreeSet<(u32, bool)>,
}

struct Sender {
    name: String,
    socket: UdpSocket,
    targets: Vec<SocketAddr>,
}

pub(super) struct Look {
    pub(super) has_new: bool,
    pub(super) error: Option<String>,
}

pub(super) struct Sent {
    pub(super) datagrams: u64,
    pub(super) error: Option<String>,
}

impl Sockets {
    /// Listens; it is enough if one family works.
    pub(super) fn open(mode: LanMode, port: u16) -> io::Result<Self> {
        let v4 = listen(Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        let v6 = listen(Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        let (listen_v4, listen_v6) = match (v4, v6) {
            (Err(error), Err(_)) => return Err(error),
            (v4, v6) => (v4.ok(), v6.ok()),
        };
        Ok(Self { mode, port, listen_v4, listen_v6, senders: BTreeMap::new(), joined: BTreeSet::new() })
    }

    /// The names of the interfaces that are spoken on.
    pub(super) fn names(&self) -> Vec<String> {
        let names: BTreeSet<_> = self.senders.values().map(|sender| sender.name.clone()).collect();
        names.into_iter().collect()
    }

    /// Lists the interfaces, joins and binds to those that came, drops those that went.
    pub(super) fn look_at_interfaces(&mut self) -> Look {
        let mut look = Look { has_new: false, error: None };
        let interfaces = match if_addrs::get_if_addrs() {
            Ok(interfaces) => interfaces,
            Err(error) => return Look { error: Some(format!("cannot list interfaces: {error}")), ..look },
        };
        let wanted: BTreeMap<(u32, IpAddr), Interface> = interfaces
            .into_iter()
            .filter(|interface| self.is_wanted(interface))
            .filter_map(|interface| Some(((interface.index?, interface.ip()), interface)))
            .take(MAX_INTERFACES)
            .collect();
        self.senders.retain(|key, _| wanted.contains_key(key));
        self.joined.retain(|(index, v6)| wanted.keys().any(|(i, ip)| i == index && ip.is_ipv6() == *v6));
        for ((index, ip), interface) in wanted {
            if self.senders.contains_key(&(index, ip)) {
                continue;
            }
            match self.add(index, ip, interface.name) {
                Ok(()) => look.has_new = true,
                Err(error) => look.error = Some(format!("no beacons from {ip}: {error}")),
            }
        }
        look
    }

    fn is_wanted(&self, interface: &Interface) -> bool {
        let is_up = interface.is_oper_up() || interface.is_loopback();
        match (self.mode, interface.ip()) {
            (LanMode::Loopback, ip) => ip == IpAddr::V4(Ipv4Addr::LOCALHOST),
            (LanMode::On, IpAddr::V4(ip)) => is_up && !ip.is_loopback(),
            (LanMode::On, IpAddr::V6(ip)) => is_up && ip.is_unicast_link_local(),
        }
    }

    fn add(&mut self, index: u32, ip: IpAddr, name: String) -> io::Result<()> {
        let is_new = self.joined.insert((index, ip.is_ipv6()));
        if is_new {
            // Fails with "in use" for an interface that went and came between two looks: it is joined.
            match (ip, &self.listen_v4, &self.listen_v6) {
                (IpAddr::V4(_), Some(socket), _) => socket2::SockRef::from(socket)
                    .join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))
                    .or_else(already_joined)?,
                (IpAddr::V6(_), _, Some(socket)) => {
                    socket.join_multicast_v6(&GROUP_V6, index).or_else(already_joined)?;
                }
                _ => {}
            }
        }
        let (socket, targets) = match ip {
            IpAddr::V4(ip) => self.sender_v4(ip)?,
            IpAddr::V6(ip) => self.sender_v6(ip, index)?,
        };
        self.senders.insert((index, ip), Sender { name, socket, targets });
        Ok(())
    }

    fn sender_v4(&self, ip: Ipv4Addr) -> io::Result<(UdpSocket, Vec<SocketAddr>)> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&SocketAddr::from((ip, 0)).into())?;
        socket.set_multicast_if_v4(&ip)?;
        socket.set_multicast_ttl_v4(1)?;
        socket.set_multicast_loop_v4(true)?;
        let mut targets = vec![SocketAddr::from((GROUP_V4, self.port))];
        if self.mode == LanMode::On {
            socket.set_broadcast(true)?;
            targets.push(SocketAddr::from((Ipv4Addr::BROADCAST, self.port)));
        }
        Ok((into_tokio(socket)?, targets))
    }

    fn sender_v6(&self, ip: Ipv6Addr, index: u32) -> io::Result<(UdpSocket, Vec<SocketAddr>)> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(true)?;
        socket.bind(&SocketAddr::from(SocketAddrV6::new(ip, 0, 0, index)).into())?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_hops_v6(1)?;
        socket.set_multicast_loop_v6(true)?;
        let target = SocketAddrV6::new(GROUP_V6, self.port, 0, index);
        Ok((into_tokio(socket)?, vec![SocketAddr::from(target)]))
    }

    /// Sends a datagram on every interface. What fails on one does not hold up the others.
    pub(super) async fn send(&self, datagram: &[u8]) -> Sent {
        let mut sent = Sent { datagrams: 0, error: None };
        for sender in self.senders.values() {
            for target in &sender.targets {
                match sender.socket.send_to(datagram, target).await {
                    Ok(_) => sent.datagrams += 1,
                    Err(error) => sent.error = Some(format!("{} to {target}: {error}", sender.name)),
                }
            }
        }
        sent
    }

    /// Waits for the next datagram. Safe to cancel.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        loop {
            let (readable_v4, readable_v6) = (ready(&self.listen_v4), ready(&self.listen_v6));
            let socket = tokio::select! {
                socket = readable_v4 => socket,
                socket = readable_v6 => socket,
            };
            // An error here is an ICMP message about something that was sent, or a spurious wake.
            let Ok((len, from)) = socket.try_recv_from(buffer) else { continue };
            if self.mode == LanMode::On || from.ip().is_loopback() {
                return (len, from);
            }
        }
    }
}

async fn ready(socket: &Option<UdpSocket>) -> &UdpSocket {
    if let Some(socket) = socket
        && socket.readable().await.is_ok()
    {
        return socket;
    }
    std::future::pending().await
}

fn already_joined(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AddrInUse { Ok(()) } else { Err(error) }
}

fn listen(domain: Domain, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    // Several daemons on one machine all hear every multicast and broadcast.
    socket.set_reuse_address(true)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    into_tokio(socket)
}

fn into_tokio(socket: Socket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}
