//! Disks that can be unplugged, or are full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted disk; it goes when dropped. Needs root.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Shows the directory `disk` at `at`.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn new(disk: &Path, at: &Path) -> Self {
        let done = Command::new("mount").arg("--bind").args([disk, at]).status();
        assert!(done.expect("mount can be run").success(), "{} can be mounted", at.display());
        Self { at: at.to_owned() }
    }

    /// Mounts an empty disk of that size (`4m`) at `at`; it lives in memory.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn small(at: &Path, size: &str) -> Self {
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(at).status();
        assert!(done.expect("mount can be run").success(), "{} can be mounted", at.display());
        Self { at: at.to_owned() }
    }

    /// Makes a small disk larger.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn grow(&self, size: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.at).status();
        assert!(done.expect("mount can be run").success(), "{} can be made larger", self.at.display());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazy: a daemon has files open there, as a person's shell would.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}
