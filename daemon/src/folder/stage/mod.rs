//! Staging: gathering the bytes of wanted contents in `.syncd/staging/`.
//!
//! A staged file is named by its content, so that whatever wants it finds it, also after a crash.
//! [`Stage::prepare`] takes what this disk has already (an unfinished staged file, the same content
//! at another path, chunks of an earlier version), and [`Stage::write`] what the network brings.
//! **Nothing counts before it was hashed here**: what another file is said to hold, and what an
//! interrupted run has left, is verified chunk by chunk. Zeros stay holes.
//!
//! Not for here: mode, mtime, `fsync` and the move to its place are the applier's.

mod pages;
mod prepare;
mod recent;
mod reuse;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use keystore::ContentKey;
use parking_lot::Mutex;
use protocol::chunk::ChunkId;
use protocol::engine::{Prepare, Prepared};
use protocol::message::ChunkWanted;
use protocol::{ContentId, NodeStore};

use crate::disk::{ControlName, Disk, Place, StagedName, WriteFile};
pub(crate) use recent::Recent;

/// So many staged files are kept open.
const OPEN_FILES: usize = 64;
/// After so many bytes of a content the system is told to begin writing them to the disk: left to
/// itself it waits until the end, and so does the file.
const WRITE_BACK_BYTES: u64 = 32 << 20;
/// What the names of staged contents begin with.
const PREFIX: &str = "content-";

/// What became of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is in its staged file, now or since before.
    Ok,
    /// It is not what it should be: whoever sent it lies, or its disk does.
    Bad,
    /// Nobody waits for it any more.
    Unwanted,
    /// This disk cannot; a sentence.
    Failed(String),
}

/// The staged contents of one folder. Many threads may use it at once.
pub struct Stage {
    disk: Arc<dyn Disk>,
    nodes: Arc<dyn NodeStore + Send + Sync>,
    content_key: ContentKey,
    wanted: Mutex<Wanted>,
    files: Mutex<Recent<ContentId, SharedFile>>,
    /// The file system has no blocks that files share, as was seen.
    cannot_share: AtomicBool,
}

type SharedFile = Arc<StagedFile>;

struct StagedFile {
    file: Box<dyn WriteFile>,
    /// Held while writing. File systems let one in at a time, and whoever waits there keeps a processor
    /// busy.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Wanted {
    contents: BTreeMap<ContentId, Content>,
    /// The sum of what is missing: room that is promised.
    missing_bytes: u64,
    /// What may be staged without being among the contents: by an earlier run, or by others.
    /// `None`: nobody has looked yet.
    left: Option<BTreeSet<ContentId>>,
}

struct Content {
    size: u64,
    missing: BTreeMap<u64, Missing>,
    unwritten: Unwritten,
    /// The mode that its file is made with when its only chunk arrives; until then there is none.
    made_with: Option<u16>,
    /// There is room on the disk for all of it: none need be promised.
    has_room: bool,
}

impl Content {
    /// The room that it still needs.
    fn promised_bytes(&self) -> u64 {
        let missing = self.missing.values().map(|missing| u64::from(missing.len));
        if self.has_room { 0 } else { missing.sum() }
    }
}

/// What was written of a content and is not yet on its way to the disk.
#[derive(Default)]
struct Unwritten {
    bytes: u64,
    /// Where it lies: from, to.
    range: Option<(u64, u64)>,
}

impl Unwritten {
    /// These bytes as well; where it all lies once it is enough.
    fn add(&mut self, offset: u64, len: u64) -> Option<(u64, u64)> {
        let (from, to) = self.range.unwrap_or((offset, offset));
        self.range = Some((from.min(offset), to.max(offset + len)));
        self.bytes += len;
        (self.bytes >= WRITE_BACK_BYTES).then(|| std::mem::take(self).range).flatten()
    }
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    id: ChunkId,
    offset: u64,
    len: u32,
}

/// The name of the staged file of a content.
pub fn staged_name(content: &ContentId) -> StagedName {
    let name = format!("{PREFIX}{}", blake3::Hash::from_bytes(content.0).to_hex());
    StagedName::parse(&name).expect("72 plain characters")
}

/// The content that a staged file is named by; `None` for other files of ours.
pub fn staged_content(name: &StagedName) -> Option<ContentId> {
    let hex = name.as_str().strip_prefix(PREFIX)?.as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut id = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(ContentId(id))
}

impl Stage {
    /// The staging of a folder. Looks at nothing yet.
    pub fn new(
        disk: Arc<dyn Disk>,
        nodes: Arc<dyn NodeStore + Send + Sync>,
        content_key: ContentKey,
    ) -> Self {
        let files = Mutex::new(Recent::new(OPEN_FILES));
        let cannot_share = AtomicBool::new(false);
        Self { disk, nodes, content_key, wanted: Mutex::default(), files, cannot_share }
    }

    /// Makes or opens the staged files of these contents, from what is on this disk already, and
    /// tells what is missing. Reads and hashes all that is reused. The chunk lists of contents that
    /// have one must be whole.
    pub fn prepare(&self, wishes: &[Prepare]) -> Vec<Prepared> {
        let mut free = None;
        let prepared = |wish: &Prepare| Prepared {
            content: wish.content,
            missing: self.prepare_one(wish, &mut free).map_err(|e| e.to_string()),
        };
        wishes.iter().map(prepared).collect()
    }

