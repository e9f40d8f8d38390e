//! Two devices and one folder.

use std::time::Duration;

use protocol::Metadata;
use sim::history::all_is_well;
use sim::{Role, World, path};

fn text(world: &mut World, n: usize, at: &str, text: &str) {
    bytes(world, n, at, text.as_bytes().to_vec());
}

fn bytes(world: &mut World, n: usize, at: &str, data: Vec<u8>) {
    let at = path(at);
    let device = &mut world.devices[n];
    device.touches += 1;
    device.disk.remove(&at);
    device.disk.put_file(&at, data, Metadata { mode: 0o644, ..Metadata::default() });
    world.notice(n, vec![at]);
}

fn directory(world: &mut World, n: usize, at: &str) {
    world.devices[n].touches += 1;
    world.devices[n].disk.put_directory(&path(at));
    world.notice(n, vec![path(at)]);
}

fn settled(world: &mut World) {
    world.run_until_quiet();
    all_is_well(world);
}

#[test]
fn a_file_gets_to_the_other_device() {
    let mut world = World::started(1, &[Role::Creator, Role::Writer]);
    text(&mut world, 0, "a", "hello");
    directory(&mut world, 0, "d");
    text(&mut world, 0, "d/b", "there");
    settled(&mut world);
    assert_eq!(world.devices[1].fetched, 2);
    text(&mut world, 1, "d/b", "changed");
    settled(&mut world);
    let start = world.now;
    text(&mut world, 0, "a", "again");
    world.run_for(Duration::from_millis(600));
    assert_eq!(world.devices[1].contents(), world.devices[0].contents(), "{:?}", start);
    settled(&mut world);
}

#[test]
fn a_joiner_learns_that_the_folder_is_empty() {
    let mut world = World::started(2, &[Role::Creator, Role::Writer, Role::NewReader]);
    world.run_for(Duration::from_secs(5));
    assert!(world.devices.iter().all(|device| device.engine().has_first_head()));
    settled(&mut world);
}
