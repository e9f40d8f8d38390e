//! The loops in which a sync spends its time, and how many instructions each takes.
//!
//! A clock on a shared machine is off by a fifth; the number of instructions is the same every time.
//! valgrind counts those of a whole process, so each [`Loop`] is run twice, with few rounds and with
//! more: the difference is the loop alone, without start, set-up and end.
//!
//! What is counted depends on the compiler, the C library and the processor's features (BLAKE3 takes
//! the widest instructions that valgrind knows), so figures are held against those of a file only on
//! machines of a kind, and with some tolerance.

mod baseline;
mod entries;
mod loops;

pub use baseline::{Baseline, Change};
pub use loops::{LOOPS, Loop};

use std::path::Path;
use std::process::Command;

use crate::Outcome;

/// How many rounds the two runs have. What only the first round costs (memory, a store that was empty)
/// is in both.
const ROUNDS: [u64; 2] = [1, 3];

/// Counts the instructions of one round, by valgrind and `program`, which is called with the name of
/// the loop and the number of rounds.
///
/// # Errors
/// When valgrind is missing, or fails.
pub fn count(program: &Path, name: &str) -> Outcome<u64> {
    let [few, more] = ROUNDS;
    let difference = count_rounds(program, name, more)?.saturating_sub(count_rounds(program, name, few)?);
    Ok(difference / (more - few))
}

fn count_rounds(program: &Path, name: &str, rounds: u64) -> Outcome<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    command.arg(program).args(["--run", name, "--rounds", &rounds.to_string()]);
    command.env_clear(); // its size moves the stack
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = command.output().map_err(|why| format!("valgrind: {why}; `apt-get install valgrind`"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let found = parse(&text).filter(|_| output.status.success());
    found.ok_or_else(|| format!("valgrind has counted nothing of {name}: {}", text.trim()).into())
}

/// The number in `==1== I   refs:      1,234`.
fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("refs:") && line.contains(" I "))?;
    line.split("refs:").nth(1)?.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_instructions_is_found() {
        let text = "==7== Cachegrind, a profiler\n==7== \n==7== I   refs:      1,234,567\n";
        assert_eq!(parse(text), Some(1_234_567));
        assert_eq!(parse("==7== I refs:        12"), Some(12)); // as valgrind 3.22 prints it
        assert_eq!(parse("==7== error"), None);
    }

    #[test]
    fn every_loop_can_be_run_and_has_a_name_of_its_own() {
        for one in LOOPS {
            assert_eq!(LOOPS.iter().filter(|other| other.name == one.name).count(), 1, "{}", one.name);
            one.run(1);
        }
    }
}
