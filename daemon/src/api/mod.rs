//! The local API: what a command, a script or a page may ask of a running daemon.
//!
//! Plain HTTP with JSON, on the Unix socket of the home and, if asked for, on loopback TCP behind a
//! token. It knows no folders itself: [`routes`] turns requests into calls of [`Control`] and answers
//! into the documents of [`types`]. Reading order: [`types`], [`Control`], [`routes`], [`guard`], [`serve`].

pub mod control;
pub mod error;
mod finding;
pub mod guard;
pub mod resolve;
pub mod routes;
pub mod serve;
pub mod settings;
pub mod socket;
pub mod types;

pub use control::Control;
pub use error::{ApiError, Class};
