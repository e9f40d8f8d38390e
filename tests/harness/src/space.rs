//! Network namespaces that live as long as a process that holds them, and so leave nothing behind.
//!
//! They have no names: the holder is a `cat` that ends with the pipe to it, even when the test is
//! killed, and what is in the namespace goes with it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};

/// The interface of a device.
const WIRE: &str = "e0";

/// One network namespace.
#[derive(Debug)]
pub(crate) struct Space {
    holder: Child,
}

impl Space {
    /// A namespace with its loopback up.
    pub(crate) fn new() -> Result<Self, String> {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|cause| format!("unshare: {cause}"))?;
        let mut line = String::new();
        let output = holder.stdout.take().expect("was asked for");
        let _ = BufReader::new(output).read_line(&mut line);
        let space = Self { holder };
        if line == "ready\n" { Ok(space) } else { Err("no network namespace can be made".to_owned()) }
    }

    /// Whether this machine lets us make namespaces and wires between them.
    pub(crate) fn are_allowed() -> bool {
        static ALLOWED: OnceLock<bool> = OnceLock::new();
        *ALLOWED.get_or_init(|| {
            let is_forbidden = std::env::var_os("SYNCD_E2E_LOOPBACK").is_some();
            !is_forbidden && Self::switch().and_then(|switch| Self::new()?.plug_into(&switch, 1)).is_ok()
        })
    }

    /// A namespace with nothing but a bridge.
    pub(crate) fn switch() -> Result<Self, String> {
        let space = Self::new()?;
        space.run("ip link add br0 type bridge mcast_snooping 0")?;
        space.run("ip link set br0 up")?;
        Ok(space)
    }

    /// Lays a wire to the switch and gives it an address.
    pub(crate) fn plug_into(&self, switch: &Self, number: u8) -> Result<(), String> {
        let (here, there) = (self.pid(), switch.pid());
        let wire = format!("ip link add {WIRE} netns {here} type veth peer name p{number} netns {there}");
        run(Command::new("sh").args(["-c", &wire]))?;
        switch.run(&format!("ip link set p{number} master br0 up"))?;
        self.run(&format!("ip addr add 10.77.0.{number}/24 dev {WIRE}"))?;
        self.run(&format!("ip link set {WIRE} up"))
    }

    /// Takes the wire down, or up again.
    pub(crate) fn set_wire(&self, up: bool) {
        let state = if up { "up" } else { "down" };
        self.run(&format!("ip link set {WIRE} {state}")).expect("the wire can be taken down and up");
    }

    /// Limits what goes out on the wire, in megabits a second; `None` lifts the limit.
    pub(crate) fn limit(&self, megabits: Option<u32>) {
        let _ = self.run(&format!("tc qdisc del dev {WIRE} root"));
        if let Some(rate) = megabits {
            let shape = format!("tc qdisc add dev {WIRE} root tbf rate {rate}mbit burst 64k latency 200ms");
            self.run(&shape).expect("tc limits the wire");
        }
    }

    /// Bytes that have gone out on the wire.
    pub(crate) fn sent_bytes(&self) -> u64 {
        let table = fs::read_to_string(format!("/proc/{}/net/dev", self.pid())).unwrap_or_default();
        let counters = table.lines().find_map(|line| line.trim().strip_prefix(WIRE)?.strip_prefix(':'));
        let sent = counters.and_then(|counters| counters.split_whitespace().nth(8)?.parse().ok());
        sent.expect("the wire is counted")
    }

    /// A command that runs in the namespace; it becomes the program, so its id is the program's.
    pub(crate) fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).arg("--");
        command
    }

    /// Its file.
    fn namespace(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid()).into()
    }

    /// Calls a function there, on a thread of its own; threads that it starts are there too.
    pub(crate) fn inside<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        let namespace = self.namespace();
        thread::scope(|scope| {
            let there = scope.spawn(move || {
                enter_thread(&namespace).expect("the namespace can be entered");
                function()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Does some work there, on a thread of its own.
    pub(crate) fn thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let namespace = self.namespace();
        thread::spawn(move || {
            enter_thread(&namespace).expect("the namespace can be entered");
            work()
        })
    }

    /// Lays a wire straight to another namespace; it is named `name` at both ends and has no
    /// addresses but those that the system gives it.
    pub(crate) fn wire_to(&self, other: &Self, name: &str) -> Result<(), String> {
        let (here, there) = (self.pid(), other.pid());
        let wire = format!("ip link add {name} netns {here} type veth peer name {name} netns {there}");
        run(Command::new("sh").args(["-c", &wire]))?;
        self.run(&format!("ip link set {name} up"))?;
        other.run(&format!("ip link set {name} up"))
    }

    /// Turns IPv6 off or on.
    pub(crate) fn set_ipv6(&self, on: bool) -> Result<(), String> {
        let line = format!("echo {} > /proc/sys/net/ipv6/conf/all/disable_ipv6", u8::from(!on));
        run(self.enter().args(["sh", "-c", &line]))
    }

    /// Runs a program there, which must succeed.
    pub(crate) fn run(&self, line: &str) -> Result<(), String> {
        run(self.enter().args(line.split(' ')))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }
}

/// Moves this thread into a namespace.
fn enter_thread(namespace: &Path) -> Result<(), String> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let shown = namespace.display();
    let file = fs::File::open(namespace).map_err(|cause| format!("{shown}: {cause}"))?;
    let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
    moved.map_err(|cause| format!("{shown}: {cause}"))
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|cause| format!("{command:?}: {cause}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
