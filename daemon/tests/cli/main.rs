//! The command and the API against a daemon that is only pretended, and against a real one.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod api;
mod commands;
mod fake;
mod process;
