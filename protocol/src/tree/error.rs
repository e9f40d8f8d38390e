//! What can go wrong with a tree: the store fails, or bytes are not what they should be.

use crate::path::PathError;
use crate::store::{NodeId, StoreError};

/// Why a tree could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A node that should be whole is not in the store.
    #[error("node {0} of the folder's tree is missing")]
    Missing(NodeId),
    /// Some bytes in the store are no node, or not the node that their parent names.
    #[error("node {id} of the folder's tree is malformed: {why}")]
    Malformed {
        /// Its address.
        id: NodeId,
        /// What is wrong with it.
        #[source]
        why: Malformed,
    },
    /// An item, or the node that it belongs in, must not be written, because others would refuse it.
    #[error("the tree cannot hold this: {0}")]
    Unfit(#[source] Malformed),
    /// The edits did not come in ascending order of their keys: a mistake in this program.
    #[error("edits of a tree must be sorted by key, each key once")]
    Unsorted,
}

/// Why some bytes are no node of a tree, or an item cannot be part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No well-formed CBOR, or of another shape.
    #[error("it is not encoded as expected")]
    Encoding,
    /// The same node has another, canonical encoding; or bytes follow it.
    #[error("its encoding is not the canonical one")]
    NotCanonical,
    /// More bytes than a node may have, as sent or unpacked.
    #[error("it is too large")]
    TooLarge,
    /// Keys do not ascend.
    #[error("its keys do not ascend")]
    Order,
    /// The node should have ended earlier, or one of its children ends where none may end.
    #[error("it is cut at the wrong key")]
    Boundary,
    /// A level that no tree has, or an inner node without children.
    #[error("its level is wrong or it is empty")]
    Level,
    /// A path that no folder can have.
    #[error("a path in it is refused: {0}")]
    Path(#[from] PathError),
    /// A field out of its range; the text names it.
    #[error("{0} is out of range")]
    Field(&'static str),
    /// An entry of a kind that a newer version may know.
    #[error("it holds a kind of file that this version does not know")]
    UnknownKind,
    /// The node differs from what its parent says about it; the text says in what.
    #[error("it differs from what its parent says: {0}")]
    UnlikeParent(&'static str),
}

impl From<minicbor::decode::Error> for Malformed {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Encoding
    }
}
