//! What happens when nothing happens.

use super::*;
use crate::daemon::sweep;

#[test]
fn many_commits_do_not_fill_the_database_and_nothing_that_is_needed_goes() {
    story(async {
        let base = tempfile::tempdir().expect("a directory");
        let a = Device::new(&base, "a", None).await;
        std::fs::create_dir(a.root.join("d")).expect("mkdir");
        for number in 0..300 {
            a.write(&format!("d/{number}"), format!("{number}"));
        }
        let large: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        a.write("large", &large);
        a.in_sync().await;
        for round in 0..20 {
            a.write("changing", format!("round {round}"));
            a.in_sync().await;
        }
        let before = a.folders.store().count_nodes().expect("counted");
        let kept = loop {
            if let Some(kept) = sweep::sweep(&a.folders).await.expect("swept") {
                break kept;
            }
        };
        assert!(kept * 2 < before, "{kept} of {before} are needed");
        a.write("changing", "after the sweep");
        a.in_sync().await;
        let again = a.folders.store().count_nodes().expect("counted");
        assert!(again < kept + 10, "{again}");

        let reader = a.folders.keys(&a.id).await.expect("keys").keys.read_only;
        let b = Device::new(&base, "b", Some(&reader)).await;
        b.meet(&a).await;
        b.same_head(&a).await;
        assert_eq!(b.names(), a.names());
        assert!(std::fs::read(b.root.join("large")).expect("read") == large);
        b.stop().await;
        a.stop().await;
    });
}

#[test]
fn what_a_program_still_writes_to_a_replaced_file_is_an_edit() {
    story(async {
        use std::io::Write;
        let base = tempfile::tempdir().expect("a directory");
        let a = Device::new(&base, "a", None).await;
        a.write("log", "first\n");
        a.in_sync().await;
        let b = Device::new(&base, "b", Some(&a.key)).await;
        b.meet(&a).await;
        b.same_head(&a).await;
        let mut open = std::fs::OpenOptions::new().append(true).open(a.root.join("log")).expect("opened");
        std::fs::remove_file(b.root.join("log")).expect("rm");
        b.in_sync().await;
        a.until("it has gone", |row| row.files == 0 && row.state == FolderState::Idle).await;
        a.in_sync().await;
        assert!(a.names().is_empty());

        open.write_all(b"second\n").expect("written");
        drop(open);
        a.until("it is back", |row| row.files == 1 && row.state == FolderState::Idle).await;
        a.same_head(&b).await;
        for device in [&a, &b] {
            assert_eq!(std::fs::read_to_string(device.root.join("log")).expect("read"), "first\nsecond\n");
        }
        b.stop().await;
        a.stop().await;
    });
}
