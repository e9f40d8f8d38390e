//! Staged contents that are about to be removed, so that nobody takes them up in the meantime.
//!
//! What the loop asks for is done on several threads, in any order. Of a content that it forgets and wants
//! anew at once, the old bytes must be gone before the new ones are gathered: otherwise these would go
//! instead, and would be waited for for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use protocol::ContentId;

/// What is being forgotten; clones share it.
#[derive(Clone, Default)]
pub(super) struct Forgetting(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// How many times each is to be removed yet.
    contents: Mutex<BTreeMap<ContentId, usize>>,
    done: Condvar,
}

/// As long as it lives, its contents are being forgotten.
pub(super) struct Going {
    of: Forgetting,
    contents: Vec<ContentId>,
}

impl Forgetting {
    /// These are being forgotten from now on.
    pub(super) fn begin(&self, contents: &[ContentId]) -> Going {
        let mut going = self.0.contents.lock();
        contents.iter().for_each(|content| *going.entry(*content).or_default() += 1);
        Going { of: self.clone(), contents: contents.to_vec() }
    }

    /// Waits until none of these is being forgotten. Whoever forgets has been given its thread before, and
    /// waits for nobody.
    pub(super) fn wait_for(&self, contents: impl Iterator<Item = ContentId> + Clone) {
        let mut going = self.0.contents.lock();
        while !going.is_empty() && contents.clone().any(|content| going.contains_key(&content)) {
            self.0.done.wait(&mut going);
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let mut going = self.of.0.contents.lock();
        for content in &self.contents {
            if let Some(times) = going.get_mut(content) {
                *times -= 1;
                if *times == 0 {
                    going.remove(content);
                }
            }
        }
        self.of.0.done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn whoever_wants_a_content_waits_until_it_is_forgotten_and_for_no_other() {
        let id = |number| ContentId([number; 32]);
        let forgetting = Forgetting::default();
        let (first, second) = (forgetting.begin(&[id(1), id(2)]), forgetting.begin(&[id(1)]));
        forgetting.wait_for([id(3)].into_iter());

        let (waiter, (sender, receiver)) = (forgetting.clone(), mpsc::channel());
        let thread = std::thread::spawn(move || {
            waiter.wait_for([id(1), id(3)].into_iter());
            sender.send(()).expect("somebody listens");
        });
        drop(first);
        forgetting.wait_for([id(2)].into_iter());
        assert!(receiver.try_recv().is_err(), "it is to be forgotten twice");
        drop(second);
        receiver.recv().expect("it goes on");
        thread.join().expect("it has ended");
    }
}
