//! The client of trackers and whole trackers: ours, and one that others have written.

#![expect(clippy::unwrap_used, reason = "all of this crate is tests, also the functions between them")]

mod device;
mod opentracker;
mod own;
