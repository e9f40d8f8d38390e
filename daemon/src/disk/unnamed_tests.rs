//! Staged files without a name behave like all others.

use std::fs;
use std::os::unix::fs::MetadataExt;

use protocol::Timestamp;

use super::super::tests::{at, folder, read, staged};
use super::super::{Disk, Kind, SpecialBits};
use super::*;

/// The names that are in the directory of staging.
fn names_in_staging(root: &Path) -> usize {
    fs::read_dir(root.join(".syncd/staging")).expect("staging").count()
}

#[test]
fn a_short_file_comes_to_its_place_without_having_been_in_staging() {
    let (root, disk) = folder();
    let from = Place::Staged(staged("content-1"));
    disk.stage_whole(&staged("content-1"), b"new", 0o640).expect("stage");
    assert_eq!(names_in_staging(root.path()), 0, "no name yet");
    let seen = disk.stat(&from).expect("stat").expect("it is staged all the same");
    assert_eq!((seen.kind, seen.stat.size), (Kind::File, 3));
    disk.set_mode(&from, 0o600).expect("mode");
    disk.set_mtime(&from, Timestamp { seconds: 1_000, nanos: 7 }).expect("mtime");
    disk.rename_new(&from, &at("f")).expect("place");

    let placed = fs::metadata(root.path().join("f")).expect("there");
    assert_eq!((placed.mode() & 0o7777, placed.mtime(), placed.mtime_nsec()), (0o600, 1_000, 7));
    assert_eq!((placed.ino(), placed.nlink()), (seen.stat.inode, 1));
    assert_eq!(fs::read(root.path().join("f")).expect("read"), b"new");
    assert_eq!(disk.stat(&from).expect("stat"), None, "it is staged no more");
}

#[test]
fn what_is_in_its_way_stays_and_it_stays_staged() {
    let (root, disk) = folder();
    let from = Place::Staged(staged("content-1"));
    fs::write(root.path().join("f"), "the user's").expect("write");
    disk.stage_whole(&staged("content-1"), b"new", 0o644).expect("stage");
    let error = disk.rename_new(&from, &at("f")).expect_err("taken");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert!(disk.rename_new(&from, &at("d/f")).is_err(), "no such directory");
    assert_eq!(fs::read(root.path().join("f")).expect("read"), b"the user's");
    disk.rename_new(&from, &at("g")).expect("another name");
    assert_eq!(fs::read(root.path().join("g")).expect("read"), b"new");
}

#[test]
fn a_system_that_wants_a_path_is_given_one() {
    let (root, disk) = folder();
    disk.stage_whole(&staged("content-1"), b"new", 0o644).expect("stage");
    let place = |file: &File| disk.at(&at("f"), |directory, name| link_by_path(file, directory, name));
    disk.unnamed.place(&staged("content-1"), place).expect("it has no name").expect("it gets one");
    assert_eq!(fs::read(root.path().join("f")).expect("read"), b"new");
}

#[test]
fn a_name_is_given_once() {
    let (_root, disk) = folder();
    let taken = |done: io::Result<()>| done.expect_err("taken").kind() == io::ErrorKind::AlreadyExists;
    disk.stage_whole(&staged("content-1"), b"one", 0o644).expect("stage");
    assert!(taken(disk.stage_whole(&staged("content-1"), b"two", 0o644)), "by one without a name");
    assert!(taken(disk.copy_to_staged(&Place::Staged(staged("content-1")), &staged("content-1")).map(drop)));
    let other = Place::Staged(staged("content-3"));
    disk.stage_whole(&staged("content-3"), b"three", 0o644).expect("stage");
    assert!(taken(disk.rename_new(&other, &Place::Staged(staged("content-1")))));
    assert_eq!(read(&disk, &Place::Staged(staged("content-1"))), b"one");
    assert_eq!(read(&disk, &other), b"three");
}

#[test]
fn what_an_earlier_run_has_left_under_its_name_is_put_aside() {
    let (root, disk) = folder();
    fs::write(root.path().join(".syncd/staging/content-1"), "left").expect("write");
    disk.stage_whole(&staged("content-1"), b"new", 0o644).expect("stage");
    assert_eq!(read(&disk, &Place::Staged(staged("content-1"))), b"new");
    assert_eq!(read(&disk, &Place::Staged(staged("displaced-content-1"))), b"left");
}

#[test]
fn what_needs_a_name_finds_it() {
    let (root, disk) = folder();
    let make = |name: &str| {
        disk.stage_whole(&staged(name), b"new", 0o644).expect("stage");
        Place::Staged(staged(name))
    };
    assert_eq!(read(&disk, &make("read")), b"new");
    make("written");
    disk.stage(&staged("written")).expect("open").write_at(b"N", 0).expect("write");
    assert_eq!(read(&disk, &Place::Staged(staged("written"))), b"New");
    assert_eq!(disk.copy_to_staged(&make("copied"), &staged("copy")).expect("copy"), 3);
    fs::write(root.path().join("f"), "old").expect("write");
    disk.exchange(&make("swapped"), &at("f")).expect("swap");
    assert_eq!(fs::read(root.path().join("f")).expect("read"), b"new");
    assert_eq!(read(&disk, &Place::Staged(staged("swapped"))), b"old");
    disk.remove_file(&make("removed")).expect("remove");
    assert_eq!(disk.stat(&Place::Staged(staged("removed"))).expect("stat"), None);
}

#[test]
fn the_end_of_the_disk_leaves_them_in_staging_for_the_next() {
    let (root, disk) = folder();
    disk.stage_whole(&staged("content-1"), b"new", 0o644).expect("stage");
    drop(disk);
    let disk = RealDisk::open(root.path(), SpecialBits::Strip).expect("open");
    assert_eq!(read(&disk, &Place::Staged(staged("content-1"))), b"new");
}

#[test]
fn where_there_can_be_none_or_no_more_a_file_has_its_name() {
    let (root, disk) = folder();
    disk.unnamed.is_refused.store(true, Ordering::Relaxed);
    disk.stage_whole(&staged("content-1"), b"new", 0o644).expect("stage");
    assert_eq!(names_in_staging(root.path()), 1);
    disk.rename_new(&Place::Staged(staged("content-1")), &at("f")).expect("place");
    assert_eq!(disk.stat(&at("f")).expect("stat").expect("there").stat.size, 3);
}
