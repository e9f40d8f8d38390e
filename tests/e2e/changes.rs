//! What users do to files, seen by the other side.

use harness::{Folder, Net, Seed, eventually, in_sync};

use crate::net;

/// Runs deeds in a folder whose other writer listens, or is stopped meanwhile.
fn both_ways(prepare: impl Fn(&Folder), deed: impl Fn(&Folder), check: impl Fn(&Folder)) {
    for is_connected in [true, false] {
        let net: Net = net();
        let (anna, ben) = net.two_writers();
        prepare(&anna);
        in_sync(&[&anna, &ben]);
        if !is_connected {
            ben.device().stop();
        }
        deed(&anna);
        anna.settle();
        if !is_connected {
            ben.device().start();
        }
        in_sync(&[&anna, &ben]);
        check(&ben);
        assert_eq!(ben.number("conflicts"), 0);
    }
}

#[test]
fn edits_appends_and_truncations_arrive() {
    let long = Seed::new(1).bytes(2 << 20);
    both_ways(
        |anna| {
            anna.write("edited", "before");
            anna.write("grown", &long);
            anna.write("cut", &long);
            anna.write("emptied", "full");
        },
        |anna| {
            anna.write("edited", "after");
            anna.append("grown", "more");
            anna.truncate("cut", 700_001);
            anna.truncate("emptied", 0);
        },
        |ben| {
            assert_eq!((ben.text("edited").as_str(), ben.text("emptied").as_str()), ("after", ""));
            assert!(ben.text("grown").ends_with("more"));
        },
    );
}

#[test]
fn deletions_of_files_and_directories_arrive() {
    both_ways(
        |anna| {
            for name in ["gone", "stays", "dir/a", "dir/b/c", "half/gone", "half/stays"] {
                anna.write(name, name);
            }
            anna.make_directory("empty");
        },
        |anna| ["gone", "dir", "half/gone", "empty"].iter().for_each(|path| anna.remove(path)),
        |ben| {
            assert_eq!(ben.tree().files(), ["half/stays", "stays"]);
            assert!(!ben.has("dir") && !ben.has("empty"));
        },
    );
}

/// peers.md 6 and 14: the swaps that others have given up on.
#[test]
fn files_directories_and_links_take_each_others_places() {
    both_ways(
        |anna| {
            anna.write("file-to-dir", "file");
            anna.write("dir-to-file/inside", "inside");
            anna.make_directory("empty-to-file");
            anna.write("file-to-link", "file");
            anna.link("nowhere", "link-to-dir");
            anna.write("dir-to-link/inside", "inside");
        },
        |anna| {
            for path in
                ["file-to-dir", "dir-to-file", "empty-to-file", "file-to-link", "link-to-dir", "dir-to-link"]
            {
                anna.remove(path);
            }
            anna.write("file-to-dir/inside", "inside");
            anna.write("dir-to-file", "file");
            anna.write("empty-to-file", "file");
            anna.link("file-to-dir", "file-to-link");
            anna.write("link-to-dir/inside", "inside");
            anna.link("elsewhere", "dir-to-link");
        },
        |ben| assert_eq!(ben.text("file-to-link/inside"), "inside"),
    );
}

#[test]
fn names_that_are_swapped_in_a_cycle_arrive() {
    both_ways(
        |anna| ["a", "b", "c"].iter().for_each(|name| anna.write(name, name)),
        |anna| {
            for (from, to) in [("a", "t"), ("b", "a"), ("c", "b"), ("t", "c")] {
                anna.rename(from, to);
            }
        },
        |ben| assert_eq!([ben.text("a"), ben.text("b"), ben.text("c")], ["b", "c", "a"]),
    );
}

/// CF-11's first half, peers.md 101: what only moves does not travel again.
#[test]
fn a_renamed_directory_costs_next_to_nothing_on_the_wire() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    let mut seed = Seed::new(2);
    for number in 0..40 {
        anna.write(format!("old/deep/{number}"), seed.bytes(100_000));
    }
    anna.write("big", seed.bytes(3 << 20));
    in_sync(&[&anna, &ben]);
    let before = net.sent_bytes();
    anna.rename("old", "new/place");
    anna.rename("big", "renamed");
    in_sync(&[&anna, &ben]);
    let sent = net.sent_bytes() - before;
    assert!(sent < 150_000, "{sent} bytes for moves of 7 MB");
    assert!(!ben.has("old") && ben.has("new/place/deep/39"));
}

