use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

pub(super) fn at(text: &str) -> Place {
    Place::Folder(path(text))
}

pub(super) fn staged(text: &str) -> StagedName {
    StagedName::parse(text).expect("a staged name")
}

/// A folder with its control directory.
pub(super) fn folder() -> (TempDir, RealDisk) {
    let root = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::open(root.path(), SpecialBits::Strip).expect("open");
    for name in [ControlName::Directory, ControlName::Staging, ControlName::Archive] {
        disk.make_directory(&Place::Control(name), 0o700).expect("control directory");
    }
    (root, disk)
}

fn write_staged(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Place {
    disk.stage(&staged(name)).expect("stage").write_at(bytes, 0).expect("write");
    Place::Staged(staged(name))
}

pub(super) fn read(disk: &dyn Disk, place: &Place) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let length = disk.open(place).expect("open").read_at(&mut bytes, 0).expect("read");
    bytes.truncate(length);
    bytes
}

/// Both ways of resolving.
fn both_ways(story: impl Fn(&Path, &RealDisk)) {
    for without_openat2 in [false, true] {
        let (root, disk) = folder();
        if without_openat2 {
            disk.forget_openat2();
        }
        story(root.path(), &disk);
    }
}

#[test]
fn a_link_on_the_way_is_never_followed() {
    both_ways(|root, disk| {
        let outside = tempfile::tempdir().expect("a directory");
        fs::write(outside.path().join("secret"), b"x").expect("write");
        symlink(outside.path(), root.join("l")).expect("link");
        let new = write_staged(disk, "new", b"new");
        assert!(disk.stat(&at("l/secret")).is_err());
        assert!(disk.open(&at("l/secret")).is_err());
        assert!(disk.list(&at("l")).is_err());
        assert!(disk.rename_new(&new, &at("l/planted")).is_err());
        assert!(disk.exchange(&new, &at("l/secret")).is_err());
        assert!(disk.make_directory(&at("l/d"), 0o755).is_err());
        assert!(disk.set_mode(&at("l/secret"), 0o777).is_err());
        assert!(disk.set_mode(&at("l"), 0o777).is_err());
        assert!(disk.open(&at("l")).is_err());
        assert_eq!(disk.stat(&at("l")).expect("stat").expect("there").kind, Kind::Symlink);
        assert_eq!(fs::read_dir(outside.path()).expect("list").count(), 1);
    });
}

#[test]
fn a_directory_that_becomes_a_link_while_its_descriptor_is_kept_leads_nowhere_else() {
    both_ways(|root, disk| {
        let outside = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.join("d")).expect("mkdir");
        assert_eq!(disk.stat(&at("d/f")).expect("stat"), None);
        fs::rename(root.join("d"), root.join("moved")).expect("move");
        symlink(outside.path(), root.join("d")).expect("link");
        let new = write_staged(disk, "new", b"new");
        let _ = disk.rename_new(&new, &at("d/f"));
        assert!(disk.stat(&at("d/g")).is_err(), "«not there» is never believed of an old descriptor");
        assert_eq!(fs::read_dir(outside.path()).expect("list").count(), 0);
    });
}

#[test]
fn a_directory_that_was_removed_and_made_again_is_found() {
    both_ways(|root, disk| {
        for round in ["one", "two"] {
            fs::create_dir(root.join("d")).expect("mkdir");
            fs::write(root.join("d/f"), round).expect("write");
            assert_eq!(read(disk, &at("d/f")), round.as_bytes());
            disk.set_mode(&at("d/f"), 0o600).expect("mode");
            disk.rename_new(&at("d/f"), &at("d/g")).expect("rename");
            fs::remove_dir_all(root.join("d")).expect("remove");
        }
    });
}

#[test]
fn what_is_mounted_below_the_root_is_not_entered() {
    let disk = RealDisk::open(Path::new("/"), SpecialBits::Strip).expect("open");
    for _ in 0..2 {
        for error in [disk.list(&at("proc")).map(drop), disk.stat(&at("proc/self")).map(drop)] {
            assert_eq!(error.expect_err("another device").kind(), io::ErrorKind::CrossesDevices);
        }
        disk.forget_openat2();
    }
}

