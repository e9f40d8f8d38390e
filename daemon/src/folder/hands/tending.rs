//! What is done to the disk in quiet times: the archive, displaced files, leftovers in staging.
//!
//! One thing after the other, on one thread, in slices that leave the disk to others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use protocol::engine::Event;
use protocol::{RelPath, Seen};

use super::{Hands, Open, wall_clock};
use crate::disk::{ArchivedPath, Kind, Place, Stamp};
use crate::folder::apply::Resting;
use crate::folder::archive::{self, Archive};
use crate::folder::kept::seconds_since_1970;
use crate::folder::runner::Input;
use crate::folder::upkeep::Chores;
use crate::store::{Changes, Displaced, Durability};

/// When a displaced file is looked at again, in seconds.
const FIRST_LOOK: i64 = 10;
/// When one that was still being written to is looked at again, in seconds.
const NEXT_LOOK: i64 = 60;
/// Files that expire in one go.
const EXPIRED_AT_ONCE: usize = 256;
/// Leftovers that are removed in one go, while nothing can be staged.
const REMOVED_AT_ONCE: usize = 256;
/// The pause between two slices.
const BREATH: Duration = Duration::from_millis(20);

impl Hands {
    /// Does some chores, unless others are being done.
    pub fn tend(self: &Arc<Self>, chores: Chores) {
        if self.tending.swap(true, Ordering::Relaxed) {
            return;
        }
        self.spawn(move |hands| {
            if let Some(open) = hands.opened() {
                let result = hands.do_chores(&open, &chores);
                if let Err(error) = result {
                    tracing::warn!(path = %hands.path.display(), %error, "upkeep was cut short");
                }
            }
            hands.tending.store(false, Ordering::Relaxed);
        });
    }

    /// Whether upkeep is at work; it may have made nodes that nobody has been told of.
    pub fn is_tending(&self) -> bool {
        self.tending.load(Ordering::Relaxed)
    }

    pub(super) fn do_chores(
        self: &Arc<Self>,
        open: &Open,
        chores: &Chores,
    ) -> Result<(), Box<dyn std::error::Error>> {
        if chores.displaced {
            self.look_at_displaced(open)?;
        }
        if let Some(days) = chores.expire {
            self.expire(open, days)?;
        }
        if chores.staging {
            self.remove_leftovers(open)?;
        }
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.senses.stop.load(Ordering::Relaxed)
    }

    /// A program may still have had a displaced file open: what it writes then is an edit.
    pub(super) fn look_again(&self, resting: &[Resting]) {
        let due = seconds_since_1970() + FIRST_LOOK;
        let add = |resting: &Resting| Displaced {
            archived: encode(&resting.at),
            original: resting.at.path.clone(),
            stat: resting.stat,
            due,
        };
        let changes = Changes { displaced_add: resting.iter().map(add).collect(), ..Changes::default() };
        if !resting.is_empty()
            && let Err(error) = self.kept.0.save(&changes, Durability::Process)
        {
            tracing::warn!(%error, "what was replaced is not looked at again");
        }
    }

    fn look_at_displaced(self: &Arc<Self>, open: &Open) -> Result<(), Box<dyn std::error::Error>> {
        loop {
            let due = self.kept.0.displaced_due(seconds_since_1970())?;
            if due.is_empty() || self.is_stopping() {
                return Ok(());
            }
            let mut changes = Changes::default();
            let mut is_stopped = false;
            for (number, displaced) in due {
                match decode(&displaced) {
                    Some(at) if has_changed(open, &at, &displaced)? => match self.take_in(open, &at) {
                        Ok(Some(again)) => changes.displaced_add.extend(again),
                        Ok(None) => {
                            is_stopped = true;
                            continue;
                        }
                        Err(error) => {
                            cannot_take_in(&at, error.as_ref());
                            let due = seconds_since_1970() + NEXT_LOOK;
                            changes.displaced_add.push(Displaced { due, ..displaced });
                        }
                    },
                    _ => {}
                }
                changes.displaced_remove.push(number);
            }
            self.kept.0.save(&changes, Durability::Process)?;
            if is_stopped {
                return Ok(());
            }
            std::thread::sleep(BREATH);
        }
    }