/// CF-11: neither does what is small and many, which would cost more in names than in bytes.
#[test]
fn a_renamed_directory_of_three_thousand_files_moves() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    let mut seed = Seed::new(17);
    (0..3_000).for_each(|number| anna.write(format!("old/{}/{number}", number % 30), seed.bytes(4_000)));
    in_sync(&[&anna, &ben]);
    let before = net.sent_bytes();
    anna.rename("old", "new");
    in_sync(&[&anna, &ben]);
    let sent = net.sent_bytes() - before;
    assert!(sent < 1_000_000, "{sent} bytes for moves of 12 MB");
    assert!(!ben.has("old") && ben.has("new/29/2999"));
}

/// The same while the other is away: it finds the bytes in its own folder.
#[test]
fn a_rename_that_was_missed_costs_next_to_nothing_either() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    anna.write("old/big", Seed::new(3).bytes(4 << 20));
    in_sync(&[&anna, &ben]);
    ben.device().stop();
    anna.rename("old", "new");
    anna.settle();
    let before = net.sent_bytes();
    ben.device().start();
    in_sync(&[&anna, &ben]);
    let sent = net.sent_bytes() - before;
    assert!(sent < 150_000, "{sent} bytes for a move of 4 MB");
}

/// A copy of what is there is made of what is there.
#[test]
fn a_copied_file_does_not_travel_again() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    let content = Seed::new(5).bytes(3 << 20);
    anna.write("original", &content);
    in_sync(&[&anna, &ben]);
    let before = net.sent_bytes();
    anna.write("copy", &content);
    in_sync(&[&anna, &ben]);
    let sent = net.sent_bytes() - before;
    assert!(sent < 150_000, "{sent} bytes for a copy of 3 MB");
}

/// LD-03 in small: an edit in the middle of a big file sends the chunks that it touches.
#[test]
fn an_edit_in_the_middle_of_a_big_file_sends_a_small_part() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    let mut content = Seed::new(6).bytes(16 << 20);
    anna.write("big", &content);
    in_sync(&[&anna, &ben]);
    let before = net.sent_bytes();
    content.splice(8_000_000..8_000_000, *b"inserted");
    anna.write("big", &content);
    in_sync(&[&anna, &ben]);
    let sent = net.sent_bytes() - before;
    assert!(sent < 2_500_000, "{sent} bytes for an insertion of 8 bytes");
}

/// CF-14 in small: nothing that was deleted comes back with a device that was away for many changes.
#[test]
fn a_device_that_was_away_brings_nothing_deleted_back() {
    let net = net();
    let (anna, ben) = net.two_writers();
    (0..30).for_each(|number| anna.write(format!("f{number}"), "old"));
    in_sync(&[&anna, &ben]);
    ben.device().stop();
    for number in 0..30 {
        anna.remove(format!("f{number}"));
        if number % 10 == 0 {
            anna.settle();
        }
    }
    anna.write("new", "new");
    anna.settle();
    anna.device().restart();
    ben.device().start();
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.tree().files(), ["new"]);
}

/// WS-07: edits made while no daemon ran are found by the scan at start, though size and mtime stay.
#[test]
fn an_edit_made_while_the_daemon_was_stopped_is_found() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("file", "before");
    in_sync(&[&anna, &ben]);
    let mtime = std::fs::metadata(anna.path("file")).unwrap().modified().unwrap();
    anna.device().stop();
    anna.write("file", "after!");
    anna.set_mtime("file", mtime);
    anna.write("made/meanwhile", "new");
    anna.device().start();
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.text("file"), "after!");
}

/// LW-06: two writes of the same size, one right after the other, end in the second everywhere.
#[test]
fn the_second_of_two_quick_writes_of_one_size_arrives() {
    let net = net();
    let (anna, ben) = net.two_writers();
    for number in 100..140 {
        anna.write("racy", number.to_string());
        eventually("a write arrives", || {
            anna.write("racy", (number + 100).to_string());
            ben.has("racy").then_some(())
        });
    }
    anna.write("racy", "999");
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.text("racy"), "999");
}
