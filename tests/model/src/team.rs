//! A few devices with words for what happens to them, for scenarios.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use protocol::{Content, Metadata, Timestamp};

use crate::naive::origin;
use crate::{Device, Mind, file, path, text};

/// Devices `dev0`, `dev1` …; all writers.
#[derive(Clone)]
pub struct Team(pub Vec<Device>);

impl Team {
    /// So many devices that have these files already.
    pub fn new(mind: Mind, count: u8, first: &[(&str, &str)]) -> Self {
        let devices = (0..count).map(|n| Device::new(mind, origin(n, u16::from(n)), true));
        let mut team = Self(devices.collect());
        for (path, text) in first {
            team[0].put(path, text);
        }
        team.sync();
        team
    }

    /// All scan, exchange and apply until nothing moves.
    pub fn sync(&mut self) {
        let all: Vec<_> = (0..self.0.len()).collect();
        self.sync_of(&all);
    }

    /// The same among a few, in this order.
    pub fn sync_of(&mut self, members: &[usize]) {
        for _ in 0..4 {
            for n in members {
                self[*n].scan();
            }
            for from in members {
                for to in members {
                    self.send(*from, *to);
                }
            }
            for n in members {
                self[*n].apply_all();
            }
        }
    }

    /// One merges what the other has.
    pub fn send(&mut self, from: usize, to: usize) {
        let state = self[from].state.clone();
        self[to].receive(&state);
    }

    /// What all disks show; panics if they differ.
    pub fn disk(&self) -> BTreeMap<String, String> {
        let disk = self[0].texts();
        for device in &self.0 {
            assert_eq!(device.texts(), disk, "disks differ");
        }
        disk
    }
}

impl Index<usize> for Team {
    type Output = Device;
    fn index(&self, n: usize) -> &Device {
        &self.0[n]
    }
}

impl IndexMut<usize> for Team {
    fn index_mut(&mut self, n: usize) -> &mut Device {
        &mut self.0[n]
    }
}

impl Device {
    /// The user writes a file; `DIR` makes a directory.
    pub fn put(&mut self, at: &str, text: &str) {
        self.put_at(at, text, 0);
    }

    /// With this mtime.
    pub fn put_at(&mut self, at: &str, text: &str, seconds: i64) {
        let content = if text == DIR { Content::Directory } else { file(text) };
        let mtime = Timestamp { seconds, nanos: 0 };
        self.disk.insert(path(at), (content, Metadata { mtime, ..Metadata::default() }));
    }

    /// The user deletes it.
    pub fn delete(&mut self, at: &str) {
        assert!(self.disk.remove(&path(at)).is_some(), "{at} is not there");
    }

    /// The user renames one file.
    pub fn rename(&mut self, old: &str, new: &str) {
        let moving = self.disk.remove(&path(old)).expect("it is there");
        self.disk.insert(path(new), moving);
    }

    /// The text at a path.
    pub fn text(&self, at: &str) -> Option<String> {
        self.content(&path(at)).map(text)
    }

    /// All texts by path.
    pub fn texts(&self) -> BTreeMap<String, String> {
        self.disk.iter().map(|(path, (content, _))| (path.to_string(), text(content))).collect()
    }

    /// The texts of files.
    pub fn files(&self) -> Vec<String> {
        let mut files: Vec<_> = self.texts().into_values().filter(|text| text != DIR).collect();
        files.sort();
        files
    }

    /// The names of conflict copies.
    pub fn copies(&self) -> Vec<String> {
        self.texts().into_keys().filter(|path| path.contains("(conflict")).collect()
    }
}

/// The text of a directory.
pub const DIR: &str = "directory";
