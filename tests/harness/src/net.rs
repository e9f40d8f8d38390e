//! A network on which nobody is but the devices of one story.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::device::Device;
use crate::permit::Permit;
use crate::skip::skipped;
use crate::space::Space;

/// A network, and the directory in which its devices live. Both go when it is dropped.
#[derive(Debug)]
pub struct Net {
    program: PathBuf,
    directory: TempDir,
    switch: Option<Space>,
    devices: Cell<u8>,
    _permit: Permit,
}

impl Net {
    /// A network for daemons that are `program`; waits while too many others run.
    ///
    /// Devices find each other by LAN beacon: on a bridge between namespaces, or, where none can be
    /// made (or `SYNCD_E2E_LOOPBACK` is set), on loopback.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let permit = Permit::take();
        let mut directory = tempfile::Builder::new().prefix("syncd-e2e-").tempdir().expect("a directory");
        directory.disable_cleanup(std::env::var_os("SYNCD_E2E_KEEP").is_some());
        let switch = Space::are_allowed().then(|| Space::switch().expect("a switch can be made"));
        Self { program: program.into(), directory, switch, devices: Cell::new(0), _permit: permit }
    }

    /// Starts a device; its name is also what its conflict copies say.
    pub fn device(&self, name: &str) -> Device {
        let device = self.stopped_device(name);
        device.start();
        device
    }

    /// A device that is not started yet.
    pub fn stopped_device(&self, name: &str) -> Device {
        self.devices.set(self.devices.get() + 1);
        let space = self.switch.as_ref().map(|switch| {
            let space = Space::new().expect("a namespace can be made");
            space.plug_into(switch, self.devices.get()).expect("a wire can be laid");
            space
        });
        Device::new(&self.program, self.directory.path(), name, space)
    }

    /// The directory of everything; for what lies beside the folders.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Whether wires can be cut, limited and counted here. If not, says that `story` is skipped.
    pub fn has_wires(&self, story: &str) -> bool {
        if self.switch.is_none() {
            skipped(story, "it needs network namespaces, that is, root");
        }
        self.switch.is_some()
    }
}
