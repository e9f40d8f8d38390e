//! Applying: carries out one batch of changes on the disk, and loses nothing.
//!
//! The batch is data, ordered by whoever planned it ([`Op`]); what became of each is data as well
//! ([`Outcome`]). Nothing is decided here but one thing, again and again, just before a file is
//! touched and just after: *does the path show what its record says?* If not, it is the user's.
//!
//! # What survives a crash, step by step
//!
//! | op | between | where the bytes are |
//! |---|---|---|
//! | create | before the rename | new: staged under its own name |
//! | replace | staged file named `op-…` | old: at the path; new: `op-…`, found by the replay |
//! | | old one linked into the archive | old: at the path and in the archive (one inode) |
//! | | exchanged | new: at the path; old: `op-…` and archive |
//! | remove | in the archive, not yet looked at | old: archive |
//! | | back, if it was edited in the moment | old: at the path |
//! | remove, of a file with other names | aside, as `displaced-…` | old: under its other names, a copy in the archive |
//! | move | aside (only if the target is replaced, or sources and targets overlap) | `op-…`, found by the replay |
//!
//! The name `op-<hash of the path>` is fixed, so a replay finds it: if it holds the content that is
//! wanted, it is used, otherwise it is moved to the archive. [`sweep`] does the same with all such
//! leftovers at start. Nothing is ever deleted but a second name of what the archive holds or the
//! user has elsewhere (then the archive has a copy: it shall not change with the other), and nothing
//! is ever exchanged back: a second swap would open a second window.
//!
//! Every op is idempotent: a path that shows its target is done.
//!
//! Known limits. A user's program that writes within the µs between the last look and the exchange,
//! keeps the size *and* sets back the modification time is taken for untouched; its bytes are in
//! the archive. Without hard links (FAT) the old file is archived by a rename after the exchange,
//! and if that fails it stays in staging until the sweep.
//!
//! Reading order: this file, `look` (the question), `file` (create, replace, remove),
//! `rename`, `directory`, `whole` (directories at once), `collision` (names that the disk does not
//! tell apart).

mod access;
mod collision;
mod directory;
mod file;
mod look;
mod rename;
#[cfg(test)]
mod tests;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use protocol::{Content, ContentId, Record, RelPath, Shown, Stat};
use rustix::io::Errno;

use super::archive::Archive;
use super::spelling::Spelling;
use crate::disk::{ArchivedPath, ControlName, Disk, DiskStat, Kind, Place, ReadFile, StagedName};

/// Staged files that are made durable one by one; more are cheaper with one `syncfs`.
const SYNCED_ALONE: usize = 8;
/// Directories that are made durable one by one.
const DIRECTORIES_ALONE: usize = 64;

/// One change: what a path shows now, what it shall show, and where that comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// The path on disk.
    pub path: RelPath,
    /// What it shows now. `None`: nothing is there.
    pub before: Option<Record>,
    /// What it shall show. `None`: nothing.
    pub after: Option<Shown>,
    /// Where a file or link comes from.
    pub source: Source,
}

/// Where the content of a path comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From nowhere: a removal, a directory, or a change of metadata.
    None,
    /// A verified file or a link in staging.
    Staged(StagedName),
    /// Another path, which goes away: a rename, of a whole directory too.
    MovedFrom {
        /// The old path.
        path: RelPath,
        /// What it shows.
        record: Record,
    },
}

/// What became of an [`Op`].
#[derive(Debug)]
pub enum Outcome {
    /// The path shows what it shall; this is the record to keep.
    Done(Option<Record>),
    /// The path does not show `before`: it is the user's, and the next scan's.
    Touched,
    /// The change was made, but what came out was not `before`: a user's edit of the path, made in
    /// the moment of the swap. It is kept here, to be committed (or, on a reader, archived). If the
    /// change was a removal or a move, somebody has put another thing at the path since.
    Displaced {
        /// `displaced-…`, in staging.
        staged: StagedName,
        /// What it is.
        seen: DiskStat,
        /// The record of the path if the new content is there.
        placed: Option<Record>,
    },
    /// It can be done later.
    Waits(Why),
    /// It cannot be done here, for now.
    Problem {
        /// A stable code.
        code: &'static str,
        /// A sentence.
        message: String,
    },
}

/// What a change waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The directory has things in it that do not leave in this batch.
    NotEmpty,
    /// The parent is not there, or is no directory.
    ParentMissing,
}

/// Reads a file and answers its content id.
pub type Verify<'a> = dyn Fn(&dyn ReadFile) -> io::Result<ContentId> + 'a;

