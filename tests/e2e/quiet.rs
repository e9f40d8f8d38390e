//! I10, NT-07: a folder at rest rests.

use std::time::Duration;

use harness::{Folder, Net, in_sync, wait};

use crate::net;

const WATCHED: Duration = Duration::from_secs(20);
/// Devices that have just met may find each other a second time, by another address of theirs, and on a
/// busy machine that takes as long as it takes: one of so many whiles must be at rest.
const WHILES: usize = 6;

/// Watches a settled folder: its heads and the disk stay from the first moment on, and there comes a
/// while in which next to nothing is sent or computed. What ping-pongs never comes to one.
fn assert_rests(net: &Net, folders: &[&Folder]) {
    let heads = || folders.iter().map(|folder| folder.word("head")).collect::<Vec<_>>();
    let ticks = || folders.iter().map(|folder| folder.device().cpu_ticks()).sum::<u64>();
    let (first, count) = (heads(), folders.len() as u64);
    let trees: Vec<_> = folders.iter().map(|folder| folder.tree()).collect();
    let mut seen = Vec::new();
    for _ in 0..WHILES {
        let (sent, used) = (net.sent_bytes(), ticks());
        // Looking costs the daemon something too, so it is done at the end, but for the disk.
        wait::never_within(WATCHED, "the disk rests", || {
            let changed =
                folders.iter().zip(&trees).flat_map(|(folder, tree)| tree.differences(&folder.tree()));
            changed.into_iter().next()
        });
        let (sent, used) = (net.sent_bytes() - sent, ticks() - used);
        assert_eq!(heads(), first);
        let (bytes, percent) = (sent / count, used * 100 / (WATCHED.as_secs() * 100) / count);
        seen.push((bytes, percent));
        if bytes < 4096 && percent < 3 {
            return;
        }
    }
    panic!("bytes sent and per cent of a processor used, each device in each {WATCHED:?}: {seen:?}");
}

/// Two writers that have changed the same things do not answer each other for ever.
#[test]
fn nothing_ping_pongs_between_two_writers() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    ben.device().disconnect();
    for (folder, text) in [(&anna, "by anna"), (&ben, "by ben")] {
        folder.write("conflict", text);
        folder.write("same", "alike");
        folder.make_directory("empty");
        folder.link("nowhere", "link");
        folder.settle();
    }
    ben.set_mode("same", 0o600);
    ben.settle();
    ben.device().connect();
    in_sync(&[&anna, &ben]);
    assert_rests(&net, &[&anna, &ben]);
}

/// NT-07: what cannot be synced, a reader's own changes and what is ignored make no noise either.
#[test]
fn ignored_special_and_local_files_make_no_noise() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, rita) = net.writer_and_reader();
    anna.write(".syncignore", "*.tmp\n");
    anna.write("file", "file");
    in_sync(&[&anna, &rita]);
    anna.write("ignored.tmp", "ignored");
    rita.write("of-rita", "local");
    rita.write("file", "changed by rita");
    let fifo = std::process::Command::new("mkfifo").arg(anna.path("fifo")).status();
    assert!(fifo.expect("mkfifo").success());
    anna.settle();
    rita.settle();
    assert_rests(&net, &[&anna, &rita]);
}
