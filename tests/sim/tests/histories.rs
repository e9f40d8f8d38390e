//! Random histories of whole devices.

use sim::history::History;

/// Says which seed failed. More of them: `HISTORIES=2000 FIRST=0 cargo test -p sim`.
struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "it is what reproduces the failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed is {}", self.0);
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn whatever_happens_all_devices_come_to_rest_with_the_same_files() {
    let first = number("FIRST", 0);
    for seed in first..first + number("HISTORIES", 150) {
        let seed = Seed(seed);
        History::new(seed.0).run();
    }
}
