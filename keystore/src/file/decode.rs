//! Reading a key file, line by line.

use super::{
    CHECK_MARK, KeyFile, KeyFileError, KeyFileFolder, MAX_KEY_FILE_BYTES, TITLE, VERSION, end_check,
    line_check,
};
use crate::device::DeviceKey;
use crate::opening::Opening;
use crate::secret::FolderSecret;
use crate::{percent, text};

pub(super) fn decode(bytes: &[u8]) -> Result<KeyFile, KeyFileError> {
    if bytes.len() > MAX_KEY_FILE_BYTES {
        return Err(KeyFileError::TooLarge);
    }
    let mut device = None;
    let mut folders = Vec::new();
    let mut start = 0;
    for (raw, line) in bytes.split_inclusive(|b| *b == b'\n').zip(1..) {
        let content = line_text(raw, line)?;
        if line == 1 {
            check_title(content)?;
        } else if let Some(end) = content.strip_prefix("end ") {
            if bytes.len() != start + raw.len() {
                return Err(KeyFileError::Mixed);
            }
            check_end(end, &bytes[..start], folders.len(), line)?;
            let device =
                device.ok_or(KeyFileError::Malformed { line, reason: "no line has the device's key" })?;
            return Ok(KeyFile { device, folders });
        } else if !content.starts_with('#') {
            let malformed = |reason| KeyFileError::Malformed { line, reason };
            match checked(content, line)?.split_once(' ') {
                Some(("device", seed)) if device.is_none() => {
                    device = Some(decode_device(seed).ok_or(malformed("it has no device key"))?);
                }
                Some(("folder", fields)) => folders.push(decode_folder(fields).map_err(malformed)?),
                _ => return Err(malformed("it begins with an unknown word, or is there twice")),
            }
        }
        start += raw.len();
    }
    let line = bytes.split_inclusive(|b| *b == b'\n').count();
    Err(if line == 0 { KeyFileError::NoKeyFile } else { KeyFileError::Truncated { line } })
}

/// The text of a line, without its end. The last line of a file that was cut has none.
fn line_text(raw: &[u8], line: usize) -> Result<&str, KeyFileError> {
    match raw.strip_suffix(b"\n") {
        Some(raw) => std::str::from_utf8(raw).map_err(|_| KeyFileError::Damaged { line }),
        None if line == 1 => Err(KeyFileError::NoKeyFile),
        None => Err(KeyFileError::Truncated { line }),
    }
}

fn check_title(title: &str) -> Result<(), KeyFileError> {
    let version = title.strip_prefix(TITLE).and_then(|version| version.parse::<u32>().ok());
    match version {
        Some(VERSION) => Ok(()),
        Some(version) if version > VERSION => Err(KeyFileError::Newer { version }),
        _ => Err(KeyFileError::NoKeyFile),
    }
}

fn check_end(end: &str, before: &[u8], folders: usize, line: usize) -> Result<(), KeyFileError> {
    let (count, check) = end.split_once(CHECK_MARK).ok_or(KeyFileError::Damaged { line })?;
    if check != end_check(before) || count.parse() != Ok(folders) {
        return Err(KeyFileError::Mixed);
    }
    Ok(())
}

/// What a line says, if its checksum fits.
fn checked(content: &str, line: usize) -> Result<&str, KeyFileError> {
    match content.rsplit_once(CHECK_MARK) {
        Some((said, check)) if check == line_check(said) => Ok(said),
        _ => Err(KeyFileError::Damaged { line }),
    }
}

fn decode_device(seed: &str) -> Option<DeviceKey> {
    text::parse_lower_base32(seed).map(DeviceKey::from_seed)
}

fn decode_folder(fields: &str) -> Result<KeyFileFolder, &'static str> {
    let mut fields = fields.split(' ');
    let secret = fields.next().and_then(|key| FolderSecret::parse(key).ok()).ok_or("it has no key")?;
    let (mut path, mut name, mut root_id, mut opening, mut created) = (None, None, None, None, false);
    for field in fields {
        match field.split_once('=') {
            Some(("path", value)) => path = percent::decode(value),
            Some(("name", value)) => {
                name = percent::decode(value).and_then(|name| String::from_utf8(name).ok());
            }
            Some(("root", value)) => root_id = text::parse_hex(value),
            Some(("opening", value)) => {
                opening = Some(decode_opening(value).ok_or("its opening is malformed")?);
            }
            None if field == "created" => created = true,
            _ => return Err("it has an unknown field"),
        }
    }
    Ok(KeyFileFolder {
        secret,
        path: path.ok_or("it has no path")?,
        name: name.ok_or("it has no name")?,
        root_id: root_id.ok_or("it has no root id")?,
        opening,
        created,
    })
}

fn decode_opening(digits: &str) -> Option<Opening> {
    let (verifying_key, blinding) = digits.split_at_checked(64)?;
    Some(Opening { verifying_key: text::parse_hex(verifying_key)?, blinding: text::parse_hex(blinding)? })
}
