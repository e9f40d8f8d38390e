//! A folder in a temporary directory, with records in memory.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keystore::{ContentKey, FolderSecret};
use parking_lot::Mutex;
use protocol::tree::MemoryNodes;
use protocol::{Record, Records, Shown, Stat, StoreError, Timestamp};

use super::super::*;
use crate::disk::{ControlName, Disk, FaultyDisk, RealDisk, SpecialBits};
use crate::folder::hash::Progress;
use protocol::{Content, ContentId};

/// Records in memory.
#[derive(Default)]
pub(crate) struct FakeRecords(pub(crate) Mutex<BTreeMap<RelPath, Record>>);

impl FakeRecords {
    fn filter(&self, wanted: impl Fn(&RelPath, &Record) -> bool) -> Vec<(RelPath, Record)> {
        let records = self.0.lock();
        records.iter().filter(|(p, r)| wanted(p, r)).map(|(p, r)| (p.clone(), r.clone())).collect()
    }
}

impl Records for FakeRecords {
    fn record(&self, path: &RelPath) -> Result<Option<Record>, StoreError> {
        Ok(self.0.lock().get(path).cloned())
    }
    fn children(&self, directory: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        Ok(self.filter(|path, _| path.parent().as_ref() == directory))
    }
    fn copies(&self, _: Option<&RelPath>) -> Result<Vec<(RelPath, Record)>, StoreError> {
        Ok(Vec::new())
    }
    fn any_below(&self, directory: &RelPath) -> Result<bool, StoreError> {
        Ok(!self.filter(|path, _| path.is_below(Some(directory))).is_empty())
    }
    fn with_content(&self, id: &ContentId, limit: usize) -> Result<Vec<RelPath>, StoreError> {
        let same = |record: &Record| matches!(&record.shown.content, Content::File { id: i, .. } if i == id);
        Ok(self.filter(|_, record| same(record)).into_iter().map(|(path, _)| path).take(limit).collect())
    }
    fn with_stat(&self, stat: &Stat) -> Result<Vec<RelPath>, StoreError> {
        let key = |s: &Stat| (s.inode, s.size, s.mtime);
        let same = |record: &Record| record.stat.is_some_and(|s| key(&s) == key(stat));
        Ok(self.filter(|_, record| same(record)).into_iter().map(|(path, _)| path).collect())
    }
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

/// A folder, its daemon's disk and records, and a clock that is an hour ahead, so that nothing is
/// racy unless a test wants it.
pub(crate) struct World {
    root: tempfile::TempDir,
    pub(crate) disk: Arc<FaultyDisk>,
    pub(crate) records: Arc<FakeRecords>,
    pub(crate) nodes: Arc<MemoryNodes>,
    pub(crate) ignored: Arc<Ignored>,
    pub(crate) unrest: Arc<Unrest>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) ahead: Arc<Mutex<Duration>>,
}

impl World {
    pub(crate) fn new() -> Self {
        // In memory where there is such a place: none of these stories is about a real disk.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let root = root.expect("a directory");
        let disk = RealDisk::open(root.path(), SpecialBits::Strip).expect("open");
        for name in [ControlName::Directory, ControlName::Staging, ControlName::Archive] {
            disk.make_directory(&Place::Control(name), 0o700).expect("control directory");
        }
        Self {
            root,
            disk: Arc::new(FaultyDisk::new(Arc::new(disk))),
            records: Arc::default(),
            nodes: Arc::default(),
            ignored: Arc::new(Ignored::nothing()),
            unrest: Arc::default(),
            progress: Arc::default(),
            ahead: Arc::new(Mutex::new(Duration::from_secs(3600))),
        }
    }

    /// Long after: no directory that was open then is believed to be where it was.
    pub(crate) fn reopen(&mut self) {
        let disk = RealDisk::open(self.root.path(), SpecialBits::Strip).expect("open");
        self.disk = Arc::new(FaultyDisk::new(Arc::new(disk)));
    }

    pub(crate) fn at(&self, text: &str) -> PathBuf {
        self.root.path().join(text)
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn write(&self, text: &str, bytes: impl AsRef<[u8]>) {
        let at = self.at(text);
        fs::create_dir_all(at.parent().expect("below the root")).expect("directories");
        fs::write(at, bytes).expect("write");
    }

    pub(crate) fn key() -> ContentKey {
        FolderSecret::new([7; 20]).content_key()
    }

    pub(crate) fn files(&self) -> HashContext {
        let ahead = Arc::clone(&self.ahead);
        HashContext {
            disk: self.disk.clone(),
            content_key: Self::key(),
            lists: self.nodes.clone(),
            progress: Arc::clone(&self.progress),
            stop: Arc::default(),
            now: Arc::new(move || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + *ahead.lock();
                Timestamp { seconds: now.as_secs() as i64, nanos: now.subsec_nanos() }
            }),
        }
    }

    pub(crate) fn context(&self) -> ScanContext<'_> {
        ScanContext {
            files: self.files(),
            records: self.records.clone(),
            nodes: &*self.nodes,
            ignored: Arc::clone(&self.ignored),
            threads: 2,
            unrest: Arc::clone(&self.unrest),
            may_be_empty: false,
        }
    }

    /// Scans without taking notice; the parts as they came.
    pub(crate) fn parts(&self, what: &Scan) -> Result<Vec<Part>, ScanError> {
        let cx = self.context();
        let mut parts = Vec::new();
        scan(&cx, what, &mut |part| {
            parts.push(part);
            ControlFlow::Continue(())
        })?;
        Ok(parts)
    }

    /// Scans and notes what was seen, as a commit would.
    pub(crate) fn scan(&self, what: &Scan) -> Part {
        let parts = self.parts(what).expect("a scan");
        let mut all = Part::default();
        for part in parts {
            self.note(&part);
            all.observations.extend(part.observations);
            all.unsynced.extend(part.unsynced);
            all.unstable.extend(part.unstable);
            all.racy.extend(part.racy);
        }
        all.observations.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    pub(crate) fn full(&self) -> Part {
        self.scan(&Scan::Full)
    }

    pub(crate) fn note(&self, part: &Part) {
        let mut records = self.records.0.lock();
        for o in &part.observations {
            match (&o.seen, &o.record) {
                (_, Some(record)) if o.ignored => {
                    records.insert(o.path.clone(), Record { ignored: true, ..record.clone() });
                }
                (Some(seen), _) => {
                    let shown = Shown {
                        content: seen.content.clone(),
                        metadata: seen.metadata.clone(),
                        entries: Vec::new(),
                    };
                    records.insert(o.path.clone(), Record { shown, stat: seen.stat, ignored: false });
                }
                (None, _) => drop(records.remove(&o.path)),
            }
        }
    }

    pub(crate) fn hashed(&self) -> u64 {
        self.progress.hashed_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn disk_stat(&self, text: &str) -> Stat {
        self.disk.stat(&Place::Folder(path(text))).expect("stat").expect("there").stat
    }

    pub(crate) fn record(&self, text: &str) -> Record {
        self.records.0.lock().get(&path(text)).cloned().expect("a record")
    }
}

/// `+name` for what is there, `-name` for what has gone, `?name` for what is ignored.
pub(crate) fn told(part: &Part) -> Vec<String> {
    let sign = |o: &Observation| match (o.ignored, &o.seen) {
        (true, _) => '?',
        (_, None) => '-',
        _ => '+',
    };
    part.observations.iter().map(|o| format!("{}{}", sign(o), o.path)).collect()
}
