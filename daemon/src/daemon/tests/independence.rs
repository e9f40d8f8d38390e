//! What one folder does is not waited for by others.

use keystore::{DeviceId, FolderId};
use protocol::ContentId;
use protocol::message::Message;

use super::*;
use crate::net::NetEvent;

#[test]
fn a_folder_whose_loop_sleeps_keeps_no_peer_from_another() {
    story(async {
        let base = tempfile::tempdir().expect("a directory");
        let a = Device::new(&base, "a", None).await;
        a.in_sync().await;
        // It asks all folders, also the one that sleeps later.
        let address = a.folders.status(None).await.expect("status").listen.remove(0);
        let other = base.path().join("other");
        std::fs::create_dir(&other).expect("mkdir");
        let dir = other.display().to_string();
        let added = a.folders.add(AddRequest { dir, key: None, name: None }).await.expect("added");
        let sleeping = a.folders.folder(&added.folder_id).expect("a folder");
        let (wake, until) = std::sync::mpsc::channel::<()>();
        let (asleep, sleeps) = tokio::sync::oneshot::channel();
        let asked =
            tokio::spawn(
                async move { sleeping.ask(move |_| (asleep.send(()), until.recv()).1.is_err()).await },
            );
        sleeps.await.expect("it sleeps");
        let (net, folder) = (Arc::clone(&a.folders.net), added.folder_id.parse::<FolderId>().expect("an id"));
        let flood = tokio::spawn(async move {
            for _ in 0..5000 {
                let message = Message::Gone { content: ContentId([1; 32]) };
                net.pretend(NetEvent::Message { folder, peer: DeviceId([1; 32]), message }).await;
            }
        });
        let b = Device::new(&base, "b", Some(&a.key)).await;
        b.folders.peer_add(&b.id, &address).await.expect("pinned");
        a.until("the peer is here", |row| row.peers == 1).await;
        b.same_head(&a).await;
        assert!(!flood.is_finished(), "whoever talks to the one that sleeps waits");
        drop(wake);
        assert_eq!(asked.await.expect("no panic"), Some(true));
        flood.await.expect("all is taken");
        b.stop().await;
        a.stop().await;
    });
}
