//! To be written.

pub mod hash;
pub mod ignored;
pub mod scan;
pub mod serve;
pub mod stage;
pub mod watch;
