//! To be written.

/// A tree could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] crate::StoreError),
}