#[test]
fn swapping_a_directory_and_a_link_without_end_lets_nothing_out() {
    let (root, disk) = folder();
    let outside = tempfile::tempdir().expect("a directory");
    let mode = fs::metadata(outside.path()).expect("stat").mode();
    fs::create_dir(root.path().join("d")).expect("mkdir");
    symlink(outside.path(), root.path().join("l")).expect("link");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    let held = fs::File::open(root.path()).expect("open");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(order) {
                let swap = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&held, "d", &held, "l", swap).expect("swap");
            }
        });
        for n in 0..300 {
            let new = write_staged(&disk, &format!("n{n}"), b"x");
            let _ = disk.rename_new(&new, &at(&format!("d/f{n}")));
            let _ = disk.make_directory(&at(&format!("d/d{n}")), 0o777);
            let _ = disk.set_mode(&at("d"), 0o700 + n % 8);
        }
        stop.store(true, order);
    });
    assert_eq!(fs::read_dir(outside.path()).expect("list").count(), 0);
    assert_eq!(fs::metadata(outside.path()).expect("stat").mode(), mode);
}

#[test]
#[ignore = "a measurement: 20,000 files; `cargo test --release -- --ignored --nocapture measured`"]
fn listing_and_placing_are_measured() {
    let (_root, disk) = folder();
    let files = 20_000;
    let place = |n: usize| at(&format!("d{}/f{n}", n / 100));
    let start = std::time::Instant::now();
    for n in 0..files {
        if n % 100 == 0 {
            disk.make_directory(&at(&format!("d{}", n / 100)), 0o755).expect("mkdir");
        }
        let name = staged(&format!("n{n}"));
        let file = disk.stage(&name).expect("stage");
        file.write_at(&[7; 4096], 0).expect("write");
        file.set_mtime(Timestamp { seconds: 5, nanos: 0 }).expect("mtime");
        disk.rename_new(&Place::Staged(name), &place(n)).expect("rename");
    }
    let placed = start.elapsed();
    let start = std::time::Instant::now();
    let listed: usize = (0..files / 100).map(|d| disk.list(&at(&format!("d{d}"))).expect("list").len()).sum();
    assert_eq!(listed, files);
    let seconds = |d: std::time::Duration| files as f64 / d.as_secs_f64();
    let (placed, listed) = (seconds(placed), seconds(start.elapsed()));
    assert!(placed > 20_000.0 && listed > 200_000.0, "a second: {placed:.0} placed, {listed:.0} listed");
}

#[test]
fn a_missing_name_is_told_from_a_missing_parent() {
    both_ways(|root, disk| {
        fs::write(root.join("f"), b"").expect("write");
        assert_eq!(disk.stat(&at("a")).expect("stat"), None);
        assert_eq!(disk.stat(&at("a/b")).expect_err("no parent").kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.stat(&at("f/b")).expect_err("a file").kind(), io::ErrorKind::NotADirectory);
    });
}

#[test]
fn paths_longer_than_the_kernel_takes_work() {
    both_ways(|_, disk| {
        let name = "x".repeat(250);
        let mut deep = path(&name);
        disk.make_directory(&Place::Folder(deep.clone()), 0o755).expect("mkdir");
        for _ in 0..20 {
            deep = RelPath::join(Some(&deep), name.as_bytes()).expect("a path");
            disk.make_directory(&Place::Folder(deep.clone()), 0o755).expect("mkdir");
        }
        assert!(deep.as_bytes().len() > 5000);
        let file = Place::Folder(RelPath::join(Some(&deep), b"f").expect("a path"));
        disk.rename_new(&write_staged(disk, "n", b"deep"), &file).expect("rename");
        assert_eq!(read(disk, &file), b"deep");
        assert_eq!(disk.list(&Place::Folder(deep.clone())).expect("list").len(), 1);
        let archived =
            ArchivedPath { stamp: Stamp::parse("2026-11-21T14.03.22Z").expect("stamp"), path: deep };
        disk.make_directory(&Place::Archived(archived.clone()), 0o700).expect("archive");
        assert!(disk.list(&Place::Archived(archived)).expect("list").is_empty());
    });
}

#[test]
fn a_fifo_is_seen_and_never_opened() {
    let (root, disk) = folder();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("pipe"), rustix::fs::Mode::RUSR).expect("fifo");
    let listed = disk.list(&Place::Root).expect("list");
    assert_eq!(listed.len(), 1, "the control directory is left out");
    assert_eq!(listed[0].stat.expect("stat").kind, Kind::Other);
    assert_eq!(disk.open(&at("pipe")).err().map(|e| e.kind()), Some(io::ErrorKind::InvalidInput));
    assert!(disk.set_mode(&at("pipe"), 0o644).is_err());
}

