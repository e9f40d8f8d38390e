//! Trackers: tells them under which port a folder's device is reached, and hears who else is.
//!
//! Speaks BEP 15 over UDP and BEP 3, 7 and 23 over HTTP and HTTPS; a folder's discovery id is the
//! info hash, and every device says that it still lacks a byte, since some trackers do not tell
//! those who have everything of each other. Each tracker is asked over IPv4 and IPv6 separately, as
//! it has addresses: what it answers over one family is of that family.
//!
//! Not here: whether an address is dialled ([`Hint`]s are for the network side to judge), and which
//! folder uses which trackers. Nothing is believed but that the tracker has said it.
//!
//! - `url`, `error`: what is configured, and what a person is told when it does not work.
//! - `swarm`, `line`, `listed`, `book`: pure; one folder at one tracker, one tracker, the trackers of one
//!   folder, all of them.
//! - `ask` with `udp`, `http`, `names`: one question and its answer.
//! - `run`: the loop that joins both; `own`, `random`: its small needs.

mod ask;
mod book;
mod error;
mod http;
mod line;
mod listed;
mod names;
mod own;
mod random;
mod run;
mod swarm;
mod udp;
mod url;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keystore::{DiscoveryId, FolderId};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub use self::error::TrackerError;
pub use self::url::{Host, Scheme, TrackerUrl};

use self::ask::Asker;
use self::book::{Book, Shown};
use self::own::OwnAddresses;
use self::random::Random;
use self::run::{Run, Shared};
use super::{Hint, Reachable, Way, WayStatus};
use crate::tracker::wire::Totals;

/// At the end trackers are told that we go, but nobody waits longer for that.
const END_WITHIN: Duration = Duration::from_secs(2);

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address; IPv4 inside IPv6 is IPv4.
    pub fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// How to talk to trackers.
#[derive(Debug)]
pub struct TrackersConfig {
    /// Randomness for ids and jitter.
    pub seed: [u8; 32],
    /// Where found addresses go; when it is full, they are dropped until the next answer.
    pub hints: mpsc::Sender<Hint>,
    /// The ports that are announced.
    pub reachable: watch::Receiver<Reachable>,
}

/// The talk with all trackers; it ends when this is dropped.
#[derive(Debug)]
pub struct Trackers {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Trackers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Trackers {
    /// Starts it, inside a tokio runtime. Nobody is asked before there are folders.
    pub fn start(config: TrackersConfig) -> Self {
        let TrackersConfig { seed, hints, mut reachable } = config;
        let book = Mutex::new(Book::new(*reachable.borrow_and_update()));
        let shared = Arc::new(Shared {
            book,
            asker: Asker::new(Random::new(&seed)),
            changed: Notify::new(),
            ended: Notify::new(),
            start: Instant::now(),
        });
        let run = Run { shared: Arc::clone(&shared), reachable, hints, own: OwnAddresses::default() };
        Self { shared, task: tokio::spawn(run.run()) }
    }

    /// Sets a folder's trackers; those that it had and has no more are told that it goes. An item of
    /// several URLs with blanks between them names alternatives, see [`urls`].
    pub fn set_folder(&self, folder: FolderId, discovery: DiscoveryId, trackers: &[String]) {
        self.shared.book.lock().set_folder(folder, discovery, trackers, self.shared.now());
        self.shared.changed.notify_one();
    }

    /// Tells a folder's trackers that it goes.
    pub fn remove_folder(&self, folder: FolderId) {
        self.shared.book.lock().remove_folder(folder, self.shared.now());
        self.shared.changed.notify_one();
    }

    /// What each of a folder's trackers last said, in the order in which they were set.
    pub fn status(&self, folder: FolderId) -> Vec<WayStatus> {
        let now = self.shared.now();
        let rows = self.shared.book.lock().status(folder);
        rows.into_iter().map(|shown| way_status(shown, now, SystemTime::now())).collect()
    }

    /// The network has changed: asks soon, but no tracker more often than once a minute.
    pub fn look_again(&self) {
        self.shared.asker.handle_network_change();
        self.shared.book.lock().handle_network_change(self.shared.now());
        self.shared.changed.notify_one();
    }

    /// Tells all trackers that we go, for two seconds at most, and ends.
    pub async fn close(&self) {
        self.shared.book.lock().end(self.shared.now());
        self.shared.changed.notify_one();
        // Trackers that were not reached forget us after their interval.
        let _ = timeout(END_WITHIN, self.shared.ended.notified()).await;
        self.task.abort();
    }
}

fn way_status(shown: Shown, now: Duration, clock: SystemTime) -> WayStatus {
    let Shown { source, row, stands_by } = shown;
    WayStatus {
        way: Way::Tracker,
        source,
        last_announce: row.last_announce.and_then(|at| clock.checked_sub(now.saturating_sub(at))),
        next: row.next.and_then(|at| clock.checked_add(at.saturating_sub(now))),
        found: row.found,
        error: row.error,
        stands_by,
    }
}

/// All URLs that a list of trackers names, those of alternatives among them.
pub fn urls(trackers: &[String]) -> impl Iterator<Item = &str> {
    trackers.iter().flat_map(|item| listed::split(item))
}

/// What a tracker says of a folder when it is only asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrape {
    /// Where it answered.
    pub address: SocketAddr,
    /// How many it knows.
    pub totals: Totals,
}

/// Asks a tracker how many devices it knows of a folder, and tells it nothing. For `doctor`.
///
/// # Errors
/// When neither family leads to an answer: what went wrong over the one that has an address.
pub async fn scrape(url: &str, discovery: DiscoveryId) -> Result<Scrape, TrackerError> {
    let url: TrackerUrl = url.parse()?;
    let asker = Asker::new(Random::new(&crate::random::bytes()));
    let ask = |family| asker.scrape(&url, family, 0, discovery);
    let (v4, v6) = match url.host {
        Host::Ip(ip) => return ask(Family::of(ip)).await,
        Host::Name(_) => tokio::join!(ask(Family::V4), ask(Family::V6)),
    };
    match (v4, v6) {
        (Ok(scrape), _) | (_, Ok(scrape)) => Ok(scrape),
        (Err(TrackerError::NoAddress { .. }), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

#[cfg(test)]
mod tests;
