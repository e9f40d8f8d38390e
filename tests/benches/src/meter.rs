//! What machines use between two moments: time, processor, memory, wire, and what they read and write.
//!
//! A control group of its own counts all of a machine's processes, also those that have ended. Where
//! none can be made, the processes in the machine's network namespace are looked at twenty times
//! a second; what a process uses after the last look is then lost.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::figures::{Figures, Used};
use crate::node::Node;

/// Where version 2 of control groups is mounted, alone or beside version 1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// How our groups are called.
const PREFIX: &str = "syncd-bench-";
/// How often memory is looked at.
const PERIOD: Duration = Duration::from_millis(50);

/// A control group; whoever is in it is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Group(PathBuf);

impl Group {
    /// A group for a machine, where the system allows it.
    pub(crate) fn new(number: u8) -> Option<Self> {
        let root = Path::new(ROOTS.into_iter().find(|root| Path::new(root).join("cgroup.procs").exists())?);
        let group = Self(root.join(format!("{PREFIX}{number}")));
        let _ = fs::remove_dir(&group.0); // left by a run that was killed
        fs::create_dir(&group.0).ok()?;
        group.processor_seconds().is_some().then_some(group)
    }

    /// The file that moves who writes its id there into the group.
    pub(crate) fn members(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    fn processor_seconds(&self) -> Option<f64> {
        let text = fs::read_to_string(self.0.join("cpu.stat")).ok()?;
        let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        Some(micros.trim().parse::<u64>().ok()? as f64 / 1e6)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The counters of one machine. Clones count the same.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    group: Option<Arc<Group>>,
    /// Its network namespace, as processes' links to it read.
    space: PathBuf,
    /// The counters of its devices.
    table: Arc<File>,
    wire: &'static str,
    /// Without a group: what each process had used when it was last looked at.
    seen: Arc<Mutex<BTreeMap<u32, f64>>>,
}

/// Bytes that a process has read and written so far, by its id.
type Moved = BTreeMap<u32, (u64, u64)>;

impl Counters {
    pub(crate) fn new(group: Option<Arc<Group>>, space: PathBuf, table: File, wire: &'static str) -> Self {
        Self { group, space, table: Arc::new(table), wire, seen: Arc::default() }
    }

    /// The ids of its processes.
    fn processes(&self) -> Vec<u32> {
        if let Some(group) = &self.group {
            let list = fs::read_to_string(group.members()).unwrap_or_default();
            return list.lines().filter_map(|line| line.parse().ok()).collect();
        }
        let is_here = |id: &u32| {
            let link = fs::read_link(format!("/proc/{id}/ns/net"));
            let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            link.is_ok_and(|space| space == self.space) && name != "cat\n" // who holds the namespace
        };
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_here).collect()
    }

    /// Seconds of processor time, the kernel's included.
    fn processor_seconds(&self) -> f64 {
        if let Some(seconds) = self.group.as_ref().and_then(|group| group.processor_seconds()) {
            return seconds;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for id in self.processes() {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
            let known = seen.entry(id).or_default();
            *known = known.max(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        }
        seen.values().sum()
    }

    /// Resident memory of its processes together.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let pages = |id: u32| {
            let text = fs::read_to_string(format!("/proc/{id}/statm")).ok()?;
            text.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let pages: u64 = self.processes().into_iter().filter_map(pages).sum();
        pages * rustix::param::page_size() as u64
    }

    /// Bytes that it has put on its wire.
    fn sent_bytes(&self) -> u64 {
        let mut buffer = vec![0; 1 << 14];
        let length = self.table.read_at(&mut buffer, 0).unwrap_or_default();
        let table = String::from_utf8_lossy(&buffer[..length]);
        let counters = table.lines().find_map(|line| line.trim().strip_prefix(self.wire)?.strip_prefix(':'));
        let sent = counters.and_then(|counters| counters.split_whitespace().nth(8)?.parse().ok());
        sent.unwrap_or_default()
    }

    /// What its processes that still run have read and written, from files or not.
    fn moved(&self) -> Moved {
        let read = |id: u32| {
            let text = fs::read_to_string(format!("/proc/{id}/io")).ok()?;
            let field =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            Some((id, (field("rchar:")?, field("wchar:")?)))
        };
        self.processes().into_iter().filter_map(read).collect()
    }
}

/// Counts what some machines use from now on.
pub(crate) struct Meter {
    start: Instant,
    before: Vec<(Counters, f64, u64, Moved)>,
    peaks: JoinHandle<Vec<u64>>,
    end: Sender<()>,
}

impl Meter {
    /// The clock runs.
    pub(crate) fn start(nodes: &[Node]) -> Self {
        let counters: Vec<Counters> = nodes.iter().map(|node| node.counters().clone()).collect();
        let (end, ended) = channel();
        let watched = counters.clone();
        let peaks = thread::spawn(move || {
            let mut peaks = vec![0; watched.len()];
            loop {
                for (peak, counters) in peaks.iter_mut().zip(&watched) {
                    *peak = counters.resident_bytes().max(*peak);
                    if counters.group.is_none() {
                        counters.processor_seconds();
                    }
                }
                if ended.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout) {
                    return peaks;
                }
            }
        });
        let now = |counters: Counters| {
            let (processor, sent) = (counters.processor_seconds(), counters.sent_bytes());
            let moved = counters.moved();
            (counters, processor, sent, moved)
        };
        let before = counters.into_iter().map(now).collect();
        Self { start: Instant::now(), before, peaks, end }
    }

    /// How long it has run.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// What was used; `wall`, if the clock stopped before the counters.
    pub(crate) fn stop(self, wall: Option<Duration>) -> Figures {
        let wall = wall.unwrap_or_else(|| self.elapsed());
        let _ = self.end.send(());
        let peaks = self.peaks.join().unwrap_or_default();
        let used = self.before.iter().zip(peaks).map(|((counters, processor, sent, moved), peak)| {
            let (mut read, mut written) = (0, 0);
            for (id, (now_read, now_written)) in counters.moved() {
                let (was_read, was_written) = moved.get(&id).copied().unwrap_or_default();
                read += now_read.saturating_sub(was_read);
                written += now_written.saturating_sub(was_written);
            }
            Used {
                processor_seconds: counters.processor_seconds() - processor,
                peak_bytes: peak,
                sent_bytes: counters.sent_bytes() - sent,
                moved_bytes: read + written,
            }
        });
        Figures { wall_seconds: wall.as_secs_f64(), nodes: used.collect(), ..Figures::default() }
    }
}
