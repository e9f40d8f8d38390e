//! Random histories: users, crashes and broken links, and what must hold when all has come to rest.

mod check;
mod users;

use std::collections::BTreeSet;
use std::time::Duration;

use model::rng::Rng;
use protocol::engine::Outcome;
use protocol::{Content, RelPath};

use crate::device::Role;
use crate::world::World;

pub use check::{all_is_well, wanted};

const NAMES: [&str; 9] = ["a", "b.txt", "d", "d/a", "d/b.txt", "d/e", "d/e/a", "f", "f/x"];

/// A world, its users, and what the checker alone knows.
pub struct History {
    /// Everything.
    pub world: World,
    rng: Rng,
    paths: Vec<RelPath>,
    writes: u32,
    written: BTreeSet<Content>,
    killed: BTreeSet<Content>,
    crashes: bool,
    ignores: bool,
}

impl History {
    /// The same seed gives the same history.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let names: &[&str] = if rng.chance(0.7) { &NAMES } else { &["b.txt", "d", "d/a"] };
        let roles: &[Role] = rng.choose::<&[Role]>(&[
            &[Role::Creator],
            &[Role::Creator, Role::Writer],
            &[Role::Creator, Role::Writer],
            &[Role::Creator, Role::Writer, Role::Reader],
            &[Role::Creator, Role::NewReader],
            &[Role::Creator, Role::Writer, Role::Writer],
            &[Role::Creator, Role::Writer, Role::NewReader, Role::Writer],
            &[Role::Creator, Role::Writer, Role::Reader, Role::Writer, Role::NewReader],
        ]);
        let mut world = World::new(seed, roles);
        world.part = *rng.choose(&[1, 3, 100]);
        world.failing = *rng.choose(&[0.0, 0.0, 0.2]);
        let window = *rng.choose(&[1, 3, 1000]);
        world.devices.iter_mut().for_each(|device| device.settings.window = window);
        let paths = names.iter().map(|text| crate::path(text)).collect();
        let crashes = rng.chance(0.5);
        let (written, killed) = (BTreeSet::new(), BTreeSet::new());
        let mut history = Self { world, rng, paths, writes: 0, written, killed, crashes, ignores: false };
        for n in 0..roles.len() {
            if history.rng.chance(0.3) {
                history.act(n); // files that are there before the daemon
            }
            history.world.start(n, false);
        }
        history
    }

    /// The same with rules that come and go.
    pub fn ignoring(seed: u64) -> Self {
        Self { ignores: true, ..Self::new(seed) }
    }

    /// Lives through it, lets it come to rest and looks whether all is as it must be.
    pub fn run(&mut self) {
        for _ in 0..*self.rng.choose(&[20, 40, 80]) {
            let n = self.rng.below(self.world.devices.len());
            match self.rng.unit() {
                x if x < 0.5 => self.act(n),
                x if x < 0.6 => self.burst(n),
                x if x < 0.7 => self.slip(n),
                x if x < 0.85 => self.relink(n),
                x if x < 0.9 && self.crashes => self.restart(n),
                _ => {}
            }
            if self.ignores && self.rng.chance(0.2) {
                self.ignore(n);
            }
            let time = match self.rng.below(4) {
                0 => Duration::ZERO,
                1 => Duration::from_millis(self.rng.below(100) as u64),
                2 => Duration::from_millis(self.rng.below(2_000) as u64),
                _ => Duration::from_millis(self.rng.below(20_000) as u64),
            };
            self.world.run_for(time);
        }
        self.settle();
        if self.ignores {
            self.world.run_for(Duration::from_secs(300));
            if self.is_any_lost_by_users() {
                return; // it is looked for, for ever
            }
        }
        self.world.run_until_quiet();
        self.check();
    }

    fn burst(&mut self, n: usize) {
        for _ in 0..1 + self.rng.below(5) {
            self.act(n);
        }
    }

    /// Other rules: a few paths with all below them, or none.
    fn ignore(&mut self, n: usize) {
        let tops: Vec<_> = (0..self.rng.below(3)).map(|_| self.rng.choose(&self.paths).to_string()).collect();
        let tops: Vec<_> = tops.iter().map(String::as_str).collect();
        self.world.say(n, || format!("ignores {tops:?}"));
        self.world.ignore(n, &tops);
    }

    fn slip(&mut self, n: usize) {
        if self.world.devices[n].writes() && self.world.devices[n].slip_in.is_none() {
            let data = self.text().0;
            self.note_written(&data);
            self.world.devices[n].slip_in = Some(data);
        }
    }

    fn relink(&mut self, n: usize) {
        let other = self.rng.below(self.world.devices.len());
        if self.world.linked(n, other) && self.rng.chance(0.5) {
            self.world.disconnect(n, other);
        } else {
            self.world.connect(n, other);
        }
    }

    fn restart(&mut self, n: usize) {
        // What came out in the moment of a swap and was not told of is in the archive alone.
        let swapped = self.world.devices[n].outcomes.iter().filter_map(|(_, outcome)| match outcome {
            Outcome::Displaced { edit, .. } => Some(edit.content.clone()),
            _ => None,
        });
        self.killed.extend(swapped);
        self.world.crash(n);
        let time = Duration::from_millis(self.rng.below(3_000) as u64);
        if self.rng.chance(0.5) {
            self.act(n);
        }
        self.world.run_for(time);
        self.world.start(n, false);
    }

    /// Users go home.
    fn settle(&mut self) {
        for device in &mut self.world.devices {
            if let Some(data) = device.slip_in.take() {
                let content = self.world.secret.content_key();
                let hashed = crate::disk::hash(&content, &data);
                self.written.remove(&Content::File { id: hashed.id, size: hashed.size });
            }
        }
        for n in (0..self.world.devices.len()).filter(|_| self.ignores) {
            self.world.ignore(n, &[]);
        }
        self.world.run_for(Duration::from_secs(60));
        self.world.frozen = true;
        self.world.connect_all();
    }
}
