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
    for seed in first..first + number("HISTORIES", 200) {
        let seed = Seed(seed);
        History::new(seed.0).run();
    }
}

#[test]
fn rules_that_come_and_go_lose_nothing_and_hold_up_nothing() {
    let first = number("FIRST", 0);
    for seed in first..first + number("HISTORIES", 100) {
        let seed = Seed(seed);
        History::ignoring(seed.0).run();
    }
}

/// What they showed: a conflict copy shown ahead of its turn that went before it came, one that went
/// while it was being shown, a directory that nobody noticed, an edit that a crash left in the archive;
/// copies of a conflict that was over before it was shown, a reader's own directory that was wanted by
/// now, files that a crash left behind, content that was here at a path that was ignored, a directory that
/// was wanted only while a window was carried out.
#[test]
fn histories_that_once_ended_badly_end_well() {
    for seed in [892, 844, 340, 1050, 3194, 3773, 4322, 6935] {
        let seed = Seed(seed);
        History::new(seed.0).run();
    }
    for seed in [1890, 3251, 4579, 7544, 21_992] {
        let seed = Seed(seed);
        History::ignoring(seed.0).run();
    }
}
