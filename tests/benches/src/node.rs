//! One machine of a measurement: a namespace with a wire, a home, a tree, and what runs there.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::Host;
use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;
use crate::meter::{Counters, Group};

/// How long a program may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much of a failed program's output is worth reading.
const SHOWN_BYTES: usize = 2_000;

/// A machine. What runs there ends when it is dropped.
pub(crate) struct Node {
    /// Its number, from 1; the first one has the data.
    pub(crate) number: u8,
    /// Its address on the wire.
    pub(crate) address: Ipv4Addr,
    /// Where programs keep their things.
    pub(crate) home: PathBuf,
    /// The tree.
    pub(crate) data: PathBuf,
    wire: &'static str,
    children: RefCell<Vec<Child>>,
    group: Option<Arc<Group>>,
    counters: Counters,
    host: Host,
}

impl Node {
    /// A machine whose network is `host`, with empty directories; `wire` is the device that counts.
    pub(crate) fn new(
        below: &Path,
        number: u8,
        host: Host,
        address: Ipv4Addr,
        wire: &'static str,
    ) -> Outcome<Self> {
        let below = below.join(format!("node-{number}"));
        let (home, data) = (below.join("home"), below.join("data"));
        fs::create_dir_all(&home)?;
        fs::create_dir_all(&data)?;
        let group = Group::new(number).map(Arc::new);
        // A file of /proc belongs to the namespace of who has opened it.
        let table = host.inside(|| File::open("/proc/thread-self/net/dev"))?;
        let space = host.inside(|| fs::read_link("/proc/thread-self/ns/net"))?;
        let counters = Counters::new(group.clone(), space, table, wire);
        let children = RefCell::default();
        Ok(Self { number, address, home, data, wire, children, group, counters, host })
    }

    /// What it has used so far.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A command that will run there, be counted, and end with this program.
    pub(crate) fn command(&self, program: &str) -> Command {
        let enter = self.host.command("sh");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(enter.get_program()).args(enter.get_args());
        match &self.group {
            Some(group) => command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.members()),
            None => command.args(["-c", "exec \"$@\"", "sh"]),
        };
        command.arg(program).env("HOME", &self.home).stdin(Stdio::null());
        command
    }

    /// Starts a command of this machine in the background; what it prints goes to a file in its home.
    pub(crate) fn spawn(&self, command: &mut Command, log: &str) -> Outcome<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.home.join(log))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        self.children.borrow_mut().push(child);
        Ok(())
    }

    /// Runs a command of this machine to its end and gives what it prints.
    pub(crate) fn call(&self, command: &mut Command) -> Outcome<String> {
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let all = text + &String::from_utf8_lossy(&output.stderr);
        let from = all.ceil_char_boundary(all.len().saturating_sub(SHOWN_BYTES));
        Err(format!("{command:?} {}: {}", output.status, all[from..].trim()).into())
    }

    /// Ends what was started here, in order if it can.
    pub(crate) fn stop(&self) -> Outcome<()> {
        for mut child in self.children.borrow_mut().drain(..) {
            if child.try_wait()?.is_some() {
                continue;
            }
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let asked = Instant::now();
            while child.try_wait()?.is_none() && asked.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            child.wait()?;
        }
        Ok(())
    }

    /// Whether something that was started here has ended by itself.
    pub(crate) fn has_lost_a_program(&self) -> bool {
        self.children.borrow_mut().iter_mut().any(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Calls a function with this machine's network.
    pub(crate) fn inside<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        self.host.inside(function)
    }

    /// Limits what it sends, in megabits a second.
    pub(crate) fn limit_sending(&self, megabits: u32) -> Outcome<()> {
        let mut tc = self.command("tc");
        tc.args(["qdisc", "add", "dev", self.wire, "root", "tbf", "rate", &format!("{megabits}mbit")]);
        tc.args(["burst", "256k", "latency", "200ms"]);
        self.call(&mut tc).map(drop)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
