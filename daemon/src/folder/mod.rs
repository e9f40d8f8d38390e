//! To be written.

pub mod apply;
pub mod archive;
pub mod hash;
pub mod ignored;
pub mod marker;
pub mod scan;
pub mod serve;
pub mod stage;
pub mod watch;
