//! When a folder stops, says why, and waits for a person.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Busy, Changes, Command, Effect, Engine, EngineError, FolderStore, Hold, Reason};
use crate::commit::{Draft, Observation};
use crate::entry::{Content, Entry};
use crate::path::RelPath;
use crate::record::Record;
use crate::version::Version;

/// Deletions are counted over this long.
const WINDOW: Duration = Duration::from_secs(60);
/// So many deletions are never a hold, however small the folder.
const FREE: u64 = 50;

/// The hold of too many deletions at once.
pub(super) const MASS_DELETE: &str = "MASS_DELETE";

/// Counts deletions, made here or arriving.
#[derive(Debug, Default)]
pub(super) struct Guard {
    recent: VecDeque<(Duration, u64)>,
    /// A person has said: go on with what a scan finds, until a scan has ended.
    approved_here: bool,
    /// A person has said: go on with what has arrived, until a step has been let through.
    approved_arrivals: bool,
}

impl Guard {
    /// Whether `count` more deletions, made here or arriving, are too many for a folder that had
    /// `files` before. Those that are let through count from then on.
    pub(super) fn refuses(&mut self, now: Duration, count: u64, files: u64, percent: u8, here: bool) -> bool {
        let refuses = self.is_too_many(now, count, files, percent);
        if count == 0 {
            return false;
        }
        if if here { self.approved_here } else { std::mem::take(&mut self.approved_arrivals) } {
            return false;
        }
        if !refuses {
            self.recent.push_back((now, count));
        }
        refuses
    }

    /// Whether that would be refused unless a person has approved it.
    pub(super) fn is_too_many(&mut self, now: Duration, count: u64, files: u64, percent: u8) -> bool {
        while self.recent.front().is_some_and(|(at, _)| *at + WINDOW < now) {
            self.recent.pop_front();
        }
        let recent: u64 = self.recent.iter().map(|(_, count)| count).sum();
        let limit = FREE.max((files + recent) * u64::from(percent) / 100);
        percent != 0 && count != 0 && recent + count > limit
    }

    pub(super) fn approve(&mut self) {
        (self.approved_here, self.approved_arrivals) = (true, true);
        self.recent.clear();
    }

    pub(super) fn settle_scan(&mut self) {
        self.approved_here = false;
    }
}

/// Whether a record is of something whose deletion counts.
pub(super) fn counts(record: &Record) -> bool {
    !record.ignored && !record.shown.content.is_directory()
}

impl<S: FolderStore> Engine<S> {
    pub(super) fn is_stopped(&self) -> bool {
        self.paused || self.hold.is_some()
    }

    /// How many files of a scan are deleted: whose content nothing that was seen, and no other
    /// record, shows.
    pub(super) fn deletions(&self, observations: &[Observation]) -> Result<u64, EngineError> {
        let gone: Vec<_> = observations
            .iter()
            .filter(|o| o.seen.is_none() && !o.ignored)
            .filter_map(|o| o.record.as_ref().filter(|r| counts(r)).map(|r| (&o.path, r)))
            .collect();
        if gone.len() as u64 <= FREE {
            return Ok(gone.len() as u64);
        }
        let seen: std::collections::BTreeSet<_> =
            observations.iter().filter_map(|o| o.seen.as_ref()).map(|seen| &seen.content).collect();
        let paths: std::collections::BTreeSet<_> = gone.iter().map(|(path, _)| *path).collect();
        let mut count = 0;
        for (_, record) in &gone {
            let mut elsewhere = seen.contains(&record.shown.content);
            if let (false, Content::File { id, .. }) = (elsewhere, &record.shown.content) {
                elsewhere = self.with_content(id, 8)?.iter().any(|path| !paths.contains(path));
            }
            count += u64::from(!elsewhere);
        }
        Ok(count)
    }

    pub(super) fn hold_deletions(&mut self, count: u64, files: u64, here: bool) {
        let (what, undo) = if here {
            (
                "were deleted here",
                "`syncd revert` brings them back, `syncd approve` deletes them on every device",
            )
        } else {
            ("would be deleted here by a change that arrived", "`syncd approve` lets it through")
        };
        self.hold = Some(Hold {
            code: MASS_DELETE,
            message: format!(
                "{count} of {files} files {what}; nothing more is sent or applied until you decide: {undo}"
            ),
        });
    }

