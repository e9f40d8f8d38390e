//! Binds one port number of UDP and of TCP for each address.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::udp::Bound;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// How often a free port is looked for that both protocols have.
const TRIES: usize = 32;

/// An address on which the tracker answers.
pub(super) struct Listening {
    /// With the port that the system has chosen, if it was to.
    pub(super) address: SocketAddr,
    pub(super) udp: Bound,
    pub(super) tcp: TcpListener,
}

/// Binds all addresses. With none, all of IPv6 and IPv4 on that port, or of IPv4 where there is no IPv6.
///
/// # Errors
/// The address that cannot be bound, and why.
pub(super) fn bind_all(
    wanted: &[SocketAddr],
    usual_port: u16,
    threads: usize,
) -> Result<Vec<Listening>, (SocketAddr, io::Error)> {
    if wanted.is_empty() {
        let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), usual_port);
        let first = bind(both, false, threads);
        let bound = match first {
            Err(cause) if is_without_ipv6(&cause) => {
                let v4 = SocketAddr::from(([0, 0, 0, 0], usual_port));
                bind(v4, false, threads).map_err(|cause| (v4, cause))?
            }
            other => other.map_err(|cause| (both, cause))?,
        };
        return Ok(vec![bound]);
    }
    let bind_one = |address: &SocketAddr| {
        bind(*address, leaves_ipv4(*address, wanted), threads).map_err(|cause| (*address, cause))
    };
    wanted.iter().map(bind_one).collect()
}

/// Whether IPv4 on that port is another socket's, as `0.0.0.0` beside `[::]` says.
fn leaves_ipv4(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let is_beside = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
    address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) || all.iter().any(is_beside)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn bind(address: SocketAddr, only_v6: bool, threads: usize) -> io::Result<Listening> {
    let mut tries = if address.port() == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        // TCP first: unlike our UDP sockets it is shared with nobody, so a second tracker stops here.
        let tcp = bind_tcp(address, only_v6)?;
        let local = tcp.local_addr()?;
        match Bound::bind(local, only_v6, threads) {
            Ok(udp) => return Ok(Listening { address: local, udp, tcp }),
            Err(cause) if cause.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(cause) => return Err(cause),
        }
    }
}

fn bind_tcp(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Old connections must not keep a restarted tracker out.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn both_protocols_have_the_same_port_and_a_second_tracker_does_not() {
        let bound = bind_all(&addresses(&["127.0.0.1:0"]), 0, 2).unwrap();
        let address = bound[0].address;
        assert_ne!(address.port(), 0);
        let (refused, cause) = bind_all(&[address], 0, 2).err().unwrap();
        assert_eq!((refused, cause.kind()), (address, io::ErrorKind::AddrInUse));
    }

    #[test]
    fn all_addresses_of_ipv6_include_ipv4_unless_another_has_it() {
        let wanted = addresses(&["[::]:1", "[::]:2", "0.0.0.0:2", "[::1]:1"]);
        let leaves = |at: usize| leaves_ipv4(wanted[at], &wanted);
        assert!(!leaves(0) && leaves(1) && leaves(3));
    }

    #[test]
    fn without_an_address_it_listens_everywhere() {
        let bound = bind_all(&[], 0, 1).unwrap();
        assert!(bound[0].address.ip().is_unspecified());
    }
}
