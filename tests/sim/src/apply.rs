//! Changes of the disk, one at a time.

use std::rc::Rc;

use protocol::engine::{Op, Outcome, Rules, Source};
use protocol::{Content, Metadata, Record, RelPath, Shown};

use crate::device::Device;
use crate::disk::Node;
use crate::look::shows;

/// Bytes on their way into a path.
type Data = Rc<Vec<u8>>;

impl Device {
    /// Carries out one operation. `later` are those behind it: staged bytes are kept for them.
    pub fn carry_out(&mut self, op: &Op, later: &[Op]) -> Outcome {
        let node = self.disk.get(&op.path);
        if let (Some(after), Some(node)) = (&op.after, node)
            && after.content == node.content
        {
            if !shows(op.before.as_ref(), Some(node), false) {
                return Outcome::Touched;
            }
            return self.finish(op, after);
        }
        if op.after.is_none() && node.is_none() {
            return Outcome::Done(None);
        }
        if !shows(op.before.as_ref(), node, false) {
            return Outcome::Touched;
        }
        if op.after.is_none() && self.holds_only_ignored(&op.path) {
            return Outcome::HoldsIgnored;
        }
        if !self.disk.has_parent(&op.path) || self.disk.any_below(&op.path) {
            return Outcome::Waits;
        }
        let Some(after) = &op.after else {
            self.put_away(&op.path);
            return Outcome::Done(None);
        };
        if let Some(other) = self.other_spelling(&op.path) {
            return Outcome::Collision(format!("`{}` is `{other}` here", op.path));
        }
        let data = match &op.source {
            Source::None => Rc::default(),
            Source::Staged(content) => {
                let Some(staged) = self.staged.get(content).filter(|staged| staged.is_complete()) else {
                    return Outcome::Problem("it is not staged".into());
                };
                let data = Rc::new(staged.bytes());
                if !later.iter().any(|op| op.source == Source::Staged(*content)) {
                    self.staged.remove(content);
                }
                data
            }
            Source::Moved(from, record) => {
                if !shows(Some(record), self.disk.get(from), false) {
                    return Outcome::Waits;
                }
                let data = self.disk.get(from).expect("it shows its record").data.clone();
                self.moves += 1;
                if node_is(self.disk.get(&op.path)) {
                    self.put_away(&op.path);
                }
                self.disk.remove(from);
                data
            }
        };
        self.replace(op, after, data)
    }

    fn replace(&mut self, op: &Op, after: &Shown, data: Data) -> Outcome {
        if node_is(self.disk.get(&op.path)) {
            let slips_in =
                op.before.as_ref().is_some_and(|b| matches!(b.shown.content, Content::File { .. }))
                    && matches!(after.content, Content::File { .. })
                    && self.slip_in.is_some();
            if let Some(text) = self.slip_in.take_if(|_| slips_in) {
                let metadata = Metadata { mode: 0o644, ..Metadata::default() };
                self.disk.remove(&op.path);
                self.disk.put_file(&op.path, text, metadata);
                let edit = self.disk.get(&op.path).expect("just written").clone();
                self.stage_whole(&edit);
                self.touches += 1;
                self.disk.remove(&op.path);
                self.disk.put(&op.path, after.content.clone(), data, after.metadata.clone());
                let Outcome::Done(record) = self.finish(op, after) else { unreachable!("it was put") };
                return Outcome::Displaced { record, edit: edit.seen() };
            }
            self.put_away(&op.path);
        }
        self.disk.put(&op.path, after.content.clone(), data, after.metadata.clone());
        self.finish(op, after)
    }

    fn finish(&mut self, op: &Op, after: &Shown) -> Outcome {
        let implied = after.content.is_directory() && after.entries.is_empty();
        if !implied {
            self.disk.touch(&op.path, after.metadata.clone());
        }
        let seen = self.disk.get(&op.path).expect("just put").seen();
        Outcome::Done(Some(Record { shown: after.clone(), stat: seen.stat, ignored: false }))
    }

    /// What is replaced or removed goes to the archive.
    pub fn put_away(&mut self, path: &RelPath) {
        for (_, node) in self.disk.remove(path) {
            self.archive.insert(node.content.clone(), node.data);
        }
    }

    fn other_spelling(&self, path: &RelPath) -> Option<RelPath> {
        let fold = |path: &RelPath| path.as_bytes().to_ascii_lowercase();
        let mut others = self.disk.nodes().keys().filter(|other| *other != path);
        others.find(|other| self.folds && fold(other) == fold(path)).cloned()
    }

    fn holds_only_ignored(&self, path: &RelPath) -> bool {
        let below = || self.disk.nodes().iter().filter(|(below, _)| below.is_below(Some(path)));
        let is_ignored = |path: &RelPath| self.rules.is_ignored(path, false);
        below().any(|(path, _)| is_ignored(path))
            && below().all(|(path, node)| node.content.is_directory() || is_ignored(path))
    }

    /// Puts what is at these paths into the archive; answers where nothing is any more.
    pub fn give_up(&mut self, paths: &[RelPath]) -> Vec<RelPath> {
        let mut done = Vec::new();
        for path in paths.iter().rev() {
            if !self.disk.any_below(path) {
                self.put_away(path);
                done.push(path.clone());
            }
        }
        done
    }
}

fn node_is(node: Option<&Node>) -> bool {
    node.is_some()
}
