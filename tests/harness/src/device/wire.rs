//! A device's wire: cut, limited and counted, and what runs beside the daemon on it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Device;

impl Device {
    /// Cuts its wire.
    pub fn disconnect(&self) {
        self.space().set_wire(false);
    }

    /// Mends its wire.
    pub fn connect(&self) {
        self.space().set_wire(true);
    }

    /// Takes IPv6 from its machine, as many administrators do.
    pub fn disable_ipv6(&self) {
        self.space().set_ipv6(false).expect("the system obeys");
    }

    /// Takes all IPv4 addresses from its wire: what is left is IPv6, link-local.
    pub fn drop_ipv4(&self) {
        self.space().run("ip -4 addr flush dev e0").expect("the addresses can be dropped");
    }

    /// Lays one more wire straight to another device, named alike at both ends. Its addresses are
    /// those that the system gives it, IPv6 and link-local.
    pub fn wire_to(&self, other: &Self, name: &str) {
        self.space().wire_to(other.space(), name).expect("a wire can be laid");
    }

    /// Takes such a wire away.
    pub fn remove_wire(&self, name: &str) {
        self.space().run(&format!("ip link del {name}")).expect("the wire can be taken away");
    }

    /// Limits what it can send, in megabits a second; `None` lifts the limit.
    pub fn limit_sending(&self, megabits: Option<u32>) {
        self.space().limit(megabits);
    }

    /// Bytes that it has put on its wire, headers and all.
    pub fn sent_bytes(&self) -> u64 {
        self.space().sent_bytes()
    }

    /// Runs a command of the system there, such as `ip`, which must succeed.
    pub fn run_on_wire(&self, line: &str) {
        self.space().run(line).expect("the command succeeds");
    }

    /// Calls a function on the device's machine, on a thread of its own. Sockets that it opens stay there.
    pub fn inside<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        self.space().inside(function)
    }

    /// `syncd` with these arguments on the device's wire, for commands that work without a daemon. It
    /// ends with the thread that has started it.
    pub fn on_wire(&self, arguments: &[&str]) -> Command {
        let mut command = self.program_on_wire(&self.program);
        command.arg("--home").arg(&self.home).args(arguments);
        command
    }

    /// Another program there.
    pub fn program_on_wire(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(space) = &self.space {
            let enter = space.enter();
            command.arg(enter.get_program()).args(enter.get_args());
        }
        command.arg(program).current_dir(&self.data).stdin(Stdio::null()).env("SYNCD_OFFLINE", "1");
        command
    }
}
