//! The root: opened, checked again and again, opened anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use protocol::RelPath;
use protocol::engine::{Event, Hold, Noticed};

use super::{Hands, Open, Rules};
use crate::disk::{ControlName, Disk, Place, StagedName};
use crate::folder::hash::HashContext;
use crate::folder::marker;
use crate::folder::root::{self, Root};
use crate::folder::runner::Input;
use crate::folder::serve::Server;
use crate::folder::stage::{Stage, staged_content};
use crate::folder::watch::Watcher;

/// What a look at the root has shown.
#[derive(Debug)]
pub enum RootNews {
    /// It is what it was.
    Same,
    /// It was opened (again).
    Opened {
        /// The records are older than it, or lost.
        distrust_records: bool,
    },
    /// It is not to be worked on.
    Trouble(Hold),
}

impl Hands {
    /// Opens the root and settles what a crash has left; whether the records are not to be trusted.
    /// `is_just_made`: its marker was made for this.
    pub fn open_root(self: &Arc<Self>, is_just_made: bool) -> Result<bool, Hold> {
        let nonce = crate::random::bytes();
        let opened = root::open(&self.path, &self.root_id, &self.kept, nonce, is_just_made)?;
        let files = root::files(&opened.root.disk, &self.secret, &self.kept, &self.senses);
        let distrust = opened.distrust_records;
        let rollback = opened.rollback.clone();
        if rollback.is_none()
            && let Err(error) = root::recover(&files, &self.kept)
        {
            let message =
                format!("{}: what a crash has left cannot be settled: {error}", self.path.display());
            return Err(Hold { code: "DISK", message });
        }
        if let Err(error) = discard_half_made(files.disk.as_ref()) {
            tracing::debug!(%error, "staged files are left over");
        }
        let open = Arc::new(self.equip(opened.root, files));
        {
            let mut slot = self.open.write();
            if self.senses.stop.load(Ordering::Relaxed) {
                return Err(Hold { code: "ROOT_IN_USE", message: "the folder is being stopped".into() });
            }
            *slot = Some(Arc::clone(&open));
        }
        self.watch(&open);
        *self.rollback.lock() = rollback.clone();
        rollback.map_or(Ok(distrust), Err)
    }

    fn equip(&self, root: Root, files: HashContext) -> Open {
        let kept = Arc::new(self.kept.clone());
        let inputs = self.inputs.clone();
        let stage = Arc::new(Stage::new(Arc::clone(&files.disk), kept.clone(), files.content_key.clone()));
        let changed = move |path: RelPath| inputs.try_event(Event::Noticed(Noticed::Paths(vec![path])));
        Open {
            server: Server::new(
                Arc::clone(&files.disk),
                kept.clone(),
                kept,
                files.content_key.clone(),
                Arc::clone(&stage),
                Box::new(changed),
            ),
            stage,
            watcher: Mutex::new(None),
            rules: Rules::load(files.disk.as_ref()),
            files,
            root,
        }
    }

    fn watch(self: &Arc<Self>, open: &Arc<Open>) {
        let inputs = self.inputs.clone();
        let notice = Box::new(move |noticed| inputs.event(Event::Noticed(noticed)));
        let is_ignored = open.rules.asked();
        match Watcher::start(&self.path, Arc::clone(&open.root.disk), notice, is_ignored) {
            Ok((watcher, _)) => *open.watcher.lock() = Some(Arc::new(watcher)),
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "changes are only polled for"),
        }
    }

    /// Looks on another thread whether the root is still the one that it was, and tells the loop.
    pub fn check_root(self: &Arc<Self>) {
        if self.checking.swap(true, Ordering::Relaxed) {
            return;
        }
        self.spawn(|hands| {
            let news = hands.look_at_root();
            hands.checking.store(false, Ordering::Relaxed);
            hands.inputs.send(Input::Ask(Box::new(move |runner| runner.on_root(news))));
        });
    }

    fn look_at_root(self: &Arc<Self>) -> RootNews {
        if let Some(hold) = self.rollback.lock().clone() {
            return RootNews::Trouble(hold);
        }
        let trouble = self.opened().map(|open| {
            marker::check_root(&self.path, open.root.disk.as_ref(), &self.root_id)
                .err()
                .map(|trouble| root::trouble(&self.path, &trouble))
        });
        match trouble {
            Some(None) => RootNews::Same,
            trouble => self.reopen_root(trouble.flatten()),
        }
    }

    /// Gives the root up and opens it again; `trouble` is what was wrong, if it is known better.
    fn reopen_root(self: &Arc<Self>, trouble: Option<Hold>) -> RootNews {
        *self.open.write() = None;
        match self.open_root(false) {
            Ok(distrust_records) => RootNews::Opened { distrust_records },
            Err(hold) if hold.code == "ROLLBACK_SUSPECTED" => RootNews::Trouble(hold),
            Err(hold) => RootNews::Trouble(trouble.unwrap_or(hold)),
        }
    }

    /// Settles the journal again, after the database had failed.
    pub fn open_again(self: &Arc<Self>) -> RootNews {
        match self.rollback.lock().clone() {
            Some(hold) => RootNews::Trouble(hold),
            None => self.reopen_root(None),
        }
    }

    /// A person takes the disk as it is, although it is older than the database.
    pub fn accept_disk(&self) {
        *self.rollback.lock() = None;
        let (Some(open), Ok(facts)) = (self.opened(), self.kept.0.facts()) else { return };
        if let Ok(marker) = marker::Marker::load(open.root.disk.as_ref(), &self.root_id) {
            let drawn =
                root::redraw(open.root.disk.as_ref(), &self.kept, &marker, facts, crate::random::bytes());
            if let Err(error) = drawn {
                tracing::error!(%error, "the start counter cannot be kept");
            }
        }
    }
}

/// Removes what a crash has left in staging that is neither a content nor a user's.
fn discard_half_made(disk: &dyn Disk) -> std::io::Result<()> {
    for listed in disk.list(&Place::Control(ControlName::Staging))? {
        let Some(name) = std::str::from_utf8(&listed.name).ok().and_then(StagedName::parse) else { continue };
        let ours = ["copy-", "link-", "restored-"].iter().any(|prefix| name.as_str().starts_with(prefix));
        if ours && staged_content(&name).is_none() {
            disk.remove_file(&Place::Staged(name))?;
        }
    }
    Ok(())
}
