//! From a datagram to its answer. No sockets here.
//!
//! Who has not shown that it is where it seems to be never gets more bytes than it sent.

use std::net::IpAddr;
use std::sync::Arc;

use super::connection::ConnectionIds;
use crate::random;
use crate::tracker::clock::Now;
use crate::tracker::counters::{Count, Tally};
use crate::tracker::desk::{Desk, MAX_WANT, USUAL_WANT};
use crate::tracker::source::Source;
use crate::tracker::swarms::{Dice, Named, Wanted};
use crate::tracker::wire::udp::{
    Request, announce_answer_head, connect_answer, encode_totals, error_answer_head, scrape_answer_head,
};
use crate::tracker::wire::{Announce, InfoHash};

/// Set in the first byte of every QUIC packet, and of no connection id that we give out.
const QUIC_BIT: u8 = 0x40;
/// Addresses of IPv6 in an answer, so that it fits into any packet: 20 + 74 × 18 = 1,352 bytes.
const MAX_WANT_V6: usize = 74;
/// Short enough for the answer to be no larger than the shortest request.
const STALE: &str = "connect again";

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handled {
    /// The answer was appended.
    Answered,
    /// It deserves none.
    Dropped,
    /// It is another protocol's.
    Foreign,
}

/// Answers datagrams, on one thread.
pub(super) struct Answerer {
    desk: Arc<Desk>,
    ids: ConnectionIds,
    dice: Dice,
    named: Named,
    tally: Tally,
}

impl Answerer {
    pub(super) fn new(desk: Arc<Desk>, ids: ConnectionIds) -> Self {
        let dice = Dice::new(random::bytes());
        Self { desk, ids, dice, named: Named::default(), tally: Tally::default() }
    }

    /// What is counted until the next [`settle`](Self::settle).
    pub(super) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Adds what was counted to the numbers of the process.
    pub(super) fn settle(&mut self) {
        self.desk.counters.add(&mut self.tally);
    }

    /// Handles a datagram from there, and appends the answer to `out`.
    pub(super) fn handle(&mut self, now: &Now, from: IpAddr, datagram: &[u8], out: &mut Vec<u8>) -> Handled {
        self.tally.add(Count::UdpReceived, 1);
        self.tally.add(Count::UdpReceivedBytes, datagram.len());
        if datagram.first().is_some_and(|first| first & QUIC_BIT != 0) {
            return Handled::Foreign;
        }
        let seconds = now.since_start().as_secs();
        match Request::parse(datagram) {
            None => {
                self.tally.add(Count::UdpMalformed, 1);
                Handled::Dropped
            }
            Some(Request::Connect { transaction }) => {
                let id = self.ids.give(from, seconds);
                out.extend_from_slice(&connect_answer(transaction, id));
                self.answered(Count::UdpConnects)
            }
            Some(
                Request::Announce { connection, transaction, .. }
                | Request::Scrape { connection, transaction, .. },
            ) if !self.ids.is_good(connection, from, seconds) => self.refuse(transaction, STALE, out),
            Some(_) if !self.desk.pace.is_granted(Source::of(from), now.micros()) => {
                self.tally.add(Count::UdpLimited, 1);
                Handled::Dropped
            }
            Some(Request::Announce { transaction, announce, .. }) => {
                self.announce(now, from, transaction, &announce, out)
            }
            Some(Request::Scrape { transaction, hashes, .. }) => self.scrape(transaction, hashes, out),
        }
    }

    fn announce(
        &mut self,
        now: &Now,
        from: IpAddr,
        transaction: u32,
        announce: &Announce,
        out: &mut Vec<u8>,
    ) -> Handled {
        let want = announce.want.map_or(USUAL_WANT, |want| want as usize);
        let wanted = match from {
            IpAddr::V4(_) => Wanted { v4: want.min(MAX_WANT), v6: 0 },
            IpAddr::V6(_) => Wanted { v4: 0, v6: want.min(MAX_WANT_V6) },
        };
        self.named.clear();
        let swarms = &self.desk.swarms;
        match swarms.announce(now.tick(), from, announce, wanted, &mut self.dice, &mut self.named) {
            Err(refusal) => self.refuse(transaction, &refusal.to_string(), out),
            Ok(totals) => {
                let interval = self.desk.draw_interval(&mut self.dice);
                let head = announce_answer_head(transaction, interval, totals.leechers, totals.seeders);
                out.extend_from_slice(&head);
                out.extend_from_slice(&self.named.v4);
                out.extend_from_slice(&self.named.v6);
                self.answered(Count::UdpAnnounces)
            }
        }
    }

    fn scrape(&mut self, transaction: u32, hashes: &[InfoHash], out: &mut Vec<u8>) -> Handled {
        out.extend_from_slice(&scrape_answer_head(transaction));
        for hash in hashes {
            out.extend_from_slice(&encode_totals(self.desk.swarms.scrape(hash)));
        }
        self.answered(Count::UdpScrapes)
    }

    fn refuse(&mut self, transaction: u32, why: &str, out: &mut Vec<u8>) -> Handled {
        out.extend_from_slice(&error_answer_head(transaction));
        out.extend_from_slice(why.as_bytes());
        self.answered(Count::UdpErrors)
    }

    fn answered(&mut self, count: Count) -> Handled {
        self.tally.add(count, 1);
        Handled::Answered
    }
}

#[cfg(test)]
mod tests;
