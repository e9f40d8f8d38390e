//! Disks that do not tell case apart: a file is at the path that its directory lists, and nowhere else.

use super::*;
use crate::disk::{FaultyDisk, FoldingDisk, RealDisk, SpecialBits};

fn folding() -> World {
    let mut world = World::new();
    let real = RealDisk::open(world.root(), SpecialBits::Strip).expect("open");
    world.disk = Arc::new(FaultyDisk::new(Arc::new(FoldingDisk::new(Arc::new(real), false))));
    world
}

#[test]
fn what_answers_to_another_spelling_is_not_there() {
    let world = folding();
    world.write("a", "one");
    world.write("Dir/x", "x");
    world.write("caf\u{e9}", "two");
    world.full();
    let others = ["A", "dir", "dir/x", "DIR/new", "cafe\u{301}"];
    assert_eq!(world.scan(&paths(&others)), Part::default());
    world.write("Dir/new", "new");
    assert_eq!(world.scan(&paths(&["dir/new"])), Part::default());
    assert_eq!(told(&world.scan(&paths(&["Dir/new"]))), ["+Dir/new"]);
}

#[test]
fn a_users_change_of_spelling_is_a_rename() {
    for noticed in [paths(&["a", "A", "Dir", "dir"]), Scan::Full] {
        let world = folding();
        world.write("a", "one");
        world.write("Dir/x", "x");
        world.full();
        for (old, new) in [("a", "A"), ("Dir", "dir")] {
            fs::rename(world.at(old), world.at(new)).expect("rename");
        }
        let part = world.scan(&noticed);
        assert_eq!(told(&part), ["+A", "-Dir", "-Dir/x", "-a", "+dir", "+dir/x"]);
        assert!(part.unstable.is_empty());
        assert_eq!(world.full(), Part::default());
    }
}

#[test]
fn a_path_that_is_refused_for_its_twin_is_not_told_as_gone() {
    let world = folding();
    world.write("a", "one");
    world.full();
    // The state has `A` as well; no record says that it was ever here.
    fs::remove_file(world.at("a")).expect("remove");
    assert_eq!(told(&world.scan(&paths(&["A", "a"]))), ["-a"]);
}