    pub(super) fn on_root(&mut self, now: Duration, hold: Option<Hold>) {
        match (&self.hold, hold) {
            (_, Some(hold)) => self.hold = Some(hold),
            (Some(held), None) if held.code != MASS_DELETE && held.code != "ROLLBACK_SUSPECTED" => {
                self.hold = None;
                // What the disk could not take is tried again at once.
                self.staging.forget_failures();
                self.revisit.extend(self.step.drop_window());
                self.retry(Reason::Problem);
                self.dirty.add(now, super::Noticed::Everything, |_| false);
            }
            _ => {}
        }
    }

    pub(super) fn on_command(&mut self, now: Duration, command: Command) -> Result<(), EngineError> {
        match command {
            Command::Pause => self.paused = true,
            Command::Resume => {
                self.paused = false;
                self.dirty.add(now, super::Noticed::Everything, |_| false);
            }
            Command::Approve => {
                if let Some(hold) = self.hold.take() {
                    if hold.code == "ROLLBACK_SUSPECTED" {
                        self.forget_records(now)?;
                    }
                    self.guard.approve();
                    self.dirty.add(now, super::Noticed::Everything, |_| false);
                }
            }
            Command::Revert(path) => {
                if self.is_writer() {
                    self.bring_back(now)?;
                } else {
                    self.giving_up = self.local_changes_below(path.as_ref());
                }
            }
        }
        Ok(())
    }

    /// Deletions that have arrived and are not applied are undone for everyone: what they delete is
    /// put again.
    fn put_again(&mut self) -> Result<(), EngineError> {
        let version = Version { seq: self.state.context.next_seq(), origin: self.identity.origin };
        let mut put = Vec::new();
        let mut changes = Changes::default();
        for group in self.groups_of_differences() {
            let (path, edits, removed) = group?;
            let (None, Some(old)) = (edits.iter().find_map(|(_, entry)| entry.as_ref()), removed) else {
                continue;
            };
            if self.rules.is_ignored(&path, old.content.is_directory()) {
                continue;
            }
            let entry = Entry { path: path.clone(), version, found: false, ..old };
            put.push(entry);
        }
        let put_off = self.deletions_put_off()?.into_iter().map(|(path, record)| Entry {
            path,
            version,
            found: false,
            content: record.shown.content,
            metadata: record.shown.metadata,
            extra: Vec::new(),
        });
        put.extend(put_off);
        if put.is_empty() {
            return Ok(());
        }
        let before = self.told;
        self.commit(Draft { version, removed: Vec::new(), put }, &mut changes)?;
        self.keep(changes)?;
        self.announce(before, &[]);
        Ok(())
    }

    pub(super) fn advance_revert(&mut self) {
        if self.busy == Busy::No && !self.is_stopped() && !self.giving_up.is_empty() {
            self.busy = Busy::Applying;
            self.effects.push_back(Effect::Revert(std::mem::take(&mut self.giving_up)));
        }
    }

    /// What a reader had changed is in the archive: the state is shown there again.
    pub(super) fn on_reverted(&mut self, paths: &[RelPath]) -> Result<(), EngineError> {
        self.busy = Busy::No;
        let mut changes = Changes::default();
        for path in paths {
            self.set_unapplied(&mut changes, path.clone(), None);
            changes.records.push((path.clone(), None));
        }
        self.leave_open(&mut changes, paths.iter().cloned())?;
        self.stuck.clear();
        self.retry(Reason::Waiting);
        self.keep(changes)?;
        Ok(())
    }

    /// The answer «bring the files back» to a hold of deletions made here: the records of what is
    /// gone are dropped, so that the state's files are applied again.
    fn bring_back(&mut self, now: Duration) -> Result<(), EngineError> {
        if self.hold.as_ref().is_none_or(|hold| hold.code != MASS_DELETE) {
            return Ok(());
        }
        self.hold = None;
        self.reverting = true;
        self.dirty.add(now, super::Noticed::Everything, |_| false);
        self.put_again()
    }
}
