//! The UDP sockets and the QUIC endpoints on them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quinn::{ClientConfig, Connecting, Endpoint, EndpointConfig, ServerConfig};
use socket2::{Domain, Protocol, Socket, Type};

use super::tls::{Credentials, SERVER_NAME};
use super::transport::{Congestion, transport};
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
    pub(super) fn connect(&self, to: SocketAddr, congestion: Congestion) -> Result<Connecting, String> {
        let listening = self.list.iter().max_by_key(|listening| fitness(listening.local.ip(), to.ip()));
        let listening = listening.filter(|listening| fitness(listening.local.ip(), to.ip()) > 0);
        let Some(listening) = listening else {
            return Err(format!("no address that is listened on can reach {}", to.ip()));
        };
        let mut config = ClientConfig::new(Arc::clone(&self.credentials.client) as _);
        config.transport_config(transport(to.ip(), congestion));
        listening.endpoint.connect_with(config, to, SERVER_NAME).map_err(|error| error.to_string())
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
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = Endpoint::new(config, Some(server), socket.into(), runtime).map_err(failed)?;
    let local = endpoint.local_addr().map_err(failed)?;
    Ok(Listening { endpoint, local, buffers })
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
    config.transport_config(transport(remote, Congestion::for_rtt(None)));
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
