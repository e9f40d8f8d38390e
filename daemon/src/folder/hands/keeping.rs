//! Keeping what a user did to a file in the moment it was replaced or removed, or after.
//!
//! The file itself goes to the archive, or is there already: a program may have it open and write
//! on, so nothing else is ever done to it. What is staged, and committed, is a copy. Bytes that
//! come later are found when the archive is [looked at again](Hands::tend).

use std::io;

use bytes::Bytes;
use protocol::engine::Outcome;
use protocol::{Content, NodeId, NodeStore, Record, RelPath, Seen, Timestamp};

use super::{Hands, Open};
use crate::disk::{ArchivedPath, Disk, DiskStat, Kind, Place, StagedName};
use crate::folder::apply::Resting;
use crate::folder::archive::Archive;
use crate::folder::hash::hash_open;
use crate::folder::kept::seconds_since_1970;
use crate::folder::root;
use crate::folder::stage::staged_name;

impl Hands {
    /// What came out when a path was replaced or removed, and was not what should have been there.
    pub(super) fn keep_displaced(
        &self,
        open: &Open,
        path: &RelPath,
        displaced: &StagedName,
        placed: Option<Record>,
    ) -> Outcome {
        let kept = self.put_displaced(open, path, displaced, placed);
        kept.unwrap_or_else(|error| {
            Outcome::Problem(format!("a user's edit came out and could not be kept: {error}"))
        })
    }

    fn put_displaced(
        &self,
        open: &Open,
        path: &RelPath,
        displaced: &StagedName,
        placed: Option<Record>,
    ) -> io::Result<Outcome> {
        let disk = open.root.disk.as_ref();
        let from = Place::Staged(displaced.clone());
        let found = disk.stat(&from)?.ok_or(io::ErrorKind::NotFound)?;
        let is_edit = matches!(found.kind, Kind::File | Kind::Symlink);
        if !is_edit && placed.is_none() && disk.rename_new(&from, &Place::Folder(path.clone())).is_ok() {
            return Ok(Outcome::Touched);
        }
        let archive = Archive::new(disk, seconds_since_1970());
        let at = put_in_archive(disk, &archive, &from, path, &found)?;
        if !is_edit || !self.is_writer() {
            archive.sync()?;
            tracing::warn!(%path, archived = at.stamp.as_str(), "what was put there meanwhile is in the archive");
            return Ok(placed.map_or(Outcome::Touched, |record| Outcome::Done(Some(record))));
        }
        let staged = self.stage_edit(open, "displaced", &at).and_then(|edit| archive.sync().map(|()| edit));
        // What could not be staged now shall look as if it had been written to later.
        let unlike = protocol::Stat { size: 0, mtime: Timestamp::default(), ..found.stat };
        let stat = staged.as_ref().ok().and_then(|edit| edit.stat).unwrap_or(unlike);
        if found.kind == Kind::File {
            self.look_again(&[Resting { at, stat }]);
        }
        Ok(Outcome::Displaced { record: placed, edit: staged? })
    }

    /// An edit that is in the archive, with a copy of it in staging under the name of the content that
    /// the copy turns out to hold. Its stat is from before the copy was made. `by` says who copies, since
    /// two may at once.
    pub(super) fn stage_edit(&self, open: &Open, by: &str, at: &ArchivedPath) -> io::Result<Seen> {
        let disk = open.root.disk.as_ref();
        let from = Place::Archived(at.clone());
        let found = disk.stat(&from)?.ok_or(io::ErrorKind::NotFound)?;
        if found.kind == Kind::Symlink {
            return Ok(root::seen(Content::Symlink { target: disk.read_link(&from)?.into() }, &found));
        }
        let copy = copy_name(by, &at.path);
        disk.discard(&copy)?;
        disk.copy_to_staged(&from, &copy)?;
        let content = self.name_by_content(open, &copy)?;
        // Where the content was staged already, the copy is one too many.
        let _ = disk.remove_file(&Place::Staged(copy));
        Ok(root::seen(content, &found))
    }

    /// Gives a staged copy of ours the name of the content that it holds.
    fn name_by_content(&self, open: &Open, copy: &StagedName) -> io::Result<Content> {
        let at = Place::Staged(copy.clone());
        let file = open.root.disk.open(&at)?;
        let keep =
            &mut |nodes: Vec<(NodeId, Bytes)>| NodeStore::save(&self.kept, &nodes).map_err(io::Error::other);
        let (id, size) = hash_open(&open.files, file.as_ref(), keep)?;
        match open.root.disk.rename_new(&at, &Place::Staged(staged_name(&id))) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => {
                open.stage.note_left(&id);
                Ok(Content::File { id, size })
            }
        }
    }

    pub(super) fn is_writer(&self) -> bool {
        self.secret.capability() == keystore::Capability::Write
    }
}

/// A file that has other names, by which it is still the user's, goes there as a copy.
fn put_in_archive(
    disk: &dyn Disk,
    archive: &Archive<'_>,
    from: &Place,
    path: &RelPath,
    found: &DiskStat,
) -> io::Result<ArchivedPath> {
    if found.kind == Kind::File
        && found.links > 1
        && let Ok(at) = archive.copy(from, path, found)
        && disk.remove_file(from).is_ok()
    {
        return Ok(at);
    }
    archive.put(from, path)
}

/// The name of a copy until it is known what it holds.
pub(super) fn copy_name(by: &str, path: &RelPath) -> StagedName {
    let hash = blake3::hash(path.as_bytes()).to_hex();
    StagedName::parse(&format!("copy-{by}-{hash}")).expect("letters, dashes and hex digits")
}
