//! The way out for events.
//!
//! Each folder has so many under way; beyond that the links that talk about it wait until its loop
//! has taken some, and those of other folders do not. So whoever takes the events must not wait for
//! one folder: it keeps what it has taken until that folder wants it, and what is kept is bounded
//! here.

use std::collections::BTreeMap;
use std::sync::Arc;

use keystore::FolderId;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, PermitIterator};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::NetEvent;

/// Events on their way to whoever sorts them, which never takes long.
const EVENTS: usize = 256;
/// Events that a folder has not taken yet.
const EVENTS_OF_FOLDER: usize = 256;

/// The network has ended, or nobody hears of it any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closed;

/// An event, and the place that it takes up until this is dropped.
#[derive(Debug)]
pub struct Underway {
    /// What has happened.
    pub event: NetEvent,
    _place: Option<OwnedSemaphorePermit>,
}

/// What the network says, in order.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Underway>);

impl Events {
    /// The next event, to be kept as it is until its folder has taken it. `None` when the network has
    /// ended.
    pub async fn next(&mut self) -> Option<Underway> {
        self.0.recv().await
    }

    /// The next event, taken by the folder.
    #[cfg(test)]
    pub(super) async fn recv(&mut self) -> Option<NetEvent> {
        self.next().await.map(|underway| underway.event)
    }

    #[cfg(test)]
    pub(super) fn try_recv(&mut self) -> Option<NetEvent> {
        self.0.try_recv().ok().map(|underway| underway.event)
    }
}

/// Sends events.
pub(super) struct Out {
    sender: mpsc::Sender<Underway>,
    places: Mutex<BTreeMap<FolderId, Arc<Semaphore>>>,
}

/// Places for events of one folder, to send them at once later.
pub(super) struct Reserved<'a> {
    permits: PermitIterator<'a, Underway>,
    places: OwnedSemaphorePermit,
}

impl Reserved<'_> {
    /// Sends as many as were reserved.
    pub(super) fn send(&mut self, event: NetEvent) {
        if let (Some(permit), Some(place)) = (self.permits.next(), self.places.split(1)) {
            permit.send(Underway { event, _place: Some(place) });
        }
    }
}

impl Out {
    pub(super) fn new() -> (Self, Events) {
        let (sender, receiver) = mpsc::channel(EVENTS);
        (Self { sender, places: Mutex::default() }, Events(receiver))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until the folder has room for two events.
    pub(super) async fn reserve_two(&self, folder: FolderId) -> Result<Reserved<'_>, Closed> {
        let places = self.of(folder).acquire_many_owned(2).await.map_err(|_| Closed)?;
        let permits = self.sender.reserve_many(2).await.map_err(|_| Closed)?;
        Ok(Reserved { permits, places })
    }

    /// Sends as soon as the folder has room.
    pub(super) async fn send(&self, event: NetEvent) -> Result<(), Closed> {
        let place = match event.folder() {
            Some(folder) => Some(self.of(folder).acquire_owned().await.map_err(|_| Closed)?),
            None => None,
        };
        self.sender.send(Underway { event, _place: place }).await.map_err(|_| Closed)
    }

    /// Sends if the folder has room: for whoever serves all folders.
    pub(super) fn try_send(&self, event: NetEvent) -> bool {
        let place = match event.folder().map(|folder| self.of(folder).try_acquire_owned()) {
            Some(Err(_)) => return false,
            Some(Ok(place)) => Some(place),
            None => None,
        };
        self.sender.try_send(Underway { event, _place: place }).is_ok()
    }

    /// The folder is there no more.
    pub(super) fn forget(&self, folder: FolderId) {
        self.places.lock().remove(&folder);
    }

    fn of(&self, folder: FolderId) -> Arc<Semaphore> {
        let mut places = self.places.lock();
        Arc::clone(places.entry(folder).or_insert_with(|| Arc::new(Semaphore::new(EVENTS_OF_FOLDER))))
    }
}

impl NetEvent {
    /// The folder that it is about, if it is about one.
    pub fn folder(&self) -> Option<FolderId> {
        match self {
            Self::Joined { folder, .. }
            | Self::Left { folder, .. }
            | Self::Message { folder, .. }
            | Self::Opening { folder, .. }
            | Self::Reached { folder, .. }
            | Self::Unreached { folder, .. } => Some(*folder),
            Self::DuplicateDevice { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keystore::DeviceId;
    use tokio::time::timeout;

    use super::*;

    fn left(folder: u8) -> NetEvent {
        NetEvent::Left { folder: FolderId([folder; 16]), peer: DeviceId([1; 32]) }
    }

    #[tokio::test]
    async fn a_folder_that_takes_nothing_makes_only_those_wait_who_talk_about_it() {
        let (out, mut events) = Out::new();
        let mut kept = Vec::new();
        for _ in 0..EVENTS_OF_FOLDER {
            out.send(left(1)).await.unwrap();
            kept.push(events.next().await.unwrap());
        }
        assert!(!out.try_send(left(1)));
        let waiting = timeout(Duration::from_millis(1), out.send(left(1))).await;
        assert!(waiting.is_err(), "there is no room");
        out.send(left(2)).await.unwrap();
        out.reserve_two(FolderId([3; 16])).await.unwrap().send(left(3));
        assert_eq!(events.next().await.unwrap().event.folder(), Some(FolderId([2; 16])));
        assert_eq!(events.next().await.unwrap().event.folder(), Some(FolderId([3; 16])));
        kept.pop();
        out.send(left(1)).await.unwrap();
    }
}
