//! One folder on one device: what a user does in it, and what `syncd` says about it.

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::device::Device;
use crate::tree::{Tree, assert_same};
use crate::wait::{PATIENCE, eventually};

/// A folder that a device has shared or joined.
#[derive(Debug)]
pub struct Folder {
    device: Rc<Device>,
    root: PathBuf,
    id: String,
    writer_key: Option<String>,
    reader_key: String,
}

impl Folder {
    pub(crate) fn new(device: Rc<Device>, root: PathBuf, keys: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            device,
            root,
            id: text(&keys["folder_id"]).expect("a folder has an id"),
            writer_key: text(&keys["keys"]["read_write"]),
            reader_key: text(&keys["keys"]["read_only"]).expect("a folder has a key"),
        }
    }

    /// The key for others who may write.
    pub fn writer_key(&self) -> &str {
        self.writer_key.as_deref().expect("a writer shares it")
    }

    /// The key for others who may read.
    pub fn reader_key(&self) -> &str {
        &self.reader_key
    }

    /// Its device.
    pub fn device(&self) -> &Rc<Device> {
        &self.device
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path in it.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }
}

/// What a user does.
impl Folder {
    /// Writes a file, and the directories above it.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("directories");
        fs::write(&path, content).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
    }

    /// Writes more at the end of a file.
    pub fn append(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let mut file = File::options().append(true).open(self.path(path)).expect("it is there");
        file.write_all(content.as_ref()).expect("it can be written");
    }

    /// Cuts a file.
    pub fn truncate(&self, path: impl AsRef<Path>, size: u64) {
        let file = File::options().write(true).open(self.path(path)).expect("it is there");
        file.set_len(size).expect("it can be cut");
    }

    /// Moves a file or a directory; the directories above its new name are made.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().expect("below the root")).expect("directories");
        fs::rename(self.path(from), to).expect("it can be moved");
    }

    /// Deletes a file, a link, or a directory with all that is in it.
    pub fn remove(&self, path: impl AsRef<Path>) {
        let path = self.path(path);
        let is_directory = fs::symlink_metadata(&path).expect("it is there").is_dir();
        if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            .expect("it can be deleted");
    }

    /// Makes a directory, and those above it.
    pub fn make_directory(&self, path: impl AsRef<Path>) {
        fs::create_dir_all(self.path(path)).expect("a directory");
    }

    /// Makes a symbolic link.
    pub fn link(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) {
        std::os::unix::fs::symlink(target, self.path(path)).expect("a link");
    }

    /// Sets permission bits.
    pub fn set_mode(&self, path: impl AsRef<Path>, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).expect("a mode");
    }

    /// Sets the time of the last change.
    pub fn set_mtime(&self, path: impl AsRef<Path>, time: SystemTime) {
        let file = File::options().write(true).open(self.path(path)).expect("it is there");
        file.set_times(FileTimes::new().set_modified(time)).expect("a time");
    }

    /// What a file says, as text.
    pub fn text(&self, path: impl AsRef<Path>) -> String {
        let path = self.path(path);
        let bytes = fs::read(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether a file is there and says that.
    pub fn says(&self, path: impl AsRef<Path>, text: &str) -> bool {
        fs::read(self.path(path)).is_ok_and(|bytes| bytes == text.as_bytes())
    }

    /// Whether something has that name, be it a link to nothing.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    /// What the directory shows.
    pub fn tree(&self) -> Tree {
        Tree::read(&self.root)
    }
}

/// What `syncd` says.
impl Folder {
    /// Its row in `status`.
    pub fn row(&self) -> Value {
        self.device.json(&["status", &self.id])["folders"][0].clone()
    }

    /// One number of its row.
    pub fn number(&self, field: &str) -> u64 {
        self.row()[field].as_u64().unwrap_or_else(|| panic!("`{field}` is a number"))
    }

    /// One text of its row; empty where it is null.
    pub fn word(&self, field: &str) -> String {
        self.row()[field].as_str().unwrap_or_default().to_owned()
    }

    /// Runs a command about it, which must succeed.
    pub fn tell(&self, command: &str) {
        self.device.json(&[command, &self.id]);
    }

    /// Waits as `syncd wait` does, for itself alone.
    pub fn settle(&self) {
        self.device.json(&["wait", &self.id, "--timeout", &PATIENCE.as_secs().to_string()]);
    }

    /// Waits until it is held for that reason.
    pub fn wait_held(&self, reason: &str) {
        let mut last = Value::Null;
        eventually(&format!("{} holds: {reason}", self.device.name()), || {
            last = self.row();
            (last["state"] == "held" && last["reason"] == reason).then_some(())
        });
        assert!(!last["message"].as_str().unwrap_or_default().is_empty(), "a hold says why");
    }

    /// Waits until it is held no more.
    pub fn wait_freed(&self) {
        let name = self.device.name();
        eventually(&format!("{name} is held no more"), || (self.word("state") != "held").then_some(()));
    }

    /// Waits until it stands still in that state.
    pub fn wait_state(&self, state: &str) {
        eventually(&format!("{} is {state}", self.device.name()), || {
            (self.word("state") == state).then_some(())
        });
    }

    /// Waits until that many peers are connected.
    pub fn wait_peers(&self, count: u64) {
        eventually(&format!("{} has {count} peers", self.device.name()), || {
            (self.number("peers") == count).then_some(())
        });
    }
}

/// Waits until all of them say that they are in sync with each other, and checks that they are: the
/// same head, and the same tree to the last bit.
///
/// # Panics
/// When that takes longer than [`PATIENCE`], or when they are not what they say.
pub fn in_sync(folders: &[&Folder]) {
    in_sync_within(PATIENCE, folders);
}

/// The same with a patience of its own.
///
/// # Panics
/// As [`in_sync`].
pub fn in_sync_within(patience: Duration, folders: &[&Folder]) {
    let begun = Instant::now();
    loop {
        for folder in folders {
            let left = patience.saturating_sub(begun.elapsed()).as_secs_f64().max(1.0).to_string();
            let others = (folders.len() - 1).to_string();
            let output = folder.device.cli(&["wait", &folder.id, "--timeout", &left, "--peers", &others]);
            assert!(output.status.success(), "{} is not in sync:\n{}", folder.device.name(), rows(folders));
        }
        let heads: Vec<String> = folders.iter().map(|folder| folder.word("head")).collect();
        if heads.iter().all(|head| *head == heads[0]) {
            break;
        }
        assert!(begun.elapsed() < patience, "all say that they are in sync, with heads {heads:?}");
    }
    for folder in &folders[1..] {
        assert_same(folders[0], folder);
    }
}

/// All rows, one a line, for a story that fails.
fn rows(folders: &[&Folder]) -> String {
    folders.iter().map(|folder| format!("{}: {}\n", folder.device.name(), folder.row())).collect()
}
