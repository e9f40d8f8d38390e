//! The tracker: it remembers who has told it of a swarm, and tells others.
//!
//! - [`rendezvous`]: helps devices of a swarm to reach each other, over QUIC.
//! - [`wire`]: what trackers and their clients say to each other; pure, in both directions.

pub mod rendezvous;
pub mod wire;
