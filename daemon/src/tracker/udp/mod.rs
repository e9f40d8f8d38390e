//! BEP 15: announce and scrape in single datagrams.
//!
//! Each thread has a socket of its own on every listening address (`SO_REUSEPORT`), so the kernel
//! spreads clients over threads and no thread waits for another. `worker` is the loop, `answer`
//! turns requests into answers, `connection` makes the ids that prove an address, `socket` moves
//! batches. What is QUIC's on the same port is lent out: see [`ForeignDatagrams`].

mod answer;
mod connection;
mod foreign;
mod socket;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc;

use self::answer::Answerer;
use self::connection::ConnectionIds;
use self::foreign::WAITING;
use self::socket::Port;
use self::worker::{Desked, Worker};
use super::desk::Desk;
use crate::random;

pub use self::foreign::{ForeignDatagram, ForeignDatagrams, ForeignSender};

/// Bound sockets of one address, one for each thread.
pub struct Bound {
    ports: Vec<Arc<Port>>,
}

impl Bound {
    /// Binds an address. `only_v6` says whether `[::]` leaves IPv4 to another socket.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(address: SocketAddr, only_v6: bool, threads: usize) -> io::Result<Self> {
        let mut ports = vec![Arc::new(Port::bind(address, only_v6)?)];
        let local = ports[0].local; // with the port that the system has chosen, if it was to
        for _ in 1..threads {
            ports.push(Arc::new(Port::bind(local, only_v6)?));
        }
        Ok(Self { ports })
    }
}

/// The threads that answer. They end when it is dropped.
#[derive(Debug)]
pub struct Udp {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<OwnedFd>,
}

impl Udp {
    /// Starts to answer on all addresses, which have been bound for the same number of threads. Comes
    /// with the datagrams of other protocols, one receiver for each address.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(desk: &Arc<Desk>, addresses: Vec<Bound>) -> io::Result<(Self, Vec<ForeignDatagrams>)> {
        let ids = ConnectionIds::new(random::bytes());
        let mut running = Self { threads: Vec::new(), stop: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?) };
        let mut foreign = Vec::new();
        let mut of_threads: Vec<Vec<Desked>> = Vec::new();
        for bound in addresses {
            let (sender, receiver) = mpsc::channel(WAITING);
            if let Some(first) = bound.ports.first() {
                let sender = ForeignSender(Arc::clone(first));
                foreign.push(ForeignDatagrams { local: first.local, receiver, sender });
            }
            of_threads.resize_with(bound.ports.len().max(of_threads.len()), Vec::new);
            for (ports, port) in of_threads.iter_mut().zip(bound.ports) {
                ports.push(Desked { port, foreign: sender.clone() });
            }
        }
        for ports in of_threads {
            let answerer = Answerer::new(Arc::clone(desk), ids.clone());
            let stop = Arc::clone(&running.stop);
            let worker = Worker { desk: Arc::clone(desk), answerer, ports, stop };
            let thread = thread::Builder::new().name("tracker-udp".to_owned());
            running.threads.push(thread.spawn(move || worker.run())?);
        }
        Ok((running, foreign))
    }
}

impl Drop for Udp {
    fn drop(&mut self) {
        // Eight bytes, in the machine's order, wake all threads; nobody reads them.
        if rustix::io::write(&*self.stop, &1_u64.to_ne_bytes()).is_ok() {
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}
