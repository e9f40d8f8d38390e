//! Secrets of folders and devices: what follows from them, how they are written down and shared.
//!
//! Nothing in here touches a network, a disk, a clock or a source of randomness: random bytes and
//! the bytes of files are arguments. What is secret is wiped when dropped, and neither `Debug` nor
//! any error shows it; a secret becomes text only through a function that says so in its name.
//!
//! Absent on purpose: encrypted folders (letters `D`, `E`, `F`) and invitations (`C`). Their text
//! is recognised, so that whoever types one is told what it is.
//!
//! Reading order: [`derive`](mod@derive) is the table of all one-way arrows; [`secret`] is the
//! secret of a folder and [`opening`] how a reader comes to trust its writers; [`text`] reads and
//! writes keys; [`link`] carries a key and how to find its folder; [`device`] is the identity of an
//! installation; [`file`](mod@file) is how all of that rests on disk.

mod bytes;
pub mod derive;
pub mod device;
pub mod file;
pub mod id;
pub mod link;
pub mod opening;
mod percent;
pub mod secret;
pub mod text;

pub use device::{DeviceId, DeviceKey};
pub use file::{KeyFile, KeyFileError, KeyFileFolder};
pub use id::{DiscoveryId, FolderId, IdError};
pub use link::{Link, LinkError, parse_key_or_link};
pub use opening::{FolderVerifier, HeadSigner, Opening, OpeningError};
pub use secret::{Capability, ContentKey, FolderSecret, SwarmKey};
pub use text::KeyError;
pub use zeroize::Zeroizing;
