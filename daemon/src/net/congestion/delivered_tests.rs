//! The controller on a simulated path: one link with a rate, a length, a queue and losses.

use std::collections::VecDeque;

use super::*;

const MTU: u64 = 1_452;
/// One in so many packets is lost, but for those that the queue drops.
const LOST_OF: u64 = 1_000;

struct Path {
    rate: f64,
    round_trip: Duration,
    queue: Duration,
    /// When the link is done with what it was given.
    busy_until: Instant,
}

#[derive(Default)]
struct Sums {
    delivered: u64,
    sent: u64,
    dropped: u64,
}

struct Packet {
    number: u64,
    sent: Instant,
    /// When its acknowledgement is here, or its loss is noticed.
    due: Instant,
    is_lost: bool,
}

/// Sends as fast as the controller allows, paced as quinn does.
fn run(control: &mut Delivered, path: &mut Path, from: Instant, time: Duration) -> Sums {
    let (mut sums, mut flying, mut now) = (Sums::default(), VecDeque::<Packet>::new(), from);
    let (mut next_send, mut smoothed) = (from, path.round_trip);
    while now < from + time {
        while let Some(packet) = flying.pop_front_if(|packet| packet.due <= now) {
            if packet.is_lost {
                control.on_congestion_event(now, packet.sent, false, MTU);
                continue;
            }
            sums.delivered += MTU;
            smoothed = (smoothed * 7 + (now - packet.sent)) / 8;
            control.handle_ack(now, packet.sent, MTU, false, smoothed);
            control.on_end_acks(now, 0, false, Some(packet.number));
        }
        if (flying.len() as u64) * MTU < control.window() && next_send <= now {
            let number = control.last_sent + 1;
            control.on_sent(now, MTU, number);
            sums.sent += 1;
            let starts = path.busy_until.max(now);
            let is_dropped = starts - now > path.queue;
            sums.dropped += u64::from(is_dropped);
            if !is_dropped {
                path.busy_until = starts + Duration::from_secs_f64(MTU as f64 / path.rate);
            }
            let due = path.busy_until + path.round_trip;
            let is_lost = is_dropped || number.is_multiple_of(LOST_OF);
            flying.push_back(Packet { number, sent: now, due, is_lost });
            let pause = smoothed.as_secs_f64() * MTU as f64 / (1.25 * control.window() as f64);
            next_send = next_send.max(now - Duration::from_millis(1)) + Duration::from_secs_f64(pause);
        }
        now += Duration::from_micros(40);
    }
    sums
}

fn path(rate: f64, round_trip: u64, queue: u64, now: Instant) -> Path {
    let (round_trip, queue) = (Duration::from_millis(round_trip), Duration::from_millis(queue));
    Path { rate, round_trip, queue, busy_until: now }
}

#[test]
fn a_long_path_that_loses_packets_is_filled() {
    let now = Instant::now();
    for (rate, round_trip) in [(12.5e6, 50), (12.5e6, 200), (1e6, 50), (25e6, 30)] {
        let mut control = Delivered::new(now, MTU as u16, 0);
        let mut path = path(rate, round_trip, 100, now);
        let sums = run(&mut control, &mut path, now, Duration::from_secs(5));
        let share = sums.delivered as f64 / (5.0 * rate);
        assert!(share > 0.8, "{share} of {rate} at {round_trip} ms");
    }
}

#[test]
fn a_shallow_queue_is_not_flooded() {
    let now = Instant::now();
    let mut control = Delivered::new(now, MTU as u16, 0);
    let mut path = path(12.5e6, 50, 20, now);
    let sums = run(&mut control, &mut path, now, Duration::from_secs(10));
    assert!(sums.dropped * 40 < sums.sent, "{} of {} dropped", sums.dropped, sums.sent);
    assert!(sums.delivered as f64 > 0.9 * 125e6, "{}", sums.delivered);
}

#[test]
fn growth_ends_before_the_queue_overflows() {
    let now = Instant::now();
    for rate in [2.5e6, 12.5e6, 30e6] {
        let mut control = Delivered::new(now, MTU as u16, 0);
        let mut path = path(rate, 50, 100, now);
        let sums = run(&mut control, &mut path, now, Duration::from_secs(2));
        assert_eq!(sums.dropped, 0, "of {} at {rate}", sums.sent);
        assert!(sums.delivered as f64 > 0.8 * 2.0 * rate, "{} at {rate}", sums.delivered);
    }
}

