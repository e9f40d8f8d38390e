//! Real daemons on a network of their own, so that a story of a few lines can be told about them.
//!
//! [`Net`] is the network: one namespace for each device on one bridge where root allows it, else
//! loopback. A [`Device`] is one daemon with its home; a [`Folder`] is one directory that it keeps,
//! and what is asked about it. [`Tree`] is what a directory shows, down to the last bit that is
//! synced; [`Seed`] makes the files. [`wait`] has the only way to wait: for a state, with a deadline.
//!
//! A [`Lab`] is the same without daemons, for tests of a part of one.
//!
//! Nothing here knows the inside of `syncd`: all goes through the command line, the disk and the wire.

mod camera;
mod device;
mod folder;
mod gate;
mod internet;
mod lab;
mod libtorrent;
mod mount;
mod net;
mod permit;
mod seed;
mod skip;
mod space;
mod tree;
pub mod wait;

pub use camera::read_qr;
pub use device::{Device, Failure};
pub use folder::{Folder, in_sync, in_sync_within};
pub use gate::{Gate, Rename};
pub use internet::{Internet, Nat, Place};
pub use lab::{Host, Lab};
pub use libtorrent::Libtorrent;
pub use mount::Mount;
pub use net::Net;
pub use seed::{Seed, every_kind, small_files};
pub use skip::{is_root, skipped};
pub use tree::{Shown, Tree, assert_same};
pub use wait::eventually;
