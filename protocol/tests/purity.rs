//! Keeps I/O, clocks and randomness out of the two crates that decide: no dependency brings them in.
//!
//! What the crates' own code calls is the business of their `clippy.toml`; this looks at what they are
//! built from, which no lint sees. It asks Cargo, offline, so it costs some hundred milliseconds.
#![expect(clippy::disallowed_types, reason = "only this test starts a program, the crate does not")]

use std::process::Command;

/// Crates that reach the world: runtimes, sockets, files, databases, randomness.
const IMPURE: [&str; 12] = [
    "fs-err",
    "getrandom",
    "mio",
    "notify",
    "quinn",
    "rand",
    "rusqlite",
    "rustix",
    "socket2",
    "tempfile",
    "time",
    "tokio",
];

/// The names of all crates that `package` is built from, itself included.
fn built_from(package: &str) -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let answer = cargo.args(["--package", package]).output().expect("cargo is there: it runs this test");
    let complaint = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "cargo tree failed: {complaint}");
    let lines = String::from_utf8(answer.stdout).expect("names of crates are ASCII");
    lines.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

#[track_caller]
fn assert_pure(package: &str, known: &[&str]) {
    let names = built_from(package);
    for name in known {
        assert!(
            names.iter().any(|found| found == name),
            "cargo tree does not show {name}: is it read right?"
        );
    }
    let impure: Vec<_> = names.iter().filter(|name| IMPURE.contains(&name.as_str())).collect();
    assert!(impure.is_empty(), "{package} is built from {impure:?}, so it is no longer without I/O");
}

#[test]
fn the_protocol_is_built_from_nothing_that_does_io() {
    assert_pure("protocol", &["protocol", "keystore", "minicbor"]);
}

#[test]
fn the_keystore_is_built_from_nothing_that_does_io() {
    assert_pure("keystore", &["keystore", "ed25519-dalek"]);
}
