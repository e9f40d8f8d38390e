//! BEP 3 over HTTP: announce and scrape, and two pages for people and their monitoring.
//!
//! `answer` turns a request into its answer, `page` writes what is read by people. This file
//! holds connections: how many, for how long, and how large what they send may be.

mod answer;
mod page;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use self::answer::answer;
use super::counters::Count;
use super::desk::Desk;
use super::source::Source;

/// Connections at a time, over all addresses.
const MAX_CONNECTIONS: usize = 4_096;
/// Of one source.
const MAX_OF_SOURCE: u32 = 64;
/// What a connection may send before its headers have ended; 8 KiB is the least that hyper allows.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// How long a client may take for its headers, and stay silent between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last: trackers are asked twice an hour.
const LIFETIME: Duration = Duration::from_secs(60);
/// The pause after an accept that failed: mostly no descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on TCP. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Http {
    listeners: Vec<JoinHandle<()>>,
}

impl Http {
    /// Starts to answer on these listeners. To be called within a runtime.
    pub fn start(desk: &Arc<Desk>, listeners: Vec<TcpListener>) -> Self {
        let door = Arc::new(Door::new(MAX_CONNECTIONS, MAX_OF_SOURCE));
        let serve = |listener| tokio::spawn(accept(listener, Arc::clone(desk), Arc::clone(&door)));
        Self { listeners: listeners.into_iter().map(serve).collect() }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.listeners.iter().for_each(JoinHandle::abort);
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>, door: Arc<Door>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => match door.enter(from.ip()) {
                Some(guest) => drop(tokio::spawn(serve(stream, from, Arc::clone(&desk), guest))),
                // Dropped at once: a queue would only keep honest clients waiting behind the others.
                None => desk.counters.add_one(Count::HttpTurnedAway),
            },
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream, from: SocketAddr, desk: Arc<Desk>, guest: Guest) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answer = answer(&desk, from.ip(), &request);
        async { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // An end before its time is the client's business.
    let _ = tokio::time::timeout(LIFETIME, served).await;
    drop(guest);
}

/// Counts connections, in all and of each source.
#[derive(Debug)]
struct Door {
    free: Arc<Semaphore>,
    of_sources: Mutex<HashMap<Source, u32>>,
    most_of_source: u32,
}

/// A connection that was let in; it is counted until this is dropped.
#[derive(Debug)]
struct Guest {
    door: Arc<Door>,
    source: Source,
    _permit: OwnedSemaphorePermit,
}

impl Door {
    fn new(most: usize, most_of_source: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), of_sources: Mutex::default(), most_of_source }
    }

    fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Guest> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        let source = Source::of(from);
        let mut of_sources = self.of_sources.lock();
        let count = of_sources.entry(source).or_default();
        if *count >= self.most_of_source {
            return None;
        }
        *count += 1;
        Some(Guest { door: Arc::clone(self), source, _permit: permit })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut of_sources = self.door.of_sources.lock();
        if let Some(count) = of_sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                of_sources.remove(&self.source);
            }
        }
    }
}
