//! Places for answers: so many are sent at once, shared fairly among those who ask.
//!
//! Fifty askers that each get a fiftieth of the line all wait long for their first chunk, and have
//! nothing to pass on meanwhile; a few at a time each have something soon. Whoever finds no place
//! waits its turn for a while, peers taking turns whatever they ask for; then it hears that there is
//! none, and asks elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::members::LinkId;

/// Answers that are sent at once, over all links.
const SLOTS: usize = 8;
/// Of these, to one peer while others wait: a slow one must not have all of them.
const PER_LINK: usize = 4;
/// How long a place is held; a peer that takes longer to read its answer reads on without one, so
/// that slow peers take no places from fast ones.
pub(super) const HELD_FOR: Duration = Duration::from_secs(3);
/// How long it is waited for a place: shorter than askers wait for their first chunk.
const WAIT: Duration = Duration::from_secs(4);
/// Askers that wait, over all links, and for one.
const MAX_WAITING: usize = 256;
const MAX_WAITING_PER_LINK: usize = 16;

/// Hands out places.
#[derive(Default)]
pub(super) struct Slots {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: BTreeMap<LinkId, usize>,
    taken: usize,
    waiting: BTreeMap<LinkId, VecDeque<oneshot::Sender<Slot>>>,
    /// Links that wait, whose turn is next first.
    turns: VecDeque<LinkId>,
    count: usize,
}

/// A place; given back when it is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    link: LinkId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.state.lock().give_back(self.link);
        Slots::serve(&self.slots);
    }
}

impl Slots {
    /// Waits for a place; `None` if too many wait, or for too long.
    pub(super) async fn acquire(self: &Arc<Self>, link: LinkId) -> Option<Slot> {
        self.acquire_within(link, WAIT).await
    }

    async fn acquire_within(self: &Arc<Self>, link: LinkId, wait: Duration) -> Option<Slot> {
        let place = self.enqueue(link)?;
        Self::serve(self);
        timeout(wait, place).await.ok()?.ok()
    }

    fn enqueue(&self, link: LinkId) -> Option<oneshot::Receiver<Slot>> {
        let state = &mut *self.state.lock();
        state.forget_the_gone();
        if state.count >= MAX_WAITING && !state.make_room(link) {
            return None;
        }
        let queue = state.waiting.entry(link).or_default();
        if queue.len() >= MAX_WAITING_PER_LINK {
            return None;
        }
        if queue.is_empty() {
            state.turns.push_back(link);
        }
        let (sender, receiver) = oneshot::channel();
        queue.push_back(sender);
        state.count += 1;
        Some(receiver)
    }

    /// Gives the free places to those whose turn it is. One that is gone meanwhile gives its place
    /// back when it is dropped, which must not be under the lock.
    fn serve(slots: &Arc<Self>) {
        loop {
            let Some((link, sender)) = slots.state.lock().next() else { return };
            let refused = sender.send(Slot { slots: Arc::clone(slots), link });
            drop(refused);
        }
    }
}

impl State {
    fn next(&mut self) -> Option<(LinkId, oneshot::Sender<Slot>)> {
        if self.taken >= SLOTS {
            return None;
        }
        // With nobody else waiting a peer may have them all.
        let is_alone = self.turns.len() == 1;
        let held = |link: &LinkId| self.held.get(link).copied().unwrap_or_default();
        let at = self.turns.iter().position(|link| is_alone || held(link) < PER_LINK)?;
        let link = self.turns.remove(at)?;
        let queue = self.waiting.get_mut(&link)?;
        let sender = queue.pop_front()?;
        self.count -= 1;
        if queue.is_empty() {
            self.waiting.remove(&link);
        } else {
            self.turns.push_back(link);
        }
        self.taken += 1;
        *self.held.entry(link).or_default() += 1;
        Some((link, sender))
    }

