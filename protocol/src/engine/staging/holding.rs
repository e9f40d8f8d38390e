//! What is here of the contents of a step, and what other downloaders have of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keystore::DeviceId;

use super::{Progress, Staging};
use crate::engine::{Engine, EngineError, FolderStore, Reason, Unapplied};
use crate::entry::ContentId;
use crate::message::{ContentPrefix, HavePart, Run};
use crate::path::RelPath;
use crate::render::Renderer;
use crate::scheduler::Share;

impl Staging {
    pub(in crate::engine) fn set_share(&mut self, share: Share, sharers: &[DeviceId]) {
        let sharers = sharers.iter().filter_map(|peer| self.peers.get(peer).copied()).collect();
        self.scheduler.set_share(share, sharers);
    }

    pub(in crate::engine) fn set_rtt(&mut self, peer: &DeviceId, rtt: Duration) {
        if let Some(key) = self.peers.get(peer) {
            self.scheduler.set_rtt(*key, rtt);
        }
    }

    pub(in crate::engine) fn handle_have(
        &mut self,
        now: Duration,
        peer: &DeviceId,
        whole: &[ContentPrefix],
        parts: &[HavePart],
    ) {
        if let Some(key) = self.peers.get(peer) {
            self.scheduler.handle_have(now, *key, whole, parts);
        }
    }

    /// A peer has all contents of our state up to a path.
    pub(in crate::engine) fn handle_have_up_to(&mut self, now: Duration, peer: &DeviceId, path: &RelPath) {
        let Some(key) = self.peers.get(peer) else { return };
        for (id, content) in &self.contents {
            if matches!(content.progress, Progress::Fetching(_)) && content.path <= *path {
                self.scheduler.handle_have_whole(now, *key, *id);
            }
        }
    }

    /// The same for one content.
    pub(in crate::engine) fn hold_up_to(
        &mut self,
        now: Duration,
        peer: &DeviceId,
        path: &RelPath,
        content: &ContentId,
    ) {
        let is_below = self.contents.get(content).is_some_and(|known| known.path <= *path);
        if let (Some(key), true) = (self.peers.get(peer), is_below) {
            self.scheduler.handle_have_whole(now, *key, *content);
        }
    }

    /// Whether peers are asked for a content, or were in vain. While what is here of it is looked for, what
    /// has been found elsewhere is kept in mind.
    fn awaits(&mut self, content: &ContentId) -> bool {
        let Some(content) = self.contents.get_mut(content) else { return false };
        content.is_found |= matches!(content.progress, Progress::Preparing);
        !matches!(content.progress, Progress::Preparing | Progress::Ready)
    }

    /// What is staged, to be told to somebody new.
    pub(in crate::engine) fn have(&self) -> (Vec<ContentPrefix>, Vec<HavePart>) {
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        for (id, content) in &self.contents {
            match &content.progress {
                Progress::Ready => whole.push(ContentPrefix::of(id)),
                Progress::Fetching(missing) => {
                    let runs = present(missing, content.wish.size);
                    if !runs.is_empty() {
                        parts.push(HavePart { content: ContentPrefix::of(id), runs });
                    }
                }
                Progress::List(_) | Progress::Preparing | Progress::Waiting(_) | Progress::Failed(_) => {}
            }
        }
        (whole, parts)
    }
}

impl<S: FolderStore> Engine<S> {
    /// Whether any content is wanted, or was in vain.
    pub(in crate::engine) fn lacks_content(&self) -> bool {
        let is_lacking = |why: &Unapplied| why.reason == Reason::NoContent;
        !self.staging.is_empty() || self.unapplied.values().any(is_lacking)
    }

    /// These contents are on this disk now, whoever put them there: nobody has to be asked for them.
    pub(in crate::engine) fn take_found(&mut self, found: &BTreeSet<ContentId>) -> Result<(), EngineError> {
        let awaited: Vec<_> = found.iter().copied().filter(|content| self.staging.awaits(content)).collect();
        if !awaited.is_empty() {
            self.revisit.extend(self.step.drop_window());
            self.staging.take(&awaited);
            self.forget(awaited);
        }
        if found.is_empty() {
            return Ok(());
        }
        let tree = self.tree(self.state.entries);
        let mut renderer = Renderer::new(&tree, &self.state.context);
        let mut again = Vec::new();
        for (path, _) in self.unapplied.iter().filter(|(_, why)| why.reason == Reason::NoContent) {
            let content = renderer.path(path)?.and_then(|want| want.content.file());
            if content.is_some_and(|content| found.contains(&content)) {
                again.push(path.clone());
            }
        }
        self.revisit.extend(again);
        Ok(())
    }
}

/// The chunks of a content that are not missing; the last run goes to the end, wherever that is.
pub(super) fn present(missing: &BTreeMap<u64, u32>, size: u64) -> Vec<Run> {
    let mut runs = Vec::new();
    if missing.values().map(|len| u64::from(*len)).sum::<u64>() == size {
        return runs;
    }
    let mut next = 0;
    for number in missing.keys().filter_map(|number| u32::try_from(*number).ok()) {
        if number > next {
            runs.push(Run { first: next, count: number - next });
        }
        next = number.saturating_add(1);
    }
    if next < u32::MAX {
        runs.push(Run { first: next, count: u32::MAX - next });
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_present_is_what_is_not_missing() {
        let missing = |numbers: &[u64]| numbers.iter().map(|number| (*number, 10)).collect();
        let runs = |numbers: &[u64], size| -> Vec<_> {
            present(&missing(numbers), size).iter().map(|run| (run.first, run.count)).collect()
        };
        assert_eq!(runs(&[0, 1, 2], 30), []);
        assert_eq!(runs(&[1, 4], 100), [(0, 1), (2, 2), (5, u32::MAX - 5)]);
    }
}
