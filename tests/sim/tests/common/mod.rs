//! What users do in scenarios.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use protocol::{Content, Metadata};
use sim::history::all_is_well;
use sim::{World, path};

fn metadata() -> Metadata {
    Metadata { mode: 0o644, ..Metadata::default() }
}

pub fn text(world: &mut World, n: usize, at: &str, text: &str) {
    bytes(world, n, at, text.as_bytes().to_vec());
}

pub fn bytes(world: &mut World, n: usize, at: &str, data: Vec<u8>) {
    let at = path(at);
    let device = &mut world.devices[n];
    device.touches += 1;
    device.disk.remove(&at);
    device.disk.put_file(&at, data, metadata());
    world.notice(n, vec![at]);
}

pub fn link(world: &mut World, n: usize, at: &str, to: &str) {
    let content = Content::Symlink { target: to.as_bytes().into() };
    world.devices[n].touches += 1;
    world.devices[n].disk.put(&path(at), content, Default::default(), Metadata::default());
    world.notice(n, vec![path(at)]);
}

pub fn directory(world: &mut World, n: usize, at: &str) {
    world.devices[n].touches += 1;
    world.devices[n].disk.put_directory(&path(at));
    world.notice(n, vec![path(at)]);
}

pub fn delete(world: &mut World, n: usize, at: &str) {
    world.devices[n].touches += 1;
    world.devices[n].disk.remove(&path(at));
    world.notice(n, vec![path(at)]);
}

pub fn rename(world: &mut World, n: usize, old: &str, new: &str) {
    world.devices[n].touches += 1;
    world.devices[n].disk.rename(&path(old), &path(new));
    world.notice(n, vec![path(old), path(new)]);
}

pub fn settled(world: &mut World) {
    world.run_until_quiet();
    all_is_well(world);
}

/// Names on a disk.
pub fn names(world: &World, n: usize) -> Vec<String> {
    let names = world.devices[n].disk.nodes().keys();
    names.map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned()).collect()
}

/// A long file that differs everywhere from those of other seeds.
pub fn long(seed: u32, len: usize) -> Vec<u8> {
    let mut rng = model::rng::Rng::new(seed.into());
    (0..len.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes()).take(len).collect()
}
