//! The scheduler alone, and with a few dozen complete peers in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::message::ContentPrefix;

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn content(n: u8) -> ContentId {
    ContentId([n; 32])
}

pub(super) fn scheduler(peers: u64) -> Scheduler {
    let mut scheduler = Scheduler::new(Limits::default());
    for n in 0..peers {
        scheduler.add_peer(PeerKey(n), Availability::Everything, ms(10));
    }
    scheduler
}

#[test]
fn small_files_travel_in_one_bundle_and_nothing_is_asked_twice() {
    let mut scheduler = scheduler(1);
    for n in 0..100 {
        assert!(scheduler.want(content(n), 100, [(0, 100)], 0));
    }
    let asked = scheduler.poll_request(ms(0)).expect("a request");
    assert_eq!(asked.refs.len(), 100);
    assert_eq!(scheduler.poll_request(ms(0)), None);
    for chunk in asked.refs {
        assert!(scheduler.handle_arrived(ms(20), asked.request, chunk));
        assert!(!scheduler.handle_arrived(ms(20), asked.request, chunk), "once");
    }
    assert!(scheduler.is_idle());
}

#[test]
fn a_failed_chunk_is_asked_for_elsewhere_and_of_the_same_peer_only_if_it_is_alone() {
    let mut scheduler = scheduler(2);
    scheduler.want(content(1), 100, [(0, 100)], 0);
    let first = scheduler.poll_request(ms(0)).expect("a request");
    scheduler.handle_failed(ms(1), first.request);
    let second = scheduler.poll_request(ms(1)).expect("a request");
    assert_ne!(first.peer, second.peer);

    scheduler.remove_peer(second.peer);
    assert_eq!(scheduler.poll_request(ms(2)), None, "it rests");
    let rested = scheduler.poll_timeout(ms(2)).expect("a time");
    assert_eq!(scheduler.poll_request(rested).expect("a request").peer, first.peer);
}

#[test]
fn a_peer_that_has_sent_what_nobody_wants_any_more_need_not_rest() {
    let mut scheduler = scheduler(1);
    scheduler.want(content(1), 100, [(0, 100)], 0);
    let asked = scheduler.poll_request(ms(0)).expect("a request");
    scheduler.forget(content(1));
    scheduler.handle_failed(ms(1), asked.request);
    scheduler.want(content(2), 100, [(0, 100)], 0);
    assert!(scheduler.poll_request(ms(2)).is_some());
}

#[test]
fn three_bad_chunks_ban_a_peer() {
    let mut scheduler = scheduler(2);
    scheduler.want(content(1), 4000, (0..4).map(|n| (n, 1000)), 0);
    let asked = scheduler.poll_request(ms(0)).expect("a request");
    let banned: Vec<_> =
        asked.refs[..3].iter().map(|chunk| scheduler.handle_bad(ms(1), asked.request, *chunk)).collect();
    assert_eq!(banned, [false, false, true]);
    let again = scheduler.poll_request(ms(1)).expect("a request");
    assert_ne!(again.peer, asked.peer);
    assert_eq!(again.refs.len(), 4);
}

#[test]
fn a_content_that_all_peers_lack_is_unservable_after_ten_seconds() {
    let mut scheduler = scheduler(1);
    scheduler.want(content(1), 100, [(0, 100)], 0);
    let asked = scheduler.poll_request(ms(0)).expect("a request");
    scheduler.handle_gone(ms(10), asked.request, asked.refs[0]);
    assert_eq!(scheduler.poll_request(ms(10)), None);
    assert!(scheduler.unservable(ms(20)).is_empty());
    assert!(scheduler.unservable(ms(10_000)).is_empty());
    assert_eq!(scheduler.unservable(ms(10_020)), [content(1)]);

    scheduler.set_availability(PeerKey(0), Availability::Everything);
    assert!(scheduler.unservable(ms(10_030)).is_empty());
    assert!(scheduler.poll_request(ms(10_030)).is_some());
}

#[test]
fn a_peer_that_may_have_it_is_asked_when_no_complete_one_can_serve() {
    let mut scheduler = scheduler(1);
    scheduler.add_peer(PeerKey(9), Availability::Perhaps, ms(0));
    scheduler.want(content(1), 100, [(0, 100)], 0);
    let asked = scheduler.poll_request(ms(0)).expect("a request");
    assert_eq!(asked.peer, PeerKey(0));
    scheduler.handle_gone(ms(1), asked.request, asked.refs[0]);
    assert_eq!(scheduler.poll_request(ms(1)).expect("a request").peer, PeerKey(9));
}

#[test]
fn urgent_then_small_contents_come_first_and_a_full_window_refuses_more() {
    let mut scheduler = Scheduler::new(Limits { wanted_chunks: 4, ..Limits::default() });
    scheduler.add_peer(PeerKey(0), Availability::Everything, ms(1));
    scheduler.want(content(1), 900, [(0, 900)], 1);
    scheduler.want(content(2), 800, [(0, 800)], 1);
    scheduler.want(content(3), 1000, [(0, 1000)], 0);
    assert!(!scheduler.want(content(4), 20, [(0, 10), (1, 10)], 0));
    let asked = scheduler.poll_request(ms(0)).expect("a request");
    let order: Vec<_> = asked.refs.iter().map(|chunk| chunk.content).collect();
    assert_eq!(order, [content(3), content(2), content(1)]);
}

