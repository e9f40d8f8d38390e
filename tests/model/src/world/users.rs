//! What users do to their files.

use std::collections::BTreeMap;

use protocol::{Content, Metadata, RelPath, Timestamp};

use super::{World, on_disk, wanted};
use crate::{Mind, file};

impl World {
    /// A new text, now and then one that others write as well, and a clock that says nothing.
    fn text(&mut self, shared: f64) -> (Content, Metadata) {
        self.writes += 1;
        let content = match self.rng.chance(shared) {
            true => file(&format!("shared{}", self.rng.below(3))),
            false => file(&format!("text{}", self.writes)),
        };
        (content, self.metadata())
    }

    fn metadata(&mut self) -> Metadata {
        let mtime = Timestamp { seconds: self.rng.below(4) as i64, nanos: 0 };
        Metadata { mtime, ..Metadata::default() }
    }

    fn kill(&mut self, n: usize, path: &RelPath) {
        let device = &mut self.devices[n];
        let Some(content) = device.content(path).filter(|content| !content.is_directory()).cloned() else {
            return;
        };
        device.killed_here.insert(content.clone());
        // An apply was cut short between two names: then it is still shown elsewhere.
        let record = device.applied.get(path);
        let still = device.untouched(path)
            && device.applied.iter().any(|(other, theirs)| {
                let entries = &theirs.shown.entries;
                let both = record.is_some_and(|r| r.shown.entries.iter().any(|key| entries.contains(key)));
                other != path && device.untouched(other) && both
            });
        if device.writer && !still {
            self.killed.insert(content);
        }
    }

    fn delete(&mut self, n: usize, path: &RelPath) {
        let disk = &self.devices[n].disk;
        let gone: Vec<_> = disk.keys().filter(|p| *p == path || p.is_below(Some(path))).cloned().collect();
        for path in gone {
            self.kill(n, &path);
            self.devices[n].disk.remove(&path);
        }
    }

    /// Makes room for something at `path`: parents are directories, nothing is there.
    fn place(&mut self, n: usize, path: &RelPath) {
        let parents: Vec<_> = path.ancestors().collect();
        for parent in parents.into_iter().rev() {
            if self.devices[n].content(&parent) != Some(&Content::Directory) {
                self.kill(n, &parent);
                self.devices[n].disk.insert(parent, (Content::Directory, Metadata::default()));
            }
        }
        self.delete(n, path);
    }

    fn write(&mut self, n: usize, path: &RelPath, text: (Content, Metadata)) {
        self.place(n, path);
        if self.devices[n].writer {
            self.written.insert(text.0.clone());
        }
        self.devices[n].disk.insert(path.clone(), text);
    }

    fn rename(&mut self, n: usize, old: &RelPath, new: &RelPath) {
        if old == new || new.is_below(Some(old)) || old.is_below(Some(new)) {
            return;
        }
        let length = old.as_bytes().len();
        let mut moving = BTreeMap::new();
        self.devices[n].disk.retain(|path, value| {
            let stays = path != old && !path.is_below(Some(old));
            if !stays {
                moving.insert(path.as_bytes()[length..].to_vec(), value.clone());
            }
            stays
        });
        self.moved.extend(moving.values().map(|(content, _)| content.clone()));
        self.place(n, new);
        for (rest, value) in moving {
            let path = RelPath::parse(&[new.as_bytes(), &rest].concat()).expect("short enough");
            self.devices[n].disk.insert(path, value);
        }
    }

