//! Bytes that are gathered before they are shown, and served to others.

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use protocol::chunk_list::{ChunkList, Located};
use protocol::engine::{Prepare, Prepared};
use protocol::message::ChunkWanted;
use protocol::{Content, ContentId, NodeStore, Records};

use crate::device::Device;
use crate::disk::{Node, hash};

/// A staged file.
#[derive(Debug, Clone)]
pub struct Staged {
    data: Vec<u8>,
    missing: BTreeSet<u64>,
}

impl Staged {
    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.data.clone()
    }
}

impl Device {
    /// A whole file is staged.
    pub fn stage_whole(&mut self, node: &Node) {
        if let Content::File { id, .. } = node.content {
            let nodes = hash(&self.key, &node.data).nodes;
            self.store.save(&nodes).expect("memory does not fail");
            self.slipped.insert(id);
            self.staged.insert(id, Staged { data: node.data.to_vec(), missing: BTreeSet::new() });
        }
    }

    /// Stages what this disk has of a content.
    pub fn prepare(&mut self, wish: &Prepare) -> Prepared {
        let content = wish.content;
        if let Some(data) = self.have(wish) {
            self.staged.insert(content, Staged { data: data.to_vec(), missing: BTreeSet::new() });
            return Prepared { content, missing: Ok(Vec::new()) };
        }
        let list = ChunkList::load(&self.store, &content, wish.size).expect("the list is here");
        let chunks: Vec<Located> = list.iter().collect::<Result<_, _>>().expect("all of it");
        if let Some(staged) = self.staged.get(&content).filter(|staged| !staged.is_complete()) {
            // What has come of it before.
            let missing = chunks.iter().filter(|chunk| staged.missing.contains(&chunk.number));
            let missing =
                missing.map(|chunk| ChunkWanted { content, number: chunk.number, len: chunk.len }).collect();
            return Prepared { content, missing: Ok(missing) };
        }
        let mut staged = Staged { data: vec![0; wish.size as usize], missing: BTreeSet::new() };
        let earlier = wish.earlier.as_ref().and_then(|(path, id)| {
            self.disk.get(path).filter(|node| is(&node.content, id)).map(|node| node.data.clone())
        });
        for chunk in chunks.iter().filter(|chunk| !chunk.id.is_hole()) {
            let at = chunk.offset as usize..chunk.offset as usize + chunk.len as usize;
            let same = earlier.as_ref().and_then(|data| data.get(at.clone()));
            match same.filter(|bytes| chunk.id.verify(&self.key, bytes)) {
                Some(bytes) => staged.data[at].copy_from_slice(bytes),
                None => drop(staged.missing.insert(chunk.number)),
            }
        }
        let missing = chunks.iter().filter(|chunk| staged.missing.contains(&chunk.number));
        let missing =
            missing.map(|chunk| ChunkWanted { content, number: chunk.number, len: chunk.len }).collect();
        self.staged.insert(content, staged);
        Prepared { content, missing: Ok(missing) }
    }

    fn have(&self, wish: &Prepare) -> Option<Rc<Vec<u8>>> {
        let on_disk = wish.same.iter().filter_map(|path| self.disk.get(path));
        let on_disk = on_disk.filter(|node| is(&node.content, &wish.content)).map(|node| node.data.clone());
        let content = Content::File { id: wish.content, size: wish.size };
        let archived = self.archive.get(&content).cloned();
        let staged = self.staged.get(&wish.content).filter(|staged| staged.is_complete());
        let staged = staged.map(|staged| Rc::new(staged.data.clone()));
        on_disk.into_iter().next().or(archived).or(staged)
    }

    /// The bytes of a chunk, out of the users' files; none if it is gone.
    pub fn serve(&self, chunk: &ChunkWanted) -> Option<Bytes> {
        let paths = self.store.with_content(&chunk.content, 4).expect("memory does not fail");
        let mut shown = paths.iter().filter_map(|path| self.disk.get(path));
        let shown = shown.find(|node| is(&node.content, &chunk.content)).map(|node| &*node.data);
        // What is being gathered is served as far as it is here.
        let staged = || {
            let staged = self.staged.get(&chunk.content)?;
            (!staged.missing.contains(&chunk.number)).then_some(&staged.data)
        };
        let data: &Vec<u8> = shown.or_else(staged)?;
        let list = ChunkList::load(&self.store, &chunk.content, data.len() as u64).ok()?;
        let at = list.locate(chunk.number).ok()??;
        let bytes = data.get(at.offset as usize..at.offset as usize + at.len as usize)?;
        self.served.set(self.served.get() + 1);
        Some(Bytes::copy_from_slice(bytes))
    }

    /// Writes a chunk that has arrived, if it is what it should be and somebody waits for it.
    pub fn take_chunk(&mut self, chunk: &ChunkWanted, bytes: &[u8]) -> bool {
        let Some(staged) = self.staged.get_mut(&chunk.content) else { return true };
        let size = staged.data.len() as u64;
        let list = ChunkList::load(&self.store, &chunk.content, size).expect("the list is here");
        let at = list.locate(chunk.number).expect("all of it").expect("in the list");
        if !at.id.verify(&self.key, bytes) {
            return false;
        }
        staged.data[at.offset as usize..at.offset as usize + bytes.len()].copy_from_slice(bytes);
        staged.missing.remove(&chunk.number);
        self.fetched += 1;
        true
    }
}

fn is(content: &Content, id: &ContentId) -> bool {
    matches!(content, Content::File { id: this, .. } if this == id)
}