/// Carries out batches.
pub struct Executor<'a> {
    disk: &'a dyn Disk,
    archive: &'a Archive<'a>,
    verify: &'a Verify<'a>,
    /// Of the directories as they were when they were first asked about.
    spelling: Spelling<'a>,
}

/// What became of a batch.
#[derive(Debug)]
pub struct Report {
    /// One for each op, in order.
    pub outcomes: Vec<Outcome>,
    /// What went to the archive: to be looked at again after a while, with
    /// [`changed_since`](super::archive::changed_since), since a program may still have it open.
    pub resting: Vec<Resting>,
    /// Why the touched directories are not durable, if so: then nothing may be recorded.
    pub sync: io::Result<()>,
}

/// A file that was replaced or removed, as it was when it was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resting {
    /// Where it is now, and where it was.
    pub at: ArchivedPath,
    /// What it must still show.
    pub stat: Stat,
}

/// What the ops of a batch have in common.
#[derive(Default)]
struct Batch {
    /// Paths whose files were taken aside as sources of other ops.
    vacated: BTreeSet<RelPath>,
    /// Modes of directories, set when everything is in them: a directory may be read-only.
    modes: BTreeMap<RelPath, (usize, u16)>,
    /// Directories that were opened for us, and their modes.
    unlocked: BTreeMap<RelPath, u16>,
    /// Names that the disk does not tell from others: nothing is put there, nor below.
    refused: BTreeSet<RelPath>,
    /// Directories in which names have changed; `None` is the root.
    touched: BTreeSet<Option<RelPath>>,
    /// What went to the archive.
    resting: Vec<Resting>,
}

/// An op ended early: by an outcome that is none of success.
type Step<T> = Result<T, Box<Outcome>>;

impl<'a> Executor<'a> {
    /// `verify` computes content ids; it is asked only where a stat proves nothing.
    pub fn new(disk: &'a dyn Disk, archive: &'a Archive<'a>, verify: &'a Verify<'a>) -> Self {
        Self { disk, archive, verify, spelling: Spelling::new(disk) }
    }

    /// Carries out the ops in their order: directories parents first, removals deepest first.
    pub fn run(&self, ops: &[Op]) -> Report {
        let mut batch = Batch::default();
        let mut early = self.vacate(ops, &mut batch);
        let wholes = whole::find(ops, &batch);
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(ops.len());
        for (number, op) in ops.iter().enumerate() {
            if let Some(whole) = wholes.get(&number)
                && !self.is_led_astray(op, &batch)
            {
                let ended = self.at_once(ops, whole, &mut batch);
                early.extend(ended.into_iter().map(|(number, outcome)| (number, Box::new(outcome))));
            }
            let outcome = match early.remove(&number) {
                Some(outcome) => *outcome,
                None if self.is_led_astray(op, &batch) => Outcome::Waits(Why::ParentMissing),
                None => {
                    self.lock(&op.path, &mut batch);
                    let done = self.with_access(op, &mut batch, |batch| self.carry_out(op, number, batch));
                    let outcome = done.unwrap_or_else(|outcome| *outcome);
                    self.explain(op, outcome, &mut batch)
                }
            };
            outcomes.push(outcome);
        }
        self.lock_all(&mut batch);
        self.set_directory_modes(ops, &batch, &mut outcomes);
        self.take_back_respelled(ops, &mut outcomes);
        let sync = self.sync(&batch);
        Report { outcomes, resting: batch.resting, sync }
    }

    fn carry_out(&self, op: &Op, number: usize, batch: &mut Batch) -> Step<Outcome> {
        let vacant = batch.vacated.contains(&op.path);
        let before = if vacant { None } else { op.before.as_ref() };
        let Some(after) = &op.after else {
            return match before {
                None if self.look(&op.path)?.is_none() => Ok(Outcome::Done(None)),
                None => Ok(Outcome::Touched),
                Some(before) => self.remove(&op.path, before, batch),
            };
        };
        let is_directory = after.content.is_directory();
        match before {
            None if is_directory && matches!(op.source, Source::MovedFrom { .. }) => {
                self.create(op, after, batch)
            }
            None if is_directory => self.make_directory(op, after, number, batch),
            None => self.create(op, after, batch),
            Some(before) if before.shown.content == after.content => {
                self.change_metadata(op, before, after, number, batch)
            }
            Some(before) if is_directory || before.shown.content.is_directory() => {
                // If the new kind is there already, a crash came between; the rest looks closer.
                let kind = kind_of(&after.content);
                if self.look(&op.path)?.is_none_or(|found| found.kind != kind) {
                    match self.remove(&op.path, before, batch)? {
                        Outcome::Done(None) => {}
                        other => return Ok(other),
                    }
                }
                match is_directory {
                    true => self.make_directory(op, after, number, batch),
                    false => self.create(op, after, batch),
                }
            }
            Some(before) => self.replace(op, before, after, batch),
        }
    }

