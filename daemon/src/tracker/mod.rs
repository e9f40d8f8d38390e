//! The tracker: it remembers who has told it of a swarm, and tells others.
//!
//! - [`wire`]: what trackers and their clients say to each other; pure, in both directions.

pub mod wire;
