//! Where contents lie, as the server asks for it.

use protocol::{ContentId, RelPath, StoreError};

use crate::folder::kept::Kept;

/// Knows where contents were last seen.
pub trait Holders: Send + Sync {
    /// For each content up to `limit` paths that are said to hold it, and its size there. To ask for
    /// many at once costs little more than for one.
    fn holders(&self, contents: &[ContentId], limit: usize) -> Result<Vec<Vec<Holder>>, StoreError>;
}

/// A path, and how many bytes the content has that it is said to hold.
pub type Holder = (RelPath, u64);

impl Holders for Kept {
    fn holders(&self, contents: &[ContentId], limit: usize) -> Result<Vec<Vec<Holder>>, StoreError> {
        Ok(self.0.holders(contents, limit)?)
    }
}
