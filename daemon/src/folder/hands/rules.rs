//! What is not wanted here, as it was last read.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use protocol::RelPath;
use protocol::engine::{Event, Hold, Noticed};

use super::{Hands, Open};
use crate::disk::Disk;
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

    /// Takes new rules; whether they differ.
    fn replace(&self, rules: &Arc<Ignored>) -> bool {
        let mut known = self.0.write();
        let differ = !known.is_same(rules);
        *known = Arc::clone(rules);
        differ
    }
}

impl Hands {
    /// The rules as they are on the disk now. When they have changed, everything is noticed before
    /// this returns: what was ignored must be looked at, and what is ignored now must come to say so.
    pub(super) fn reload_rules(&self, open: &Open) -> Result<Arc<Ignored>, Hold> {
        let rules = Ignored::load(open.root.disk.as_ref(), &[]).map_err(|error| Hold {
            code: "DISK",
            message: format!("{}: .syncignore cannot be read: {error}", self.path.display()),
        })?;
        let rules = Arc::new(rules);
        if open.rules.replace(&rules) {
            for problem in rules.problems() {
                tracing::warn!(path = %self.path.display(), problem, "in .syncignore");
            }
            self.watch_again(open);
        }
        Ok(rules)
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
