//! To be written.

pub mod apply;
pub mod archive;
pub mod marker;
