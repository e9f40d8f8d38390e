//! Stories of whole devices: real daemons, real disks, real wires.
//!
//! They show that the wires are connected; the rules have their tests where they live. Modules follow
//! the groups of cases that sync tools are known to fail; the first words of each story's comment are
//! the id of its case. What is covered and what is open is a table in `tests/README.md`.

#![expect(clippy::unwrap_used, reason = "all of this crate is tests, also the functions between them")]

mod anywhere;
mod changes;
mod commands;
mod conflicts;
mod crashes;
mod databases;
mod disks;
mod exchange;
mod finding;
mod first_sync;
mod getting;
mod hostile;
mod ignoring;
mod lies;
mod links;
mod mainline;
mod metadata;
mod mistakes;
mod moments;
mod names;
mod nats;
mod quiet;
mod readers;
mod roots;
mod scale;
mod swarms;
mod tracker;
mod writers;

/// A network for the program under test.
fn net() -> harness::Net {
    harness::Net::new(env!("CARGO_BIN_EXE_syncd"))
}
