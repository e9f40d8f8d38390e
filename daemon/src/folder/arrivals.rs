//! What the network says of one folder, on its way to the folder's loop.
//!
//! Whoever brings it for all folders must not wait for one of them. So it is put down here, and a task
//! of the folder takes it on, one after the other: that one may wait. How much there may be is bounded
//! by the network.

use std::sync::{Arc, Weak};

use protocol::engine::Event;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Folder;
use super::runner::Input;
use crate::net::{NetEvent, Underway};

/// Where it is put down.
#[derive(Clone)]
pub(super) struct Arrivals(UnboundedSender<Underway>);

impl Arrivals {
    pub(super) fn new() -> (Self, UnboundedReceiver<Underway>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }
}

impl Folder {
    /// The network has said something of this folder. Returns at once.
    pub fn arrived(&self, underway: Underway) {
        // When the folder has ended, nobody is interested.
        let _ = self.arrivals.0.send(underway);
    }

    async fn take_in(self: &Arc<Self>, event: NetEvent) {
        let folder = Arc::clone(self);
        let input = match event {
            NetEvent::Joined { peer, .. } => Input::Joined(peer),
            NetEvent::Left { peer, .. } => Input::Event(Event::Left(peer)),
            NetEvent::Message { peer, message, .. } => Input::Event(Event::Message(peer, message)),
            NetEvent::Opening { opening, .. } => {
                // The database may be busy.
                let _ = tokio::task::spawn_blocking(move || folder.opened(&opening)).await;
                return;
            }
            NetEvent::Reached { device, address, .. } => {
                self.reached(device, address);
                let _ = tokio::task::spawn_blocking(move || folder.outgrow_link()).await;
                return;
            }
            NetEvent::Unreached { address, .. } => return self.unreached(address),
            NetEvent::DuplicateDevice { address } => return self.duplicate_device(address),
        };
        self.inputs.send_from_async(input).await;
    }
}

/// Takes on what is put down, until the folder is gone.
pub(super) async fn take_on(mut arrivals: UnboundedReceiver<Underway>, folder: Weak<Folder>) {
    // The place of each is given back when it has been taken in.
    while let Some(underway) = arrivals.recv().await {
        let Underway { event, .. } = underway;
        let Some(folder) = folder.upgrade() else { return };
        folder.take_in(event).await;
    }
}
