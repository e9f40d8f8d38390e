//! The settings of a running daemon: read once, changed in place, watched by whoever obeys them.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Config, ConfigError, KeyPath, Surroundings, file};
use crate::home::{Home, HomeError, write_atomic};

/// The shared handle on the settings.
#[derive(Debug)]
pub struct LiveConfig {
    path: PathBuf,
    surroundings: Surroundings,
    /// One change at a time reads, writes and publishes.
    writing: Mutex<()>,
    current: watch::Sender<Arc<Config>>,
}

impl LiveConfig {
    /// Reads the home's file; a new home gets one with every default as a comment.
    ///
    /// # Errors
    /// What is wrong with the file, by name.
    pub fn open(home: &Home, surroundings: Surroundings) -> Result<Self, ConfigError> {
        let path = home.config();
        if read(&path)?.is_none() {
            write_atomic(&path, file::default_text().as_bytes())?;
        }
        let text = read(&path)?.unwrap_or_default();
        let config = Config::parse(&text, surroundings.clone())?;
        Ok(Self {
            path,
            surroundings,
            writing: Mutex::new(()),
            current: watch::Sender::new(Arc::new(config)),
        })
    }

    /// The settings as they are now.
    pub fn current(&self) -> Arc<Config> {
        self.current.borrow().clone()
    }

    /// Whether `SYNCD_OFFLINE` is set.
    pub fn is_offline(&self) -> bool {
        self.surroundings.offline
    }

    /// Tells of every change; the receiver starts with the settings as they are.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Config>> {
        self.current.subscribe()
    }

    /// Changes one setting in the file and in the daemon. `text` is TOML, or plain text.
    ///
    /// # Errors
    /// When the value does not fit, or the file cannot be written; nothing has changed then.
    pub fn set(&self, key: &KeyPath, text: &str) -> Result<(), ConfigError> {
        let value = key.setting.parse_text(text);
        let wrong = |problem| ConfigError::Value { key: key.text(), problem };
        key.setting.check(&value).map_err(wrong)?;
        let _one_at_a_time = self.writing.lock();
        let before = read(&self.path)?.unwrap_or_else(file::default_text);
        let after = file::with_value(&before, key, &value)?;
        let config = Config::parse(&after, self.surroundings.clone())?;
        write_atomic(&self.path, after.as_bytes())?;
        self.current.send_replace(Arc::new(config));
        Ok(())
    }

    /// Takes what the file says of one folder out of it.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is wrong; nothing has changed then.
    pub fn forget_folder(&self, id: &str) -> Result<(), ConfigError> {
        let _one_at_a_time = self.writing.lock();
        let before = read(&self.path)?.unwrap_or_default();
        let Some(after) = file::without_folder(&before, id)? else { return Ok(()) };
        let config = Config::parse(&after, self.surroundings.clone())?;
        write_atomic(&self.path, after.as_bytes())?;
        self.current.send_replace(Arc::new(config));
        Ok(())
    }

    /// Reads the file again, after a person has edited it.
    ///
    /// # Errors
    /// What is wrong with the file; the settings stay as they were.
    pub fn reload(&self) -> Result<(), ConfigError> {
        let _one_at_a_time = self.writing.lock();
        let text = read(&self.path)?.unwrap_or_default();
        let config = Config::parse(&text, self.surroundings.clone())?;
        self.current.send_replace(Arc::new(config));
        Ok(())
    }
}

fn read(path: &std::path::Path) -> Result<Option<String>, ConfigError> {
    let failed = |cause| HomeError::File { path: path.to_owned(), cause };
    match std::fs::metadata(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed(cause).into()),
        Ok(found) if found.len() > super::MAX_FILE_BYTES as u64 => return Err(ConfigError::TooLong),
        Ok(_) => {}
    }
    Ok(Some(std::fs::read_to_string(path).map_err(failed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_the_file_and_every_watcher() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path().to_owned()).unwrap();
        let live = LiveConfig::open(&home, Surroundings::default()).unwrap();
        let mut watcher = live.subscribe();
        live.set(&KeyPath::parse("hold.deletions").unwrap(), "0").unwrap();
        assert!(watcher.has_changed().unwrap());
        assert_eq!(watcher.borrow_and_update().daemon().hold_deletions, 0);
        let again = LiveConfig::open(&home, Surroundings::default()).unwrap();
        assert_eq!(again.current().daemon().hold_deletions, 0);
    }

    #[test]
    fn a_folder_that_goes_takes_its_settings_along_and_no_others() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path().to_owned()).unwrap();
        let live = LiveConfig::open(&home, Surroundings::default()).unwrap();
        live.set(&KeyPath::parse("archive.days").unwrap(), "3").unwrap();
        let kept = std::fs::read_to_string(home.config()).unwrap();
        let [one, other] = ["aaaabbbbccccddddeeeeffff22", "aaaabbbbccccddddeeeeffff33"];
        for id in [one, other] {
            live.set(&KeyPath::parse(&format!("folder.{id}.discovery.trackers")).unwrap(), "udp://t:1")
                .unwrap();
        }
        live.forget_folder(one).unwrap();
        assert!(live.current().effective(one).discovery.trackers.is_empty());
        assert_eq!(live.current().effective(other).discovery.trackers, ["udp://t:1"]);
        live.forget_folder(other).unwrap();
        live.forget_folder(other).unwrap();
        assert_eq!(std::fs::read_to_string(home.config()).unwrap().trim_end(), kept.trim_end());
    }

    #[test]
    fn a_wrong_value_changes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path().to_owned()).unwrap();
        let live = LiveConfig::open(&home, Surroundings::default()).unwrap();
        let before = std::fs::read(home.config()).unwrap();
        assert!(live.set(&KeyPath::parse("hold.deletions").unwrap(), "many").is_err());
        assert_eq!(std::fs::read(home.config()).unwrap(), before);
    }

    #[test]
    fn an_edited_file_is_read_again_and_a_broken_one_is_not_obeyed() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path().to_owned()).unwrap();
        let live = LiveConfig::open(&home, Surroundings::default()).unwrap();
        std::fs::write(home.config(), "archive.days = 3").unwrap();
        live.reload().unwrap();
        assert_eq!(live.current().daemon().archive_days, 3);
        std::fs::write(home.config(), "archive.dyas = 4").unwrap();
        assert!(live.reload().is_err());
        assert_eq!(live.current().daemon().archive_days, 3);
    }
}