    /// Verifies a chunk and writes it to its staged file, in any order, from any thread.
    pub fn write(&self, chunk: &ChunkWanted, bytes: &Bytes) -> Written {
        let (size, missing, made_with) = match self.wanted.lock().contents.get(&chunk.content) {
            None => return Written::Unwanted,
            Some(content) => match content.missing.get(&chunk.number) {
                None => return Written::Ok,
                Some(missing) => (content.size, *missing, content.made_with),
            },
        };
        let fits = bytes.len() == missing.len as usize && chunk.len == missing.len;
        if !fits || !missing.id.verify(&self.content_key, bytes) {
            return Written::Bad;
        }
        let made = made_with.map(|mode| self.disk.stage_whole(&staged_name(&chunk.content), bytes, mode));
        let written = match made {
            Some(Err(error)) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Some(Ok(())) => Ok(()),
            _ => self.put(&chunk.content, size, missing.offset, bytes),
        };
        match written {
            Ok(()) => {
                self.arrived(chunk, missing.offset);
                Written::Ok
            }
            Err(error) => Written::Failed(cannot_write(&error)),
        }
    }

    /// Several chunks, answered in their order.
    pub fn write_many(&self, chunks: &[(ChunkWanted, Bytes)]) -> Vec<Written> {
        chunks.iter().map(|(chunk, bytes)| self.write(chunk, bytes)).collect()
    }

    /// Whether all bytes of a content are staged, as far as is known without looking.
    pub fn is_complete(&self, content: &ContentId) -> bool {
        self.wanted.lock().contents.get(content).is_some_and(|content| content.missing.is_empty())
    }

    /// The length of a content of which this chunk is here: its staged file can be read there.
    pub fn size_if_here(&self, content: &ContentId, number: u64) -> Option<u64> {
        let wanted = self.wanted.lock();
        let content = wanted.contents.get(content)?;
        (!content.missing.contains_key(&number)).then_some(content.size)
    }

    /// Nobody wants these any more, or they have been moved to their places: what is left of them
    /// in staging is removed.
    pub fn forget(&self, contents: &[ContentId]) -> io::Result<()> {
        for content in contents {
            self.drop_content(content);
            self.disk.discard(&staged_name(content)).inspect_err(|_| self.note_left(content))?;
        }
        Ok(())
    }

    /// A content is staged, or may be, though nobody waits for it: somebody else has put it there, or
    /// it could not be taken to its place.
    pub fn note_left(&self, content: &ContentId) {
        if let Some(left) = &mut self.wanted.lock().left {
            left.insert(*content);
        }
    }

    /// These have been taken to their places; what could not be [is left](Self::note_left).
    pub fn placed(&self, contents: &[ContentId]) {
        contents.iter().for_each(|content| self.drop_content(content));
    }

    /// All files in staging. At start they are what an earlier run has left: those named by a
    /// [content](staged_content) that is still wanted are worth keeping.
    pub fn leftovers(&self) -> io::Result<Vec<StagedName>> {
        let listed = self.disk.list(&Place::Control(ControlName::Staging))?;
        let name = |name: Vec<u8>| StagedName::parse(std::str::from_utf8(&name).ok()?);
        Ok(listed.into_iter().filter_map(|listed| name(listed.name)).collect())
    }

    /// Removes leftovers.
    pub fn discard(&self, names: &[StagedName]) -> io::Result<()> {
        names.iter().try_for_each(|name| self.disk.discard(name))
    }

    /// The file that the bytes go to, opened or made. It gets its length here, unless it is made to
    /// be written whole at once.
    fn put(&self, content: &ContentId, size: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file(content)?;
        {
            let _turn = file.turn.lock();
            file.file.write_at(bytes, offset)?;
        }
        let end = offset + bytes.len() as u64;
        // One chunk is the whole file: what an unfinished run has left behind it goes.
        if end == size && file.file.stat()?.stat.size != size {
            file.file.set_length(size)?;
        }
        Ok(())
    }

    fn file(&self, content: &ContentId) -> io::Result<SharedFile> {
        let mut files = self.files.lock();
        if let Some(file) = files.find(content) {
            return Ok(file);
        }
        let file = self.disk.stage(&staged_name(content))?;
        let file = Arc::new(StagedFile { file, turn: Mutex::default() });
        files.keep(*content, Arc::clone(&file));
        Ok(file)
    }

    fn arrived(&self, chunk: &ChunkWanted, offset: u64) {
        let mut wanted = self.wanted.lock();
        let Wanted { contents, missing_bytes, .. } = &mut *wanted;
        let Some(content) = contents.get_mut(&chunk.content) else { return };
        if let Some(missing) = content.missing.remove(&chunk.number)
            && !content.has_room
        {
            *missing_bytes = missing_bytes.saturating_sub(u64::from(missing.len));
        }
        if content.missing.is_empty() {
            self.files.lock().forget(&chunk.content);
            return;
        }
        let Some((from, to)) = content.unwritten.add(offset, u64::from(chunk.len)) else { return };
        drop(wanted);
        if let Ok(file) = self.file(&chunk.content) {
            file.file.write_back(from, to - from);
        }
    }

    fn drop_content(&self, content: &ContentId) {
        let mut wanted = self.wanted.lock();
        wanted.left.as_mut().map(|left| left.remove(content));
        if let Some(content) = wanted.contents.remove(content) {
            wanted.missing_bytes = wanted.missing_bytes.saturating_sub(content.promised_bytes());
        }
        self.files.lock().forget(content);
    }
}

/// Whether a message of ours says that the disk is full.
pub fn is_no_space(message: &str) -> bool {
    message.starts_with("no space")
}

fn cannot_write(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "no space is left on the disk".into(),
        _ => format!("cannot be written to staging: {error}"),
    }
}
