//! Swarms of hundreds of schedulers on lines of a given capacity, in virtual time.

#![expect(clippy::print_stdout, reason = "the figures are what one runs these for")]

use std::time::Duration;

use sim::swarm::{File, Manner, Member, Swarm};

/// Bytes a second of every line: 10 Mbit/s.
const LINE: u64 = 1_250_000;
const CHUNK: u32 = 256 << 10;
const LONG: Duration = Duration::from_secs(100_000);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One file of so many chunks.
fn film(chunks: u64) -> [File; 1] {
    [File { chunks, len: CHUNK }]
}

/// A seed and so many leeches, all lines alike.
fn swarm(files: impl Into<Vec<File>>, leeches: usize) -> Swarm {
    let mut swarm = Swarm::new(files);
    swarm.add(Member::seed(LINE));
    for _ in 0..leeches {
        swarm.add(Member::leech(LINE, LINE));
    }
    swarm
}

/// No swarm is faster: the seed must send everything once, everybody receive it, and all together
/// send it to everybody.
fn bound(swarm: &Swarm, leeches: u64) -> f64 {
    let (size, line) = (swarm.size() as f64, LINE as f64);
    let leeches = leeches as f64;
    (size / line).max(leeches * size / (line + leeches * line))
}

fn assert_near_bound(mut swarm: Swarm, leeches: u64, factor: f64) {
    let took = swarm.run(LONG).as_secs_f64();
    let bound = bound(&swarm, leeches);
    let sent = swarm.sent(0) as f64 / swarm.size() as f64;
    println!("{leeches} leeches: {took:.1} s, {:.3} × the bound; the seed sent {sent:.3} ×", took / bound);
    assert!(took <= factor * bound, "{took:.1} s, the bound is {bound:.1} s");
}

/// How long a chunk is on its way to everybody counts more with a short film.
#[test]
fn two_hundred_peers_share_a_short_film() {
    assert_near_bound(swarm(film(200), 200), 200, 1.55);
}

#[test]
#[ignore = "takes half a minute"]
fn two_hundred_peers_are_done_in_little_more_than_the_time_of_one() {
    assert_near_bound(swarm(film(800), 200), 200, 1.2);
}

#[test]
#[ignore = "takes minutes"]
fn a_thousand_peers_are_done_in_little_more_than_the_time_of_one() {
    assert_near_bound(swarm(film(600), 1000), 1000, 1.3);
}

#[test]
fn a_seed_of_four_sends_everything_once() {
    let mut swarm = Swarm::new(film(1200));
    swarm.add(Member::seed(10 << 20));
    for _ in 0..4 {
        swarm.add(Member::leech(100 << 20, 100 << 20));
    }
    let took = swarm.run(LONG);
    let sent = swarm.sent(0) as f64 / swarm.size() as f64;
    println!("{took:?}, the seed sent {sent:.3} ×");
    assert!(sent < 1.05, "{sent}");
    assert!(took < secs(33), "{took:?}: 30 s is what the seed's line takes");
}

#[test]
fn small_files_are_shared_out_as_well() {
    let mut swarm = Swarm::new([File { chunks: 1, len: 20_000 }; 4_000]);
    swarm.add(Member::seed(LINE));
    for _ in 0..4 {
        swarm.add(Member::leech(10 * LINE, 10 * LINE));
    }
    let took = swarm.run(LONG);
    let sent = swarm.sent(0) as f64 / swarm.size() as f64;
    println!("{took:?}, the seed sent {sent:.3} ×");
    assert!(sent < 1.05, "{sent}");
    assert!(took < secs(70), "{took:?}: 64 s is what the seed's line takes");
}

#[test]
fn what_a_scheduler_does_for_a_chunk_does_not_grow_with_the_swarm() {
    let work = |leeches: usize| {
        let mut swarm = swarm(film(100), leeches);
        swarm.run(LONG);
        let all: u64 = (1..=leeches).map(|leech| swarm.work(leech)).sum();
        all as f64 / (leeches * 100) as f64
    };
    let (few, many) = (work(50), work(200));
    println!("looked at for a chunk: {few:.0} among 50, {many:.0} among 200");
    assert!(many < 1.5 * few, "{few} among 50 peers, {many} among 200");
}

#[test]
fn who_joins_late_is_served_by_everybody_at_once() {
    let mut swarm = swarm(film(200), 20);
    let late = Member { joins_at: secs(30), ..Member::leech(LINE, 20 * LINE) };
    let late = swarm.add(late);
    swarm.run(LONG);
    let took = swarm.finished_at(late).expect("it is done") - secs(30);
    println!("the late one took {took:?}");
    // The seed alone would need 42 s for it; what nobody has at 30 s is there 12 s later.
    assert!(took < secs(24), "{took:?}");
}

#[test]
fn who_leaves_in_the_middle_holds_up_nobody() {
    let mut swarm = swarm(film(200), 20);
    for _ in 0..5 {
        swarm.add(Member { leaves_at: Some(secs(20)), ..Member::leech(LINE, LINE) });
    }
    let took = swarm.run(LONG).as_secs_f64();
    let bound = bound(&swarm, 20);
    assert!(took < 1.5 * bound, "{took:.1} s, the bound is {bound:.1} s");
}

#[test]
fn liars_cost_little() {
    for manner in [Manner::Boasts, Manner::Silent, Manner::Corrupts] {
        let mut swarm = swarm(film(200), 20);
        for _ in 0..3 {
            swarm.add(Member { manner, ..Member::leech(LINE, LINE) });
        }
        let took = swarm.run(LONG).as_secs_f64();
        let bound = bound(&swarm, 20);
        println!("{manner:?}: {:.2} × the bound", took / bound);
        assert!(took < 1.6 * bound, "{manner:?}: {took:.1} s, the bound is {bound:.1} s");
    }
}

#[test]
fn slow_peers_hold_up_nobody_and_little_is_sent_twice() {
    let mut swarm = swarm(film(200), 10);
    let slow: Vec<_> = (0..5).map(|_| swarm.add(Member::leech(LINE / 50, LINE))).collect();
    swarm.run(LONG);
    let took = (1..=10).filter_map(|leech| swarm.finished_at(leech)).max().expect("they are done");
    println!("the fast ones took {took:?}");
    assert!(took < secs(70), "{took:?}: 42 s is what the seed's line takes");
    let received: u64 = (1..=10 + slow.len()).map(|leech| swarm.received(leech)).sum();
    let twice = received as f64 / (15 * swarm.size()) as f64 - 1.0;
    println!("{:.2} % twice", 100.0 * twice);
    assert!(twice <= 0.02, "{:.2} %", 100.0 * twice);
}
