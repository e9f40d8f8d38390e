//! What two devices must agree on, and all that is decided, without any I/O.
//!
//! Nothing in here opens a file or a socket, reads a clock or draws a random number: bytes, times
//! and randomness are arguments, and what is to be done comes out as data. That makes every rule
//! testable in a table and every run repeatable.
//!
//! Reading order: [`path`] and [`entry`] say what a folder holds; [`tree`] keeps it as a Merkle
//! search tree; [`merge`] joins two states; [`render`] says what the disk shows; [`commit`] turns
//! what users did into a new state, [`plan`] turns a new state into changes of the disk;
//! [`session`] and [`message`] are what goes over the wire, [`scheduler`] decides who is asked for
//! which chunk, and [`engine`] is one folder's brain.

pub mod chunk;
pub mod chunk_list;
pub mod commit;
pub mod context;
pub mod engine;
pub mod entry;
pub mod frame;
mod greeting;
pub mod head;
pub mod merge;
pub mod message;
mod overlay;
pub mod path;
pub mod plan;
pub mod record;
mod remembered;
pub mod render;
pub mod rendezvous;
pub mod scheduler;
pub mod session;
pub mod state;
pub mod store;
pub mod tree;
pub mod version;

pub use entry::{Content, ContentId, Entry, EntryKey, Metadata, Timestamp};
pub use greeting::{GREETING_BYTES, first_nodes};
pub use path::RelPath;
pub use record::{Record, Seen, Shown, Stat};
pub use store::{NodeId, NodeStore, Records, StoreError};
pub use version::{Origin, Version};