    /// Anything that a user may do.
    pub(super) fn act(&mut self, n: usize) {
        self.devices[n].dirty = true;
        let existing: Vec<_> = self.devices[n].disk.keys().cloned().collect();
        let any = self.rng.choose(&self.paths).clone();
        let some = match existing.is_empty() {
            true => any.clone(),
            false => self.rng.choose(&existing).clone(),
        };
        let choice = self.rng.below(if self.renames { 18 } else { 15 });
        match choice {
            0 if self.devices[n].content(&any) != Some(&Content::Directory) => {
                self.place(n, &any);
                self.devices[n].disk.insert(any, (Content::Directory, Metadata::default()));
            }
            0 => {}
            1..=5 => self.write_new(n, &any),
            _ if existing.is_empty() => self.write_new(n, &any),
            6..=10 => self.edit(n, &some),
            11..=13 => self.delete(n, &some),
            14 => {
                self.delete(n, &some);
                self.write_new(n, &some);
            }
            _ => {
                let targets = [self.paths.clone(), existing].concat();
                let new = self.rng.choose(&targets).clone();
                self.rename(n, &some, &new);
            }
        }
        if self.mind == Mind::RealWithMetadata && self.rng.chance(0.3) {
            self.touch(n);
        }
    }

    fn write_new(&mut self, n: usize, path: &RelPath) {
        let text = self.text(0.15);
        self.write(n, path, text);
    }

    fn edit(&mut self, n: usize, path: &RelPath) {
        let (content, metadata) = self.devices[n].disk[path].clone();
        if content.is_directory() {
            return;
        }
        let mut text = self.text(0.15);
        if self.rng.chance(0.3) {
            text.1 = metadata; // within one tick of the clock
        }
        self.write(n, path, text);
    }

    /// Changes metadata alone.
    fn touch(&mut self, n: usize) {
        let existing: Vec<_> = self.devices[n].disk.keys().cloned().collect();
        if existing.is_empty() {
            return;
        }
        let path = self.rng.choose(&existing).clone();
        let mut metadata = self.metadata();
        metadata.mode = self.rng.below(3) as u16;
        let there = self.devices[n].disk.get_mut(&path).expect("it exists");
        self.moved.insert(there.0.clone()); // as an edit, it beats a deletion that did not know of it
        if there.0.is_directory() {
            metadata.mtime = Timestamp::default();
        }
        there.1 = metadata;
    }

    /// What users do with a conflict copy has exactly the effect that they see, at once.
    pub(super) fn act_on_copy(&mut self, n: usize) {
        self.scan(n);
        self.apply(n, true);
        let device = &self.devices[n];
        let (before, shown) = (wanted(&device.state), device.rendering());
        let copies: Vec<_> =
            shown.iter().filter(|(p, s)| s.entries.iter().any(|key| key.path != **p)).collect();
        if !device.writer || copies.is_empty() || on_disk(device) != before {
            return;
        }
        let (name, loser) = *self.rng.choose(&copies);
        let key = loser.entries.iter().find(|key| key.path != *name).expect("it is a copy");
        let original = &key.path;
        let shows_original =
            shown.values().filter(|s| s.entries.iter().any(|key| key.path == *original)).count();
        let mut expected = before.clone();
        let action = self.rng.below(4);
        if before[original].is_directory() && matches!(action, 0 | 3) {
            return;
        }
        match action {
            0 if shows_original > device.copies_kept + 1 => return,
            0 | 1 => {
                let path = if action == 0 { original } else { name };
                let text = self.text(0.0);
                expected.insert(path.clone(), text.0.clone());
                self.write(n, path, text);
            }
            2 => {
                self.delete(n, name);
                expected.remove(name);
            }
            _ => {
                self.rename(n, name, original);
                let content = expected.remove(name).expect("the copy is shown");
                expected.insert(original.clone(), content);
            }
        }
        self.devices[n].dirty = true;
        self.scan(n);
        let after = wanted(&self.devices[n].state);
        if action == 3 {
            // Its put may drop older copies.
            assert_eq!(after.get(original), expected.get(original), "the copy was chosen");
            assert!(after.keys().all(|path| expected.contains_key(path)), "choose {before:?} {after:?}");
        } else {
            assert_eq!(after, expected, "action {action} on {name}");
        }
    }

    /// Contents that several devices may write independently.
    pub(super) fn is_shared(content: &Content) -> bool {
        (0..3).any(|n| *content == file(&format!("shared{n}")))
    }
}
