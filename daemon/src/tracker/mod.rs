//! The tracker: it remembers who has told it of a swarm, and tells others.
//!
//! It serves folders, whose discovery ids are swarms, and any other program that speaks BEP 3 or
//! BEP 15. It is trusted with nothing: it sees which addresses ask for which id, and neither keys nor
//! names nor files.
//!
//! - [`wire`]: what trackers and their clients say to each other; pure, in both directions.
//! - [`swarms`]: who is where; [`state`] keeps it over restarts.
//! - [`udp`] and [`http`]: the two protocols, on the same port of UDP and TCP. [`desk`] is what they
//!   share: swarms, [`pace`], [`counters`] and the [`clock`].
//! - [`rendezvous`]: helps devices of a swarm to reach each other, over QUIC.
//! - [`serve`]: from the command line to a serving tracker, and back.
//!
//! Nothing here needs a daemon, a home or a folder.

pub mod clock;
pub mod counters;
pub mod desk;
pub mod http;
mod listen;
pub mod pace;
pub mod rendezvous;
pub mod serve;
pub mod source;
pub mod state;
pub mod swarms;
pub mod udp;
mod upkeep;
pub mod wire;
