//! Which contents this disk may have at some path, without asking the database.
//!
//! In a first sync nearly every content is new, and to ask for each whether it is at another path is
//! a good part of the work. A device that began with nothing knows what it has recorded since. It
//! remembers a few bits of each (a Bloom filter): that a content is not here is certain, that it may
//! be is seldom wrong.

use crate::entry::{Content, ContentId};
use crate::path::RelPath;
use crate::record::Record;

/// 512 KiB: of a million contents one in seven seems to be here and is not.
const BITS: usize = 1 << 22;

/// Contents that were recorded, by two bits each.
#[derive(Debug)]
pub(super) struct Held(Vec<u64>);

impl Default for Held {
    fn default() -> Self {
        Self(vec![0; BITS / 64])
    }
}

impl Held {
    /// Notes what is recorded. Nothing is ever taken out.
    pub(super) fn add(&mut self, records: &[(RelPath, Option<Record>)]) {
        let contents = records.iter().filter_map(|(_, record)| Some(&record.as_ref()?.shown.content));
        for content in contents {
            if let Content::File { id, .. } = content {
                places(id).for_each(|at| self.0[at / 64] |= 1 << (at % 64));
            }
        }
    }

    /// Whether a content may be recorded at some path.
    pub(super) fn may_have(&self, id: &ContentId) -> bool {
        places(id).all(|at| self.0[at / 64] & 1 << (at % 64) != 0)
    }
}

/// Ids are hashes: their bytes are as good as random.
fn places(id: &ContentId) -> impl Iterator<Item = usize> {
    let (pairs, _) = id.0.as_chunks::<8>();
    pairs.iter().take(2).map(|bytes| u64::from_le_bytes(*bytes) as usize % BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Metadata;
    use crate::record::Shown;

    fn id(number: u64) -> ContentId {
        ContentId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    fn record(number: u64) -> (RelPath, Option<Record>) {
        let content = Content::File { id: id(number), size: 1 };
        let shown = Shown { content, metadata: Metadata::default(), entries: Vec::new() };
        let path = RelPath::parse(format!("f{number}").as_bytes()).expect("a path");
        (path, Some(Record { shown, stat: None, ignored: false }))
    }

    #[test]
    fn what_is_recorded_is_never_denied_and_little_else_is_believed() {
        let mut held = Held::default();
        held.add(&(0..20_000).map(record).collect::<Vec<_>>());
        assert!((0..20_000).all(|number| held.may_have(&id(number))));
        let believed = (20_000..40_000).filter(|number| held.may_have(&id(*number))).count();
        assert!(believed < 20, "{believed} of 20,000 seem to be here");
    }
}
