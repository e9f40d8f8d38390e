//! Places of one link for answers that are put together at once.
//!
//! Each holds memory, so they are few; and a folder whose disk hangs gives none back, so none may
//! have all. A folder takes one as long as it has no more than are free: alone it gets half of them,
//! and whoever comes later always finds some.

use std::collections::BTreeMap;
use std::pin::pin;

use keystore::FolderId;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Of these a single folder has up to 16.
pub(super) const PLACES: usize = 32;

#[derive(Default)]
pub(super) struct Places {
    held: Mutex<BTreeMap<FolderId, usize>>,
    freed: Notify,
}

/// A place; given back when it is dropped.
pub(super) struct Place<'a> {
    places: &'a Places,
    folder: FolderId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut held = self.places.held.lock();
        if let Some(count) = held.get_mut(&self.folder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.folder);
            }
        }
        drop(held);
        self.places.freed.notify_waiters();
    }
}

impl Places {
    /// Waits for a place.
    pub(super) async fn take(&self, folder: FolderId) -> Place<'_> {
        loop {
            let mut freed = pin!(self.freed.notified());
            // What is freed from here on is not missed.
            freed.as_mut().enable();
            if let Some(place) = self.try_take(folder) {
                return place;
            }
            freed.await;
        }
    }

    fn try_take(&self, folder: FolderId) -> Option<Place<'_>> {
        let mut held = self.held.lock();
        let free = PLACES.saturating_sub(held.values().sum());
        let count = held.entry(folder).or_default();
        // One is for everybody: the folders of a link are few.
        if *count > 0 && *count >= free {
            return None;
        }
        *count += 1;
        Some(Place { places: self, folder })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(places: &Places, folder: u8) -> Vec<Place<'_>> {
        std::iter::from_fn(|| places.try_take(FolderId([folder; 16]))).collect()
    }

    #[test]
    fn whoever_comes_later_finds_a_place() {
        let places = Places::default();
        let all: Vec<_> = (1..40).map(|folder| take_all(&places, folder)).collect();
        assert_eq!(all[0].len(), PLACES / 2);
        assert_eq!(all[1].len(), PLACES / 4);
        assert!(all.iter().all(|held| !held.is_empty()));
        drop(all);
        assert!(places.held.lock().is_empty());
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_goes_to_who_waits() {
        let places = Places::default();
        let mut held = take_all(&places, 1);
        let waiting = places.take(FolderId([1; 16]));
        let give_back = async { drop(held.pop()) };
        tokio::join!(waiting, give_back);
    }
}
