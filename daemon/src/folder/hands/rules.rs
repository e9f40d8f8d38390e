//! What is not wanted here, as it was last read.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use protocol::RelPath;
use protocol::engine::{Event, Hold, Noticed, Rules as _};

use super::{Hands, Open};
use crate::disk::{Disk, Kind, Place};
use crate::folder::ignored::Ignored;
use crate::folder::watch::IsIgnored;

/// How long a scan waits for all watches to be set by new rules.
const WATCHER_PATIENCE: Duration = Duration::from_secs(10);

/// The rules that scans and the watcher share.
#[derive(Clone)]
pub(super) struct Rules(Arc<RwLock<Arc<Ignored>>>);

impl Rules {
    /// Those of a root that has just been opened. If they cannot be read, the first scan tells.
    pub(super) fn load(disk: &dyn Disk) -> Self {
        let rules = Ignored::load(disk, &[]).unwrap_or_else(|_| Ignored::nothing());
        Self(Arc::new(RwLock::new(Arc::new(rules))))
    }

    /// What the watcher asks.
    pub(super) fn asked(&self) -> IsIgnored {
        let rules = self.clone();
        Box::new(move |path: &RelPath, is_directory| rules.0.read().is_ignored(path, is_directory))
    }

    /// The rules as they were last read.
    pub(super) fn known(&self) -> Arc<Ignored> {
        Arc::clone(&self.0.read())
    }

    /// Takes new rules; whether they differ. Otherwise those that are known stay.
    fn replace(&self, rules: Ignored) -> bool {
        let mut known = self.0.write();
        let differ = !known.is_same(&rules);
        if differ {
            *known = Arc::new(rules);
        }
        differ
    }
}

impl Hands {
    /// The rules as they are on the disk now; the engine is told. When they have changed, everything
    /// is noticed before this returns: what was ignored must be looked at, and what is ignored now
    /// must come to say so.
    pub(super) fn reload_rules(&self, open: &Open) -> Result<Arc<Ignored>, Hold> {
        let rules = Ignored::load(open.root.disk.as_ref(), &[]).map_err(|error| Hold {
            code: "DISK",
            message: format!("{}: .syncignore cannot be read: {error}", self.path.display()),
        })?;
        if open.rules.replace(rules) {
            for problem in open.rules.known().problems() {
                tracing::warn!(path = %self.path.display(), problem, "in .syncignore");
            }
            self.watch_again(open);
        }
        let rules = open.rules.known();
        self.inputs.event(Event::Rules(Arc::clone(&rules) as Arc<dyn protocol::engine::Rules>));
        Ok(rules)
    }

    /// New rules have arrived: whatever is applied after them is judged by them.
    pub(super) fn obey_applied_rules(&self, open: &Open) {
        if let Err(hold) = self.reload_rules(open) {
            // The scan that is due says so.
            tracing::warn!(message = hold.message, "the rules are not known");
        }
    }

    /// Whether a directory holds something, and nothing but what is ignored, at any depth.
    pub(super) fn holds_only_ignored(&self, open: &Open, directory: &RelPath) -> bool {
        let rules = open.rules.known();
        let mut left = vec![directory.clone()];
        while let Some(directory) = left.pop() {
            let listed = open.root.disk.list(&Place::Folder(directory.clone())).unwrap_or_default();
            if listed.is_empty() {
                return false; // a user's, or gone
            }
            for found in listed {
                let (Ok(path), Ok(stat)) = (RelPath::join(Some(&directory), &found.name), found.stat) else {
                    return false;
                };
                match stat.kind == Kind::Directory {
                    is_directory if rules.is_ignored(&path, is_directory) => {}
                    true => left.push(path),
                    false => return false,
                }
            }
        }
        true
    }

    /// Watches first: what changes after the scan has passed must be told.
    fn watch_again(&self, open: &Open) {
        let watcher = open.watcher.lock().clone();
        let told = watcher.is_some_and(|watcher| {
            watcher.watch_again();
            watcher.sync(WATCHER_PATIENCE).unwrap_or(false)
        });
        if !told {
            self.inputs.event(Event::Noticed(Noticed::Everything));
        }
    }
}
