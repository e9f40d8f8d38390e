//! The scheduler among others that download as well.

use std::collections::BTreeSet;

use super::tests::{content, ms, scheduler};
use super::*;
use crate::message::{ContentPrefix, HavePart, Run};

const CHUNK: u32 = 256 << 10;

/// A seed (0) and two incomplete peers (1, 2), a file of so many chunks, and our share of it.
fn swarm_of_three(chunks: u64, index: u32) -> Scheduler {
    let mut scheduler = scheduler(1);
    for n in 1..3 {
        scheduler.add_peer(PeerKey(n), Availability::Perhaps, ms(10));
    }
    scheduler.set_share(Share { index, count: 3, active: 2 }, vec![PeerKey(1), PeerKey(2)]);
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

#[test]
fn all_that_begin_at_once_ask_a_seed_for_different_chunks_before_they_have_heard_of_each_other() {
    let mut asked = BTreeSet::new();
    for index in 0..3 {
        let mut scheduler = swarm_of_three(90, index);
        scheduler.set_share(Share { index, count: 3, active: 0 }, vec![PeerKey(1), PeerKey(2)]);
        let first = scheduler.poll_request(ms(0)).expect("a request");
        assert!(numbers(&first).into_iter().all(|number| asked.insert(number)), "{asked:?}");
    }
}

#[test]
fn nothing_is_left_to_others_of_whom_nobody_knows_that_they_download() {
    let mut scheduler = swarm_of_three(90, 0);
    scheduler.set_share(Share { index: 0, count: 3, active: 0 }, vec![PeerKey(1), PeerKey(2)]);
    for n in 0..90 {
        let asked = scheduler.poll_request(ms(n)).expect("the seed has more");
        asked.refs.iter().for_each(|chunk| {
            scheduler.handle_arrived(ms(n), asked.request, *chunk);
        });
        if scheduler.is_idle() {
            return;
        }
    }
    panic!("it holds back");
}

#[test]
fn the_part_of_one_who_fails_is_shared_out_among_the_others() {
    let heirs = [0, 1].map(|index| {
        let mut scheduler = swarm_of_three(90, index);
        assert!((0..90).all(|number| !scheduler.falls_to_us(&content(1), number, 2)), "it may yet fetch it");
        have(&mut scheduler, 2, 0, 90);
        let asked: Vec<_> = std::iter::from_fn(|| scheduler.poll_request(ms(0))).collect();
        let of_third = asked.iter().find(|asked| asked.peer == PeerKey(2)).expect("it has something");
        scheduler.handle_failed(ms(10), of_third.request);
        (0..90).filter(|number| scheduler.falls_to_us(&content(1), *number, 2)).collect::<BTreeSet<u64>>()
    });
    assert!(heirs.iter().all(|heir| heir.len() > 30), "{heirs:?}");
    assert!(heirs[0].is_disjoint(&heirs[1]) && heirs[0].len() + heirs[1].len() == 90, "{heirs:?}");
}

#[test]
fn who_is_slow_gets_more_time_each_time_until_its_chunk_can_arrive() {
    // A MiB takes 25 s.
    let mut scheduler = scheduler(1);
    scheduler.want(content(1), 1 << 20, [(0, 1 << 20)], 0);
    let mut now = ms(0);
    while !scheduler.is_idle() {
        assert!(now < ms(200_000), "it never has enough time");
        if let Some(asked) = scheduler.poll_request(now) {
            let given = scheduler.deadlines.first().expect("one").0;
            now = given.min(now + ms(25_000));
            if now < given {
                scheduler.handle_arrived(now, asked.request, asked.refs[0]);
            }
        } else {
            now = scheduler.poll_timeout(now).expect("it goes on").max(now + ms(1));
        }
        scheduler.handle_timeout(now);
    }
}

#[test]
fn who_lacks_much_of_what_others_have_asks_for_more_at_a_time() {
    let under_way = |behind: u64| {
        let mut scheduler = scheduler(1);
        let others: Vec<_> = (1..60).map(PeerKey).collect();
        others.iter().for_each(|peer| scheduler.add_peer(*peer, Availability::Perhaps, ms(10)));
        scheduler.set_share(Share { index: 0, count: 60, active: 59 }, others);
        scheduler.want(content(1), 400 * u64::from(CHUNK), (0..400).map(|n| (n, CHUNK)), 0);
        (1..60).for_each(|peer| have(&mut scheduler, peer, 100, behind as u32));
        let asked = std::iter::from_fn(|| scheduler.poll_request(ms(0)));
        asked.filter(|asked| asked.peer != PeerKey(0)).map(|asked| asked.refs.len()).sum::<usize>()
    };
    let (few, many) = (under_way(20), under_way(200));
    assert!(few <= 10 && many > 3 * few, "{few}, {many}");
}