#[test]
fn renames_never_replace_and_exchanges_keep_both() {
    let (root, disk) = folder();
    fs::write(root.path().join("f"), b"old").expect("write");
    let new = write_staged(&disk, "n", b"new");
    let refused = disk.rename_new(&new, &at("f")).expect_err("taken");
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    disk.exchange(&new, &at("f")).expect("exchange");
    assert_eq!(read(&disk, &at("f")), b"new");
    assert_eq!(read(&disk, &new), b"old");
    fs::create_dir(root.path().join("d")).expect("mkdir");
    disk.exchange(&new, &at("d")).expect("a file and a directory");
    assert_eq!(disk.stat(&new).expect("stat").expect("there").kind, Kind::Directory);
    assert_eq!(disk.exchange(&new, &at("none")).expect_err("missing").kind(), io::ErrorKind::NotFound);
}

#[test]
fn odd_modes_and_times_are_kept_and_setuid_is_not() {
    let (root, disk) = folder();
    let place = write_staged(&disk, "n", b"x");
    for (seconds, nanos) in [(0, 0), (-1_000_000, 123_456_789), (5_000_000_000, 999_999_999), (7, 1)] {
        let mtime = Timestamp { seconds, nanos };
        disk.set_mtime(&place, mtime).expect("mtime");
        assert_eq!(disk.stat(&place).expect("stat").expect("there").stat.mtime, mtime);
    }
    for (asked, kept) in [(0o400, 0o400), (0o777, 0o777), (0o6755, 0o755), (0o1644, 0o1644), (0, 0)] {
        disk.set_mode(&place, asked).expect("mode");
        assert_eq!(disk.stat(&place).expect("stat").expect("there").stat.mode & 0o7777, kept);
    }
    disk.make_directory(&at("d"), 0o2575).expect("mkdir");
    assert_eq!(fs::metadata(root.path().join("d")).expect("stat").permissions().mode() & 0o7777, 0o575);
    disk.stage_link(&staged("l"), b"/nowhere/\xff", Timestamp { seconds: -5, nanos: 7 }).expect("link");
    let link = Place::Staged(staged("l"));
    assert_eq!(disk.read_link(&link).expect("read"), b"/nowhere/\xff");
    let stat = disk.stat(&link).expect("stat").expect("there").stat;
    assert_eq!(stat.mtime, Timestamp { seconds: -5, nanos: 7 });
}

#[test]
fn a_copy_keeps_its_holes() {
    let (_root, disk) = folder();
    let sparse = disk.stage(&staged("sparse")).expect("stage");
    sparse.set_length(64 << 20).expect("length");
    sparse.write_at(b"middle", 30 << 20).expect("write");
    let from = Place::Staged(staged("sparse"));
    assert_eq!(disk.copy_to_staged(&from, &staged("copy")).expect("copy"), 64 << 20);
    let copy = disk.stat(&Place::Staged(staged("copy"))).expect("stat").expect("there");
    assert!(copy.allocated < 1 << 20, "{} bytes allocated", copy.allocated);
    let mut bytes = [0; 6];
    disk.open(&Place::Staged(staged("copy"))).expect("open").read_at(&mut bytes, 30 << 20).expect("read");
    assert_eq!(&bytes, b"middle");
    assert!(disk.copy_to_staged(&from, &staged("copy")).is_err(), "nothing is written over");
}

#[test]
fn the_users_files_cannot_be_removed_or_written_through_a_second_name() {
    let (root, disk) = folder();
    fs::write(root.path().join("f"), b"mine").expect("write");
    assert!(disk.remove_file(&at("f")).is_err());
    fs::hard_link(root.path().join("f"), root.path().join(".syncd/staging/n")).expect("link");
    assert!(disk.stage(&staged("n")).is_err());
    assert_eq!(fs::read(root.path().join("f")).expect("read"), b"mine");
}

#[test]
fn a_linked_root_is_refused() {
    let outside = tempfile::tempdir().expect("a directory");
    let root = tempfile::tempdir().expect("a directory");
    symlink(outside.path(), root.path().join("l")).expect("link");
    assert!(RealDisk::open(&root.path().join("l"), SpecialBits::Strip).is_err());
}

