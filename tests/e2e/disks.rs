//! What disks of one kind can, and others cannot.

use std::fs;

use harness::{Mount, Seed, in_sync, is_root};

use crate::net;

/// A disk image of a virtual machine that changes a little every day, and a copy of it: where files can
/// share blocks, history and copies take next to no room.
#[test]
fn versions_and_copies_of_a_large_file_share_blocks_where_the_disk_can() {
    let net = net();
    if !is_root() {
        return;
    }
    let anna = net.device("anna").share("docs");
    let device = net.device("ben");
    let root = device.data().join("docs");
    fs::create_dir(&root).unwrap();
    let Some(disk) = Mount::sharing(&device.data().join("image"), &root, 512 << 20) else { return };
    let ben = device.join_in("docs", anna.writer_key());
    let (mut seed, mib) = (Seed::new(61), 1 << 20);
    let mut bytes = seed.bytes(64 * mib);
    anna.write("machine", &bytes);
    in_sync(&[&anna, &ben]);
    let before = disk.used_bytes();
    assert!(before > 64 << 20, "{before}");

    let first = bytes.clone();
    bytes[30 * mib..31 * mib].copy_from_slice(&seed.bytes(mib));
    anna.write("machine", &bytes);
    in_sync(&[&anna, &ben]);
    assert!(fs::read(ben.path("machine")).unwrap() == bytes);
    let archived = device.json(&["archive", "list", ben.id()]);
    let stored = ben.path(archived[0]["stored"].as_str().expect("where it lies"));
    assert!(fs::read(stored).unwrap() == first, "the version before");

    anna.write("copy", &bytes);
    in_sync(&[&anna, &ben]);
    assert!(fs::read(ben.path("copy")).unwrap() == bytes);
    let more = disk.used_bytes() - before;
    assert!(more < 32 << 20, "{more} bytes more for what is there already");
}
