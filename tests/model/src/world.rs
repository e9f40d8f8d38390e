//! A random history: devices, the messages between them, and what the checker alone knows.

mod users;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Content, RelPath};

use crate::device::{Device, Mind};
use crate::naive::{State, origin};
use crate::path;
use crate::rng::Rng;

const NAMES: [&str; 9] = ["a", "b.txt", "d", "d/a", "d/b.txt", "d/e", "d/e/a", "f", "f/x"];

/// Devices, the messages between them, and who wrote what.
pub struct World {
    mind: Mind,
    rng: Rng,
    origins: u16,
    writes: u32,
    written: BTreeSet<Content>,
    killed: BTreeSet<Content>,
    /// Gone with a disk that was put back.
    excused: BTreeSet<Content>,
    moved: BTreeSet<Content>,
    pruned: BTreeSet<Content>,
    /// Nothing crashed and no database was lost: what was killed must be gone.
    strict: bool,
    disasters: bool,
    paths: Vec<RelPath>,
    renames: bool,
    /// Scans may look at some paths only.
    partly: bool,
    devices: Vec<Device>,
    messages: Vec<(usize, State)>,
    sample: Vec<State>,
    backups: BTreeMap<usize, Device>,
}

impl World {
    /// The same seed gives the same history.
    pub fn new(mind: Mind, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let paths: &[&str] = match rng.below(4) {
            0 | 1 => &NAMES,
            2 => &["b.txt", "d", "d/a"],
            _ => &["b.txt"],
        };
        let teams = [(1, 1), (2, 0), (2, 0), (2, 1), (3, 0), (3, 1), (4, 1), (5, 0)];
        let (disasters, renames) = (rng.chance(0.4), rng.chance(0.6));
        let copies_kept = *rng.choose(&[1, 2, 8]);
        let (writers, readers) = *rng.choose(&teams);
        let devices = (0..writers + readers).map(|n| {
            let device = Device::new(mind, origin(n, u16::from(n)), n < writers);
            Device { copies_kept, ..device }
        });
        Self {
            mind,
            origins: 10,
            writes: 0,
            written: BTreeSet::new(),
            killed: BTreeSet::new(),
            excused: BTreeSet::new(),
            moved: BTreeSet::new(),
            pruned: BTreeSet::new(),
            strict: true,
            disasters,
            paths: paths.iter().map(|text| path(text)).collect(),
            renames,
            partly: false,
            devices: devices.collect(),
            messages: Vec::new(),
            sample: vec![State::default()],
            backups: BTreeMap::new(),
            rng,
        }
    }

    /// Lives through it, lets it come to rest and looks whether all is as it must be.
    pub fn run(&mut self) {
        for _ in 0..*self.rng.choose(&[20, 60, 120]) {
            let n = self.rng.below(self.devices.len());
            let choice = self.rng.unit();
            if choice < 0.30 {
                self.act(n);
            } else if choice < 0.42 {
                self.scan_some(n);
            } else if choice < 0.60 {
                self.apply(n, false);
            } else if choice < 0.75 && self.devices.len() > 1 {
                let other = (n + 1 + self.rng.below(self.devices.len() - 1)) % self.devices.len();
                self.messages.push((other, self.devices[n].state.clone()));
            } else if choice < 0.91 && !self.messages.is_empty() {
                let message = self.messages.remove(self.rng.below(self.messages.len()));
                self.deliver(message);
            } else if choice < 0.97 {
                self.act_on_copy(n);
            } else if self.disasters && self.devices[n].writer {
                self.disaster(n);
            }
            self.remember(n);
        }
        self.settle();
        self.verify();
    }

    fn fresh_origin(&mut self, n: usize) -> protocol::Origin {
        self.origins += 1;
        origin(self.devices[n].origin.0[0], self.origins)
    }

    fn remember(&mut self, n: usize) {
        let files = files(&self.devices[n]);
        self.devices[n].ever.extend(files);
    }

    /// The same history, but scans may look at some of the changed paths only.
    pub fn with_partial_scans(self) -> Self {
        Self { partly: true, ..self }
    }

    /// Looks at some paths, and at all above and below them; the rest is for a later scan.
    fn scan_some(&mut self, n: usize) {
        if !self.partly || self.rng.chance(0.3) {
            return self.scan(n);
        }
        let all = self.devices[n].paths();
        let some: Vec<_> = all.iter().filter(|_| self.rng.chance(0.3)).cloned().collect();
        let related = |path: &RelPath, one: &RelPath| {
            path == one || path.is_below(Some(one)) || one.is_below(Some(path))
        };
        let looked_at = all.into_iter().filter(|path| some.iter().any(|one| related(path, one))).collect();
        self.devices[n].look_at = Some(looked_at);
        self.scan(n);
        let device = &mut self.devices[n];
        device.look_at = None;
        device.dirty |= device.paths().iter().any(|path| !device.untouched(path));
    }

