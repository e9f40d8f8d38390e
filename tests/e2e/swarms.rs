//! Several devices that fetch the same at the same time: who sends it.

use harness::{Folder, Seed, in_sync};

use crate::net;

const BIG: usize = 40 << 20;

/// Anna's wire carries 80 Mbit/s; Ben, Carl and Rita want the same big file and some small ones. Each
/// takes another part of it from her, and the rest from the others.
#[test]
fn three_who_fetch_at_once_cost_the_writer_little_more_than_one() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let anna = net.device("anna").share("docs");
    let others: Vec<Folder> =
        ["ben", "carl", "rita"].iter().map(|name| net.device(name).join(anna.writer_key())).collect();
    for folder in &others {
        folder.wait_peers(3);
    }
    let all = [&anna, &others[0], &others[1], &others[2]];
    in_sync(&all);
    anna.device().limit_sending(Some(80));
    let before = anna.device().sent_bytes();
    let mut seed = Seed::new(11);
    anna.write("big", seed.bytes(BIG));
    for n in 0..100 {
        anna.write(format!("small/{n}"), seed.bytes(40_000));
    }
    in_sync(&all);
    let (sent, size) = (anna.device().sent_bytes() - before, (BIG + 100 * 40_000) as u64);
    assert!(sent < size * 3 / 2, "{sent} bytes were sent for {size}");
}

/// Carl comes when Ben has a part of the file already: what Ben has comes from Ben.
#[test]
fn who_joins_late_takes_from_who_has_a_part() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let anna = net.device("anna").share("docs");
    let ben = net.device("ben").join(anna.writer_key());
    ben.wait_peers(1);
    in_sync(&[&anna, &ben]);
    anna.device().limit_sending(Some(80));
    let before = anna.device().sent_bytes();
    anna.write("big", Seed::new(12).bytes(BIG));
    harness::eventually("Ben has some of it", || {
        (anna.device().sent_bytes() - before > BIG as u64 / 3).then_some(())
    });
    let carl = net.device("carl").join(anna.writer_key());
    in_sync(&[&anna, &ben, &carl]);
    let sent = anna.device().sent_bytes() - before;
    assert!(sent < BIG as u64 * 3 / 2, "{sent} bytes were sent for {BIG}");
}
