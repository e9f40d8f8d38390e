//! A folder's state, naively: the executable specification as plain Rust over whole maps, and
//! random histories and scenarios that hold the functions of `protocol` against it.
//!
//! [`naive`] has merge, commit and rendering; [`device`] one device with a disk in memory, whose
//! scan and apply run either [naively](naive_device) or through [`protocol`](real); [`world`]
//! lets many of them live through a random history.

pub mod device;
pub mod naive;
pub mod naive_device;
pub mod real;
pub mod rng;
pub mod team;
pub mod trees;
pub mod world;

pub use device::{Apply, Device, Mind};
pub use naive::{State, commit, merge, render};

use protocol::{Content, ContentId, RelPath};

/// A path of a test; panics if it is none.
pub fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a valid path")
}

/// The content of a file with this text, of at most 32 bytes.
pub fn file(text: &str) -> Content {
    let mut id = [0; 32];
    id[..text.len()].copy_from_slice(text.as_bytes());
    Content::File { id: ContentId(id), size: text.len() as u64 }
}

/// The text of a [`file()`], or `directory`.
pub fn text(content: &Content) -> String {
    match content {
        Content::File { id, .. } => String::from_utf8_lossy(&id.0).trim_end_matches('\0').to_owned(),
        _ => "directory".to_owned(),
    }
}
