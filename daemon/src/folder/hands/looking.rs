//! Looking: scans of the disk.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use protocol::RelPath;
use protocol::engine::{Event, Hold, Noticed, Scan};

use super::Hands;
use crate::folder::ignored::Ignored;
use crate::folder::runner::Inputs;
use crate::folder::scan::{self, Part, ScanContext, ScanError};
use crate::folder::{marker, root};

/// How long after a write within a tick of the clock its file is looked at again.
const RACY_AGAIN: Duration = Duration::from_secs(3);

impl Hands {
    /// Scans; answers with parts and the end.
    pub fn scan(self: &Arc<Self>, what: Scan) {
        self.spawn(move |hands| {
            let result = hands.scan_now(&what);
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
        let ignored = Ignored::load(disk.as_ref(), &[]).map_err(|error| Hold {
            code: "DISK",
            message: format!("{}: .syncignore cannot be read: {error}", self.path.display()),
        })?;
        let cx = ScanContext {
            files: open.files.clone(),
            records: Arc::new(self.kept.clone()),
            nodes: &self.kept,
            ignored: Arc::new(ignored),
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            unrest: Arc::clone(&self.senses.unrest),
        };
        let mut sink = |part: Part| {
            if check().is_err() {
                return ControlFlow::Break(());
            }
            self.hand_on(part);
            ControlFlow::Continue(())
        };
        match scan::scan(&cx, what, &mut sink) {
            Ok(()) => check().map(drop),
            Err(ScanError::Stopped) => check().map(drop),
            Err(ScanError::RootEmptied) => Ok(()),
            Err(error) => {
                check()?;
                Err(Hold { code: "DISK", message: format!("{}: {error}", self.path.display()) })
            }
        }
    }

    fn hand_on(&self, part: Part) {
        let Part { observations, unsynced, unstable, racy } = part;
        let inputs = self.inputs.clone();
        if !racy.is_empty() {
            self.notice_later(inputs.clone(), RACY_AGAIN, racy);
        }
        for (path, pause) in unstable {
            self.notice_later(inputs.clone(), pause, vec![path]);
        }
        self.inputs.event_and_wait(Event::Scanned { observations, unsynced });
    }

    fn notice_later(&self, inputs: Inputs, pause: Duration, paths: Vec<RelPath>) {
        self.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            let _ = tokio::task::spawn_blocking(move || inputs.event(Event::Noticed(Noticed::Paths(paths))))
                .await;
        });
    }
}