    /// Makes an edit out of an archived file that was written to, and moves it on in the archive, so
    /// that its bytes rest there for the full time from now on. Answers when to look again; `None`
    /// if the folder takes in nothing now.
    fn take_in(
        self: &Arc<Self>,
        open: &Open,
        at: &ArchivedPath,
    ) -> Result<Option<Option<Displaced>>, Box<dyn std::error::Error>> {
        let is_writer = self.is_writer();
        if is_writer {
            let edit = self.stage_edit(open, "edit", at)?;
            if !self.commit_edit(&at.path, edit) {
                return Ok(None);
            }
        }
        tracing::warn!(
            path = %at.path, archived = at.stamp.as_str(), committed = is_writer,
            "a program has gone on writing to a file that was replaced or removed"
        );
        let disk = open.root.disk.as_ref();
        let archive = Archive::new(disk, seconds_since_1970());
        let moved = archive.put(&Place::Archived(at.clone()), &at.path)?;
        archive.sync()?;
        let stat = disk.stat(&Place::Archived(moved.clone()))?;
        let again = stat.filter(|_| is_writer).map(|found| Displaced {
            archived: encode(&moved),
            original: at.path.clone(),
            stat: found.stat,
            due: seconds_since_1970() + NEXT_LOOK,
        });
        Ok(Some(again))
    }

    /// Whether the loop has taken the edit.
    fn commit_edit(&self, path: &RelPath, edit: Seen) -> bool {
        let (answer, wait) = sync_channel(1);
        let path = path.clone();
        self.inputs.send(Input::Ask(Box::new(move |runner| {
            let takes = runner.is_at_work();
            if takes {
                runner.handle(Event::Edited(vec![(path, edit)]));
            }
            let _ = answer.send(takes && runner.failure.is_none());
        })));
        wait.recv().unwrap_or(false)
    }

    /// Removes what has been in the archive for so many days.
    fn expire(self: &Arc<Self>, open: &Open, days: u32) -> Result<(), Box<dyn std::error::Error>> {
        let disk = open.root.disk.as_ref();
        loop {
            let expired = archive::expire(disk, archive::cutoff(wall_clock(), days), EXPIRED_AT_ONCE)?;
            if expired.removed > 0 {
                tracing::debug!(files = expired.removed, "the archive's oldest files are gone");
            }
            for at in &expired.changed {
                match self.take_in(open, at) {
                    Ok(Some(Some(again))) => {
                        let changes = Changes { displaced_add: vec![again], ..Changes::default() };
                        self.kept.0.save(&changes, Durability::Process)?;
                    }
                    Ok(Some(None)) => {}
                    Ok(None) => return Ok(()),
                    Err(error) => cannot_take_in(at, error.as_ref()),
                }
            }
            if !expired.more || self.is_stopping() {
                return Ok(());
            }
            std::thread::sleep(BREATH);
        }
    }

    /// Removes staged contents that nobody wants any more. Nothing is staged meanwhile.
    pub(super) fn remove_leftovers(self: &Arc<Self>, open: &Open) -> Result<(), Box<dyn std::error::Error>> {
        let mut names: Vec<_> = open.stage.leftovers()?;
        // What apply keeps there is a user's, or finished at the next start.
        names.retain(|name| !["op-", "displaced-"].iter().any(|prefix| name.as_str().starts_with(prefix)));
        for slice in names.chunks(REMOVED_AT_ONCE) {
            let staging = self.staging.write();
            if self.is_stopping() || !self.wants_nothing_staged() {
                return Ok(());
            }
            open.stage.discard(slice)?;
            drop(staging);
            std::thread::sleep(BREATH);
        }
        Ok(())
    }

    fn wants_nothing_staged(&self) -> bool {
        let (answer, wait) = sync_channel(1);
        self.inputs.send(Input::Ask(Box::new(move |runner| {
            let _ = answer.send(runner.engine.wants_nothing_staged());
        })));
        wait.recv().unwrap_or(false)
    }
}

/// One that cannot be read, say, holds up neither the others nor the chores that come after.
fn cannot_take_in(at: &ArchivedPath, error: &dyn std::error::Error) {
    tracing::warn!(path = %at.path, %error, "an edit in the archive cannot be committed");
}

/// Whether a displaced file was written to. Its ctime and mode say nothing: another of its names may
/// have gone. While it has another, that is where it was written to.
fn has_changed(open: &Open, at: &ArchivedPath, then: &Displaced) -> std::io::Result<bool> {
    let found = match open.root.disk.stat(&Place::Archived(at.clone())) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        found => found?,
    };
    let known = then.stat;
    Ok(found.is_some_and(|found| {
        found.kind == Kind::File
            && found.links == 1
            && (found.stat.size, found.stat.mtime) != (known.size, known.mtime)
    }))
}

/// `<stamp>/<path>`.
fn encode(at: &ArchivedPath) -> Vec<u8> {
    [at.stamp.as_str().as_bytes(), b"/", at.path.as_bytes()].concat()
}

fn decode(displaced: &Displaced) -> Option<ArchivedPath> {
    let slash = displaced.archived.iter().position(|byte| *byte == b'/')?;
    let (stamp, path) = displaced.archived.split_at(slash);
    let stamp = Stamp::parse(std::str::from_utf8(stamp).ok()?)?;
    Some(ArchivedPath { stamp, path: RelPath::parse(&path[1..]).ok()? })
}
