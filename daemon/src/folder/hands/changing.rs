//! Changing the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::engine::{Event, Op, Outcome, Source};
use protocol::{Content, ContentId, RelPath};

use super::{Hands, Open};
use crate::disk::{Disk, DiskStat, Kind, Place, StagedName};
use crate::folder::apply::{self, Executor};
use crate::folder::archive::Archive;
use crate::folder::hash::hash_open;
use crate::folder::ignored::is_ignore_file;
use crate::folder::kept::seconds_since_1970;

impl Hands {
    /// Carries out a batch, after those that came before.
    pub fn apply(self: &Arc<Self>, ops: Vec<Op>) {
        let mut batches = self.batches.lock();
        batches.push_back(ops);
        // Whoever carries out the first goes on with the others.
        if batches.len() == 1 {
            self.spawn(|hands| while hands.apply_next() {});
        }
    }

    /// Carries out the first batch; whether there is another.
    fn apply_next(&self) -> bool {
        let first = self.batches.lock().front_mut().map(std::mem::take);
        let Some(ops) = first else { return false };
        let outcomes = {
            let _staging = self.staging.read();
            match self.opened() {
                Some(open) => self.apply_now(&open, ops),
                None => ops.into_iter().map(|op| (op.path, Outcome::Waits)).collect(),
            }
        };
        self.inputs.event(Event::Applied(outcomes));
        let mut batches = self.batches.lock();
        batches.pop_front();
        !batches.is_empty()
    }

    pub(super) fn apply_now(&self, open: &Open, ops: Vec<Op>) -> Vec<(RelPath, Outcome)> {
        let disk = open.root.disk.as_ref();
        let mut staged = Vec::new();
        let mut uses: BTreeMap<ContentId, usize> = BTreeMap::new();
        for op in &ops {
            if let Source::Staged(content) = op.source {
                *uses.entry(content).or_default() += 1;
            }
        }
        let contents: Vec<_> = uses.keys().copied().collect();
        let batch: Vec<_> = ops.into_iter().map(|op| prepare_op(open, op, &mut uses, &mut staged)).collect();
        if let Err(error) = apply::make_durable(disk, &staged) {
            let message = format!("staged files cannot be made durable: {error}");
            return batch.into_iter().map(|op| (op.path, Outcome::Problem(message.clone()))).collect();
        }
        let archive = Archive::new(disk, seconds_since_1970());
        let verify = |file: &dyn crate::disk::ReadFile| Ok(hash_open(&open.files, file, &mut |_| Ok(()))?.0);
        let report = Executor::new(disk, &archive, &verify).run(&batch);
        if let Err(error) = report.sync {
            let message = format!("directories cannot be made durable: {error}");
            return batch.into_iter().map(|op| (op.path, Outcome::Problem(message.clone()))).collect();
        }
        self.look_again(&report.resting);
        if batch.iter().any(|op| is_ignore_file(&op.path)) {
            self.obey_applied_rules(open);
        }
        open.stage.placed(&contents);
        for (op, outcome) in batch.iter().zip(&report.outcomes) {
            if let (Some(Content::File { id, .. }), false) =
                (op.after.as_ref().map(|after| &after.content), matches!(outcome, apply::Outcome::Done(_)))
            {
                open.stage.note_left(id);
            }
        }
        let outcomes = batch.into_iter().zip(report.outcomes);
        outcomes.map(|(op, outcome)| self.outcome(open, op, outcome)).collect()
    }

    /// Turns the executor's words into the engine's.
    fn outcome(&self, open: &Open, op: apply::Op, outcome: apply::Outcome) -> (RelPath, Outcome) {
        let outcome = match outcome {
            apply::Outcome::Done(record) => Outcome::Done(record),
            apply::Outcome::Touched => Outcome::Touched,
            apply::Outcome::Waits(apply::Why::NotEmpty)
                if op.after.is_none() && self.holds_only_ignored(open, &op.path) =>
            {
                Outcome::HoldsIgnored
            }
            apply::Outcome::Waits(_) => Outcome::Waits,
            apply::Outcome::Problem { code, message } => {
                tracing::debug!(code, message, "a path cannot be applied");
                if code == "NO_SPACE" {
                    self.no_space(0);
                }
                match code {
                    "COLLISION" => Outcome::Collision(message),
                    _ => Outcome::Problem(message),
                }
            }
            apply::Outcome::Displaced { staged, placed, .. } => {
                self.keep_displaced(open, &op.path, &staged, placed)
            }
        };
        (op.path, outcome)
    }

