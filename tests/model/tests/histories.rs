//! Random histories: users, crashes, lost and restored databases, any order of delivery. Where
//! `protocol` decides, each of its answers is compared with the specification's.

use model::Mind;
use model::world::World;

/// Says which seed failed. More of them: `HISTORIES=2000 cargo test -p model`.
struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "it is what reproduces the failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed is {}", self.0);
        }
    }
}

fn live(mind: Mind, first: u64, count: u64) {
    live_in(first, count, |seed| World::new(mind, seed));
}

fn live_in(first: u64, count: u64, world: impl Fn(u64) -> World) {
    let count = std::env::var("HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(count);
    for seed in first..first + count {
        let seed = Seed(seed);
        world(seed.0).run();
    }
}

#[test]
fn the_specification_holds() {
    live(Mind::Naive, 0, 40);
}

#[test]
fn the_real_functions_do_what_the_specification_does() {
    live(Mind::Real, 0, 60);
}

#[test]
fn trees_and_their_merges_do_what_sets_do() {
    live(Mind::RealTrees, 1000, 15);
}

#[test]
fn changes_of_metadata_alone_travel_and_make_no_conflict() {
    live(Mind::RealWithMetadata, 0, 50);
}

#[test]
fn scans_of_some_paths_come_to_the_same_rest() {
    live_in(3000, 40, |seed| World::new(Mind::Real, seed).with_partial_scans());
}
