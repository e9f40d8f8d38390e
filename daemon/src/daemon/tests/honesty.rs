//! That nobody is told «in sync» while something is unread.

use super::*;
use crate::api::error::Class;

#[test]
fn while_the_watcher_is_behind_wait_waits_and_status_says_scanning() {
    story(async {
        let base = tempfile::tempdir().expect("a directory");
        let a = Device::new(&base, "a", None).await;
        a.write("file", "before");
        a.in_sync().await;
        let before = a.row().await;
        assert_eq!(before.state, FolderState::Idle);

        let watcher = a.folders.all()[0].hands().watcher().expect("watched");
        let (stalled, wait_stalled) = std::sync::mpsc::channel();
        let (go_on, wait_to_go_on) = std::sync::mpsc::channel::<()>();
        let staller = std::thread::spawn(move || {
            let gate = watcher.stall();
            stalled.send(()).expect("the story goes on");
            let _ = wait_to_go_on.recv();
            drop(gate);
        });
        wait_stalled.recv().expect("stalled");
        a.write("file", "after");
        a.write("second", "new");
        let late = a.folders.wait(&a.id, Some(Duration::from_millis(300)), 0).await;
        assert_eq!(late.expect_err("not all is seen").class, Class::TimedOut);
        let row = a.row().await;
        assert_eq!((row.state, row.files, row.head), (FolderState::Scanning, 1, before.head.clone()));

        // A wait that began meanwhile returns once all has been seen, and not before.
        let waiting = tokio::spawn({
            let (folders, id) = (Arc::clone(&a.folders), a.id.clone());
            async move { folders.wait(&id, Some(PATIENCE), 0).await }
        });
        go_on.send(()).expect("it waits");
        waiting.await.expect("no panic").expect("in sync");
        let row = a.row().await;
        assert_eq!((row.state, row.files), (FolderState::Idle, 2));
        assert_ne!(row.head, before.head);
        staller.join().expect("no panic");
        a.stop().await;
    });
}
