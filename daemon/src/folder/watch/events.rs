//! Reading what the kernel says, on a thread of its own that never waits for anything else.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use protocol::RelPath;
use protocol::path::CONTROL_DIRECTORY;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{Event, ReadFlags, Reader};
use rustix::io::Errno;

use super::Shared;
use super::pending::Batch;
use super::watches::{Known, Watched};

/// Events that come within this time are read together: whoever makes thousands is not made to wait
/// for a processor by our taking them one by one.
const TOGETHER: Duration = Duration::from_millis(5);
/// The same while they come in masses. The kernel keeps 16,384 for us, so they are not lost as long
/// as fewer than half a million come in a second.
const MANY_TOGETHER: Duration = Duration::from_millis(30);
/// What masses are.
const MANY: usize = 256;
/// Bytes that are read at once: some two thousand events.
const READ_BYTES: usize = 64 * 1024;

/// What is written for whoever waits until all has been noticed.
const PROBE: &[u8] = b"probe";
/// Something was made at a path, or moved there.
const CAME: ReadFlags = ReadFlags::CREATE.union(ReadFlags::MOVED_TO);
/// Something was removed from a path, or moved away.
const WENT: ReadFlags = ReadFlags::DELETE.union(ReadFlags::MOVED_FROM);

/// Ends the reading.
pub(super) struct Ending(OwnedFd);

impl Ending {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// It is to end.
    pub(super) fn tell(&self) {
        // Full means that it has been told.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits until the end is told, something can be read, or the time is over: whether it is the end.
    fn is_told_before(&self, readable: Option<&OwnedFd>, time: Option<Duration>) -> bool {
        let polled = |descriptor| PollFd::new(descriptor, PollFlags::IN);
        let mut waiting: Vec<_> = std::iter::once(&self.0).chain(readable).map(polled).collect();
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        // Interrupted: whoever asks waits again for what has not come.
        matches!(poll(&mut waiting, time.as_ref()), Ok(1..)) && !waiting[0].revents().is_empty()
    }
}

impl Shared {
    /// Reads until the end.
    pub(super) fn read_events(&self) {
        let mut buffer = vec![MaybeUninit::uninit(); READ_BYTES];
        let inotify = self.watches.descriptor();
        let mut reader = Reader::new(inotify, &mut buffer);
        let mut pause = TOGETHER;
        while !self.ending.is_told_before(Some(inotify), None) {
            drop(self.gate.lock());
            if self.ending.is_told_before(None, Some(pause)) {
                break;
            }
            pause = if self.read_waiting(&mut reader) < MANY { TOGETHER } else { MANY_TOGETHER };
        }
    }

    /// Reads what waits, and hands it on at once. Answers how many events that were.
    fn read_waiting(&self, reader: &mut Reader<'_, &OwnedFd>) -> usize {
        let mut news = News::default();
        let mut known = self.watches.known();
        loop {
            match reader.next() {
                Ok(event) => news.take(&mut known, &event),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    tracing::warn!(%error, "it cannot be read what has changed");
                    news.is_lost = true;
                    break;
                }
            }
        }
        drop(known);
        if news.is_lost {
            self.state.lock().overflows += 1;
            self.pending.lost();
        } else {
            self.pending.add(news.batch, news.probes);
        }
        news.events
    }
}

/// What was read together.
#[derive(Default)]
struct News {
    batch: Batch,
    probes: u64,
    events: usize,
    is_lost: bool,
}

impl News {
    fn take(&mut self, known: &mut Known, event: &Event<'_>) {
        self.events += 1;
        let what = event.events();
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.is_lost = true;
        }
        if what.contains(ReadFlags::IGNORED) {
            self.batch.root |= known.forget(event.wd()) == Some(Watched::Root);
            return;
        }
        let name = event.file_name().map(CStr::to_bytes);
        let directory = match known.get(event.wd()) {
            // Its watch was dropped meanwhile.
            None => return,
            Some(Watched::Control) => {
                self.probes += u64::from(name == Some(PROBE) && what.contains(ReadFlags::MOVED_TO));
                return;
            }
            Some(Watched::Root) => None,
            Some(Watched::Directory(path)) => Some(path),
        };
        match (name, directory) {
            (None, None) => self.batch.root = true,
            (None, Some(path)) => self.batch.change(path.clone()),
            (Some(name), _) => match RelPath::join(directory, name) {
                Ok(path) => self.at(path, what),
                // With the control directory goes the marker: whoever is told looks at the root.
                Err(_) => {
                    self.batch.everything |= directory.is_none()
                        && name == CONTROL_DIRECTORY.as_bytes()
                        && what.intersects(CAME.union(WENT));
                }
            },
        }
    }

    fn at(&mut self, path: RelPath, what: ReadFlags) {
        if what.contains(ReadFlags::ISDIR) {
            if what.intersects(CAME) {
                self.batch.appeared.insert(path.clone());
            }
            // The watch of a removed directory goes by itself.
            if what.contains(ReadFlags::MOVED_FROM) {
                self.batch.moved_away.insert(path.clone());
            }
        }
        match what.contains(ReadFlags::DELETE) {
            true => self.batch.remove(path),
            false => self.batch.change(path),
        }
    }
}
