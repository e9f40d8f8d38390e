//! Roots and databases that go away and come back.

use super::*;

fn fill(device: &Device, files: usize) {
    for number in 0..files {
        device.write(&format!("f{number:02}"), format!("content {number}"));
    }
}

async fn pair(base: &TempDir, files: usize) -> (Device, Device) {
    let a = Device::new(base, "a", None).await;
    fill(&a, files);
    a.in_sync().await;
    let b = Device::new(base, "b", Some(&a.key)).await;
    b.meet(&a).await;
    b.same_head(&a).await;
    assert_eq!(b.names(), a.names());
    (a, b)
}

#[test]
fn a_root_that_goes_away_holds_the_folder_and_one_that_comes_back_goes_on() {
    story(async {
        let base = tempfile::tempdir().expect("a directory");
        let (a, b) = pair(&base, 20).await;
        let away = base.path().join("away");
        std::fs::rename(&a.root, &away).expect("away");
        a.check_root();
        a.held("ROOT_TYPE_CHANGED").await;
        std::fs::create_dir(&a.root).expect("an empty mount point");
        a.check_root();
        a.held("ROOT_MARKER_MISSING").await;
        b.write("meanwhile", "elsewhere");
        b.in_sync().await;
        assert_eq!(b.names().len(), 21, "nothing was deleted");

        std::fs::remove_dir(&a.root).expect("gone");
        std::fs::rename(&away, &a.root).expect("back");
        a.check_root();
        a.until("it goes on", |row| row.state != FolderState::Held).await;
        a.same_head(&b).await;
        assert_eq!((a.names(), a.names().len()), (b.names(), 21));
        a.stop().await;
        b.stop().await;
    });
}

#[test]
fn a_root_that_is_missing_at_the_start_is_waited_for() {
    story(async {
        let base = tempfile::tempdir().expect("a directory");
        let (mut a, b) = pair(&base, 12).await;
        a.stop().await;
        let away = base.path().join("away");
        std::fs::rename(&a.root, &away).expect("away");
        a.folders = start(&a.home).await;
        a.held("ROOT_TYPE_CHANGED").await;
        b.in_sync().await;
        assert_eq!(b.names().len(), 12);
        std::fs::rename(&away, &a.root).expect("back");
        a.check_root();
        a.until("it goes on", |row| row.state != FolderState::Held).await;
        a.in_sync().await;
        assert_eq!(a.names().len(), 12);
        a.stop().await;
        b.stop().await;
    });
}

#[test]
fn an_emptied_root_is_a_question_and_revert_and_approve_answer_it() {
    story(async {
        let base = tempfile::tempdir().expect("a directory");
        let (a, b) = pair(&base, 12).await;
        let empty = || a.names().iter().for_each(|name| std::fs::remove_file(a.root.join(name)).expect("rm"));
        empty();
        a.held("MASS_DELETE").await;
        assert_eq!(b.names().len(), 12);
        a.folders.revert(&a.id, None).await.expect("reverted");
        a.until("brought back", |row| row.state == FolderState::Idle).await;
        a.in_sync().await;
        assert_eq!((a.names().len(), b.names().len()), (12, 12));

        empty();
        a.held("MASS_DELETE").await;
        a.folders.approve(&a.id).await.expect("approved");
        a.until("deleted", |row| row.files == 0 && row.state == FolderState::Idle).await;
        a.same_head(&b).await;
        assert_eq!((a.names().len(), b.names().len()), (0, 0));
        a.stop().await;
        b.stop().await;
    });
}

#[test]
fn after_a_lost_database_equal_files_are_noted_and_nothing_is_deleted() {
    story(async {
        let base = tempfile::tempdir().expect("a directory");
        let (mut a, b) = pair(&base, 12).await;
        a.stop().await;
        b.write("f00", "changed while a was away");
        std::fs::remove_file(b.root.join("f01")).expect("rm");
        b.in_sync().await;
        a.write("f02", "changed before the loss");
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(a.home.join(format!("syncd.db{suffix}")));
        }
        a.folders = start(&a.home).await;
        b.meet(&a).await;
        a.same_head(&b).await;
        assert_eq!(a.names(), b.names());
        let read = |name: &str| std::fs::read_to_string(a.root.join(name)).expect("read");
        assert_eq!(read("f00"), "changed while a was away");
        assert!(a.row().await.conflicts <= 2, "only what differs: {:?}", a.names());
        assert!(a.names().len() >= 12 && a.names().contains(&"f11".to_owned()));
        a.stop().await;
        b.stop().await;
    });
}

#[test]
fn a_folder_that_was_removed_can_be_added_again() {
    story(async {
        let base = tempfile::tempdir().expect("a directory");
        let (a, b) = pair(&base, 3).await;
        b.folders.remove(&b.id).await.expect("removed");
        assert_eq!(b.names().len(), 3);
        assert!(!b.root.join(".syncd/marker").exists());
        let dir = b.root.display().to_string();
        b.folders.add(AddRequest { dir, key: Some(b.key.clone()), name: None }).await.expect("added again");
        b.meet(&a).await;
        b.same_head(&a).await;
        assert_eq!((b.names().len(), b.row().await.conflicts), (3, 0));
        b.stop().await;
        a.stop().await;
    });
}