#[test]
fn one_daemon_holds_the_lock_and_control_files_are_whole_and_private() {
    let (root, disk) = folder();
    let lock = disk.lock().expect("lock");
    let other = RealDisk::open(root.path(), SpecialBits::Strip).expect("open");
    assert_eq!(other.lock().err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
    drop(lock);
    other.lock().expect("lock");
    disk.write_control(ControlName::Marker, b"one").expect("write");
    disk.write_control(ControlName::Marker, b"two").expect("write");
    assert_eq!(disk.read_control(ControlName::Marker).expect("read"), b"two");
    let control = fs::metadata(root.path().join(".syncd")).expect("stat");
    let marker = fs::metadata(root.path().join(".syncd/marker")).expect("stat");
    assert_eq!((control.mode() & 0o7777, marker.mode() & 0o7777), (0o700, 0o600));
}

#[test]
fn control_files_that_are_written_at_once_do_not_mix() {
    // In memory where there is such a place: none of this is about fsync.
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let root = root.expect("a directory");
    let disk = RealDisk::open(root.path(), SpecialBits::Strip).expect("open");
    disk.make_directory(&Place::Control(ControlName::Directory), 0o700).expect("control directory");
    let texts = [(ControlName::Marker, [b'm'; 64]), (ControlName::Probe, [b'p'; 64])];
    texts.iter().for_each(|(name, text)| disk.write_control(*name, text).expect("write"));
    std::thread::scope(|scope| {
        // The marker by two at once.
        for (name, text) in [texts[0], texts[1], texts[0]] {
            let disk = &disk;
            scope.spawn(move || {
                for _ in 0..1000 {
                    disk.write_control(name, &text).expect("write");
                    assert_eq!(disk.read_control(name).expect("read"), text);
                }
            });
        }
    });
}

#[test]
fn faults_come_at_the_call_they_were_set_for() {
    let (root, real) = folder();
    let disk = FaultyDisk::new(Arc::new(real));
    let user = root.path().join("f");
    disk.at(Some(Call::Stat), 2, Effect::FailOnce(28));
    disk.at(Some(Call::Stat), 3, Effect::Before(Box::new(move || fs::write(user, b"x").expect("write"))));
    disk.at(None, 5, Effect::Crash);
    assert_eq!(disk.stat(&at("f")).expect("first"), None);
    assert_eq!(disk.stat(&at("f")).expect_err("second").raw_os_error(), Some(28));
    assert!(disk.stat(&at("f")).expect("third").is_some());
    let file = disk.open(&at("f")).expect("fourth");
    assert!(FaultyDisk::is_crash(&file.read_at(&mut [0], 0).expect_err("fifth")));
    assert!(FaultyDisk::is_crash(&disk.sync_all().expect_err("after the end")));
    assert_eq!((disk.calls(Some(Call::Stat)), disk.calls(None)), (3, 6));
}

#[test]
fn to_read_a_file_of_ours_leaves_no_trace_in_its_access_time() {
    let (root, disk) = folder();
    let name = root.path().join("f");
    fs::write(&name, b"bytes").expect("write");
    let long_ago = fs::FileTimes::new().set_accessed(std::time::UNIX_EPOCH);
    fs::File::options().write(true).open(&name).expect("open").set_times(long_ago).expect("times");
    assert_eq!(read(&disk, &at("f")), b"bytes");
    assert_eq!(fs::metadata(&name).expect("stat").atime(), 0);
}

#[test]
fn nothing_can_be_read_from_an_empty_file_into_an_empty_buffer() {
    let (root, disk) = folder();
    fs::write(root.path().join("f"), b"").expect("write");
    let mut bytes = Vec::new();
    let file = disk.open(&at("f")).expect("open");
    assert_eq!(file.append_at(&mut bytes, 0, 0).expect("read"), 0);
    assert_eq!(bytes, b"");
}

#[test]
fn what_is_written_past_the_cache_is_what_is_read() {
    let (_root, disk) = folder();
    let file = disk.stage(&staged("f")).expect("stage");
    let mut expected = vec![0; 1 << 20];
    file.set_length(1 << 20).expect("length");
    file.allocate(0, 1 << 20);
    let bytes: Vec<u8> = (0..400_000_u32).map(|number| (number * 7 + number / 251) as u8).collect();
    let places = [(0, 300_000), (300_000, 200_000), (500_001, 5), (4_096, 8_192), (700_003, 65_536)];
    for (number, (offset, len)) in places.into_iter().enumerate() {
        // As in the file, and one off.
        for off in [0, 1] {
            let mut buffer = vec![0; len + 3 * PAGE_BYTES];
            let start = buffer.as_ptr().align_offset(PAGE_BYTES) + offset % PAGE_BYTES + off;
            let place = &mut buffer[start..start + len];
            place.copy_from_slice(&bytes[number * 2 + off..][..len]);
            file.write_past_cache(place, offset as u64).expect("write");
            expected[offset..offset + len].copy_from_slice(place);
            assert!(read(&disk, &Place::Staged(staged("f"))) == expected, "{offset} {len} {off}");
        }
    }
}
