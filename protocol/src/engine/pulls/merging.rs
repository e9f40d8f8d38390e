//! Merging a state that has come whole, and vouching for the result.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::context::Context;
use crate::engine::{Changes, Engine, EngineError, FolderStore};
use crate::head::{Head, SignedHead};
use crate::merge::{MergeError, merge};
use crate::render;
use crate::state::{State, Totals};
use crate::store::NodeId;

use super::Wanted;

impl<S: FolderStore> Engine<S> {
    pub(super) fn merge_in(&mut self, wanted: Wanted, context: Context) -> Result<(), EngineError> {
        let theirs = State {
            context,
            context_root: wanted.head.context,
            entries: wanted.head.entries,
            totals: wanted.head.totals,
        };
        let merged = match merge(&self.store, &self.state, &theirs) {
            Ok(merged) => merged,
            Err(MergeError::Tree(error)) => return Err(error.into()),
            Err(_) => {
                self.drop_all(&wanted.peers, "its head cannot be merged");
                return Ok(());
            }
        };
        let context_root = merged.context_root;
        let totals = self.totals_of(&merged.context, context_root, merged.entries, &theirs)?;
        let before = self.told;
        let state = State { context: merged.context, context_root, entries: merged.entries, totals };
        let old = std::mem::replace(&mut self.state, state);
        self.first_head = true;
        self.first_head_by = None;
        self.keep_heads(&wanted.signed, &theirs)?;
        let mut changes = Changes {
            saved: Some(self.saved()),
            heads: Some(self.heads.clone()),
            durable: true,
            ..Changes::default()
        };
        let paths = self.left_behind(&old)?;
        self.leave_open(&mut changes, paths)?;
        self.keep(changes)?;
        let pushed: Vec<_> = wanted.pushed.values().cloned().collect();
        self.announce(before, &pushed);
        self.keep_pushed_lists(wanted.pushed)
    }

    /// What came with a head and is no part of its trees may be chunk lists of what it names.
    fn keep_pushed_lists(&mut self, mut pushed: BTreeMap<NodeId, Bytes>) -> Result<(), EngineError> {
        let mut known = Vec::new();
        for id in pushed.keys() {
            if self.store.is_whole(id)? {
                known.push(*id);
            }
        }
        known.iter().for_each(|id| drop(pushed.remove(id)));
        self.staging.keep_pushed(pushed);
        Ok(())
    }

    /// Totals of a merged state: what was signed where it is just that state, else counted on what
    /// differs.
    pub(super) fn totals_of(
        &self,
        context: &Context,
        context_root: NodeId,
        entries: NodeId,
        theirs: &State,
    ) -> Result<Totals, EngineError> {
        if (entries, context_root) == (theirs.entries, theirs.context_root) {
            return Ok(theirs.totals);
        }
        if entries == self.state.entries {
            return Ok(self.state.totals);
        }
        let (old, new) = (self.tree(self.state.entries), self.tree(entries));
        let mut changed = Vec::new();
        for difference in old.diff(&new) {
            changed.push(difference?.key.path);
        }
        let affected = render::affected(&old, &new, context, changed)?;
        Ok(self.state.totals.changed(render::totals_change(&old, &new, context, &affected)?))
    }

    /// A writer vouches for what it has merged; a reader keeps and passes on every head that no
    /// other dominates.
    pub(super) fn keep_heads(&mut self, signed: &SignedHead, theirs: &State) -> Result<(), EngineError> {
        if let Some(head) = self.sign() {
            self.heads = vec![head];
        } else {
            let mut kept = vec![signed.clone()];
            if let Some(verifier) = &self.identity.verifier {
                for other in &self.heads {
                    let Ok(head) = other.open(verifier, self.identity.folder) else { continue };
                    let context = Context::load(&self.store, head.context)?;
                    if !theirs.context.dominates(&context) {
                        kept.push(other.clone());
                    }
                }
            }
            self.heads = kept;
        }
        self.told = Some((self.state.entries, self.state.context_root));
        Ok(())
    }

    /// The head of our state, signed; `None` for readers.
    pub(in crate::engine) fn sign(&self) -> Option<SignedHead> {
        let signer = self.identity.signer.as_ref()?;
        let head = Head {
            folder: self.identity.folder,
            context: self.state.context_root,
            entries: self.state.entries,
            totals: self.state.totals,
        };
        Some(SignedHead::sign(signer, &head))
    }

    /// Tells everyone our new head; who knew the head before gets the nodes that are new.
    pub(in crate::engine) fn announce(&mut self, before: Option<(NodeId, NodeId)>, nodes: &[Bytes]) {
        let peers = self.peers.iter().map(|(id, peer)| {
            let knows = before.is_some_and(|before| peer.heads.contains(&before)) || peer.told == before;
            (*id, knows)
        });
        let peers: Vec<_> = peers.collect();
        for (peer, knows_before) in peers {
            self.tell(peer, if knows_before { nodes } else { &[] });
        }
    }
}
