//! A folder whose disk or loop hangs holds up no other.

use std::sync::mpsc as blocking;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::*;

/// Its chunks come when the sender of this is dropped.
struct Hanging {
    until: Mutex<blocking::Receiver<()>>,
    asked: Semaphore,
    nodes: Arc<dyn Serve>,
}

impl Serve for Hanging {
    fn nodes(&self, ids: &[NodeId]) -> Vec<Option<Bytes>> {
        self.nodes.nodes(ids)
    }

    fn greeting(&self) -> Vec<Message> {
        Vec::new()
    }

    fn chunks(&self, _: &[ChunkWanted]) -> Vec<Option<Bytes>> {
        self.asked.add_permits(1);
        let _ = self.until.lock().recv();
        Vec::new()
    }
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_no_nodes_and_no_other_folder() {
    let (mut alice, hanging, bob, _) = pair().await;
    for device in [&alice, &bob] {
        device.net.add_folder(secret(2), None, shelf(&[b"three"]));
    }
    let healthy = alice.joined().await;
    let (_until, hangs) = blocking::channel();
    let asked = Semaphore::new(0);
    let server = Arc::new(Hanging { until: Mutex::new(hangs), asked, nodes: shelf(&[b"one"]) });
    bob.net.add_folder(secret(1), None, Arc::clone(&server) as _);
    for len in [100_000, 10].repeat(60) {
        let hanging = hanging.clone();
        tokio::spawn(async move { hanging.chunks(&[wanted(1, len)], |_, _| {}).await });
    }
    let others = async {
        // What is asked now comes after all those questions.
        let _asked = server.asked.acquire_many(8).await;
        assert!(hanging.nodes(&[NodeId::of(b"one")]).await.unwrap()[0].is_some());
        assert!(healthy.nodes(&[NodeId::of(b"three")]).await.unwrap()[0].is_some());
        let mut came = false;
        healthy.chunks(&[wanted(1, 10)], |_, answer| came = answer != ChunkAnswer::Gone).await.unwrap();
        assert!(came);
    };
    timeout(PATIENCE, others).await.expect("the others answer");
}

#[tokio::test]
async fn whoever_vanishes_leaves_the_other_folders_though_one_takes_nothing() {
    let (mut alice, _, bob, _) = pair().await;
    for device in [&alice, &bob] {
        device.net.add_folder(secret(2), None, shelf(&[]));
    }
    alice.joined().await;
    let mut folders = [secret(1), secret(2)].map(|secret| secret.folder_id());
    folders.sort();
    let [hangs, other] = folders;
    let mut kept = Vec::new();
    while alice.net.hub.events.try_send(NetEvent::Left { folder: hangs, peer: bob.id }) {
        kept.push(alice.events.next().await.unwrap());
    }
    bob.net.close().await;
    while alice.next().await.folder() != Some(other) {}
}
