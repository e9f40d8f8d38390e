//! One device with a disk in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::render::affected;
use protocol::{Content, Metadata, Origin, Record, RelPath, Seen, Shown};

use crate::naive::{ByNumber, State, merge, render};
use crate::real::Set;
use crate::trees;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mind {
    /// The specification.
    Naive,
    /// The functions of `protocol`, each answer compared with the specification's.
    Real,
    /// The same over Merkle search trees; merges go through `protocol`, too.
    RealTrees,
    /// `Real` with metadata, of which the specification knows nothing.
    RealWithMetadata,
}

/// One device in one folder.
#[derive(Debug, Clone)]
pub struct Device {
    /// Who decides.
    pub mind: Mind,
    /// The running origin.
    pub origin: Origin,
    /// Readers make no commits.
    pub writer: bool,
    /// False: who knows which is older, the disk or the database.
    pub trusted: bool,
    /// How many copies stay beside a path that is put.
    pub copies_kept: usize,
    /// What it knows.
    pub state: State,
    /// Its records.
    pub applied: BTreeMap<RelPath, Record>,
    /// Targets of changes under way.
    pub journal: BTreeMap<RelPath, Option<Shown>>,
    /// Paths that may have to be changed; kept by real minds only.
    pub pending: BTreeSet<RelPath>,
    /// The user's files.
    pub disk: BTreeMap<RelPath, (Content, Metadata)>,
    /// What was replaced or removed.
    pub archive: BTreeSet<Content>,
    /// A real mind's next scan looks at these paths only.
    pub look_at: Option<BTreeSet<RelPath>>,
    /// For the checker: a user did something since the last scan.
    pub dirty: bool,
    /// For the checker: all contents that ever were on this disk.
    pub ever: BTreeSet<Content>,
    /// For the checker: contents that a user of this device replaced or deleted.
    pub killed_here: BTreeSet<Content>,
    /// For the checker: whether the archive is complete.
    pub audit: bool,
}

impl Device {
    /// Empty.
    pub fn new(mind: Mind, origin: Origin, writer: bool) -> Self {
        Self {
            mind,
            origin,
            writer,
            trusted: true,
            copies_kept: protocol::commit::COPIES,
            state: State::default(),
            applied: BTreeMap::new(),
            journal: BTreeMap::new(),
            pending: BTreeSet::new(),
            disk: BTreeMap::new(),
            archive: BTreeSet::new(),
            look_at: None,
            dirty: false,
            ever: BTreeSet::new(),
            killed_here: BTreeSet::new(),
            audit: true,
        }
    }

    /// What is at a path of the disk.
    pub fn content(&self, path: &RelPath) -> Option<&Content> {
        self.disk.get(path).map(|(content, _)| content)
    }

    /// What a scan sees at a path.
    pub fn seen(&self, path: &RelPath) -> Option<Seen> {
        let (content, metadata) = self.disk.get(path)?;
        Some(Seen { content: content.clone(), metadata: metadata.clone(), stat: None })
    }

    /// Whether the path shows its record.
    pub fn untouched(&self, path: &RelPath) -> bool {
        self.content(path) == self.applied.get(path).map(|record| &record.shown.content)
    }

    /// Whether anything on disk is below `path`.
    pub fn occupied(&self, path: &RelPath) -> bool {
        self.disk.keys().any(|other| other.is_below(Some(path)))
    }

    /// Whether `path` could hold something: its directory is there.
    pub fn has_parent(&self, path: &RelPath) -> bool {
        path.parent().is_none_or(|parent| self.content(&parent) == Some(&Content::Directory))
    }

    /// Disk paths and recorded paths.
    pub fn paths(&self) -> BTreeSet<RelPath> {
        self.disk.keys().chain(self.applied.keys()).cloned().collect()
    }

    /// What the state shows.
    pub fn rendering(&self) -> BTreeMap<RelPath, Shown> {
        render(self.state.entries.values())
    }

    /// Sets or drops a record.
    pub fn note(&mut self, path: &RelPath, record: Option<Record>) {
        match record {
            Some(record) => drop(self.applied.insert(path.clone(), record)),
            None => drop(self.applied.remove(path)),
        }
    }

    /// From disk to state.
    pub fn scan(&mut self) {
        match self.mind {
            Mind::Naive => self.naive_scan(),
            _ => self.real_scan(),
        }
    }

    /// Merge only. No commit.
    pub fn receive(&mut self, state: &State) {
        let merged = merge(&self.state, state);
        if self.mind == Mind::RealTrees {
            trees::check_merge(&self.state, state, &merged);
        }
        self.set_state(merged);
    }

