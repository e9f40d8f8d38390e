//! What we have told others that we have, and when the next is to be told.
//!
//! What arrives is told in bundles a few times a second, to as many peers as a swarm needs to stay in
//! one piece, however large it is.

use std::collections::BTreeMap;
use std::time::Duration;

use keystore::DeviceId;

use crate::entry::ContentId;
use crate::message::{ContentPrefix, HavePart, MAX_HAVE_PARTS, MAX_HAVE_RUNS, MAX_HAVE_WHOLE, Message, Run};
use crate::path::RelPath;
use crate::store::NodeId;

/// Between two messages: so old is what others know of us.
const BETWEEN: Duration = Duration::from_millis(100);
/// Downloaders that are told: each hears of a chunk from the first of those around it that has it,
/// and what is told and heard stays the same in the largest swarm.
const NEIGHBOURS: usize = 40;

/// What is to be told, and to whom.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Telling {
    /// To [some](neighbours) of the other downloaders.
    pub messages: Vec<Message>,
    /// A fetch begins or goes on: all others that are not complete either are to know that, so that
    /// everybody leaves each other the same [parts](super::Share).
    pub has_begun: bool,
}

impl Telling {
    /// That we fetch.
    pub fn begun() -> Message {
        Message::Have { whole: Vec::new(), parts: Vec::new() }
    }
}

/// What has arrived and has not been told yet.
#[derive(Default)]
pub struct News {
    whole: Vec<ContentPrefix>,
    /// Runs, ascending, none touching another.
    parts: BTreeMap<ContentPrefix, BTreeMap<u32, u32>>,
    runs: usize,
    up_to: Option<(NodeId, RelPath)>,
    has_begun: bool,
    told_at: Option<Duration>,
}

impl News {
    /// A fetch begins that is worth sharing.
    pub fn begin(&mut self) {
        self.has_begun = true;
    }

    /// All of a content is here.
    pub fn add_whole(&mut self, content: &ContentId) {
        let prefix = ContentPrefix::of(content);
        if let Some(runs) = self.parts.remove(&prefix) {
            self.runs -= runs.len();
        }
        self.whole.push(prefix);
    }

    /// Some more of a content is here.
    pub fn add_run(&mut self, content: &ContentId, run: Run) {
        let runs = self.parts.entry(ContentPrefix::of(content)).or_default();
        let before = runs.len();
        let (mut first, mut end) = (run.first, run.end());
        if let Some((from, to)) = runs.range(..=first).next_back().filter(|(_, to)| **to >= first) {
            (first, end) = (*from, end.max(*to));
        }
        while let Some((from, to)) = runs.range(first..).next().filter(|(from, _)| **from <= end) {
            let from = *from;
            end = end.max(*to);
            runs.remove(&from);
        }
        runs.insert(first, end);
        self.runs = self.runs - before + runs.len();
    }

    /// Of a state we hold the contents of all paths up to this one.
    pub fn set_up_to(&mut self, entries: NodeId, path: RelPath) {
        self.up_to = Some((entries, path));
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.parts.is_empty() && self.up_to.is_none() && !self.has_begun
    }

    /// When [`poll`](Self::poll) has something to say.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let due = self.told_at.map_or(Duration::ZERO, |at| at + BETWEEN);
        (!self.is_empty()).then_some(due)
    }

    /// What is to be told now.
    pub fn poll(&mut self, now: Duration) -> Telling {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return Telling::default();
        }
        self.told_at = Some(now);
        let news = std::mem::replace(self, Self { told_at: Some(now), ..Self::default() });
        let parts = news.parts.into_iter().map(|(content, runs)| HavePart {
            content,
            runs: runs.into_iter().map(|(first, end)| Run { first, count: end - first }).collect(),
        });
        let mut messages = Self::messages(news.whole, parts);
        messages.extend(news.up_to.map(|(entries, path)| Message::HaveUpTo { entries, path }));
        Telling { messages, has_begun: news.has_begun }
    }

    /// Messages that say all this, each within its limits.
    pub fn messages(whole: Vec<ContentPrefix>, parts: impl IntoIterator<Item = HavePart>) -> Vec<Message> {
        let mut messages: Vec<_> = whole
            .chunks(MAX_HAVE_WHOLE)
            .map(|whole| Message::Have { whole: whole.to_vec(), parts: Vec::new() })
            .collect();
        let mut bundle = Vec::new();
        let mut room = MAX_HAVE_RUNS;
        let mut close = |bundle: &mut Vec<HavePart>| {
            if !bundle.is_empty() {
                messages.push(Message::Have { whole: Vec::new(), parts: std::mem::take(bundle) });
            }
        };
        for part in parts {
            for runs in part.runs.chunks(MAX_HAVE_RUNS) {
                if runs.len() > room || bundle.len() == MAX_HAVE_PARTS {
                    close(&mut bundle);
                    room = MAX_HAVE_RUNS;
                }
                room -= runs.len();
                bundle.push(HavePart { content: part.content, runs: runs.to_vec() });
            }
        }
        close(&mut bundle);
        messages
    }

    /// Nobody has to be told.
    pub fn clear(&mut self) {
        *self = Self { told_at: self.told_at, ..Self::default() };
    }
}

