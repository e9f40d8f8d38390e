//! The sockets of beacons: one to listen for each family, one to send for each interface address.
//!
//! A sending socket is bound to the address of its interface: without that a machine without a
//! default route is silent, and one with several interfaces speaks on one of them only.
//!
//! Whatever cannot be opened is tried again at the next look, so a family that the system has not
//! got, an interface that vanishes and an address that is not ready yet end nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use super::interfaces::{self, Local, quic_port};
use super::{GROUP_V4, GROUP_V6, LanConfig, LanMode};

pub(super) struct Sockets {
    mode: LanMode,
    port: u16,
    listen: Vec<SocketAddr>,
    listen_v4: Option<UdpSocket>,
    listen_v6: Option<UdpSocket>,
    locals: Vec<Local>,
    senders: BTreeMap<(u32, IpAddr), Sender>,
    /// Interfaces, and whether it is IPv6, on which the listening sockets are in the group.
    joined: BTreeSet<(u32, bool)>,
}

struct Sender {
    local: Local,
    socket: UdpSocket,
    targets: Vec<SocketAddr>,
    quic_port: u16,
}

/// What a look at the interfaces has found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// There is an address that was not spoken from before.
    pub(super) has_new: bool,
    /// What does not work, as sentences.
    pub(super) errors: Vec<String>,
}

/// What came of a datagram.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) datagrams: u64,
    pub(super) errors: Vec<String>,
}

impl Sockets {
    pub(super) fn new(config: &LanConfig) -> Self {
        Self {
            mode: config.mode,
            port: config.port,
            listen: config.listen.clone(),
            listen_v4: None,
            listen_v6: None,
            locals: Vec::new(),
            senders: BTreeMap::new(),
            joined: BTreeSet::new(),
        }
    }

    /// The interfaces that are spoken on, with their families.
    pub(super) fn names(&self) -> Vec<String> {
        interfaces::describe(self.senders.values().map(|sender| &sender.local))
    }

    /// Whether beacons of others can come in.
    pub(super) fn hears(&self) -> bool {
        self.listen_v4.is_some() || self.listen_v6.is_some()
    }

    /// The ports that beacons speak of, one datagram for each.
    pub(super) fn quic_ports(&self) -> Vec<u16> {
        let mut ports: Vec<_> = self.senders.values().map(|sender| sender.quic_port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Lists the interfaces, joins and binds to those that came, drops those that went.
    pub(super) fn look_at_interfaces(&mut self) -> Look {
        let mut look = Look::default();
        self.locals = match interfaces::list(self.mode) {
            Ok(locals) => locals,
            Err(error) => {
                look.errors.push(format!("the interfaces cannot be listed: {error}"));
                return look;
            }
        };
        self.listen_where_needed(&mut look);
        let locals = &self.locals;
        self.senders.retain(|key, _| locals.iter().any(|local| (local.index, local.ip) == *key));
        for local in self.locals.clone() {
            let key = (local.index, local.ip);
            let Some(quic_port) = quic_port(&self.listen, local.ip) else { continue };
            if self.senders.contains_key(&key) {
                continue;
            }
            match self.sender(local, quic_port) {
                Ok(sender) => {
                    self.senders.insert(key, sender);
                    look.has_new = true;
                }
                Err(error) => look.errors.push(format!("no beacons from {}: {error}", key.1)),
            }
        }
        self.join_where_needed(&mut look);
        if self.senders.is_empty() && !self.locals.is_empty() && look.errors.is_empty() {
            let elsewhere =
                "no beacons: the daemon listens on none of this machine's addresses in the network";
            look.errors.push(elsewhere.to_owned());
        }
        look
    }

    /// A family that no interface has is no loss.
    fn listen_where_needed(&mut self, look: &mut Look) {
        let families: [(_, IpAddr, &mut Option<UdpSocket>); 2] = [
            ("IPv4", Ipv4Addr::UNSPECIFIED.into(), &mut self.listen_v4),
            ("IPv6", Ipv6Addr::UNSPECIFIED.into(), &mut self.listen_v6),
        ];
        for (name, ip, socket) in families {
            let is_needed = self.locals.iter().any(|local| local.ip.is_ipv4() == ip.is_ipv4());
            if is_needed && socket.is_none() {
                match listen(SocketAddr::new(ip, self.port)) {
                    Ok(listening) => {
                        *socket = Some(listening);
                        self.joined.retain(|(_, is_v6)| *is_v6 != ip.is_ipv6());
                    }
                    Err(error) => {
                        let port = self.port;
                        look.errors.push(format!("beacons over {name} are not heard (UDP {port}): {error}"));
                    }
                }
            }
        }
    }

    /// A socket can be in twenty groups, and stays in those of interfaces that are gone, so it leaves.
    fn join_where_needed(&mut self, look: &mut Look) {
        let needed: BTreeSet<_> = self.senders.keys().map(|(index, ip)| (*index, ip.is_ipv6())).collect();
        for gone in self.joined.difference(&needed) {
            self.leave(*gone);
        }
        self.joined.retain(|group| needed.contains(group));
        for group in needed {
            if self.joined.contains(&group) {
                continue;
            }
            // The system may believe the socket to be in a group that the interface has lost.
            self.leave(group);
            match self.join(group) {
                Ok(()) => _ = self.joined.insert(group),
                Err(error) => {
                    let family = if group.1 { "IPv6" } else { "IPv4" };
                    look.errors
                        .push(format!("beacons over {family} are not heard on every interface: {error}"));
                }
            }
        }
    }

    fn join(&self, (index, is_v6): (u32, bool)) -> io::Result<()> {
        let interface = InterfaceIndexOrAddress::Index(index);
        match (is_v6, &self.listen_v4, &self.listen_v6) {
            (false, Some(socket), _) => SockRef::from(socket).join_multicast_v4_n(&GROUP_V4, &interface),
            (true, _, Some(socket)) => socket.join_multicast_v6(&GROUP_V6, index),
            _ => Ok(()), // that nobody listens is told already
        }
    }

    fn leave(&self, (index, is_v6): (u32, bool)) {
        let interface = InterfaceIndexOrAddress::Index(index);
        let _ = match (is_v6, &self.listen_v4, &self.listen_v6) {
            (false, Some(socket), _) => SockRef::from(socket).leave_multicast_v4_n(&GROUP_V4, &interface),
            (true, _, Some(socket)) => socket.leave_multicast_v6(&GROUP_V6, index),
            _ => Ok(()),
        };
    }

    fn sender(&self, local: Local, quic_port: u16) -> io::Result<Sender> {
        let (socket, targets) = match local.ip {
            IpAddr::V4(ip) => self.sender_v4(ip)?,
            IpAddr::V6(ip) => self.sender_v6(ip, local.index)?,
        };
        Ok(Sender { local, socket, targets, quic_port })
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

    /// Sends a datagram that speaks of this port on every interface where it is right. What fails on
    /// one does not hold up the others.
    pub(super) async fn send(&self, datagram: &[u8], quic_port: u16) -> Sent {
        let mut sent = Sent::default();
        for sender in self.senders.values().filter(|sender| sender.quic_port == quic_port) {
            for target in &sender.targets {
                match sender.socket.send_to(datagram, target).await {
                    Ok(_) => sent.datagrams += 1,
                    Err(error) => {
                        let name = &sender.local.name;
                        sent.errors.push(format!("no beacon on {name} to {}: {error}", target.ip()));
                    }
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
            if interfaces::is_on_some_link(&self.locals, from) {
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

fn listen(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // Several daemons on one machine all hear every multicast and broadcast.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    into_tokio(socket)
}

fn into_tokio(socket: Socket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}
