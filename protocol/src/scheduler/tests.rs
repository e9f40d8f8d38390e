//! The scheduler alone, and with a few dozen peers in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::message::{ContentPrefix, HavePart, Run};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn content(n: u8) -> ContentId {
    ContentId([n; 32])
}

fn scheduler(peers: u64) -> Scheduler {
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

const CHUNK: u32 = 256 << 10;

/// A seed (0) and two incomplete peers (1, 2), a file of so many chunks, and our share of it.
fn swarm_of_three(chunks: u64, index: u32) -> Scheduler {
    let mut scheduler = scheduler(1);
    for n in 1..3 {
        scheduler.add_peer(PeerKey(n), Availability::Perhaps, ms(10));
    }
    scheduler.set_share(Share { index, count: 3 });
    scheduler.want(content(1), chunks * u64::from(CHUNK), (0..chunks).map(|n| (n, CHUNK)), 0);
    scheduler
}

fn have(scheduler: &mut Scheduler, peer: u64, first: u32, count: u32) {
    let runs = vec![Run { first, count }];
    let part = HavePart { content: ContentPrefix::of(&content(1)), runs };
    scheduler.handle_have(ms(0), PeerKey(peer), &[], &[part]);
}

fn numbers(asked: &Assignment) -> Vec<u64> {
    asked.refs.iter().map(|chunk| chunk.number).collect()
}

#[test]
fn three_downloaders_ask_a_seed_for_different_chunks() {
    let mut asked = BTreeSet::new();
    for index in 0..3 {
        let mut scheduler = swarm_of_three(90, index);
        while let Some(assignment) = scheduler.poll_request(ms(0)) {
            assert_eq!(assignment.peer, PeerKey(0));
            assert!(assignment.refs.iter().all(|chunk| asked.insert(chunk.number)), "{asked:?}");
        }
    }
    assert!(asked.len() >= 3);
}

#[test]
fn what_another_has_is_asked_of_it_the_rarest_first() {
    let mut scheduler = swarm_of_three(90, 0);
    have(&mut scheduler, 1, 40, 3);
    have(&mut scheduler, 2, 40, 2);
    let asked: Vec<_> = std::iter::from_fn(|| scheduler.poll_request(ms(0))).collect();
    let of_first = asked.iter().find(|asked| asked.peer == PeerKey(1)).expect("it has something");
    assert_eq!(numbers(of_first)[0], 42, "only it has that one");
    let seed = asked.iter().filter(|asked| asked.peer == PeerKey(0)).flat_map(numbers);
    assert!(seed.into_iter().all(|number| !(40..43).contains(&number)));
}

#[test]
fn who_does_not_have_what_it_said_is_asked_no_more_and_in_the_end_not_believed() {
    let mut scheduler = swarm_of_three(90, 0);
    for round in 0..20u64 {
        have(&mut scheduler, 1, 30 + round as u32, 1);
        let asked: Vec<_> = std::iter::from_fn(|| scheduler.poll_request(ms(round))).collect();
        for lie in asked.iter().filter(|asked| asked.peer == PeerKey(1)) {
            assert!(round < 16, "it is believed after {round} lies");
            scheduler.handle_gone(ms(round), lie.request, lie.refs[0]);
        }
    }
}

#[test]
fn what_a_peer_says_to_have_counts_although_it_lacks_what_it_was_asked_at_random() {
    let mut scheduler = Scheduler::new(Limits::default());
    scheduler.add_peer(PeerKey(1), Availability::Perhaps, ms(10));
    scheduler.want(content(1), 30 * u64::from(CHUNK), (0..30).map(|n| (n, CHUNK)), 0);
    let at_random = scheduler.poll_request(ms(0)).expect("perhaps it has some");
    have(&mut scheduler, 1, 29, 1);
    for chunk in at_random.refs {
        scheduler.handle_gone(ms(20), at_random.request, chunk);
    }
    assert_eq!(scheduler.poll_request(ms(20)).map(|asked| numbers(&asked)), Some(vec![29]));
}

#[test]
fn what_is_told_before_it_is_wanted_counts_when_it_is() {
    let mut scheduler = Scheduler::new(Limits::default());
    scheduler.add_peer(PeerKey(1), Availability::Perhaps, ms(10));
    scheduler.add_peer(PeerKey(2), Availability::Perhaps, ms(10));
    have(&mut scheduler, 2, 1, 1);
    scheduler.handle_have(ms(0), PeerKey(2), &[ContentPrefix::of(&content(2))], &[]);
    scheduler.want(content(1), 2000, [(0, 1000), (1, 1000)], 1);
    scheduler.want(content(2), 10, [(0, 10)], 0);
    let asked: Vec<_> = std::iter::from_fn(|| scheduler.poll_request(ms(0))).collect();
    let of_second = asked.iter().find(|asked| asked.peer == PeerKey(2)).expect("it has some");
    let refs: Vec<_> = of_second.refs.iter().map(|chunk| (chunk.content, chunk.number)).collect();
    assert_eq!(refs, [(content(2), 0), (content(1), 1)]);
    assert!(asked.iter().any(|a| a.peer == PeerKey(1) && numbers(a) == [0]), "perhaps it has the rest");
}

#[test]
fn the_last_chunks_of_a_silent_peer_are_asked_of_another_and_the_loser_is_cancelled() {
    let mut scheduler = scheduler(2);
    // A fiftieth of it is what the silent one is asked for at once.
    scheduler.want(content(1), 400 * u64::from(CHUNK), (0..400).map(|n| (n, CHUNK)), 0);
    let (mut now, mut silent) = (ms(0), Vec::new());
    while !scheduler.is_idle() {
        now += ms(10);
        assert!(now < ms(4000), "the silent one holds it up");
        let asked: Vec<_> = std::iter::from_fn(|| scheduler.poll_request(now)).collect();
        for Assignment { peer, request, refs } in asked {
            if peer == PeerKey(1) {
                silent.push(request);
                continue;
            }
            for chunk in refs {
                scheduler.handle_arrived(now + ms(1), request, chunk);
            }
        }
    }
    let cancelled: Vec<_> = std::iter::from_fn(|| scheduler.poll_cancel()).collect();
    let (silent, cancelled): (BTreeSet<_>, BTreeSet<_>) =
        (silent.into_iter().collect(), cancelled.into_iter().collect());
    assert!(!silent.is_empty() && cancelled == silent, "{silent:?} {cancelled:?}");
}

#[test]
fn a_peer_without_a_place_is_asked_again_soon_and_loses_nothing() {
    let mut scheduler = scheduler(1);
    scheduler.want(content(1), 100, [(0, 100)], 0);
    let asked = scheduler.poll_request(ms(0)).expect("a request");
    scheduler.handle_busy(ms(10), asked.request);
    assert_eq!(scheduler.poll_request(ms(10)), None);
    let again = scheduler.poll_timeout(ms(10)).expect("a time");
    assert!(again <= ms(2000));
    assert_eq!(scheduler.poll_request(again).expect("a request").refs, asked.refs);
}

#[test]
fn what_others_seem_to_fetch_is_fetched_here_when_they_do_not_move() {
    // The others' share of so little is left to them, for a while.
    let mut scheduler = swarm_of_three(9, 0);
    let own: Vec<_> = std::iter::from_fn(|| scheduler.poll_request(ms(0))).collect();
    for asked in &own {
        asked.refs.iter().for_each(|chunk| {
            scheduler.handle_arrived(ms(100), asked.request, *chunk);
        });
    }
    let mut now = ms(100);
    while let Some(asked) = scheduler.poll_request(now) {
        asked.refs.iter().for_each(|chunk| {
            scheduler.handle_arrived(now, asked.request, *chunk);
        });
    }
    assert!(!scheduler.is_idle());
    while !scheduler.is_idle() {
        now = scheduler.poll_timeout(now).expect("it goes on").max(now + ms(1));
        assert!(now < ms(10_000));
        while let Some(asked) = scheduler.poll_request(now) {
            for chunk in asked.refs {
                scheduler.handle_arrived(now, asked.request, chunk);
            }
        }
    }
}