/// Whom of the other downloaders a device tells what it has: all, or as many as it takes. Both ends of
/// a pair draw the same lot for it, so that who tells is mostly told as well.
pub fn neighbours(me: &DeviceId, others: impl Iterator<Item = DeviceId>) -> Vec<DeviceId> {
    let mut others: Vec<_> = others.collect();
    if others.len() > NEIGHBOURS {
        others.sort_by_cached_key(|other| lot(me, other));
        others.truncate(NEIGHBOURS);
    }
    others
}

fn lot(one: &DeviceId, other: &DeviceId) -> [u8; 8] {
    let (low, high) = if one.0 < other.0 { (one, other) } else { (other, one) };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&low.0).update(&high.0);
    let mut lot = [0; 8];
    lot.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    lot
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_arrives_is_told_at_once_and_then_in_bundles() {
        let mut news = News::default();
        assert_eq!(news.poll_timeout(), None);
        news.add_run(&ContentId([1; 32]), Run { first: 3, count: 1 });
        assert_eq!(news.poll(ms(1000)).messages.len(), 1);
        for first in [9, 4, 5, 11, 10] {
            news.add_run(&ContentId([1; 32]), Run { first, count: 1 });
        }
        news.add_whole(&ContentId([2; 32]));
        assert_eq!(news.poll(ms(1050)), Telling::default());
        assert_eq!(news.poll_timeout(), Some(ms(1100)));
        let whole = Message::Have { whole: vec![ContentPrefix([2; 8])], parts: vec![] };
        let runs = vec![Run { first: 4, count: 2 }, Run { first: 9, count: 3 }];
        let part = HavePart { content: ContentPrefix([1; 8]), runs };
        let part = Message::Have { whole: vec![], parts: vec![part] };
        assert_eq!(news.poll(ms(1100)).messages, [whole, part]);
        assert!(news.is_empty());
    }

    #[test]
    fn much_is_told_in_several_messages_within_the_limits() {
        let whole = vec![ContentPrefix([1; 8]); MAX_HAVE_WHOLE + 1];
        let runs: Vec<_> = (0..10_000).map(|n| Run { first: 2 * n, count: 1 }).collect();
        let parts = [HavePart { content: ContentPrefix([2; 8]), runs }];
        let messages = News::messages(whole, parts);
        assert_eq!(messages.len(), 4);
        for message in messages {
            let told = Message::parse(&message.encode(1)).expect("it is within the limits");
            assert_eq!(told, Some((1, message)));
        }
    }

    #[test]
    fn in_a_large_swarm_everybody_tells_a_few_and_is_told_by_a_few() {
        let device = |n: u16| DeviceId(*blake3::hash(&n.to_be_bytes()).as_bytes());
        let mut hears = vec![0; 500];
        for n in 0..500 {
            let others = (0..500).filter(|other| *other != n).map(device);
            let told = neighbours(&device(n), others);
            assert_eq!(told.len(), NEIGHBOURS);
            (0..500).filter(|other| told.contains(&device(*other))).for_each(|o| hears[usize::from(o)] += 1);
        }
        assert!(hears.iter().all(|count| (20..80).contains(count)), "{hears:?}");
    }
}
