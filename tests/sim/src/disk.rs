//! A file system in memory: bytes, metadata, inodes and change times.

use std::collections::{BTreeMap, Bound};
use std::rc::Rc;

use keystore::ContentKey;
use protocol::chunk::{ContentHasher, Hashed};
use protocol::{Content, Metadata, RelPath, Seen, Stat, Timestamp};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What is compared.
    pub content: Content,
    /// The bytes of a file.
    pub data: Rc<Vec<u8>>,
    /// Modification time and mode.
    pub metadata: Metadata,
    inode: u64,
    ctime: u64,
}

impl Node {
    /// What `lstat` and reading it say.
    pub fn seen(&self) -> Seen {
        let stat = Stat {
            inode: self.inode,
            size: self.content.size_bytes(),
            mtime: self.metadata.mtime,
            ctime: Timestamp { seconds: self.ctime as i64, nanos: 0 },
            mode: self.metadata.mode.into(),
        };
        Seen { content: self.content.clone(), metadata: self.metadata.clone(), stat: Some(stat) }
    }
}

/// A disk. Paths always have their parents.
#[derive(Clone)]
pub struct Disk {
    nodes: BTreeMap<RelPath, Node>,
    key: ContentKey,
    clock: u64,
}

/// Names bytes.
pub fn hash(key: &ContentKey, data: &[u8]) -> Hashed {
    let mut hasher = ContentHasher::new(key);
    hasher.update(data);
    hasher.finish()
}

impl Disk {
    /// An empty disk of a folder with this key.
    pub fn new(key: ContentKey) -> Self {
        Self { nodes: BTreeMap::new(), key, clock: 0 }
    }

    /// All that is there.
    pub fn nodes(&self) -> &BTreeMap<RelPath, Node> {
        &self.nodes
    }

    /// What is at a path.
    pub fn get(&self, path: &RelPath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Whether there is anything strictly below.
    pub fn any_below(&self, path: &RelPath) -> bool {
        let next = self.nodes.range::<RelPath, _>((Bound::Excluded(path), Bound::Unbounded)).next();
        next.is_some_and(|(next, _)| next.is_below(Some(path)))
    }

    /// Whether the parent is a directory.
    pub fn has_parent(&self, path: &RelPath) -> bool {
        path.parent().is_none_or(|parent| self.nodes.get(&parent).is_some_and(|n| n.content.is_directory()))
    }

    /// Puts a file, a link or a directory; its parent must be there, and nothing below it.
    pub fn put(&mut self, path: &RelPath, content: Content, data: Rc<Vec<u8>>, metadata: Metadata) {
        assert!(self.has_parent(path) && !self.any_below(path), "{path} cannot be put");
        self.clock += 1;
        let (inode, ctime) = (self.clock, self.clock);
        self.nodes.insert(path.clone(), Node { content, data, metadata, inode, ctime });
    }

    /// Puts a file of these bytes.
    pub fn put_file(&mut self, path: &RelPath, data: Vec<u8>, metadata: Metadata) {
        let Hashed { id, size, .. } = hash(&self.key, &data);
        self.put(path, Content::File { id, size }, Rc::new(data), metadata);
    }

    /// Puts a directory.
    pub fn put_directory(&mut self, path: &RelPath) {
        self.put(path, Content::Directory, Rc::default(), Metadata::default());
    }

    /// Sets the metadata.
    pub fn touch(&mut self, path: &RelPath, metadata: Metadata) {
        self.clock += 1;
        let node = self.nodes.get_mut(path).expect("it is there");
        node.metadata = metadata;
        node.ctime = self.clock;
    }

    /// Removes a path and all below it; answers what was there.
    pub fn remove(&mut self, path: &RelPath) -> Vec<(RelPath, Node)> {
        let gone: Vec<_> =
            self.nodes.keys().filter(|p| *p == path || p.is_below(Some(path))).cloned().collect();
        gone.into_iter().map(|p| (p.clone(), self.nodes.remove(&p).expect("just listed"))).collect()
    }

    /// Renames a path with all below it to a free name.
    pub fn rename(&mut self, old: &RelPath, new: &RelPath) {
        let moved = self.remove(old);
        assert!(self.has_parent(new) && self.get(new).is_none());
        self.clock += 1;
        for (path, mut node) in moved {
            let rest = &path.as_bytes()[old.as_bytes().len()..];
            let to = RelPath::parse(&[new.as_bytes(), rest].concat()).expect("short enough");
            if path == *old {
                node.ctime = self.clock;
            }
            self.nodes.insert(to, node);
        }
    }
}
