//! The UDP sockets and the QUIC endpoints on them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quinn::{ClientConfig, Connecting, Endpoint, EndpointConfig, Runtime, ServerConfig};
use socket2::{Domain, Protocol, Socket, Type};

use super::gather::Gathering;
use super::pace::Paced;
use super::tls::{Credentials, SERVER_NAME};
use super::transport::{introducer_transport, transport};
use super::{NetError, SocketBuffers};

/// What is asked of the system for each socket; it may grant less.
pub const SOCKET_BUFFER: usize = 8 << 20;

/// All endpoints of a process, one for each address that it listens on.
pub(super) struct Endpoints {
    credentials: Credentials,
    list: Vec<Listening>,
}

struct Listening {
    endpoint: Endpoint,
    /// The endpoint's socket, only ever to send packets beside QUIC; what comes is quinn's.
    beside: Socket,
    local: SocketAddr,
    buffers: SocketBuffers,
}

impl Endpoints {
    pub(super) fn bind(listen: &[SocketAddr]) -> Result<Self, NetError> {
        let credentials = Credentials::generate()?;
        let list = listen.iter().map(|address| open(*address, &credentials)).collect::<Result<_, _>>()?;
        Ok(Self { credentials, list })
    }

    /// What this process shows on its links.
    pub(super) fn fingerprint(&self) -> super::tls::Fingerprint {
        self.credentials.fingerprint
    }

    pub(super) fn local_addresses(&self) -> Vec<SocketAddr> {
        self.list.iter().map(|listening| listening.local).collect()
    }

    pub(super) fn buffers(&self) -> Vec<SocketBuffers> {
        self.list.iter().map(|listening| listening.buffers).collect()
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.list.iter().map(|listening| &listening.endpoint)
    }

    /// The configuration for a connection from there.
    pub(super) fn server_config(&self, remote: IpAddr) -> Arc<ServerConfig> {
        Arc::new(server_config(&self.credentials, remote))
    }

    /// Starts a handshake from the endpoint that can reach the address.
    pub(super) fn connect(&self, to: SocketAddr) -> Result<Connecting, String> {
        let mut config = ClientConfig::new(Arc::clone(&self.credentials.client) as _);
        config.transport_config(transport(to.ip()));
        self.connect_with(config, to)
    }

    /// The same with an introducer.
    pub(super) fn connect_introducer(&self, to: SocketAddr) -> Result<Connecting, String> {
        let mut config = ClientConfig::new(Arc::clone(&self.credentials.introducer) as _);
        config.transport_config(introducer_transport());
        self.connect_with(config, to)
    }

    fn connect_with(&self, config: ClientConfig, to: SocketAddr) -> Result<Connecting, String> {
        let Some(listening) = self.reaching(to.ip()) else {
            return Err(format!("no address that is listened on can reach {}", to.ip()));
        };
        listening.endpoint.connect_with(config, to, SERVER_NAME).map_err(|error| error.to_string())
    }

    /// Sends a packet that is no QUIC from the endpoint that can reach the address. It may be lost,
    /// as packets are.
    pub(super) fn send_beside(&self, to: SocketAddr, packet: &[u8]) {
        let Some(listening) = self.reaching(to.ip()) else { return };
        let mut to = to;
        if let (SocketAddr::V4(v4), true) = (to, listening.local.is_ipv6()) {
            to = SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()));
        }
        let _ = listening.beside.send_to(packet, &to.into());
    }

    fn reaching(&self, ip: IpAddr) -> Option<&Listening> {
        let best = self.list.iter().max_by_key(|listening| fitness(listening.local.ip(), ip))?;
        (fitness(best.local.ip(), ip) > 0).then_some(best)
    }
}

/// How well a socket bound to `local` can send to `remote`; 0 is not at all.
fn fitness(local: IpAddr, remote: IpAddr) -> u8 {
    let same_family = local.is_ipv4() == remote.is_ipv4();
    if !same_family {
        // `[::]` is a dual-stack socket.
        return u8::from(local.is_ipv6() && local.is_unspecified());
    }
    match (local.is_unspecified(), local.is_loopback() == remote.is_loopback()) {
        (false, true) => 3,
        (true, _) => 2,
        (false, false) => 0,
    }
}

fn open(address: SocketAddr, credentials: &Credentials) -> Result<Listening, NetError> {
    let failed = |source| NetError::Listen { address, source };
    let socket = bind(address).map_err(failed)?;
    let buffers = SocketBuffers {
        receive: socket.recv_buffer_size().map_err(failed)?,
        send: socket.send_buffer_size().map_err(failed)?,
    };
    let mut config = EndpointConfig::default();
    // So that a QUIC packet can be told from others by its first byte, should they share the port.
    config.grease_quic_bit(false);
    let server = server_config(credentials, address.ip());
    let beside = socket.try_clone().map_err(failed)?;
    let runtime = Arc::new(Paced);
    let socket = Gathering::new(runtime.wrap_udp_socket(socket.into()).map_err(failed)?);
    let endpoint =
        Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime).map_err(failed)?;
    let local = endpoint.local_addr().map_err(failed)?;
    Ok(Listening { endpoint, beside, local, buffers })
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Only the unspecified address can serve both families.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Best effort: what was granted is read back and shown.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn server_config(credentials: &Credentials, remote: IpAddr) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(Arc::clone(&credentials.server) as _);
    config.transport_config(transport(remote));
    config.max_incoming(super::gate::MAX_PENDING);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_dial_leaves_by_a_socket_that_can_reach_it() {
        assert!(fitness(ip("127.0.0.1"), ip("127.0.0.1")) > fitness(ip("0.0.0.0"), ip("127.0.0.1")));
        assert_eq!(fitness(ip("127.0.0.1"), ip("192.0.2.1")), 0);
        assert_eq!(fitness(ip("0.0.0.0"), ip("2001:db8::1")), 0);
        assert!(fitness(ip("::"), ip("192.0.2.1")) > 0);
        assert_eq!(fitness(ip("::1"), ip("192.0.2.1")), 0);
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let first = Endpoints::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let taken = first.local_addresses()[0];
        let error = Endpoints::bind(&[taken]).err().unwrap().to_string();
        assert!(error.contains(&taken.to_string()), "{error}");
    }
}
