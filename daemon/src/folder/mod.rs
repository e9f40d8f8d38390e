//! To be written.

pub mod hash;
pub mod ignored;
pub mod scan;