    fn sync(&self, batch: &Batch) -> io::Result<()> {
        if batch.touched.len() > DIRECTORIES_ALONE {
            return self.disk.sync_all();
        }
        for directory in &batch.touched {
            let place = directory.clone().map_or(Place::Root, Place::Folder);
            match self.disk.sync_directory(&place) {
                // Removed in the same batch, or taken away by the user.
                Err(e) if parent_is_missing(&e) => {}
                synced => synced?,
            }
        }
        self.archive.sync()
    }
}

impl Batch {
    fn touch(&mut self, path: &RelPath) {
        self.touched.insert(path.parent());
    }
}

/// Makes the data of staged files durable, before anything relies on them.
pub fn make_durable(disk: &dyn Disk, staged: &[StagedName]) -> io::Result<()> {
    if staged.len() > SYNCED_ALONE {
        return disk.sync_all();
    }
    for name in staged {
        let place = Place::Staged(name.clone());
        match disk.stat(&place)? {
            // `stage` would make a file that nobody may write writable.
            Some(stat) if stat.kind == Kind::File && stat.stat.mode & 0o200 != 0 => {
                disk.stage(name)?.sync()?;
            }
            Some(_) => return disk.sync_all(),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
    }
    Ok(())
}

/// Moves what a crash has left of ops into the archive (`recovered/<name>`), to be called at start
/// after the journal was replayed, and before anything is staged. Answers how many there were.
pub fn sweep(disk: &dyn Disk, archive: &Archive<'_>) -> io::Result<usize> {
    let mut found = 0;
    for listed in disk.list(&Place::Control(ControlName::Staging))? {
        let Some(name) = std::str::from_utf8(&listed.name).ok().and_then(StagedName::parse) else { continue };
        if name.as_str().starts_with("op-") || name.as_str().starts_with("displaced-") {
            archive_leftover(archive, &name)?;
            found += 1;
        }
    }
    archive.sync()?;
    Ok(found)
}

fn archive_leftover(archive: &Archive<'_>, name: &StagedName) -> io::Result<()> {
    let path = RelPath::parse(format!("recovered/{}", name.as_str()).as_bytes());
    let path = path.map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    archive.put(&Place::Staged(name.clone()), &path).map(drop)
}

/// Whether an error says that the way to a path is not there, or is no way: a link, a file.
fn parent_is_missing(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
        || error.kind() == io::ErrorKind::NotFound
}

/// What an error of the disk means for a path.
fn trouble(error: io::Error) -> Box<Outcome> {
    if parent_is_missing(&error) {
        return Box::new(Outcome::Waits(Why::ParentMissing));
    }
    let (code, message) = match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT) => ("NO_SPACE", "no space is left on this disk"),
        Some(Errno::ACCESS | Errno::PERM) => ("PERMISSION", "this user may not change it here"),
        Some(Errno::ROFS) => ("READ_ONLY", "this disk is read-only"),
        Some(Errno::NAMETOOLONG) => ("NAME_TOO_LONG", "this disk cannot hold so long a name"),
        Some(Errno::ILSEQ | Errno::INVAL) => ("NAME_UNREPRESENTABLE", "this disk cannot hold the name"),
        Some(Errno::XDEV) => ("OTHER_DEVICE", "it lies on another disk than the folder"),
        Some(Errno::OPNOTSUPP) => ("EXCHANGE_UNSUPPORTED", "this file system cannot swap two files"),
        _ => ("DISK_ERROR", "the disk failed"),
    };
    problem(code, format!("{message} ({error})"))
}

fn problem(code: &'static str, message: impl Into<String>) -> Box<Outcome> {
    Box::new(Outcome::Problem { code, message: message.into() })
}

/// The name under which an op keeps what it handles, fixed so that a replay finds it.
fn op_name(path: &RelPath) -> StagedName {
    named("op", path)
}

fn named(prefix: &str, path: &RelPath) -> StagedName {
    let hash = blake3::hash(path.as_bytes()).to_hex();
    StagedName::parse(&format!("{prefix}-{}", &hash[..32])).expect("a prefix of letters and digits")
}

fn kind_of(content: &Content) -> Kind {
    match content {
        Content::Directory => Kind::Directory,
        Content::File { .. } => Kind::File,
        Content::Symlink { .. } => Kind::Symlink,
    }
}
