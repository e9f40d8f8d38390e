//! A daemon held just before a system call, so that a story can do something in that very moment.
//!
//! The moment between a last look and the deed lasts microseconds; `strace` makes it as long as the
//! story needs, without a line of the daemon being changed for it.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::device::Device;
use crate::skip::skipped;
use crate::wait::eventually;

/// Longer than any story: until the gate is opened.
const HELD_MICROS: u64 = 300_000_000;

#[cfg(target_arch = "x86_64")]
const RENAMEAT2: &str = "316";
#[cfg(not(target_arch = "x86_64"))]
const RENAMEAT2: &str = "276";

/// How two names are changed at once, by `renameat2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rename {
    /// To a name that must be free.
    ToFree,
    /// Each takes the other's place.
    Exchange,
}

/// Holds a daemon until it is opened or dropped.
#[derive(Debug)]
pub struct Gate {
    pid: u32,
    rename: Rename,
    strace: Child,
}

impl Gate {
    /// Holds each thread of the daemon at the entry of its `number`th renaming from now on, counted
    /// from 1, which is to be such a `rename`; `None`, and the story is skipped, where `strace` is
    /// not to be had or may not do it.
    ///
    /// # Panics
    /// When the system behaves oddly.
    pub fn before(device: &Device, rename: Rename, number: u32) -> Option<Self> {
        let pid = device.pid();
        let inject = format!("inject=renameat2:delay_enter={HELD_MICROS}:when={number}");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "strace", "-f", "-o", "/dev/null"]);
        command.args(["-e", "trace=renameat2", "-e", &inject, "-p", &pid.to_string()]);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut gate = Self { pid, rename, strace: spawned.ok()? };
        let ended = eventually("strace holds the daemon, or cannot", || {
            let ended = gate.strace.try_wait().expect("it can be asked after");
            let is_traced = |thread: &String| field(pid, thread, "TracerPid").is_some_and(|pid| pid != "0");
            let all = threads(pid);
            (ended.is_some() || (!all.is_empty() && all.iter().all(is_traced))).then_some(ended.is_some())
        });
        if ended {
            skipped("it needs strace, and leave to trace");
            return None;
        }
        Some(gate)
    }

    /// Waits until a thread stands at the gate. Whether it stands before such a renaming as the story
    /// has counted on: a daemon that is disturbed renames once more or less.
    pub fn is_reached(&self) -> bool {
        eventually("the daemon stands at the gate", || {
            threads(self.pid).iter().find_map(|thread| {
                let is_held = field(self.pid, thread, "State").is_some_and(|state| state.starts_with('t'));
                let call = fs::read_to_string(format!("/proc/{}/task/{thread}/syscall", self.pid)).ok()?;
                let mut words = call.split_whitespace();
                let (number, flags) = (words.next()?, words.nth(4)?);
                let stands = is_held && number == RENAMEAT2;
                let wanted = if self.rename == Rename::Exchange { "0x2" } else { "0x1" };
                stands.then_some(flags == wanted)
            })
        })
    }

    /// Lets the daemon go on.
    pub fn open(self) {
        drop(self);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.strace.id().to_string()).status();
        let _ = self.strace.wait();
    }
}

fn threads(pid: u32) -> Vec<String> {
    let list = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    list.map(|found| found.file_name().to_string_lossy().into_owned()).collect()
}

fn field(pid: u32, thread: &str, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(|value| value.trim().to_owned())
}
