//! A network of bare hosts, for tests that run a part of a daemon, or somebody else's program.

use std::process::Command;

use crate::permit::Permit;
use crate::skip::skipped;
use crate::space::Space;

/// A segment on which nobody is but its hosts, and from which nothing gets out.
#[derive(Debug)]
pub struct Lab {
    switch: Space,
    _permit: Permit,
}

/// A host with a namespace of its own; it must go before the lab.
#[derive(Debug)]
pub struct Host {
    space: Space,
}

impl Lab {
    /// A segment without hosts. Where none can be made, says that the test is skipped.
    pub fn new() -> Option<Self> {
        if !Space::are_allowed() {
            skipped("it needs network namespaces, that is, root");
            return None;
        }
        let permit = Permit::take();
        Some(Self { switch: Space::switch().expect("a switch can be made"), _permit: permit })
    }

    /// A host at 10.77.0.`number`, and an IPv6 link-local address.
    pub fn host(&self, number: u8) -> Host {
        let space = Space::new().expect("a namespace can be made");
        space.plug_into(&self.switch, number).expect("a wire can be laid");
        Host { space }
    }
}

impl Host {
    /// Runs a command there that must succeed; words are separated by single spaces.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, line: &str) {
        self.space.run(line).expect("the command succeeds");
    }

    /// Turns IPv6 off or on, as administrators do.
    pub fn set_ipv6(&self, on: bool) {
        self.space.set_ipv6(on).expect("the system obeys");
    }

    /// A command that will run there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.space.enter();
        command.arg(program);
        command
    }

    /// Calls a function there, on a thread of its own. Threads that it starts are there too.
    pub fn inside<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        self.space.inside(function)
    }
}
