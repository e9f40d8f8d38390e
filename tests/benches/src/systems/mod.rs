//! The programs that are measured, one file each.
//!
//! One that is [`Live`] keeps a folder in sync as long as it runs; one that runs [`Once`] brings
//! everybody up to date and ends.

mod cp;
mod http;
mod rsync;
mod syncd;
mod syncthing;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::catalogue::Step;
use crate::node::Node;
use crate::tree::Totals;

/// A program whose daemons watch the folder. The first machine has the data.
pub(crate) trait Live {
    /// Starts a machine's daemon and returns when it answers.
    fn start(&self, node: &Node) -> Outcome<()>;
    /// Makes known to each other those who run now, where that comes before any folder.
    fn connect(&self, nodes: &[Node]) -> Outcome<()>;
    /// Adds the folder on the machine that has the data.
    fn share(&mut self, nodes: &[Node]) -> Outcome<()>;
    /// Adds it on the others.
    fn join(&mut self, nodes: &[Node]) -> Outcome<()>;
    /// Whether a machine itself says that it has all of that, and needs nothing.
    fn has(&self, node: &Node, want: Totals) -> Outcome<bool>;
    /// Whether one that was restarted has looked at its files and is connected again.
    fn is_back(&self, node: &Node) -> Outcome<bool>;
}

/// A program that is called again for each change.
pub(crate) trait Once {
    /// Whether a step means anything to it.
    fn takes_part(&self, step: Step) -> bool {
        !matches!(step, Step::Scan | Step::Idle)
    }
    /// Starts what must be there before.
    fn prepare(&self, nodes: &[Node]) -> Outcome<()>;
    /// Brings all others up to date with the first one.
    fn bring(&self, nodes: &[Node], step: Step) -> Outcome<()>;
}

/// A program, fresh for one chain.
pub(crate) enum System {
    /// One with daemons.
    Live(Box<dyn Live>),
    /// One without.
    Once(Box<dyn Once>),
}

/// The names of all of them, as they are asked for and shown.
pub(crate) const NAMES: [&str; 4] = ["syncd", "rsync", "syncthing", "cp"];

/// Makes one ready. `syncd` is where ours is.
pub(crate) fn load(name: &str, syncd: &Path) -> Outcome<System> {
    match name {
        "syncd" => Ok(System::Live(Box::new(syncd::Syncd::new(syncd)))),
        "syncthing" => Ok(System::Live(Box::new(syncthing::Syncthing::default()))),
        "rsync" => Ok(System::Once(Box::new(rsync::Rsync))),
        "cp" => Ok(System::Once(Box::new(cp::Cp))),
        other => Err(format!("{other} is none of {}", NAMES.join(", ")).into()),
    }
}

/// The first line of what it says of its version; an error if it is not there.
pub(crate) fn version(name: &str, syncd: &Path) -> Outcome<String> {
    let program: PathBuf = if name == "syncd" { syncd.to_owned() } else { name.into() };
    let mut command = Command::new(&program);
    command.arg("--version").stdin(Stdio::null()).env("STNOUPGRADE", "1");
    let output = command.output().map_err(|cause| format!("{}: {cause}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().filter(|_| output.status.success());
    line.map(str::to_owned).ok_or_else(|| format!("{} --version fails", program.display()).into())
}