#[test]
fn a_path_that_changes_is_followed() {
    let start = Instant::now();
    let mut control = Delivered::new(start, MTU as u16, 0);
    let mut path = path(12.5e6, 50, 100, start);
    run(&mut control, &mut path, start, Duration::from_secs(3));
    path.rate = 3e6;
    let slower = start + Duration::from_secs(3);
    run(&mut control, &mut path, slower, Duration::from_secs(2));
    let settled = run(&mut control, &mut path, slower + Duration::from_secs(2), Duration::from_secs(3));
    assert!(settled.dropped * 20 < settled.sent, "{} of {} dropped", settled.dropped, settled.sent);
    path.rate = 25e6;
    let faster = slower + Duration::from_secs(5);
    run(&mut control, &mut path, faster, Duration::from_secs(2));
    let grown = run(&mut control, &mut path, faster + Duration::from_secs(2), Duration::from_secs(2));
    assert!(grown.delivered as f64 > 0.85 * 50e6, "{}", grown.delivered);
}

#[test]
fn a_path_that_becomes_longer_is_measured_anew() {
    let start = Instant::now();
    let mut control = Delivered::new(start, MTU as u16, 0);
    let mut path = path(12.5e6, 20, 200, start);
    run(&mut control, &mut path, start, Duration::from_secs(2));
    path.round_trip = Duration::from_millis(120);
    let longer = start + Duration::from_secs(2);
    run(&mut control, &mut path, longer, Duration::from_secs(13));
    let settled = run(&mut control, &mut path, longer + Duration::from_secs(13), Duration::from_secs(3));
    assert!(settled.delivered as f64 > 0.85 * 3.0 * 12.5e6, "{}", settled.delivered);
}

#[test]
fn its_own_queue_is_not_taken_for_that_of_others() {
    let now = Instant::now();
    for (rate, round_trip) in [(1.25e6, 12), (12.5e6, 12), (12.5e6, 50)] {
        let mut control = Delivered::new(now, MTU as u16, 0);
        let mut path = path(rate, round_trip, 400, now);
        run(&mut control, &mut path, now, Duration::from_secs(5));
        assert!(control.gain <= GAIN + 2.0 * GAIN_STEP, "{} at {rate}", control.gain);
    }
}

#[test]
fn single_packets_that_are_acknowledged_late_are_no_queue() {
    let mut now = Instant::now();
    let mut control = Delivered::new(now, MTU as u16, 0);
    let rtt = Duration::from_millis(12);
    for number in 1..200 {
        control.on_sent(now, MTU, number);
        let late = if number == 1 { Duration::ZERO } else { Duration::from_millis(5) };
        control.handle_ack(now + rtt + late, now, MTU, true, rtt);
        control.on_end_acks(now + rtt + late, 0, true, Some(number));
        now += Duration::from_millis(100);
    }
    assert_eq!(control.window(), INITIAL_PACKETS * MTU);
}

#[test]
fn after_a_long_silence_little_is_sent() {
    let now = Instant::now();
    let mut control = Delivered::new(now, MTU as u16, 0);
    let mut path = path(12.5e6, 50, 100, now);
    run(&mut control, &mut path, now, Duration::from_secs(2));
    control.on_congestion_event(now + Duration::from_secs(9), now, true, 5 * MTU);
    assert_eq!(control.window(), MIN_PACKETS * MTU);
}

#[test]
fn longer_packets_are_not_fewer_before_a_rate_is_known() {
    let mut control = Delivered::new(Instant::now(), 1_200, 0);
    control.on_mtu_update(MTU as u16);
    assert_eq!(control.window(), INITIAL_PACKETS * MTU);
}

#[test]
fn what_was_sent_before_it_began_is_no_round() {
    let (sent, rtt) = (Instant::now(), Duration::from_millis(50));
    let now = sent + rtt;
    let mut control = Delivered::new(now, MTU as u16, 10);
    for number in 1..=10 {
        control.handle_ack(now, sent, MTU, true, rtt);
        control.on_end_acks(now + Duration::from_micros(number), 0, true, Some(number));
    }
    assert_eq!(control.rates.len(), 0, "microseconds between two acknowledgements");
    control.on_sent(now, MTU, 11);
    control.handle_ack(now + rtt, now, MTU, true, rtt);
    control.on_end_acks(now + rtt, 0, true, Some(11));
    assert_eq!(control.rates.len(), 1);
}
