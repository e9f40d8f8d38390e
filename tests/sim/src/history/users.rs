//! What users do to their files.

use protocol::{Content, Metadata, RelPath, Timestamp};

use super::History;
use crate::disk::hash;

impl History {
    /// New bytes, now and then ones that others write as well, and a clock that says nothing.
    pub(super) fn text(&mut self) -> (Vec<u8>, Metadata) {
        self.writes += 1;
        let text = match self.rng.below(20) {
            0 | 1 => format!("shared{}", self.rng.below(3)).into_bytes(),
            2 => Vec::new(),
            3 => (0..200_000_u32).map(|n| (n.wrapping_mul(n).wrapping_mul(self.writes) >> 7) as u8).collect(),
            _ => format!("text{}", self.writes).into_bytes(),
        };
        (text, self.metadata())
    }

    fn metadata(&mut self) -> Metadata {
        let mtime = Timestamp { seconds: self.rng.below(4) as i64, nanos: 0 };
        Metadata { mtime, mode: 0o600 + self.rng.below(3) as u16, ..Metadata::default() }
    }

    fn content(&self, data: &[u8]) -> Content {
        let hashed = hash(&self.world.secret.content_key(), data);
        Content::File { id: hashed.id, size: hashed.size }
    }

    pub(super) fn note_written(&mut self, data: &[u8]) {
        let content = self.content(data);
        self.written.insert(content);
    }

    fn kill(&mut self, n: usize, path: &RelPath) {
        if let Some(node) = self.world.devices[n].disk.get(path) {
            self.killed.insert(node.content.clone());
        }
    }

    fn delete(&mut self, n: usize, path: &RelPath) {
        for (_, node) in self.world.devices[n].disk.remove(path) {
            self.killed.insert(node.content);
        }
    }

    /// Makes room for something at `path`: parents are directories, nothing is there.
    fn place(&mut self, n: usize, path: &RelPath) {
        let parents: Vec<_> = path.ancestors().collect();
        for parent in parents.into_iter().rev() {
            let node = self.world.devices[n].disk.get(&parent);
            if !node.is_some_and(|node| node.content.is_directory()) {
                self.kill(n, &parent);
                self.world.devices[n].disk.remove(&parent);
                self.world.devices[n].disk.put_directory(&parent);
            }
        }
        self.delete(n, path);
    }

    fn write(&mut self, n: usize, path: &RelPath) {
        self.place(n, path);
        let (data, metadata) = self.text();
        if self.world.devices[n].writes() {
            self.note_written(&data);
        }
        self.world.devices[n].disk.put_file(path, data, metadata);
    }

    fn link(&mut self, n: usize, path: &RelPath) {
        self.place(n, path);
        self.writes += 1;
        let target = format!("to {}", self.writes).into_bytes();
        let content = Content::Symlink { target: target.into() };
        let metadata = Metadata { mode: 0, ..self.metadata() };
        self.world.devices[n].disk.put(path, content, Default::default(), metadata);
    }

    fn rename(&mut self, n: usize, old: &RelPath, new: &RelPath) {
        if old == new || new.is_below(Some(old)) || old.is_below(Some(new)) {
            return;
        }
        self.place(n, new);
        self.world.devices[n].disk.rename(old, new);
    }

    fn touch(&mut self, n: usize, path: &RelPath) {
        let Some(node) = self.world.devices[n].disk.get(path) else { return };
        let mut metadata = self.rng.chance(0.5).then(|| self.rng.below(4)).map_or_else(
            || node.metadata.clone(),
            |seconds| Metadata {
                mtime: Timestamp { seconds: seconds as i64, nanos: 0 },
                ..node.metadata.clone()
            },
        );
        if !matches!(node.content, Content::Symlink { .. }) {
            metadata.mode = 0o600 + self.rng.below(4) as u16;
        }
        self.world.devices[n].disk.touch(path, metadata);
    }

    /// Anything that a user may do.
    pub(super) fn act(&mut self, n: usize) {
        let existing: Vec<_> = self.world.devices[n].disk.nodes().keys().cloned().collect();
        let any = self.rng.choose(&self.paths).clone();
        let some = if existing.is_empty() { any.clone() } else { self.rng.choose(&existing).clone() };
        let targets = [self.paths.clone(), existing.clone()].concat();
        let target = self.rng.choose(&targets).clone();
        let before = self.world.devices[n].contents();
        self.world.devices[n].touches += 1;
        match self.rng.below(20) {
            0..5 => self.write(n, &any),
            5..9 if before.get(&some).is_some_and(|content| !content.is_directory()) => self.write(n, &some),
            9..12 => self.delete(n, &some),
            12 => self.link(n, &any),
            13 if !before.get(&any).is_some_and(Content::is_directory) => {
                self.place(n, &any);
                self.world.devices[n].disk.put_directory(&any);
            }
            14 | 15 => self.touch(n, &some),
            16..20 if before.contains_key(&some) => self.rename(n, &some, &target),
            _ => self.write(n, &any),
        }
        self.world.say(n, || {
            format!("user {some} {any} {target}: {before:?} becomes {:?}", self.world.devices[n].contents())
        });
        self.notice_all(n, &some, &any, &target);
    }

    /// The watcher sees what may have changed, in one go or piece by piece.
    fn notice_all(&mut self, n: usize, some: &RelPath, any: &RelPath, target: &RelPath) {
        let paths = vec![some.clone(), any.clone(), target.clone()];
        if self.rng.chance(0.5) {
            self.world.notice(n, paths);
        } else {
            paths.into_iter().for_each(|path| self.world.notice(n, vec![path]));
        }
    }
}