    fn scan(&mut self, n: usize) {
        let before = self.devices[n].clone();
        let changed: BTreeSet<_> =
            before.paths().into_iter().filter(|path| !before.untouched(path)).collect();
        let device = &mut self.devices[n];
        device.scan();
        assert_eq!(device.disk, before.disk, "a scan changed the disk");
        assert!(before.disk.keys().all(|path| before.has_parent(path)), "a file without its directory");
        assert!(device.dirty || device.state == before.state, "commit without a user {changed:?}");
        assert!(device.writer || device.state == before.state, "a reader made a commit");
        if !device.writer {
            return;
        }
        device.dirty = false;
        let records = changed.iter().filter_map(|path| before.applied.get(path));
        let kept: BTreeSet<_> = records.flat_map(|record| record.shown.entries.clone()).collect();
        let unchanged: Vec<_> = before.disk.iter().filter(|(path, _)| !changed.contains(*path)).collect();
        for (key, entry) in &before.state.entries {
            let dropped = !device.state.entries.contains_key(key) && !kept.contains(key);
            if dropped && unchanged.iter().any(|(_, (content, _))| *content == entry.content) {
                self.pruned.insert(entry.content.clone());
            }
        }
    }

    fn apply(&mut self, n: usize, calm: bool) {
        if calm {
            self.scan(n);
        } else if self.rng.chance(0.4) {
            self.scan_some(n);
        }
        let mut stuck = BTreeSet::new();
        if !calm {
            stuck.extend(self.paths.clone().into_iter().filter(|_| self.rng.chance(0.1)));
        }
        let mut apply = self.devices[n].apply(stuck);
        let mut count = 0;
        while self.devices[n].step(&mut apply) {
            count += 1;
            assert!(count < 2000, "apply does not end");
            self.remember(n);
            if !calm && self.rng.chance(0.03) {
                self.act(n);
                self.strict = false; // the user may delete what is being replaced
            }
            if !calm && self.disasters && self.rng.chance(0.05) {
                self.strict = false;
                let origin = self.fresh_origin(n);
                self.devices[n].start(origin, false);
                break; // killed
            }
        }
        self.remember(n);
    }

    fn deliver(&mut self, (to, state): (usize, State)) {
        self.devices[to].receive(&state);
        if self.sample.len() < 8 && !self.sample.contains(&state) {
            self.sample.push(state);
        }
    }

    fn disaster(&mut self, n: usize) {
        self.strict = false;
        let kind = *self.rng.choose(&["lost", "database", "disk", "image", "backup"]);
        let origin = self.fresh_origin(n);
        let device = &mut self.devices[n];
        self.messages.retain(|(to, _)| *to != n);
        self.messages.retain(|(_, state)| *state != device.state);
        self.sample = vec![State::default()]; // what nobody remembers may be said differently
        if kind == "backup" || (kind != "lost" && !self.backups.contains_key(&n)) {
            self.backups.insert(n, device.clone());
        } else if kind == "lost" {
            device.lose_database(origin);
        } else {
            let saved = self.backups[&n].clone();
            if kind != "disk" {
                device.trusted = saved.trusted;
                (device.state, device.applied) = (saved.state, saved.applied);
                (device.journal, device.pending) = (saved.journal, saved.pending);
            }
            if kind != "database" {
                let kept: BTreeSet<_> = saved.disk.values().map(|(content, _)| content.clone()).collect();
                self.excused.extend(files(device).difference(&kept).cloned());
                (device.disk, device.audit) = (saved.disk, false);
                device.archive.clear();
            }
            match kind {
                "disk" => device.lose_database(origin), // a hold, and somebody said: go on
                _ => device.start(origin, kind == "database"),
            }
        }
        device.dirty = true;
    }
}

/// The contents of all files on the disk.
fn files(device: &Device) -> BTreeSet<Content> {
    let contents = device.disk.values().map(|(content, _)| content.clone());
    contents.filter(|content| !content.is_directory()).collect()
}

/// The disk without metadata.
pub fn on_disk(device: &Device) -> BTreeMap<RelPath, Content> {
    device.disk.iter().map(|(path, (content, _))| (path.clone(), content.clone())).collect()
}

/// The rendering without entries and metadata.
pub fn wanted(state: &State) -> BTreeMap<RelPath, Content> {
    let shown = crate::render(state.entries.values());
    shown.into_iter().map(|(path, shown)| (path, shown.content)).collect()
}
