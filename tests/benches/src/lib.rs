//! The program measured as a whole, beside others, and its hot loops alone.
//!
//! [`compare`] runs `syncd` and whatever else is installed through the same workloads and makes one
//! table of it; [`hot`] has the loops of which a machine that is too noisy for clocks still can
//! count the instructions. Correctness is not tested here, but no figure counts unless the trees
//! are the same afterwards.
//!
//! Reading order: `catalogue` says what is measured, `goals` what is expected, `bench` how it is
//! done; `systems` has one file for each program; `rig`, `node` and `meter` are the machines and
//! their counters, `wan` the slow wire between them; `table` is what comes out.

mod bench;
mod catalogue;
pub mod compare;
mod figures;
mod goals;
pub mod hot;
mod meter;
mod node;
mod rig;
mod systems;
mod table;
mod tree;
mod wan;

/// A result, or what went wrong in a sentence.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