    /// Puts what is at these paths into the archive.
    pub fn revert(self: &Arc<Self>, mut paths: Vec<RelPath>) {
        self.spawn(move |hands| {
            let mut done = Vec::new();
            if let Some(open) = hands.opened() {
                let disk = open.root.disk.as_ref();
                let archive = Archive::new(disk, seconds_since_1970());
                let _staging = hands.staging.read();
                paths.sort_by(|a, b| b.cmp(a));
                for path in paths {
                    match put_aside(disk, &archive, &path) {
                        Ok(()) => done.push(path),
                        Err(error) => tracing::warn!(%path, %error, "a local change could not be put aside"),
                    }
                }
                let _ = archive.sync();
            }
            hands.inputs.event(Event::Reverted(done));
        });
    }
}

fn put_aside(disk: &dyn Disk, archive: &Archive<'_>, path: &RelPath) -> std::io::Result<()> {
    let at = Place::Folder(path.clone());
    match disk.stat(&at) {
        Ok(Some(found)) if found.kind == Kind::Directory => disk.remove_directory(&at).or_else(|error| {
            // It still holds what is not a local change: only its record was in question.
            if error.kind() == std::io::ErrorKind::DirectoryNotEmpty { Ok(()) } else { Err(error) }
        }),
        Ok(Some(found)) if found.kind == Kind::File && found.links > 1 => {
            put_name_aside(disk, archive, path, &found)
        }
        Ok(Some(_)) => archive.put(&at, path).map(drop),
        Ok(None) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// One of the names of a file: the archive gets a copy, the others stay.
fn put_name_aside(
    disk: &dyn Disk,
    archive: &Archive<'_>,
    path: &RelPath,
    found: &DiskStat,
) -> std::io::Result<()> {
    let at = Place::Folder(path.clone());
    let hash = blake3::hash(path.as_bytes()).to_hex();
    let aside =
        StagedName::parse(&format!("displaced-reverted-{hash}")).expect("letters, dashes and hex digits");
    let aside = Place::Staged(aside);
    match archive.copy(&at, path, found) {
        // It may not be read.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return archive.put(&at, path).map(drop);
        }
        copied => copied?,
    };
    disk.rename_new(&at, &aside)?;
    let is_elsewhere = |now: &DiskStat| {
        let (now, then, names) = (now.stat, found.stat, now.links);
        names > 1 && (now.inode, now.size, now.mtime) == (then.inode, then.size, then.mtime)
    };
    match disk.stat(&aside)? {
        Some(now) if is_elsewhere(&now) => disk.remove_file(&aside),
        _ => archive.put(&aside, path).map(drop),
    }
}

/// The engine's operation as the executor's, with what it takes out of staging made ready.
fn prepare_op(
    open: &Open,
    op: Op,
    uses: &mut BTreeMap<ContentId, usize>,
    staged: &mut Vec<StagedName>,
) -> apply::Op {
    let disk = open.root.disk.as_ref();
    let source = match op.source {
        Source::Moved(path, record) => apply::Source::MovedFrom { path, record: *record },
        Source::Staged(content) => {
            let name = crate::folder::stage::staged_name(&content);
            let left =
                uses.get_mut(&content).map_or(1, |left| std::mem::replace(left, left.saturating_sub(1)));
            let name = if left > 1 {
                another_name(&content, left)
                    .filter(|copy| {
                        let from = Place::Staged(name.clone());
                        stage_anew(disk, copy, || disk.copy_to_staged(&from, copy).map(drop)).is_ok()
                    })
                    .unwrap_or(name)
            } else {
                name
            };
            staged.push(name.clone());
            apply::Source::Staged(name)
        }
        Source::None => match op.after.as_ref().map(|after| (&after.content, after.metadata.mtime)) {
            Some((Content::Symlink { target }, mtime))
                if op.before.as_ref().is_none_or(|before| {
                    Some(&before.shown.content) != op.after.as_ref().map(|after| &after.content)
                }) =>
            {
                let name = link_name(&op.path);
                match stage_anew(disk, &name, || disk.stage_link(&name, target, mtime)) {
                    Ok(()) => apply::Source::Staged(name),
                    Err(_) => apply::Source::None,
                }
            }
            _ => apply::Source::None,
        },
    };
    apply::Op { path: op.path, before: op.before, after: op.after, source }
}

/// Makes something in staging. What an earlier attempt has left under its name, since it could not be
/// taken to its place, is ours and goes.
fn stage_anew(
    disk: &dyn Disk,
    name: &StagedName,
    make: impl Fn() -> std::io::Result<()>,
) -> std::io::Result<()> {
    match make() {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            disk.remove_file(&Place::Staged(name.clone()))?;
            make()
        }
        made => made,
    }
}

/// A second staged file of a content that several paths want.
fn another_name(content: &ContentId, number: usize) -> Option<StagedName> {
    StagedName::parse(&format!("copy-{number}-{}", blake3::Hash::from_bytes(content.0).to_hex()))
}

/// The staged link for a path.
fn link_name(path: &RelPath) -> StagedName {
    let hash = blake3::hash(path.as_bytes()).to_hex();
    StagedName::parse(&format!("link-{hash}")).expect("letters, a dash and hex digits")
}