#[test]
fn a_content_of_more_chunks_than_are_wanted_at_a_time_is_fetched_alone() {
    let mut scheduler = Scheduler::new(Limits { wanted_chunks: 4, ..Limits::default() });
    scheduler.add_peer(PeerKey(0), Availability::Everything, ms(1));
    let many = (0..5).map(|number| (number, 10));
    assert!(scheduler.want(content(1), 50, many.clone(), 0));
    assert!(!scheduler.has_room_for(1) && !scheduler.want(content(2), 50, [(0, 50)], 0));
    assert!(scheduler.want(content(1), 50, many, 0), "the same anew");
    assert_eq!(scheduler.poll_request(ms(0)).expect("a request").refs.len(), 5);
    scheduler.forget(content(1));
    assert!(scheduler.has_room_for(1) && scheduler.want(content(2), 50, [(0, 50)], 0));
}

/// 32 KiB of a message must not cost the time of thousands.
#[test]
fn to_say_a_thing_often_costs_no_more_than_to_say_it_once() {
    let mut scheduler = Scheduler::new(Limits::default());
    scheduler.add_peer(PeerKey(0), Availability::Perhaps, ms(1));
    scheduler.want(content(1), 1 << 30, (0..1 << 12).map(|number| (number, 1 << 18)), 0);
    let prefix = ContentPrefix::of(&content(1));
    scheduler.handle_have(ms(0), PeerKey(0), &[prefix; 4096], &[]);
    assert!(scheduler.work() < 100, "{}", scheduler.work());
}

/// Peers that answer in virtual time, each chunk after the one before.
struct Swarm {
    scheduler: Scheduler,
    now: Duration,
    /// Bytes per millisecond; 0 is a peer that never answers.
    rates: Vec<u64>,
    free_at: Vec<Duration>,
    coming: BTreeMap<(Duration, u64), (RequestId, ChunkWanted)>,
    sent: u64,
    served: Vec<u64>,
    asked: BTreeMap<ChunkWanted, u32>,
    lost: BTreeSet<ChunkWanted>,
}

impl Swarm {
    fn new(rates: Vec<u64>) -> Self {
        let scheduler = scheduler(rates.len() as u64);
        Self {
            scheduler,
            now: ms(0),
            free_at: vec![ms(0); rates.len()],
            served: vec![0; rates.len()],
            rates,
            coming: BTreeMap::new(),
            sent: 0,
            asked: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    fn send_requests(&mut self) {
        while let Some(Assignment { peer, request, refs }) = self.scheduler.poll_request(self.now) {
            let at = peer.0 as usize;
            for chunk in refs {
                *self.asked.entry(chunk).or_default() += 1;
                let Some(nanos) = (u64::from(chunk.len) * 1_000_000).checked_div(self.rates[at]) else {
                    self.lost.insert(chunk);
                    continue;
                };
                let begin = self.free_at[at].max(self.now + ms(10));
                self.free_at[at] = begin + Duration::from_nanos(nanos);
                self.served[at] += u64::from(chunk.len);
                self.sent += 1;
                self.coming.insert((self.free_at[at], self.sent), (request, chunk));
            }
        }
    }

    fn run(&mut self) {
        while !self.scheduler.is_idle() {
            self.send_requests();
            let timeout = self.scheduler.poll_timeout(self.now);
            let arrival = self.coming.first_key_value().map(|(at, _)| at.0);
            let next = timeout.into_iter().chain(arrival).min().expect("something will happen");
            assert!(next < Duration::from_secs(600), "it never ends");
            self.now = next;
            if arrival == Some(next) {
                let (_, (request, chunk)) = self.coming.pop_first().expect("it was there");
                assert!(self.scheduler.handle_arrived(next, request, chunk), "fetched twice");
            }
            self.scheduler.handle_timeout(next);
        }
    }
}

#[test]
fn fast_peers_give_more_and_what_a_stalled_one_holds_comes_from_others() {
    let mut rates: Vec<u64> = (0..30).map(|n| if n % 3 == 0 { 20_000 } else { 2_000 }).collect();
    rates[5] = 0;
    rates[6] = 0;
    let mut swarm = Swarm::new(rates);
    let len = 256 << 10;
    for n in 0..100 {
        let chunks = if n < 50 { 1 } else { 80 };
        swarm.scheduler.want(content(n), chunks * u64::from(len), (0..chunks).map(|i| (i, len)), 0);
    }
    let total = 50 * 81 * u64::from(len);
    swarm.run();

    let twice: BTreeSet<_> = swarm.asked.iter().filter(|(_, times)| **times > 1).map(|a| *a.0).collect();
    assert_eq!(twice, swarm.lost, "only what was lost is asked for again");
    assert!(!swarm.lost.is_empty());
    assert_eq!(swarm.served.iter().sum::<u64>(), total);
    assert!(swarm.served[0] > 4 * swarm.served[1], "{:?}", swarm.served);
    // 9 fast and 19 slow peers together: 218 MB/s, so some 5 s, and the time-out of the stalled.
    assert!(swarm.now < Duration::from_secs(12), "{:?}", swarm.now);
}
