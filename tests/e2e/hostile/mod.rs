//! KR: peers who speak the protocol and lie. Mallory has a reader's key, an old key, another folder's
//! key or none; whatever she says, the daemons keep their state, drop her, log no secret, and are in
//! sync with honest peers afterwards.
//!
//! These stories run on loopback, where the test itself can be a peer. What is decided about such
//! peers has its tests in `tests/sim/tests/hostile.rs`; here it goes over the real wire.

mod answers;
mod frames;
mod heads;
mod loot;
mod mallory;
mod strangers;
mod tap;
pub(crate) mod tls;

use std::sync::Arc;

use harness::{Device, Folder, Net, in_sync};

use mallory::Answer;

/// A network on loopback whose daemons log whatever they can.
fn net() -> Net {
    Net::on_loopback(env!("CARGO_BIN_EXE_syncd")).logging("trace,quinn=debug,quinn_proto=debug,rustls=debug")
}

/// Who answers nothing.
fn silence() -> Arc<Answer> {
    Arc::new(|_| Vec::new())
}

/// Anna and Ben in sync over a few files, of which one is long enough for a list of chunks.
fn two_with_files(net: &Net) -> (Folder, Folder) {
    let (anna, ben) = net.two_writers();
    for number in 0..4 {
        anna.write(format!("dir/file-{number}"), format!("content {number}"));
    }
    anna.write("long", harness::Seed::new(21).bytes(300_000));
    in_sync(&[&anna, &ben]);
    (anna, ben)
}

/// Nothing has changed at anna's, and she and ben go on as before.
fn unharmed(anna: &Folder, ben: &Folder, head: &str, tree: &harness::Tree) {
    anna.settle();
    assert_eq!(anna.word("head"), head);
    assert_eq!(tree.differences(&anna.tree()), Vec::<String>::new());
    ben.write("afterwards", "by ben");
    in_sync(&[anna, ben]);
    assert_eq!(anna.text("afterwards"), "by ben");
    keeps_secrets(&[anna.device(), ben.device()], &[anna.writer_key(), anna.reader_key()]);
}

/// No key is in any log.
fn keeps_secrets(devices: &[&Device], keys: &[&str]) {
    for device in devices {
        let log = device.log();
        assert!(!keys.iter().any(|key| log.contains(key)), "a key is in the log of {}", device.name());
        assert!(!log.contains("panicked"), "{log}");
    }
}