    fn give_back(&mut self, link: LinkId) {
        self.taken -= 1;
        if let Some(held) = self.held.get_mut(&link) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&link);
            }
        }
    }

    /// Refuses whoever came last of the link for which most wait, for one for which nobody waits:
    /// a few links must not keep all others out.
    fn make_room(&mut self, link: LinkId) -> bool {
        if self.waiting.contains_key(&link) {
            return false;
        }
        let longest = self.waiting.values_mut().max_by_key(|queue| queue.len());
        let Some(queue) = longest.filter(|queue| queue.len() > 1) else { return false };
        // It hears of it by its sender being dropped.
        queue.pop_back();
        self.count -= 1;
        true
    }

    /// Those who no longer wait make room.
    fn forget_the_gone(&mut self) {
        self.waiting.retain(|_, queue| {
            queue.retain(|sender| !sender.is_closed());
            !queue.is_empty()
        });
        self.turns.retain(|link| self.waiting.contains_key(link));
        self.count = self.waiting.values().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks, without waiting for the place.
    fn ask(slots: &Arc<Slots>, link: LinkId) -> oneshot::Receiver<Slot> {
        let place = slots.enqueue(link).expect("there is room");
        Slots::serve(slots);
        place
    }

    fn has(place: &mut oneshot::Receiver<Slot>) -> Option<Slot> {
        place.try_recv().ok()
    }

    #[test]
    fn peers_take_turns_whatever_they_ask_for() {
        let slots = Arc::new(Slots::default());
        let mut held: Vec<_> = (0..SLOTS).map(|_| has(&mut ask(&slots, 1)).expect("free")).collect();
        let mut greedy: Vec<_> = (0..6).map(|_| ask(&slots, 1)).collect();
        let mut modest = ask(&slots, 2);
        assert!(has(&mut modest).is_none());
        held.pop();
        let second = has(&mut modest).expect("who holds less comes first");
        assert!(greedy.iter_mut().all(|place| has(place).is_none()));
        drop(second);
        let got: Vec<_> = greedy.iter_mut().filter_map(has).collect();
        assert_eq!(got.len(), 1, "nobody else waits");
    }

    #[test]
    fn a_place_for_one_who_has_gone_goes_to_the_next() {
        let slots = Arc::new(Slots::default());
        let mut held: Vec<_> = (0..SLOTS as LinkId).map(|n| has(&mut ask(&slots, n))).collect();
        let gone = ask(&slots, 100);
        let mut next = ask(&slots, 101);
        drop(gone);
        held.pop();
        assert!(has(&mut next).is_some());
    }

    #[tokio::test]
    async fn who_waits_too_long_hears_that_there_is_no_place() {
        let slots = Arc::new(Slots::default());
        let held: Vec<_> = (0..SLOTS as LinkId).map(|n| has(&mut ask(&slots, n))).collect();
        assert!(slots.acquire_within(100, Duration::from_millis(1)).await.is_none());
        drop(held);
        assert!(slots.acquire(100).await.is_some());
    }

    #[test]
    fn too_many_who_wait_are_refused_at_once() {
        let slots = Arc::new(Slots::default());
        let _held: Vec<_> = (0..SLOTS as LinkId).map(|n| has(&mut ask(&slots, n))).collect();
        let _waiting: Vec<_> = (0..MAX_WAITING_PER_LINK).map(|_| ask(&slots, 100)).collect();
        assert!(slots.enqueue(100).is_none());
        assert!(slots.enqueue(101).is_some());
    }

    #[test]
    fn those_who_fill_all_waiting_places_keep_nobody_else_out() {
        let slots = Arc::new(Slots::default());
        let mut held: Vec<_> = (0..SLOTS as LinkId).map(|n| has(&mut ask(&slots, n))).collect();
        let links = 100..100 + (MAX_WAITING / MAX_WAITING_PER_LINK) as LinkId;
        let mut greedy: Vec<_> =
            links.flat_map(|link| [link; MAX_WAITING_PER_LINK]).map(|link| ask(&slots, link)).collect();
        let mut modest = slots.enqueue(999).expect("another is refused");
        assert!(slots.enqueue(999).is_none(), "no room for two");
        let heard = greedy.iter_mut().map(oneshot::Receiver::try_recv);
        let refused = heard.filter(|heard| matches!(heard, Err(oneshot::error::TryRecvError::Closed)));
        assert_eq!(refused.count(), 1);
        assert!(slots.enqueue(100).is_none(), "who has waiters takes no places of others");
        held.clear();
        drop(greedy);
        assert!(has(&mut modest).is_some());
    }
}