    /// Takes a new state, and remembers which paths it may show differently.
    pub fn set_state(&mut self, new: State) {
        let old = std::mem::replace(&mut self.state, new);
        if self.mind == Mind::Naive {
            return;
        }
        let differ = |a: &State, b: &State| -> Vec<RelPath> {
            a.entries.keys().filter(|key| !b.entries.contains_key(key)).map(|key| key.path.clone()).collect()
        };
        let changed: BTreeSet<_> =
            differ(&old, &self.state).into_iter().chain(differ(&self.state, &old)).collect();
        let paths = affected(&Set(&old.entries), &Set(&self.state.entries), &ByNumber, changed);
        let paths = paths.expect("nothing fails in memory");
        self.check_affected(&old, &paths);
        self.pending.extend(paths);
    }

    /// A reader gives up its local changes.
    pub fn revert(&mut self) {
        for path in self.paths().into_iter().rev() {
            if self.untouched(&path) || (self.disk.contains_key(&path) && self.occupied(&path)) {
                continue;
            }
            self.put_aside(&path);
            self.disk.remove(&path);
            self.note(&path, None);
            self.pending.insert(path);
        }
    }

    /// Keeps the bytes at `path`, if there are any.
    pub fn put_aside(&mut self, path: &RelPath) {
        if let Some(content) = self.content(path).filter(|content| !content.is_directory()).cloned() {
            self.archive.insert(content);
        }
    }

    /// Each start of the daemon draws a new origin, and plans anew.
    pub fn start(&mut self, origin: Origin, put_back: bool) {
        self.origin = origin;
        self.trusted &= !put_back;
        self.pending = self.applied.keys().cloned().chain(self.rendering().into_keys()).collect();
    }

    /// No state, no records.
    pub fn lose_database(&mut self, origin: Origin) {
        self.state = State::default();
        self.applied.clear();
        self.journal.clear();
        self.start(origin, true);
    }

    /// Before anything else, after a crash.
    pub fn recover(&mut self) {
        for (path, target) in std::mem::take(&mut self.journal) {
            if self.mind != Mind::Naive {
                let seen = self.seen(&path);
                if let Some(note) = protocol::plan::recover(target.as_ref(), seen.as_ref()) {
                    self.note(&path, note);
                }
            } else if self.content(&path) == target.as_ref().map(|target| &target.content) {
                self.note(&path, target.map(record));
            }
        }
    }

    /// Makes the disk show what the state wants, in steps that others may come between.
    pub fn apply(&mut self, stuck: BTreeSet<RelPath>) -> Apply {
        self.recover();
        Apply { stuck, queue: VecDeque::new(), progress: true, stage: Stage::Next }
    }

    /// One step; false when there is nothing left to do.
    pub fn step(&mut self, apply: &mut Apply) -> bool {
        match std::mem::replace(&mut apply.stage, Stage::Next) {
            Stage::Next => loop {
                let Some((path, target)) = apply.queue.pop_front() else {
                    if !std::mem::take(&mut apply.progress) {
                        return false;
                    }
                    apply.queue = match self.mind {
                        Mind::Naive => self.naive_queue(),
                        _ => self.real_queue(&apply.stuck),
                    };
                    continue;
                };
                if apply.stuck.contains(&path) || !self.may_change(&path, target.as_ref()) {
                    continue;
                }
                apply.progress = true;
                self.journal.insert(path.clone(), target.clone());
                apply.stage = Stage::Journalled(path, target);
                return true;
            },
            Stage::Journalled(path, target) => {
                if self.may_change(&path, target.as_ref()) {
                    self.change(&path, target.as_ref());
                }
                apply.stage = Stage::Changed;
                true
            }
            Stage::Changed => {
                self.recover();
                true
            }
        }
    }

    fn may_change(&self, path: &RelPath, target: Option<&Shown>) -> bool {
        match self.mind {
            Mind::Naive => self.possible(path, target),
            _ => self.real_possible(path, target),
        }
    }

    fn change(&mut self, path: &RelPath, target: Option<&Shown>) {
        match target {
            Some(target) if self.content(path) == Some(&target.content) => {
                if self.mind != Mind::Naive && !target.entries.is_empty() {
                    self.disk.insert(path.clone(), (target.content.clone(), target.metadata.clone()));
                }
            }
            Some(target) => {
                self.put_aside(path);
                self.disk.insert(path.clone(), (target.content.clone(), target.metadata.clone()));
            }
            None => {
                self.put_aside(path);
                self.disk.remove(path);
            }
        }
    }

    /// Applies to the end.
    pub fn apply_all(&mut self) {
        let mut apply = self.apply(BTreeSet::new());
        while self.step(&mut apply) {}
    }
}

/// An apply under way.
pub struct Apply {
    /// Paths that cannot be changed now.
    pub stuck: BTreeSet<RelPath>,
    queue: VecDeque<(RelPath, Option<Shown>)>,
    progress: bool,
    stage: Stage,
}

enum Stage {
    Next,
    Journalled(RelPath, Option<Shown>),
    Changed,
}

/// The record of what was applied.
pub fn record(shown: Shown) -> Record {
    Record { shown, stat: None, ignored: false }
}
