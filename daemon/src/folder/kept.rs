//! The database as the engine wants it.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use protocol::engine::{Changes, FolderStore, Reason, Saved, Unapplied};
use protocol::head::SignedHead;
use protocol::state::Totals;
use protocol::{ContentId, NodeId, NodeStore, Record, Records, RelPath, Stat, StoreError};

use crate::store::{self, Durability, KeptHead, Pending, SavedState};

/// One folder's part of the database.
#[derive(Clone)]
pub struct Kept(pub store::FolderStore);

/// How many unapplied paths are remembered over a restart; beyond that they are found again.
const MAX_UNAPPLIED: usize = 1_000_000;

impl NodeStore for Kept {
    fn load(&self, id: &NodeId) -> Result<Option<Bytes>, StoreError> {
        self.0.load(id)
    }

    fn is_whole(&self, id: &NodeId) -> Result<bool, StoreError> {
        self.0.is_whole(id)
    }

    fn save(&self, nodes: &[(NodeId, Bytes)]) -> Result<(), StoreError> {
        NodeStore::save(&self.0, nodes)
    }

    fn save_partial(&self, nodes: &[(NodeId, Bytes)]) -> Result<(), StoreError> {
        self.0.save_partial(nodes)
    }

    fn settle(&self, nodes: &[NodeId]) -> Result<(), StoreError> {
        self.0.settle(nodes)
    }
}

impl Records for Kept {
    fn record(&self, path: &RelPath) -> Result<Option<Record>, StoreError> {
        self.0.record(path)
    }

    fn children(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        self.0.children(directory)
    }

    fn child_paths(&self, directory: Option<&RelPath>) -> Result<Vec<RelPath>, StoreError> {
        self.0.child_paths(directory)
    }

    fn beside(&self, from: &RelPath, limit: usize) -> Result<Vec<(RelPath, Record)>, StoreError> {
        self.0.beside(from, limit)
    }

    fn copies(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        self.0.copies(directory)
    }

    fn any_below(&self, path: &RelPath) -> Result<bool, StoreError> {
        self.0.any_below(path)
    }

    fn with_content(&self, id: &ContentId, limit: usize) -> Result<Vec<RelPath>, StoreError> {
        self.0.with_content(id, limit)
    }

    fn with_stat(&self, stat: &Stat) -> Result<Vec<RelPath>, StoreError> {
        self.0.with_stat(stat)
    }
}

impl FolderStore for Kept {
    fn saved(&self) -> Result<Option<Saved>, StoreError> {
        let (Some(state), Some(applied)) = (self.0.load_state()?, self.0.applied()?) else { return Ok(None) };
        Ok(Some(Saved {
            context: state.context,
            entries: state.entries,
            totals: Totals { files: state.files, bytes: state.bytes },
            applied,
            trusted: self.0.facts()?.trusted,
        }))
    }

    fn heads(&self) -> Result<Vec<SignedHead>, StoreError> {
        let kept = self.0.heads()?;
        let current = kept.iter().filter(|head| head.superseded_at.is_none());
        Ok(current.filter_map(|head| SignedHead::decode(&head.bytes).ok()).collect())
    }

    fn unapplied(&self) -> Result<Vec<(RelPath, Unapplied)>, StoreError> {
        let pending = self.0.pending(MAX_UNAPPLIED)?;
        Ok(pending
            .into_iter()
            .map(|p| (p.path, Unapplied { reason: parse_reason(&p.reason), message: p.message }))
            .collect())
    }

    fn keep(&self, changes: Changes) -> Result<(), StoreError> {
        let saved = changes.saved.as_ref();
        if let Some(saved) = saved {
            self.keep_trust(saved.trusted)?;
        }
        let mut rows = store::Changes {
            state: saved.map(|saved| SavedState {
                context: saved.context,
                entries: saved.entries,
                files: saved.totals.files,
                bytes: saved.totals.bytes,
            }),
            applied: saved.map(|saved| saved.applied),
            records: changes.records,
            journal_settle: changes.settle,
            journal_begin: changes.journal,
            ..store::Changes::default()
        };
        let since = seconds_since_1970();
        for (path, why) in changes.unapplied {
            match why {
                None => rows.pending_remove.push(path),
                Some(Unapplied { reason, message }) => {
                    let reason = reason_code(reason).into();
                    rows.pending_add.push(Pending { path, reason, message, since });
                }
            }
        }
        if let Some(heads) = &changes.heads {
            let known = self.0.heads()?;
            let current: Vec<_> = heads.iter().map(|head| (head.id().0, head.encode().to_vec())).collect();
            rows.heads_remove = known
                .into_iter()
                .map(|head| head.id)
                .filter(|id| current.iter().all(|(current, _)| current != id))
                .collect();
            rows.heads_put =
                current.into_iter().map(|(id, bytes)| KeptHead { id, bytes, superseded_at: None }).collect();
        }
        let durability = if changes.durable { Durability::PowerCut } else { Durability::Process };
        Ok(self.0.save(&rows, durability)?)
    }

    fn forget(&self) -> Result<(), StoreError> {
        Ok(self.0.forget_state()?)
    }
}

impl Kept {
    fn keep_trust(&self, trusted: bool) -> Result<(), StoreError> {
        let mut facts = self.0.facts()?;
        if facts.trusted != trusted {
            facts.trusted = trusted;
            self.0.save_facts(&facts)?;
        }
        Ok(())
    }
}

/// The code of a reason, in the database and for people.
pub fn reason_code(reason: Reason) -> &'static str {
    match reason {
        Reason::Waiting => "WAITING",
        Reason::Ignored => "IGNORED",
        Reason::LocalChange => "LOCAL_CHANGE",
        Reason::NoContent => "NO_CONTENT",
        Reason::Problem => "PROBLEM",
        Reason::Unsynced => "UNSYNCED",
        Reason::Collision => "COLLISION",
    }
}

fn parse_reason(code: &str) -> Reason {
    let reasons = [
        Reason::Ignored,
        Reason::LocalChange,
        Reason::NoContent,
        Reason::Problem,
        Reason::Unsynced,
        Reason::Collision,
    ];
    reasons.into_iter().find(|reason| reason_code(*reason) == code).unwrap_or(Reason::Waiting)
}

/// The time of day, in whole seconds.
pub fn seconds_since_1970() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
