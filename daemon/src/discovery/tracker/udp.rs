//! Requests over UDP (BEP 15): one socket for each family, for all trackers and folders.
//!
//! An answer counts when it comes from where the request went and carries its transaction number,
//! which is drawn anew for each datagram. Whatever else arrives is dropped.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::random::Random;
use super::{Family, TrackerError};
use crate::tracker::wire::udp::{Answer, connect_request};

/// How long each attempt waits for its answers. BEP 15 begins with 15 s, to spare trackers with
/// millions of clients; but one datagram lost on a radio link should not make a person wait so long
/// at the start, and one more of 16 bytes after 2 s burdens nobody. The rest of the schedule, which
/// doubles from 15 s on, is [`super::line`]'s.
const WAITS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(15)];
/// A connection id may be used for a minute after it was received.
const CONNECTION_LIFE: Duration = Duration::from_secs(58);
/// Longer answers are cut: 200 addresses of IPv6 take 3,620 bytes.
const MAX_ANSWER_BYTES: usize = 4096;
/// After an error of the socket itself, so that one that persists does not spin.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Who waits for which answer.
type Pending = Arc<Mutex<HashMap<(SocketAddr, u32), oneshot::Sender<Vec<u8>>>>>;

#[derive(Debug)]
pub(super) struct Udp {
    v4: Mutex<Option<Lane>>,
    v6: Mutex<Option<Lane>>,
    pending: Pending,
    connections: Mutex<HashMap<SocketAddr, (Instant, u64)>>,
    random: Arc<Random>,
}

/// A socket and the task that reads it.
#[derive(Debug)]
struct Lane {
    socket: Arc<UdpSocket>,
    reader: JoinHandle<()>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Udp {
    /// Opens nothing before it is asked.
    pub(super) fn new(random: Arc<Random>) -> Self {
        Self {
            v4: Mutex::default(),
            v6: Mutex::default(),
            pending: Pending::default(),
            connections: Mutex::default(),
            random,
        }
    }

    fn socket(&self, family: Family) -> io::Result<Arc<UdpSocket>> {
        let mut lane = match family {
            Family::V4 => self.v4.lock(),
            Family::V6 => self.v6.lock(),
        };
        if let Some(lane) = &*lane {
            return Ok(Arc::clone(&lane.socket));
        }
        let socket = Arc::new(bind(family)?);
        let reader = tokio::spawn(read(Arc::clone(&socket), Arc::clone(&self.pending)));
        *lane = Some(Lane { socket: Arc::clone(&socket), reader });
        Ok(socket)
    }

    /// Forgets all connection ids: they belong to the address that we had.
    pub(super) fn forget_connections(&self) {
        self.connections.lock().clear();
    }

    /// Makes a request, which is given a connection id and a transaction number, and returns the
    /// answer's bytes, which can be read as an [`Answer`].
    pub(super) async fn ask(
        &self,
        to: SocketAddr,
        request: impl Fn(u64, u32) -> Vec<u8>,
    ) -> Result<Vec<u8>, TrackerError> {
        for wait in WAITS {
            match timeout(wait, self.attempt(to, &request)).await {
                Ok(result) => {
                    return result.map_err(|cause| TrackerError::Unreachable { address: to, cause });
                }
                // The id may be what it did not like.
                Err(_) => self.forget_connection(to),
            }
        }
        Err(TrackerError::Silent { address: to })
    }

    async fn attempt(&self, to: SocketAddr, request: &impl Fn(u64, u32) -> Vec<u8>) -> io::Result<Vec<u8>> {
        if let Some(connection) = self.connection(to) {
            let answer = self.exchange(to, |transaction| request(connection, transaction)).await?;
            if !matches!(Answer::parse(&answer), Some(Answer::Error { .. })) {
                return Ok(answer);
            }
            // Some trackers change what they accept before the minute is over.
            self.forget_connection(to);
        }
        let began = Instant::now();
        let answer = self.exchange(to, |transaction| connect_request(transaction).to_vec()).await?;
        let connection = match Answer::parse(&answer) {
            Some(Answer::Connect { connection, .. }) => connection,
            Some(Answer::Error { .. }) => return Ok(answer),
            _ => return Err(io::Error::other("what it answered to a connect request is none")),
        };
        self.remember_connection(to, began, connection);
        self.exchange(to, |transaction| request(connection, transaction)).await
    }

    fn connection(&self, to: SocketAddr) -> Option<u64> {
        let connections = self.connections.lock();
        let (at, id) = connections.get(&to)?;
        (at.elapsed() < CONNECTION_LIFE).then_some(*id)
    }

    fn remember_connection(&self, to: SocketAddr, at: Instant, id: u64) {
        let mut connections = self.connections.lock();
        connections.retain(|_, (at, _)| at.elapsed() < CONNECTION_LIFE);
        connections.insert(to, (at, id));
    }

    fn forget_connection(&self, to: SocketAddr) {
        self.connections.lock().remove(&to);
    }

    /// Sends one datagram and waits for its answer, however long that takes.
    async fn exchange(&self, to: SocketAddr, datagram: impl Fn(u32) -> Vec<u8>) -> io::Result<Vec<u8>> {
        let socket = self.socket(Family::of(to.ip()))?;
        let transaction = u32::from_be_bytes(self.random.bytes());
        let (answered, answer) = oneshot::channel();
        let _expected = Expected::new(&self.pending, (to, transaction), answered);
        socket.send_to(&datagram(transaction), to).await?;
        answer.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// The place of one answer among those that are waited for; given up when dropped.
struct Expected<'a> {
    pending: &'a Pending,
    key: (SocketAddr, u32),
}

impl<'a> Expected<'a> {
    fn new(pending: &'a Pending, key: (SocketAddr, u32), answered: oneshot::Sender<Vec<u8>>) -> Self {
        pending.lock().insert(key, answered);
        Self { pending, key }
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.key);
    }
}

fn bind(family: Family) -> io::Result<UdpSocket> {
    let (domain, any) = match family {
        Family::V4 => (Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
        Family::V6 => (Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&any.into())?;
    UdpSocket::from_std(socket.into())
}

async fn read(socket: Arc<UdpSocket>, pending: Pending) {
    let mut buffer = [0; MAX_ANSWER_BYTES];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            sleep(AFTER_ERROR).await;
            continue;
        };
        let datagram = &buffer[..len];
        let Some(answer) = Answer::parse(datagram) else { continue };
        // A link-local address comes with a scope that the request's may lack.
        let from = SocketAddr::new(from.ip(), from.port());
        let waiting = pending.lock().remove(&(from, answer.transaction()));
        if let Some(waiting) = waiting {
            // Whoever waited may just have given up.
            let _ = waiting.send(datagram.to_vec());
        }
    }
}
