//! CR and NT: daemons that end at the worst moment, and go on where they were.

use harness::{Folder, Net, Seed, eventually, in_sync};

use crate::net;

const BIG: usize = 24 << 20;

/// Ben fetches a big file over a wire of 40 Mbit/s; `interrupt` is called when a good part is there.
/// Returns how many bytes anna has sent for it.
fn interrupted(net: &Net, interrupt: impl FnOnce(&Folder, &Folder)) -> u64 {
    let (anna, ben) = net.two_writers();
    anna.device().limit_sending(Some(40));
    let before = net.sent_bytes();
    anna.write("big", Seed::new(7).bytes(BIG));
    eventually("a third is on the wire", || (net.sent_bytes() - before > BIG as u64 / 3).then_some(()));
    assert!(!ben.has("big"), "no part of a file is shown");
    interrupt(&anna, &ben);
    in_sync(&[&anna, &ben]);
    net.sent_bytes() - before
}

fn assert_nearly_once(sent: u64) {
    assert!(sent < BIG as u64 * 6 / 5, "{sent} bytes on the wire for {BIG}");
}

/// CR-01 and NT-01 in small, on the receiver.
#[test]
fn a_receiver_killed_in_a_transfer_goes_on_where_it_was() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    assert_nearly_once(interrupted(&net, |_, ben| {
        ben.device().kill9();
        ben.device().start();
    }));
}

/// The same on the sender.
#[test]
fn a_sender_killed_in_a_transfer_goes_on_where_it_was() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    assert_nearly_once(interrupted(&net, |anna, _| {
        anna.device().kill9();
        anna.device().start();
    }));
}

/// The same with a wire that is cut.
#[test]
fn a_transfer_goes_on_after_the_wire_was_cut() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    assert_nearly_once(interrupted(&net, |_, ben| {
        ben.device().disconnect();
        eventually("ben notices", || (ben.number("peers") == 0).then_some(()));
        ben.device().connect();
    }));
}

/// WS, LD-01 in small: a restart where nothing has changed sends no content and makes no commit.
#[test]
fn a_restart_with_nothing_changed_sends_no_content() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    let mut seed = Seed::new(8);
    harness::small_files(anna.root(), &mut seed, 200);
    anna.write("big", seed.bytes(2 << 20));
    in_sync(&[&anna, &ben]);
    let (head, before) = (anna.word("head"), net.sent_bytes());
    anna.device().restart();
    in_sync(&[&anna, &ben]);
    ben.device().restart();
    in_sync(&[&anna, &ben]);
    let sent = net.sent_bytes() - before;
    // Greetings are some 10 KB for each link, and there may be several; any content is far more.
    assert!(sent < 250_000, "{sent} bytes for two restarts");
    assert_eq!(anna.word("head"), head);
}

/// CR-13 in small: both are killed again and again while both change files; nothing is lost.
#[test]
fn files_survive_many_kills_on_both_sides() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let mut seed = Seed::new(9);
    for round in 0..6 {
        for number in 0..15 {
            anna.write(format!("anna/{round}/{number}"), format!("anna {round} {number} {}", seed.number()));
            ben.write(format!("ben/{round}/{number}"), format!("ben {round} {number} {}", seed.number()));
        }
        let victim = if round % 2 == 0 { &anna } else { &ben };
        let other = if round % 2 == 0 { &ben } else { &anna };
        let enough = seed.below(15);
        let name = victim.device().name();
        eventually("some have arrived", || {
            let there = (0..15).filter(|n| other.has(format!("{name}/{round}/{n}"))).count();
            (there >= enough).then_some(())
        });
        victim.device().kill9();
        victim.device().start();
    }
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.tree().files().len(), 2 * 6 * 15);
    assert_eq!(anna.number("conflicts"), 0);
}

/// CR-03: a daemon killed while it deletes goes on deleting, and brings nothing back.
#[test]
fn a_receiver_killed_while_it_deletes_brings_nothing_back() {
    let net = net();
    let (anna, ben) = net.two_writers();
    (0..40).for_each(|number| anna.write(format!("d/{number}"), number.to_string()));
    anna.write("stays", "stays");
    in_sync(&[&anna, &ben]);
    anna.remove("d");
    eventually("deletion begins", || (!ben.has("d/0") || !ben.has("d/39")).then_some(()));
    ben.device().kill9();
    ben.device().start();
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.tree().files(), ["stays"]);
}

/// CR-11: nothing of ours lies between the user's files, during or after.
#[test]
fn staging_is_empty_when_all_is_done() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("big", Seed::new(10).bytes(8 << 20));
    eventually("something is staged, or all is done", || {
        let staged = std::fs::read_dir(ben.path(".syncd/staging")).is_ok_and(|list| list.count() > 0);
        (staged || ben.has("big")).then_some(())
    });
    ben.device().kill9();
    ben.device().start();
    in_sync(&[&anna, &ben]);
    eventually("staging is empty", || {
        let left = std::fs::read_dir(ben.path(".syncd/staging")).map_or(0, Iterator::count);
        (left == 0).then_some(())
    });
}
