//! Counts the instructions of the hot loops and holds them against `tests/benches/instructions.txt`.
//!
//! ```sh
//! cargo run --release -p benches --bin instructions             # fails if a loop takes 3 % more
//! cargo run --release -p benches --bin instructions -- --bless  # these are the new numbers
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is what it is for")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use benches::Outcome;
use benches::hot::{Baseline, Change, LOOPS, count};
use clap::Parser;

/// Counts the instructions of hot loops
#[derive(Debug, Parser)]
struct Options {
    /// Write what was counted to the file that it would be held against
    #[arg(long)]
    bless: bool,
    /// Only loops whose name has this in it
    #[arg(long)]
    only: Option<String>,
    /// What to hold against
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt"))]
    baseline: PathBuf,
    /// Run a loop, and count nothing: what valgrind is given
    #[arg(long, hide = true)]
    run: Option<String>,
    /// How often
    #[arg(long, hide = true, default_value_t = 1)]
    rounds: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no loop has got slower.
fn run(options: &Options) -> Outcome<bool> {
    if let Some(name) = &options.run {
        let found = LOOPS.iter().find(|one| one.name == name);
        found.ok_or_else(|| format!("there is no loop {name}"))?.run(options.rounds);
        return Ok(true);
    }
    if cfg!(debug_assertions) {
        return Err("this is not optimised: `cargo run --release -p benches --bin instructions`".into());
    }
    let program = std::env::current_exe()?;
    let before = Baseline::parse(&fs::read_to_string(&options.baseline).unwrap_or_default());
    let (mut counted, mut slower) = (before.clone(), Vec::new());
    println!("| loop | instructions | | one round |\n|---|---:|---:|---|");
    for one in LOOPS.iter().filter(|one| options.only.as_ref().is_none_or(|only| one.name.contains(only))) {
        let instructions = count(&program, one.name)?;
        counted.set(one.name, instructions);
        let change = match before.judge(one.name, instructions) {
            Change::New => "new".to_owned(),
            Change::Same(change) | Change::Better(change) => format!("{:+.1} %", change * 100.0),
            Change::Worse(change) => {
                slower.push(one.name);
                format!("**{:+.1} %**", change * 100.0)
            }
        };
        println!("| {} | {instructions} | {change} | {} |", one.name, one.about);
    }
    if options.bless {
        fs::write(&options.baseline, counted.to_text(&about()))?;
        return Ok(true);
    }
    if !slower.is_empty() {
        eprintln!("slower than {}: {}", options.baseline.display(), slower.join(", "));
    }
    Ok(slower.is_empty())
}

/// What the numbers depend on.
fn about() -> [String; 3] {
    let first_line = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        let text =
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or_default().to_owned()
    };
    let arch = std::env::consts::ARCH;
    [
        "Instructions of one round of each hot loop; written by".to_owned(),
        "`cargo run --release -p benches --bin instructions -- --bless`".to_owned(),
        format!("on {arch} with {}, {}", first_line("rustc"), first_line("valgrind")),
    ]
}
