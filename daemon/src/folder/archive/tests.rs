use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;
use crate::disk::{RealDisk, SpecialBits};
use crate::folder::marker::claim;

/// 2026-11-21T14:03:22Z.
const NOW: i64 = 1_795_269_802;

fn folder() -> (TempDir, RealDisk) {
    let root = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::open(root.path(), SpecialBits::Strip).expect("open");
    claim(&disk).expect("claim");
    (root, disk)
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn archive_file(root: &TempDir, archive: &Archive<'_>, name: &str, bytes: &str) -> ArchivedPath {
    let at = root.path().join(name);
    fs::create_dir_all(at.parent().expect("a parent")).expect("mkdir");
    fs::write(at, bytes).expect("write");
    archive.put(&Place::Folder(path(name)), &path(name)).expect("put")
}

#[test]
fn stamps_are_utc_times_and_can_be_read_back() {
    for (seconds, text) in [
        (0, "1970-01-01T00.00.00Z"),
        (NOW, "2026-11-21T14.03.22Z"),
        (951_782_400, "2000-02-29T00.00.00Z"),
        (-1, "1969-12-31T23.59.59Z"),
    ] {
        assert_eq!(stamp_text(seconds), text);
        assert_eq!(stamp_seconds(&Stamp::parse(text).expect("a stamp")), Some(seconds));
        assert_eq!(stamp_seconds(&Stamp::parse(&format!("{text}-2")).expect("a stamp")), Some(seconds));
    }
    for text in ["2026-02-30T00.00.00Z", "2026", "ABC", "2026-11-21T24.00.00Z"] {
        assert_eq!(stamp_seconds(&Stamp::parse(text).expect("a stamp")), None, "{text}");
    }
}

#[test]
fn a_name_that_is_taken_moves_on_to_the_next_number() {
    let (root, disk) = folder();
    let archive = Archive::with_clock(&disk, || NOW);
    let stamps: Vec<_> = ["d/f", "d/f", "d", "d/f"]
        .iter()
        .map(|name| {
            let _ = fs::remove_dir_all(root.path().join("d"));
            archive_file(&root, &archive, name, name).stamp.as_str().to_owned()
        })
        .collect();
    let base = "2026-11-21T14.03.22Z";
    assert_eq!(stamps[0], base);
    assert_eq!(stamps[1], format!("{base}-2"));
    let mut found = 0;
    walk(&disk, |archived| {
        assert_eq!(archived.archived_at, Some(NOW));
        found += 1;
        true
    })
    .expect("walk");
    assert_eq!(found, 4);
    archive.sync().expect("sync");
}

#[test]
fn a_restored_file_is_a_copy_and_never_replaces_anything() {
    let (root, disk) = folder();
    let archived = archive_file(&root, &Archive::with_clock(&disk, || NOW), "d/f", "old");
    let place = Place::Archived(archived.clone());
    disk.set_mode(&place, 0o440).expect("mode");
    disk.set_mtime(&place, Timestamp { seconds: 5, nanos: 6 }).expect("mtime");
    fs::remove_dir(root.path().join("d")).expect("rmdir");
    let staged = StagedName::parse("restore-1").expect("a name");
    assert_eq!(restore(&disk, &archived, &staged).expect("restore"), Restored::Done);
    assert_eq!(restore(&disk, &archived, &staged).expect("restore"), Restored::Taken);
    let at = root.path().join("d/f");
    assert_eq!(fs::read(&at).expect("read"), b"old");
    assert_eq!(fs::metadata(&at).expect("stat").permissions().mode() & 0o7777, 0o440);
    assert!(disk.stat(&place).expect("stat").is_some(), "the archive keeps its own");
    assert!(disk.stat(&Place::Staged(staged)).expect("stat").is_none());
}

#[test]
fn restoring_through_a_link_writes_nothing_outside() {
    let (root, disk) = folder();
    let archived = archive_file(&root, &Archive::with_clock(&disk, || NOW), "d/f", "old");
    let outside = tempfile::tempdir().expect("a directory");
    fs::remove_dir(root.path().join("d")).expect("rmdir");
    symlink(outside.path(), root.path().join("d")).expect("link");
    disk.sync_all().expect("sync");
    let disk = RealDisk::open(root.path(), SpecialBits::Strip).expect("open");
    assert!(restore(&disk, &archived, &StagedName::parse("r").expect("a name")).is_err());
    assert_eq!(fs::read_dir(outside.path()).expect("list").count(), 0);
}

#[test]
fn expiry_works_in_slices_and_spares_what_is_young_or_was_changed() {
    let (root, disk) = folder();
    // Archived «now» by the disk's clock, whatever the stamp says.
    let old = Archive::with_clock(&disk, || NOW);
    for name in ["a", "b", "d/c"] {
        archive_file(&root, &old, name, name);
    }
    assert_eq!(expire(&disk, NOW + 1, 10).expect("expire").removed, 0, "by ctime it is young");
    let future = i64::MAX;
    let young = archive_file(&root, &Archive::new(&disk, 253_402_300_799), "young", "young");
    let edited = archive_file(&root, &Archive::new(&disk, NOW + 1), "edited", "edited");
    let place = Place::Archived(edited.clone());
    disk.set_mtime(&place, Timestamp { seconds: NOW + 4000, nanos: 0 }).expect("mtime");
    let mtime = Timestamp { seconds: 1, nanos: 0 };
    for name in ["a", "b", "d/c"] {
        let at = ArchivedPath { stamp: Stamp::parse("2026-11-21T14.03.22Z").expect("s"), path: path(name) };
        disk.set_mtime(&Place::Archived(at), mtime).expect("mtime");
    }
    let cut = future.min(253_402_300_799);
    let first = expire(&disk, cut, 2).expect("expire");
    assert_eq!((first.removed, first.more), (2, true));
    let second = expire(&disk, cut, 10).expect("expire");
    assert_eq!((second.removed, second.more, second.changed), (1, false, vec![edited]));
    assert!(disk.stat(&Place::Archived(young)).expect("stat").is_some());
    assert!(!root.path().join(".syncd/archive/2026-11-21T14.03.22Z").exists());
}

#[test]
fn a_file_that_is_written_to_in_the_archive_has_changed() {
    let (root, disk) = folder();
    let archived = archive_file(&root, &Archive::with_clock(&disk, || NOW), "f", "old");
    let place = Place::Archived(archived.clone());
    let then = disk.stat(&place).expect("stat").expect("there").stat;
    assert!(!changed_since(&disk, &place, &then).expect("look"));
    let at = root.path().join(".syncd/archive").join(archived.stamp.as_str()).join("f");
    fs::write(at, "longer than before").expect("write");
    assert!(changed_since(&disk, &place, &then).expect("look"));
}

#[test]
fn a_file_whose_time_is_ahead_of_the_clock_expires_whenever_in_its_step_it_was_archived() {
    use std::sync::atomic::{AtomicI64, Ordering};
    let (root, disk) = folder();
    let now = crate::folder::kept::seconds_since_1970();
    let clock = AtomicI64::new(now - 3);
    let archive = Archive::with_clock(&disk, || clock.load(Ordering::Relaxed));
    let times = [("first", 5), ("later", now + 4000)];
    let stamps = times.map(|(name, seconds)| {
        fs::write(root.path().join(name), name).expect("write");
        disk.set_mtime(&Place::Folder(path(name)), Timestamp { seconds, nanos: 0 }).expect("mtime");
        let at = archive.put(&Place::Folder(path(name)), &path(name)).expect("put");
        clock.store(now, Ordering::Relaxed);
        stamp_seconds(&at.stamp)
    });
    assert_eq!(stamps, [Some(now - 3), Some(now)]);
    let expired = expire(&disk, now + 10, 10).expect("expire");
    assert_eq!((expired.removed, expired.changed), (2, Vec::new()));
}
