//! Looking: scans of the disk.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use protocol::engine::{Event, Hold, Noticed, Scan};
use protocol::{Record, RelPath};

use super::Hands;
use crate::disk::{Disk, Place};
use crate::folder::scan::{self, Part, ScanContext, ScanError};
use crate::folder::{marker, root};

/// How long after a write within a tick of the clock its file is looked at again.
const RACY_AGAIN: Duration = Duration::from_secs(3);
/// A root that has lost all of no more files than these was emptied by its user.
const FEW_FILES: usize = 10;
/// Records that are read in one go.
const RECORDS_AT_ONCE: usize = 1_000;

/// Why a scan did not come to its end.
#[derive(Debug)]
enum Ended {
    /// The root was not what it is to be, if only for a moment.
    Root(Hold),
    /// It could not go on.
    Scan(ScanError),
}

/// Scans for as long as the root is what it is to be, at each part and at the end. What a part says of
/// another root counts for nothing, and a scan that was broken off is none, also if all is well again.
fn scan_while(
    cx: &ScanContext<'_>,
    what: &Scan,
    check: &dyn Fn() -> Result<(), Hold>,
    hand_on: &mut dyn FnMut(Part),
) -> Result<(), Ended> {
    let mut broken = None;
    let mut sink = |part: Part| match check() {
        Ok(()) => {
            hand_on(part);
            ControlFlow::Continue(())
        }
        Err(hold) => {
            broken = Some(hold);
            ControlFlow::Break(())
        }
    };
    let scanned = scan::scan(cx, what, &mut sink);
    if let Some(hold) = broken {
        return Err(Ended::Root(hold));
    }
    check().map_err(Ended::Root)?;
    match scanned {
        // The folder is being stopped: nobody asks any more.
        Ok(()) | Err(ScanError::Stopped) => Ok(()),
        Err(error) => Err(Ended::Scan(error)),
    }
}

impl Hands {
    /// Scans; answers with parts and the end.
    pub fn scan(self: &Arc<Self>, what: Scan) {
        self.spawn(move |hands| {
            let result = hands.scan_now(&what);
            hands.may_be_empty.store(false, Ordering::Relaxed);
            hands.inputs.event(Event::ScanEnded(result));
        });
    }

    fn scan_now(&self, what: &Scan) -> Result<(), Hold> {
        let Some(open) = self.opened() else {
            return Err(Hold {
                code: "ROOT_MARKER_MISSING",
                message: format!("{} is not there", self.path.display()),
            });
        };
        let disk = &open.root.disk;
        let check = || {
            marker::check_root(&self.path, disk.as_ref(), &self.root_id)
                .map_err(|trouble| root::trouble(&self.path, &trouble))
        };
        check()?;
        self.check_emptied(disk.as_ref(), what)?;
        let ignored = self.reload_rules(&open)?;
        let cx = ScanContext {
            files: open.files.clone(),
            records: Arc::new(self.kept.clone()),
            nodes: &self.kept,
            ignored,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            unrest: Arc::clone(&self.senses.unrest),
            may_be_empty: true,
        };
        let check = || check().map(drop);
        scan_while(&cx, what, &check, &mut |part| self.hand_on(part)).map_err(|why| match why {
            Ended::Root(hold) => hold,
            Ended::Scan(error) => Hold { code: "DISK", message: format!("{}: {error}", self.path.display()) },
        })
    }

    /// A root that has lost everything but its marker is more likely a disk that plays dead than a
    /// user who deletes everything: a person says which.
    fn check_emptied(&self, disk: &dyn Disk, what: &Scan) -> Result<(), Hold> {
        if self.may_be_empty.load(Ordering::Relaxed) || self.settings.read().hold_deletions == 0 {
            return Ok(());
        }
        let may_be_empty = match what {
            Scan::Full => true,
            Scan::Paths(paths) => paths.iter().any(|path| {
                path.parent().is_none() && matches!(disk.stat(&Place::Folder(path.clone())), Ok(None))
            }),
        };
        let is_empty = || disk.list(&Place::Root).is_ok_and(|listed| listed.is_empty());
        if !may_be_empty || !is_empty() || !self.knows_many_files() {
            return Ok(());
        }
        let files = self.kept.0.load_state().ok().flatten().map_or(0, |state| state.files);
        Err(Hold {
            code: "MASS_DELETE",
            message: format!(
                "{} has been emptied: all {files} files are gone; nothing more is sent or applied until you \
                 decide: `syncd revert` brings them back, `syncd approve` deletes them on every device",
                self.path.display()
            ),
        })
    }

    /// Whether there are records of more than a few files. Those that were ignored do not count: that
    /// they are gone deletes nothing.
    fn knows_many_files(&self) -> bool {
        let (mut after, mut files) = (None, 0);
        while let Ok(records) = self.kept.0.records_from(after.as_ref(), RECORDS_AT_ONCE) {
            let Some((last, _)) = records.last() else { break };
            after = Some(last.clone());
            let counts = |record: &Record| !record.ignored && !record.shown.content.is_directory();
            files += records.iter().filter(|(_, record)| counts(record)).count();
            if files > FEW_FILES {
                return true;
            }
        }
        false
    }

    /// A person has decided about a mass deletion: that the root is empty is known.
    pub fn accept_empty(&self) {
        self.may_be_empty.store(true, Ordering::Relaxed);
    }

    fn hand_on(&self, part: Part) {
        let Part { observations, unsynced, unstable, racy } = part;
        if !racy.is_empty() {
            self.notice_later(RACY_AGAIN, racy, None);
        }
        for (path, pause) in unstable {
            // What people are told of is shown as a problem; anything else is not known yet.
            let is_told = unsynced.iter().any(|(told, _)| *told == path);
            let unknown = (!is_told).then(|| Unknown::new(&self.unknown));
            self.notice_later(pause, vec![path], unknown);
        }
        self.inputs.event_and_wait(Event::Scanned { observations, unsynced });
    }

    /// Whether something has changed that could not be read yet, and is about to be looked at again.
    pub fn is_looking_again(&self) -> bool {
        self.unknown.load(Ordering::Relaxed) > 0
    }

    fn notice_later(&self, pause: Duration, paths: Vec<RelPath>, unknown: Option<Unknown>) {
        let inputs = self.inputs.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            let noticed = tokio::task::spawn_blocking(move || {
                inputs.event_and_wait(Event::Noticed(Noticed::Paths(paths)));
                drop(unknown);
            });
            let _ = noticed.await;
        });
    }
}

/// A change that the engine does not know of.
struct Unknown(Arc<AtomicUsize>);

impl Unknown {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Unknown {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::folder::scan::tests::support::World;

    #[test]
    fn a_scan_that_was_broken_off_is_none_also_if_all_is_well_again() {
        let world = World::new();
        world.write("f", "bytes");
        let (checks, mut parts) = (Cell::new(0), 0);
        let check = || {
            checks.set(checks.get() + 1);
            let hold = Hold { code: "ROOT_MARKER_MISSING", message: "for a moment".into() };
            if checks.get() == 1 { Err(hold) } else { Ok(()) }
        };
        let ended = scan_while(&world.context(), &Scan::Full, &check, &mut |_| parts += 1);
        assert!(matches!(ended, Err(Ended::Root(hold)) if hold.code == "ROOT_MARKER_MISSING"));
        assert_eq!(parts, 0);
        let ended = scan_while(&world.context(), &Scan::Full, &check, &mut |_| parts += 1);
        assert!(ended.is_ok() && parts == 1);
    }
}
