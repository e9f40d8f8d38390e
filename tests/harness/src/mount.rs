//! Disks that can be unplugged, or are full.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skip::skipped;

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

    /// Mounts an empty disk of that size whose files may share blocks (btrfs), kept in the file `image`.
    /// `None`, and the story is skipped, where this system has none.
    ///
    /// # Panics
    /// When the image cannot be made.
    pub fn sharing(image: &Path, at: &Path, bytes: u64) -> Option<Self> {
        std::fs::File::create(image).and_then(|file| file.set_len(bytes)).expect("an image can be made");
        let is_done = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        if !is_done(Command::new("mkfs.btrfs").arg("--quiet").arg(image)) {
            skipped("it needs mkfs.btrfs");
            return None;
        }
        if !is_done(Command::new("mount").args(["-t", "btrfs", "-o", "loop"]).args([image, at])) {
            skipped("this system cannot mount btrfs");
            return None;
        }
        Some(Self { at: at.to_owned() })
    }

    /// How much room is taken on the disk, once all is written.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn used_bytes(&self) -> u64 {
        let synced = Command::new("sync").arg("--file-system").arg(&self.at).status();
        assert!(synced.expect("sync can be run").success(), "{} can be synced", self.at.display());
        let df = Command::new("df").args(["--output=used", "--block-size=1"]).arg(&self.at).output();
        let text = String::from_utf8(df.expect("df can be run").stdout).expect("text");
        text.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number")
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
