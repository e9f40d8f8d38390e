//! LW: programs that write while we read, and read while we write.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::{Folder, Seed, eventually, in_sync};

use crate::net;

/// A version of a text, long enough to be seen in parts.
fn version(number: usize) -> String {
    format!("{number:05} ").repeat(30_000)
}

/// How many saves there are in the story, after how many of them the writer pauses until the last
/// has arrived, and how long it is from one to the next: far too fast for each to be seen.
const SAVES: usize = 200;
const BURST: usize = 20;
const PACE: Duration = Duration::from_millis(25);

/// LW-07: the ways in which editors save.
fn save(folder: &Folder, number: usize) {
    let text = version(number);
    match number % 7 {
        0 => folder.write("text", &text),
        1 => {
            folder.write(".text.tmp", &text);
            folder.rename(".text.tmp", "text");
        }
        2 => {
            folder.rename("text", "text~");
            folder.write("text", &text);
            folder.remove("text~");
        }
        3 => {
            folder.write(".text.lock", "");
            folder.write("text", &text);
            folder.remove(".text.lock");
        }
        4 => {
            folder.remove("text");
            folder.write("4913", "");
            folder.remove("4913");
            folder.write("text", &text);
        }
        5 => {
            let change = format!("s/^.*$/{text}/");
            folder.write("../change", change);
            let mut sed = Command::new("sed");
            let done = sed.args(["-i", "-f", "../change", "text"]).current_dir(folder.root()).status();
            assert!(done.unwrap().success());
        }
        _ => {
            fs::hard_link(folder.path("text"), folder.path("text.orig")).unwrap();
            folder.write(".text.new", &text);
            folder.rename(".text.new", "text");
            folder.remove("text.orig");
        }
    }
}

/// LW-07: two hundred saves in the styles of editors end in one file, without a conflict, while a
/// reader on the other side never sees a part of a version.
#[test]
fn saves_in_every_style_end_in_one_file_and_are_never_seen_in_part() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("text", version(0));
    in_sync(&[&anna, &ben]);
    let whole: BTreeSet<String> = (0..=SAVES).map(version).collect();
    let (path, is_over) = (ben.path("text"), AtomicBool::new(false));
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut versions = BTreeSet::new();
            while !is_over.load(Ordering::Relaxed) {
                if let Ok(seen) = fs::read_to_string(&path) {
                    assert!(whole.contains(&seen), "a part: {} bytes, {:.20}", seen.len(), seen);
                    versions.insert(seen[..5].to_owned());
                }
            }
            versions.len()
        });
        for number in 1..=SAVES {
            let begun = Instant::now();
            save(&anna, number);
            eventually("the next save is due", || (begun.elapsed() > PACE).then_some(()));
            if number % BURST == 0 {
                let text = version(number);
                eventually("the last save of a burst arrives", || {
                    (fs::read_to_string(&path).ok().as_ref() == Some(&text)).then_some(())
                });
            }
        }
        in_sync(&[&anna, &ben]);
        is_over.store(true, Ordering::Relaxed);
        reader.join().expect("no part was seen")
    });
    assert!(seen > 3, "the reader has seen {seen} versions of {}", SAVES / BURST);
    assert_eq!((ben.tree().files(), ben.text("text")), (vec!["text".to_owned()], version(SAVES)));
    assert_eq!(ben.number("conflicts"), 0);
}

/// LW-04: a file that grows all the time is whole when it has stopped.
#[test]
fn a_file_that_grew_while_it_was_read_arrives_whole() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("log", "");
    let mut seed = Seed::new(12);
    for _ in 0..150 {
        anna.append("log", seed.bytes(40_000));
    }
    in_sync(&[&anna, &ben]);
    assert_eq!(fs::metadata(ben.path("log")).unwrap().len(), 6_000_000);
}

/// LW-09: who has a file open goes on reading what it was.
#[test]
fn an_open_file_keeps_its_old_bytes() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let (old, new) = (version(1), version(2));
    anna.write("text", &old);
    in_sync(&[&anna, &ben]);
    let mut open = fs::File::open(ben.path("text")).unwrap();
    let mut seen = vec![0; 1000];
    open.read_exact(&mut seen).unwrap();
    anna.write("text", &new);
    in_sync(&[&anna, &ben]);
    open.read_to_end(&mut seen).unwrap();
    assert_eq!((String::from_utf8(seen).unwrap() == old, ben.text("text") == new), (true, true));
}

/// LW-01 and LW-02, without a fault injected: users write on the path that is being changed.
#[test]
fn what_a_user_writes_where_updates_arrive_is_never_lost() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let mut written = BTreeSet::new();
    for number in 0..25 {
        anna.write("f", format!("anna {number}"));
        let text = format!("ben {number}");
        eventually("it arrives", || {
            fs::read_to_string(ben.path("f")).ok().filter(|seen| seen.ends_with(&number.to_string()))
        });
        ben.write(format!("own-{number}"), &text);
        ben.write("f", &text);
        written.insert(text.clone());
        eventually("the other sees it", || {
            fs::read_to_string(anna.path("f")).ok().filter(|seen| *seen == text)
        });
    }
    in_sync(&[&anna, &ben]);
    assert_eq!((anna.text("f").as_str(), anna.number("conflicts")), ("ben 24", 0));
}

/// Both write different files all the time: all of them are everywhere in the end.
#[test]
fn two_busy_writers_end_with_all_files_of_both() {
    let net = net();
    let (anna, ben) = net.two_writers();
    for number in 0..150 {
        anna.write(format!("a/{number}"), format!("a{number}"));
        ben.write(format!("b/{number}"), format!("b{number}"));
        if number > 20 {
            anna.rename(format!("a/{}", number - 20), format!("a/moved/{}", number - 20));
            if number % 3 == 0 {
                ben.remove(format!("b/{}", number - 20));
            }
        }
    }
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.number("conflicts"), 0);
    assert_eq!(anna.tree().files().len(), 150 + 150 - 43);
}

/// WS-03 in small: hundreds of renames in no time.
#[test]
fn a_storm_of_renames_ends_alike() {
    let net = net();
    let (anna, ben) = net.two_writers();
    (0..60).for_each(|number| anna.write(format!("d{}/{number}", number % 6), format!("content {number}")));
    in_sync(&[&anna, &ben]);
    let mut seed = Seed::new(13);
    for step in 0..600 {
        let files = anna.tree().files();
        let from = &files[seed.below(files.len())];
        anna.rename(from, format!("d{}/r{step}", seed.below(9)));
    }
    in_sync(&[&anna, &ben]);
    let mut contents: Vec<String> = ben.tree().files().iter().map(|name| ben.text(name)).collect();
    contents.sort();
    contents.dedup();
    assert_eq!((contents.len(), ben.number("conflicts")), (60, 0));
}
