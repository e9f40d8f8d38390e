//! What is large: many files, long files, and one save among all of them. Ignored by default, since each
//! story takes minutes; `tests/README.md` has the command. Each prints what it has measured.
#![expect(clippy::print_stdout, reason = "the figures are what these stories are run for")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use harness::wait::{eventually_within, never_within};
use harness::{Folder, Net, Seed, in_sync, in_sync_within, is_root, small_files};

use crate::net;

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(900);
/// What a device may have in memory, whatever it does.
const MEMORY: u64 = 300 * MIB;

fn two_with(fill: impl FnOnce(&Folder, &mut Seed)) -> (Net, Folder, Folder) {
    let net = net();
    let anna = net.device("anna").share("docs");
    fill(&anna, &mut Seed::new(1));
    let ben = net.device("ben").join(anna.writer_key());
    let begun = Instant::now();
    in_sync_within(PATIENCE, &[&anna, &ben]);
    println!("first sync: {:.1} s", begun.elapsed().as_secs_f64());
    for folder in [&anna, &ben] {
        let resident = folder.device().resident_bytes();
        println!("{}: {} MiB resident", folder.device().name(), resident / MIB);
        assert!(resident < MEMORY, "{resident} bytes of memory at {}", folder.device().name());
    }
    (net, anna, ben)
}

fn long_file(folder: &Folder, seed: &mut Seed, name: &str, mebibytes: usize) {
    let mut file = File::create(folder.path(name)).unwrap();
    (0..mebibytes).for_each(|_| file.write_all(&seed.bytes(MIB as usize)).unwrap());
}

fn sent_since(net: &Net, before: u64, what: &str) -> u64 {
    let sent = net.sent_bytes() - before;
    println!("{what}: {sent} bytes on the wire");
    sent
}

#[test]
#[ignore = "takes minutes"]
fn a_source_tree_of_30_000_files_arrives() {
    two_with(|anna, seed| {
        harness::every_kind(anna.root(), 3, 30_000);
        long_file(anna, seed, "long", 500);
    });
}

#[test]
#[ignore = "takes minutes"]
fn a_file_of_2_gib_arrives() {
    two_with(|anna, seed| long_file(anna, seed, "long", 2_048));
}

#[test]
#[ignore = "takes minutes"]
fn small_changes_of_a_file_of_1_gib_move_little() {
    let (net, anna, ben) = two_with(|anna, seed| long_file(anna, seed, "long", 1_024));
    let before = net.sent_bytes();
    let file = File::options().write(true).open(anna.path("long")).unwrap();
    file.write_all_at(&Seed::new(2).bytes(MIB as usize), 512 * MIB).unwrap();
    in_sync_within(PATIENCE, &[&anna, &ben]);
    assert!(sent_since(&net, before, "1 MiB overwritten in the middle") < 3 * MIB);
    let before = net.sent_bytes();
    let mut longer = File::create(anna.path("longer")).unwrap();
    longer.write_all(b"!").unwrap();
    std::io::copy(&mut File::open(anna.path("long")).unwrap(), &mut longer).unwrap();
    fs::rename(anna.path("longer"), anna.path("long")).unwrap();
    in_sync_within(PATIENCE, &[&anna, &ben]);
    assert!(sent_since(&net, before, "one byte inserted at the front") < 3 * MIB);
}

#[test]
#[ignore = "takes minutes"]
fn among_100_000_files_a_save_is_quick_idling_is_quiet_and_a_restart_hashes_nothing() {
    let (net, anna, ben) = two_with(|anna, seed| small_files(anna.root(), seed, 100_000));
    let mut took = Vec::new();
    for number in 0..20 {
        let text = format!("save {number}");
        let begun = Instant::now();
        anna.write("many/saved", &text);
        eventually_within(Duration::from_secs(10), "the save", || {
            ben.says("many/saved", &text).then_some(())
        });
        took.push(begun.elapsed());
        in_sync_within(PATIENCE, &[&anna]);
    }
    took.sort();
    println!("a save: p50 {:?}, p95 {:?}", took[9], took[18]);
    assert!(took[18] < Duration::from_secs(1));
    in_sync(&[&anna, &ben]);
    quiet_for_a_minute(&net, &[&anna, &ben]);
    let before = net.sent_bytes();
    ben.device().restart();
    let begun = Instant::now();
    in_sync_within(PATIENCE, &[&anna, &ben]);
    println!("restart: {:?}, comparison of the trees included", begun.elapsed());
    assert!(sent_since(&net, before, "restart") < MIB / 4);
}

fn quiet_for_a_minute(net: &Net, folders: &[&Folder]) {
    let head = folders[0].word("head");
    let (sent, ticks) = (net.sent_bytes(), folders.iter().map(|f| f.device().cpu_ticks()).sum::<u64>());
    never_within(Duration::from_secs(60), "nobody speaks", || {
        let sent = net.sent_bytes() - sent;
        (sent > 4_096).then(|| format!("{sent} bytes were sent"))
    });
    let spent = folders.iter().map(|f| f.device().cpu_ticks()).sum::<u64>() - ticks;
    println!("a minute of idling: {} bytes, {spent} clock ticks", net.sent_bytes() - sent);
    assert!(spent < 50, "{spent} clock ticks were spent");
    assert_eq!(folders[0].word("head"), head);
}

/// Nobody: no other daemon's watches are counted with those of this user.
const NOBODY: u32 = 65_534;

/// No tree is walked for one save: every directory has a watch, and only the file is looked at. The
/// other daemon belongs to another user, since the system counts watches by user.
#[test]
#[ignore = "takes minutes, needs root, and 100,000 of each of two users' inotify watches"]
fn a_save_among_100_000_directories_is_noticed_without_walking_them() {
    if !is_root() {
        return;
    }
    let net = net();
    let anna = net.device("anna").share("docs");
    for number in 0..100_000 {
        let directory = anna.path(format!("{:03}/{number}", number % 300));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("file"), number.to_string()).unwrap();
    }
    let device = net.stopped_device("ben");
    device.run_as(NOBODY);
    device.start();
    let ben = device.join(anna.writer_key());
    let begun = Instant::now();
    in_sync_within(PATIENCE, &[&anna, &ben]);
    println!("first sync: {:.1} s", begun.elapsed().as_secs_f64());
    for folder in [&anna, &ben] {
        println!("{}: {} MiB resident", folder.device().name(), folder.device().resident_bytes() / MIB);
        assert_eq!(folder.word("reason"), "", "all directories are watched: {}", folder.row());
    }
    for number in 0..5 {
        let text = format!("save {number}");
        let ticks = anna.device().cpu_ticks();
        let begun = Instant::now();
        anna.write("000/300/file", &text);
        eventually_within(Duration::from_secs(10), "the save", || {
            ben.says("000/300/file", &text).then_some(())
        });
        let (took, spent) = (begun.elapsed(), anna.device().cpu_ticks() - ticks);
        println!("a save among 100,000 directories: {took:?}, {spent} clock ticks of the watching daemon");
        assert!(spent <= 5, "{spent} clock ticks for one save");
        in_sync_within(PATIENCE, &[&anna, &ben]);
    }
}

#[test]
#[ignore = "takes minutes"]
fn memory_does_not_grow_with_the_folder() {
    for count in [100_000, 400_000] {
        println!("{count} files");
        two_with(|anna, seed| small_files(anna.root(), seed, count));
    }
}
