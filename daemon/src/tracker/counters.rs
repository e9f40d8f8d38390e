//! What has happened since the start, as numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Datagrams that have come.
    UdpReceived,
    /// Their bytes.
    UdpReceivedBytes,
    /// Datagrams that were sent as answers.
    UdpSent,
    /// Their bytes.
    UdpSentBytes,
    /// Answers that the system would not take.
    UdpUnsent,
    /// Connection ids given out.
    UdpConnects,
    /// Announces that were answered.
    UdpAnnounces,
    /// Scrapes that were answered.
    UdpScrapes,
    /// Requests that were refused with a reason.
    UdpErrors,
    /// Datagrams that were no requests.
    UdpMalformed,
    /// Requests beyond what their source may ask.
    UdpLimited,
    /// Datagrams that were handed on.
    Foreign,
    /// Datagrams that should have been, but nobody could take them.
    ForeignDropped,
    /// Announces that were answered.
    HttpAnnounces,
    /// Scrapes that were answered.
    HttpScrapes,
    /// Requests that were refused with a reason.
    HttpErrors,
    /// Requests beyond what their source may ask.
    HttpLimited,
    /// Connections that were closed at once, there being too many.
    HttpTurnedAway,
}

/// How many kinds there are.
const KINDS: usize = Count::HttpTurnedAway as usize + 1;

/// The numbers of the whole process.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; KINDS]);

impl Counters {
    /// One more.
    pub fn add_one(&self, count: Count) {
        self.0[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize].load(Ordering::Relaxed)
    }

    /// Adds what one thread has counted, and empties its tally.
    pub fn add(&self, tally: &mut Tally) {
        for (total, part) in self.0.iter().zip(&mut tally.0) {
            if *part > 0 {
                total.fetch_add(std::mem::take(part), Ordering::Relaxed);
            }
        }
    }
}

/// The numbers of one thread since it has last told the others.
#[derive(Debug, Default)]
pub struct Tally([u64; KINDS]);

impl Tally {
    /// So many more.
    pub fn add(&mut self, count: Count, more: usize) {
        self.0[count as usize] += more as u64;
    }
}
