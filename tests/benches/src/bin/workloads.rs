//! Runs syncd and the programs that people use instead through the same workloads, and prints a table.
//!
//! ```sh
//! cargo build --release --bin syncd && cargo run --release -p benches --bin workloads
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table and its progress are what it is for"
)]

use std::process::ExitCode;

use benches::compare::{Options, compare};
use clap::Parser;

fn main() -> ExitCode {
    match compare(&Options::parse(), &|line| eprintln!("{line}")) {
        Ok(found) => {
            println!("{}", found.table);
            if found.is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
