//! The bytes of the key file, `HOME/keys`: all that a device cannot make anew.
//!
//! ```text
//! syncd keys 1
//! # Whoever has this file …
//! device <seed, base32> #<checksum>
//! folder <key> root=<hex> path=<percent-encoded> name=<percent-encoded> [opening=<hex>] [created] #<checksum>
//! end <number of folders> #<checksum of all lines>
//! ```
//!
//! Lines of text, so that a person can rescue keys from a damaged file. Each line has a checksum,
//! so that the damaged one is named, and the last line has one of all before it, so that nothing is
//! lost unseen. A file of a later version is refused: writing it back would lose what we do not
//! know. The bytes are **not** encrypted; they are for a file of mode 0600.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use crate::derive::Arrow;
use crate::device::DeviceKey;
use crate::opening::Opening;
use crate::secret::FolderSecret;
use crate::{percent, text};

mod decode;

/// Largest key file that is read: 1,000 folders with paths of `PATH_MAX`, each byte written as
/// three.
pub const MAX_KEY_FILE_BYTES: usize = 16 * 1024 * 1024;
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
const TITLE: &str = "syncd keys ";
const WARNING: &str =
    "# Whoever has this file can read and change your folders. Keep it secret, and keep a copy.";
/// Between a line and its checksum. Values are percent-encoded and hold no `#`.
const CHECK_MARK: &str = " #";
const LINE_CHECK_BYTES: usize = 4;
const END_CHECK_BYTES: usize = 16;

/// What a device must not lose.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// Who the device is.
    pub device: DeviceKey,
    /// Its folders, in the order in which they were added.
    pub folders: Vec<KeyFileFolder>,
}

/// One folder of a [`KeyFile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFileFolder {
    /// Its secret.
    pub secret: FolderSecret,
    /// Where it is on this device, as the system's bytes.
    pub path: Vec<u8>,
    /// What this device calls it.
    pub name: String,
    /// The random id in the marker at its root.
    pub root_id: [u8; 16],
    /// What a reader was told about its writers. Not checked here: check it before use.
    pub opening: Option<Opening>,
    /// It was made here, so it waits for nobody's first head.
    pub created: bool,
}

/// Why some bytes are no key file. Says which line, and nothing of what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// It does not begin like one.
    #[error("this is no key file of syncd: its first line is not `syncd keys 1`")]
    NoKeyFile,
    /// It is larger than [`MAX_KEY_FILE_BYTES`].
    #[error("the key file is larger than {MAX_KEY_FILE_BYTES} bytes")]
    TooLarge,
    /// It was written by a later version of this program.
    #[error(
        "the key file has format {version}, this syncd knows format 1: use the newer syncd that wrote it"
    )]
    Newer {
        /// The version of its format.
        version: u32,
    },
    /// The checksum of a line does not fit.
    #[error(
        "line {line} of the key file is damaged: restore the file from a copy; \
         the keys in its other lines are good and can be added again by hand"
    )]
    Damaged {
        /// Which line, from one.
        line: usize,
    },
    /// A line is whole but not understood; a mistake of ours, or of who computed its checksum.
    #[error("line {line} of the key file is not understood: {reason}")]
    Malformed {
        /// Which line, from one.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The last line is missing, or its end.
    #[error("the key file ends too early, in or after line {line}: restore it from a copy")]
    Truncated {
        /// The last line that is there.
        line: usize,
    },
    /// Each line is good, all together are not.
    #[error("lines of the key file were removed, added, changed or moved: restore it from a copy")]
    Mixed,
}

impl KeyFile {
    /// The bytes to write. **Secret.**
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let capacity = 512 + self.folders.iter().map(folder_capacity).sum::<usize>();
        // Never exceeded, so that growing leaves no copy of the keys behind.
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{TITLE}{VERSION}\n{WARNING}");
        push_line(&mut text, |line| {
            line.push_str("device ");
            text::push_base32(line, &*self.device.seed());
        });
        for folder in &self.folders {
            push_line(&mut text, |line| push_folder(line, folder));
        }
        let check = end_check(text.as_bytes());
        let _ = writeln!(text, "end {}{CHECK_MARK}{check}", self.folders.len());
        debug_assert!(text.len() <= capacity);
        Zeroizing::new(std::mem::take(&mut *text).into_bytes())
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyFileError> {
        decode::decode(bytes)
    }
}

/// The most bytes that the line of `folder` takes; the fixed part is some 250.
fn folder_capacity(folder: &KeyFileFolder) -> usize {
    320 + 3 * (folder.path.len() + folder.name.len())
}

/// Appends what `write` writes, and the checksum of that.
fn push_line(text: &mut String, write: impl FnOnce(&mut String)) {
    let start = text.len();
    write(text);
    let check = line_check(&text[start..]);
    text.push_str(CHECK_MARK);
    text.push_str(&check);
    text.push('\n');
}

fn push_folder(line: &mut String, folder: &KeyFileFolder) {
    line.push_str("folder ");
    line.push_str(&folder.secret.key());
    line.push_str(" root=");
    line.push_str(&text::hex(&folder.root_id));
    line.push_str(" path=");
    percent::push_encoded(line, &folder.path);
    line.push_str(" name=");
    percent::push_encoded(line, folder.name.as_bytes());
    if let Some(opening) = &folder.opening {
        line.push_str(" opening=");
        line.push_str(&Zeroizing::new(text::hex(&opening.verifying_key)));
        line.push_str(&Zeroizing::new(text::hex(&opening.blinding)));
    }
    if folder.created {
        line.push_str(" created");
    }
}

fn line_check(line: &str) -> String {
    text::hex(&Arrow::KeyFileLine.public::<LINE_CHECK_BYTES>(&[line.as_bytes()]))
}

fn end_check(before: &[u8]) -> String {
    text::hex(&Arrow::KeyFileEnd.public::<END_CHECK_BYTES>(&[before]))
}

#[cfg(test)]
mod tests;
