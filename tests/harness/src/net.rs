//! A network on which nobody is but the devices of one story.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tempfile::TempDir;

use crate::device::Device;
use crate::folder::{Folder, in_sync};
use crate::internet::Place;
use crate::permit::Permit;
use crate::skip::skipped;
use crate::space::Space;

/// A network, and the directory in which its devices live. Both go when it is dropped.
#[derive(Debug)]
pub struct Net {
    program: PathBuf,
    devices: RefCell<Vec<Rc<Device>>>, // first, so that nothing runs any more when the rest goes
    switch: Option<Space>,
    log: Option<&'static str>,
    is_online: bool,
    directory: TempDir,
    _permit: Permit,
}

impl Net {
    /// A network for daemons that are `program`; waits while too many others run.
    ///
    /// Devices find each other by LAN beacon: on a bridge between namespaces, or, where none can be
    /// made (or `SYNCD_E2E_LOOPBACK` is set), on loopback.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let switch = Space::are_allowed().then(|| Space::switch().expect("a switch can be made"));
        Self::with(program.into(), switch)
    }

    /// The same without wires, whoever runs the test: devices listen on loopback, where the story
    /// itself can speak to them.
    pub fn on_loopback(program: impl Into<PathBuf>) -> Self {
        Self::with(program.into(), None)
    }

    fn with(program: PathBuf, switch: Option<Space>) -> Self {
        let permit = Permit::take();
        let mut directory = tempfile::Builder::new().prefix("syncd-e2e-").tempdir().expect("a directory");
        directory.disable_cleanup(std::env::var_os("SYNCD_E2E_KEEP").is_some());
        Self {
            program,
            devices: RefCell::default(),
            switch,
            log: None,
            is_online: false,
            directory,
            _permit: permit,
        }
    }

    /// Daemons started from now on log what this filter lets through.
    #[must_use]
    pub fn logging(mut self, filter: &'static str) -> Self {
        self.log = Some(filter);
        self
    }

    /// Daemons started from now on are not told to be offline: they dial where they have met before, and
    /// tell each other of others. On loopback they are told so all the same.
    #[must_use]
    pub fn online(mut self) -> Self {
        self.is_online = true;
        self
    }

    /// Starts a device; its name is also what its conflict copies say.
    pub fn device(&self, name: &str) -> Rc<Device> {
        let device = self.stopped_device(name);
        device.start();
        device
    }

    /// A device that is not started yet.
    pub fn stopped_device(&self, name: &str) -> Rc<Device> {
        let number = u8::try_from(self.devices.borrow().len() + 1).expect("a few devices");
        let space = self.switch.as_ref().map(|switch| {
            let space = Space::new().expect("a namespace can be made");
            space.plug_into(switch, number).expect("a wire can be laid");
            Rc::new(space)
        });
        self.add(name, space)
    }

    /// A device that is not started yet, on the same machine as another: they share their wire.
    pub fn neighbour(&self, name: &str, other: &Device) -> Rc<Device> {
        self.add(name, other.shared_space())
    }

    /// A device that is not started yet, on a host of an internet of its own.
    pub fn device_at(&self, name: &str, host: &Place) -> Rc<Device> {
        self.add(name, Some(host.space()))
    }

    fn add(&self, name: &str, space: Option<Rc<Space>>) -> Rc<Device> {
        let device =
            Rc::new(Device::new(&self.program, self.directory.path(), name, space, self.log, self.is_online));
        self.devices.borrow_mut().push(Rc::clone(&device));
        device
    }

    /// The directory of everything; for what lies beside the folders.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Anna and Ben, who both write in one folder and are in sync.
    pub fn two_writers(&self) -> (Folder, Folder) {
        let anna = self.device("anna").share("docs");
        let ben = self.device("ben").join(anna.writer_key());
        in_sync(&[&anna, &ben]);
        (anna, ben)
    }

    /// Anna, who writes, and Rita, who may only read, in sync.
    pub fn writer_and_reader(&self) -> (Folder, Folder) {
        let anna = self.device("anna").share("docs");
        let rita = self.device("rita").join(anna.reader_key());
        in_sync(&[&anna, &rita]);
        (anna, rita)
    }

    /// Bytes that all devices together have put on their wires, headers and all.
    pub fn sent_bytes(&self) -> u64 {
        self.devices.borrow().iter().map(|device| device.sent_bytes()).sum()
    }

    /// Whether wires can be cut, limited and counted here. If not, says that the story is skipped.
    pub fn has_wires(&self) -> bool {
        if self.switch.is_none() {
            skipped("it needs network namespaces, that is, root");
        }
        self.switch.is_some()
    }
}
