//! The daemon: all that touches the world.
//!
//! Everything that is decided comes from the `protocol` crate; this one carries it out.
//! `cli → api → folder → {disk, store, net, discovery}`, and the last four know neither each other
//! nor what is above.

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod discovery;
pub mod disk;
pub mod folder;
pub mod home;
pub mod memory;
pub mod net;
mod process;
pub mod random;
pub mod store;
pub mod tracker;
