//! Whole devices without I/O: engines with a database, a disk and a network in memory, in virtual
//! time.
//!
//! [`store`] is a database, [`disk`] a file system, [`device`] carries out an engine's effects on
//! them, [`world`] is the network between devices and the clock; [`history`] lets users, crashes and
//! broken links loose on them and looks whether all is well at the end. [`fast`] is an engine alone, for what it costs.

pub mod apply;
pub mod device;
pub mod disk;
pub mod fast;
pub mod history;
pub mod look;
pub mod stage;
pub mod store;
pub mod swarm;
pub mod world;

pub use device::{Device, Role};
pub use disk::Disk;
pub use model::path;
pub use world::World;
