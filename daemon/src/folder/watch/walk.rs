//! Setting watches: on a directory first, then on what is listed in it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use protocol::RelPath;
use protocol::path::CONTROL_DIRECTORY;
use rustix::io::Errno;

use super::watches::Watched;
use super::{Shared, WatchState};

/// More subtrees without watches are not listed: then everything is polled.
const MAX_UNWATCHED: usize = 1000;

/// File systems where others may change files without our kernel knowing.
const REMOTE: [(u64, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
];

impl Shared {
    /// Sets all watches again. The state is known anew.
    pub(super) fn watch_everything(&self) {
        let mut state = WatchState { polling: remote(&self.root), ..WatchState::default() };
        // Not what is in it: staging would tell of every write of ours.
        let control = self.root.join(CONTROL_DIRECTORY);
        if let Err(error) = self.watches.set(&control, Watched::Control) {
            state.polling.get_or_insert_with(|| format!("its control directory cannot be watched: {error}"));
        }
        self.watches.renew(|| self.watch_tree(None, &mut state));
        self.keep_state(state);
    }

    /// A directory is new at the path.
    pub(super) fn watch_if_wanted(&self, path: &RelPath) {
        if !(self.is_ignored)(path, true) {
            let mut state = self.state.lock().clone();
            self.watch_tree(Some(path), &mut state);
            self.keep_state(state);
        }
    }

    fn keep_state(&self, mut state: WatchState) {
        let mut kept = self.state.lock();
        state.overflows = kept.overflows;
        *kept = state;
    }

    fn watch_tree(&self, top: Option<&RelPath>, state: &mut WatchState) {
        let mut directories = vec![top.cloned()];
        let mut run_out = false;
        while let Some(directory) = directories.pop() {
            let at = self.on_disk(directory.as_ref());
            if !run_out {
                match self.watches.set(&at, directory.clone().map_or(Watched::Root, Watched::Directory)) {
                    Ok(()) => state.directories += 1,
                    // Since it was listed: no directory without a watch.
                    Err(Errno::NOENT | Errno::NOTDIR) => continue,
                    Err(error) => {
                        run_out = error == Errno::NOSPC;
                        state.cannot_watch(directory.clone(), error);
                    }
                }
            } else if !state.unwatched.iter().any(|above| covers(above, directory.as_ref())) {
                state.cannot_watch(directory.clone(), Errno::NOSPC);
            } else {
                state.unwatched_directories += 1;
            }
            self.list_directories(&at, directory.as_ref(), &mut directories);
        }
    }

    fn list_directories(&self, at: &Path, directory: Option<&RelPath>, found: &mut Vec<Option<RelPath>>) {
        // What cannot be listed is a problem that the scan tells.
        let Ok(listed) = fs::read_dir(at) else { return };
        for entry in listed.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if let Ok(path) = RelPath::join(directory, entry.file_name().as_bytes())
                && !(self.is_ignored)(&path, true)
            {
                found.push(Some(path));
            }
        }
    }

    fn on_disk(&self, path: Option<&RelPath>) -> PathBuf {
        match path {
            Some(path) => self.root.join(OsStr::from_bytes(path.as_bytes())),
            None => self.root.clone(),
        }
    }
}

impl WatchState {
    fn cannot_watch(&mut self, directory: Option<RelPath>, error: Errno) {
        self.unwatched_directories += 1;
        match directory {
            Some(directory) if self.unwatched.len() < MAX_UNWATCHED => {
                if !self.unwatched.contains(&directory) {
                    self.unwatched.push(directory);
                }
            }
            _ => {
                let why = match error {
                    Errno::NOSPC => "there are no more watches to be had".to_owned(),
                    error => format!("it cannot be watched: {error}"),
                };
                self.polling.get_or_insert(why);
            }
        }
    }
}

fn covers(above: &RelPath, directory: Option<&RelPath>) -> bool {
    directory.is_some_and(|directory| directory == above || directory.is_below(Some(above)))
}

fn remote(root: &Path) -> Option<String> {
    let kind = rustix::fs::statfs(root).ok()?.f_type;
    // Sign and width differ between architectures; the magic numbers have 32 bits.
    let kind = u64::from(kind as u32);
    let (_, name) = REMOTE.iter().find(|(magic, _)| *magic == kind)?;
    Some(format!("it is on a {name} file system, which does not tell of all changes"))
}
