//! Which link speaks for a device in a folder, when there is more than one. Pure.
//!
//! Two devices that dial each other at once get two links. Both come up; then the device of lower
//! id decides, alone, and closes the other one: it prefers the link that it has opened itself, then
//! the older one. Until then the second link *waits*: nothing that comes on it is passed on, so no
//! message is lost or comes twice, and when the first ends it takes its place.

use std::collections::BTreeMap;

use keystore::{DeviceId, FolderId};

/// Numbers the links of this process.
pub(super) type LinkId = u64;

/// The links of each membership; the first speaks, the others wait.
#[derive(Default)]
pub(super) struct Members {
    links: BTreeMap<(DeviceId, FolderId), Vec<LinkId>>,
}

/// What leaving has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Departure {
    /// The link that left was the one that spoke.
    pub(super) was_speaker: bool,
    /// The one that speaks now in its place.
    pub(super) successor: Option<LinkId>,
}

impl Members {
    /// A link has joined; says who speaks: itself, or the one that it waits for.
    pub(super) fn join(&mut self, device: DeviceId, folder: FolderId, link: LinkId) -> LinkId {
        let links = self.links.entry((device, folder)).or_default();
        if !links.contains(&link) {
            links.push(link);
        }
        links[0]
    }

    /// Lets a link that waits speak at once.
    pub(super) fn prefer(&mut self, device: DeviceId, folder: FolderId, link: LinkId) {
        if let Some(links) = self.links.get_mut(&(device, folder)) {
            links.retain(|other| *other != link);
            links.insert(0, link);
        }
    }

    pub(super) fn speaks(&self, device: DeviceId, folder: FolderId, link: LinkId) -> bool {
        self.of(device, folder).first() == Some(&link)
    }

    /// All links of a membership, the one that speaks first.
    pub(super) fn of(&self, device: DeviceId, folder: FolderId) -> &[LinkId] {
        self.links.get(&(device, folder)).map_or(&[], Vec::as_slice)
    }

    /// A link has left the folder, or has ended.
    pub(super) fn leave(&mut self, device: DeviceId, folder: FolderId, link: LinkId) -> Departure {
        let Some(links) = self.links.get_mut(&(device, folder)) else {
            return Departure { was_speaker: false, successor: None };
        };
        let was_speaker = links[0] == link;
        links.retain(|other| *other != link);
        let successor = if was_speaker { links.first().copied() } else { None };
        if links.is_empty() {
            self.links.remove(&(device, folder));
        }
        Departure { was_speaker, successor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: DeviceId = DeviceId([2; 32]);
    const FOLDER: FolderId = FolderId([1; 16]);

    #[test]
    fn a_second_link_waits_and_takes_over_when_the_first_ends() {
        let mut members = Members::default();
        assert_eq!(members.join(BOB, FOLDER, 1), 1);
        assert_eq!(members.join(BOB, FOLDER, 2), 1);
        assert!(!members.speaks(BOB, FOLDER, 2));
        assert_eq!(members.leave(BOB, FOLDER, 1), Departure { was_speaker: true, successor: Some(2) });
        assert!(members.speaks(BOB, FOLDER, 2));
        assert_eq!(members.leave(BOB, FOLDER, 2), Departure { was_speaker: true, successor: None });
        assert!(members.links.is_empty());
    }

    #[test]
    fn a_preferred_link_speaks_and_the_other_leaves_unnoticed() {
        let mut members = Members::default();
        members.join(BOB, FOLDER, 1);
        members.join(BOB, FOLDER, 2);
        members.prefer(BOB, FOLDER, 2);
        assert!(members.speaks(BOB, FOLDER, 2));
        assert_eq!(members.leave(BOB, FOLDER, 1), Departure { was_speaker: false, successor: None });
    }
}
