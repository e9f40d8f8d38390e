//! What nobody can serve: a problem of its paths, if it lasts.

use std::collections::BTreeSet;
use std::time::Duration;

use super::peer::Peer;
use super::want::Want;
use super::{Availability, PeerKey, Scheduler};
use crate::entry::ContentId;

/// A content that no connected peer could serve for this long is a problem of its paths.
const UNSERVABLE_AFTER: Duration = Duration::from_secs(10);
/// Without a seed, whether contents can be served is looked at this often, if nothing changes.
const JUDGE_EVERY: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Contents that no connected peer could serve for 10 s of calls to this: call it about once
    /// a second. Without any peer that is all of them.
    pub fn unservable(&mut self, now: Duration) -> Vec<ContentId> {
        let is_due = self.unservable_at().is_some_and(|at| at <= now);
        if self.seeds.is_empty() && now < self.judge_at && !is_due {
            return Vec::new();
        }
        self.judge_at = now + JUDGE_EVERY;
        let judged: Vec<ContentId> = if self.seeds.is_empty() {
            self.wants.keys().copied().collect()
        } else {
            self.doubted.iter().copied().chain(self.suspects.iter().map(|(_, content)| *content)).collect()
        };
        let mut found = BTreeSet::new();
        for content in judged {
            let Some(can_be_served) = self.wants.get(&content).map(|want| self.can_be_served(want)) else {
                continue;
            };
            let Some(want) = self.wants.get_mut(&content) else { continue };
            if can_be_served {
                if let Some(since) = want.unservable_since.take() {
                    self.suspects.remove(&(since, content));
                }
                continue;
            }
            let since = *want.unservable_since.get_or_insert(now);
            self.suspects.insert((since, content));
            if now.saturating_sub(since) >= UNSERVABLE_AFTER {
                found.insert(content);
            }
        }
        found.into_iter().collect()
    }

    /// When [`unservable`](Self::unservable) will answer something, if nothing else happens.
    pub fn unservable_at(&self) -> Option<Duration> {
        self.suspects.first().map(|(since, _)| *since + UNSERVABLE_AFTER)
    }

    fn can_be_served(&self, want: &Want) -> bool {
        let may_have = |(key, peer): (&PeerKey, &Peer)| match peer.availability {
            _ if peer.banned || want.gone.contains(key) => false,
            Availability::Everything => true,
            Availability::Perhaps => !want.holders.contains_key(key),
            Availability::Nothing => false,
        };
        want.standing.unheld == 0 || self.peers.iter().any(may_have)
    }
}
