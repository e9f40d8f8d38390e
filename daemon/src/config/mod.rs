//! The settings of a daemon: `HOME/config.toml`, and the same through `syncd config get|set`.
//!
//! What settings there are is data in [`setting`]; [`Config`] is a file that was read and checked,
//! [`Settings`] the typed values that hold for one folder or for the daemon, and [`LiveConfig`] the
//! handle that a running daemon shares, so that a change takes effect without a restart.
//! No other module reads the file or the environment for a setting.

pub mod duration;
pub mod file;
mod live;
pub mod rate;
pub mod setting;
mod settings;

use std::collections::BTreeMap;

use toml_edit::{DocumentMut, Item, TableLike, Value};

pub use live::LiveConfig;
pub use settings::{Discovery, Lan, LocalChanges, Settings};

/// The most bytes of a settings file.
const MAX_FILE_BYTES: usize = 1 << 20;
/// A folder id in base32.
const FOLDER_ID_CHARS: usize = 26;

/// A setting, or the file, is wrong; a sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("the settings are not valid TOML: {0}")]
    Syntax(String),
    /// There is no setting of that name.
    #[error("there is no setting `{0}`")]
    Unknown(String),
    /// A setting of the whole daemon stands under `[folder.ID]`.
    #[error("`{0}` cannot be set for one folder, only for the daemon")]
    NotPerFolder(String),
    /// The value does not fit.
    #[error("`{key}` {problem}")]
    Value {
        /// The setting.
        key: String,
        /// The rest of the sentence.
        problem: String,
    },
    /// The file is larger than any honest one.
    #[error("the settings file has more than {MAX_FILE_BYTES} bytes")]
    TooLong,
    /// The file cannot be read or written.
    #[error(transparent)]
    Home(#[from] crate::home::HomeError),
}

/// What the environment says beside the file.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The name of this machine, for a `name` that is not set.
    pub host_name: String,
    /// `SYNCD_OFFLINE=1`: only pinned peers, loopback, and what the file names explicitly.
    pub offline: bool,
}

impl Surroundings {
    /// Asks the system; the one place that reads `SYNCD_OFFLINE`.
    pub fn of_this_machine() -> Self {
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let offline =
            std::env::var_os("SYNCD_OFFLINE").is_some_and(|value| !value.is_empty() && value != "0");
        Self { host_name, offline }
    }
}

type Values = BTreeMap<&'static str, Value>;

/// A settings file that was read and checked.
#[derive(Debug, Clone, Default)]
pub struct Config {
    surroundings: Surroundings,
    daemon: Values,
    folders: BTreeMap<String, Values>,
}

impl Config {
    /// Reads and checks the text of a settings file.
    ///
    /// # Errors
    /// The first thing that is wrong, by name.
    pub fn parse(text: &str, surroundings: Surroundings) -> Result<Self, ConfigError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(ConfigError::TooLong);
        }
        let document: DocumentMut =
            text.parse().map_err(|error: toml_edit::TomlError| ConfigError::Syntax(error.to_string()))?;
        let mut config = Self { surroundings, ..Self::default() };
        for (key, item) in document.iter() {
            match (key, item.as_table_like()) {
                ("folder", Some(folders)) => config.read_folders(folders)?,
                _ => collect(&mut config.daemon, "", "", key, item)?,
            }
        }
        Ok(config)
    }

    fn read_folders(&mut self, folders: &dyn TableLike) -> Result<(), ConfigError> {
        for (id, item) in folders.iter() {
            let prefix = format!("folder.{id}.");
            let table = item.as_table_like().filter(|_| is_folder_id(id));
            let table = table.ok_or_else(|| ConfigError::Unknown(format!("folder.{id}")))?;
            let values = self.folders.entry(id.to_owned()).or_default();
            for (key, item) in table.iter() {
                collect(values, &prefix, "", key, item)?;
            }
        }
        Ok(())
    }

    /// The value that holds, for one folder or for the daemon, and whether the file names it.
    pub fn value(&self, folder: Option<&str>, setting: &setting::Setting) -> (Value, bool) {
        let of_folder = folder.and_then(|id| self.folders.get(id)).and_then(|values| values.get(setting.key));
        match of_folder.or_else(|| self.daemon.get(setting.key)) {
            Some(value) => (value.clone(), true),
            None => (setting.default_value(), false),
        }
    }

    /// The settings of the daemon as a whole.
    pub fn daemon(&self) -> Settings {
        Settings::build(&self.surroundings, |setting| self.value(None, setting))
    }

    /// The settings that hold for one folder.
    pub fn effective(&self, folder_id: &str) -> Settings {
        Settings::build(&self.surroundings, |setting| self.value(Some(folder_id), setting))
    }
}

/// A setting's name, perhaps with the folder that it is for.
#[derive(Debug, Clone)]
pub struct KeyPath {
    /// The folder's id.
    pub folder: Option<String>,
    /// Which setting.
    pub setting: &'static setting::Setting,
}

impl KeyPath {
    /// Reads `limits.down` or `folder.ID.limits.down`.
    ///
    /// # Errors
    /// When there is no such setting, or none for one folder.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let unknown = || ConfigError::Unknown(text.to_owned());
        let Some(rest) = text.strip_prefix("folder.") else {
            return Ok(Self { folder: None, setting: setting::find(text).ok_or_else(unknown)? });
        };
        let (id, key) = rest.split_once('.').ok_or_else(unknown)?;
        let setting = setting::find(key).filter(|_| is_folder_id(id)).ok_or_else(unknown)?;
        if !setting.per_folder {
            return Err(ConfigError::NotPerFolder(key.to_owned()));
        }
        Ok(Self { folder: Some(id.to_owned()), setting })
    }

    /// The full name.
    pub fn text(&self) -> String {
        match &self.folder {
            Some(id) => format!("folder.{id}.{}", self.setting.key),
            None => self.setting.key.to_owned(),
        }
    }
}

fn is_folder_id(text: &str) -> bool {
    text.len() == FOLDER_ID_CHARS && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
}

/// Adds an item, or what is in a table, to the values, after a check.
fn collect(
    values: &mut Values,
    prefix: &str,
    table: &str,
    key: &str,
    item: &Item,
) -> Result<(), ConfigError> {
    let name = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
    let full = format!("{prefix}{name}");
    let Some(setting) = setting::find(&name) else {
        let is_table = setting::SETTINGS.iter().any(|setting| setting.split().0 == Some(name.as_str()));
        let Some(inner) = item.as_table_like().filter(|_| is_table) else {
            return Err(ConfigError::Unknown(full));
        };
        return inner.iter().try_for_each(|(key, item)| collect(values, prefix, &name, key, item));
    };
    if !prefix.is_empty() && !setting.per_folder {
        return Err(ConfigError::NotPerFolder(name));
    }
    let wrong = |problem| ConfigError::Value { key: full.clone(), problem };
    let value = item.as_value().ok_or_else(|| wrong("must be a value, not a table".to_owned()))?;
    setting.check(value).map_err(wrong)?;
    values.insert(setting.key, value.clone().decorated("", ""));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ID: &str = "abcdefghijklmnopqrstuvwxyz";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Surroundings { host_name: "anna-laptop".to_owned(), offline: false })
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let settings = parse("").unwrap().daemon();
        assert_eq!(settings.name, "anna-laptop");
        assert_eq!(settings.discovery.lan, Lan::On);
        assert_eq!(settings.limits_down, None);
        assert_eq!(settings.scan_interval(false), Some(Duration::from_secs(3_600)));
        assert_eq!(settings.scan_interval(true), Some(Duration::from_secs(60)));
        assert_eq!((settings.archive_days, settings.hold_deletions), (30, 30));
        assert_eq!(settings.reader_local_changes, LocalChanges::Keep);
    }

    #[test]
    fn a_folder_overrides_what_the_daemon_says() {
        let text = format!(
            "hold.deletions = 10\n[limits]\nup = \"1M\"\n[folder.{ID}]\natomic = true\nhold.deletions = 0\n"
        );
        let config = parse(&text).unwrap();
        assert_eq!(config.daemon().hold_deletions, 10);
        let settings = config.effective(ID);
        assert_eq!((settings.hold_deletions, settings.atomic), (0, true));
        assert_eq!(settings.limits_up, Some(1 << 20));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("nmae = \"x\"", "there is no setting `nmae`"),
            ("[discovery]\nlna = true", "there is no setting `discovery.lna`"),
            ("[folder.short]\natomic = true", "there is no setting `folder.short`"),
            ("folder = 3", "there is no setting `folder`"),
            ("discovery = 3", "there is no setting `discovery`"),
            ("hold.deletions = 101", "`hold.deletions` must be a whole number from 0 to 100"),
            ("reader.local_changes = \"drop\"", "`reader.local_changes` must be \"keep\" or \"revert\""),
            ("discovery.lan = \"yes\"", "`discovery.lan` must be true, false or \"loopback\""),
            ("last = [1]", "`last` must be a list of texts, such as [\"one\", \"two\"]"),
            ("[name]\nx = 1", "`name` must be a value, not a table"),
        ];
        for (text, sentence) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), sentence, "{text}");
        }
        let text = format!("[folder.{ID}.discovery]\nport_mapping = false");
        assert!(matches!(parse(&text), Err(ConfigError::NotPerFolder(_))));
        assert!(matches!(parse("x ="), Err(ConfigError::Syntax(_))));
    }

    #[test]
    fn offline_keeps_only_what_the_file_names() {
        let offline = Surroundings { host_name: String::new(), offline: true };
        let silent = Config::parse("discovery.dht = true", offline.clone()).unwrap().daemon().discovery;
        assert_eq!(silent.lan, Lan::Off);
        assert!(!silent.dht && !silent.port_mapping && !silent.relay);
        assert!(!silent.peer_exchange && !silent.unnamed);
        let named = "discovery.lan = \"loopback\"\ndiscovery.dht_bootstrap = [\"10.0.0.1:6881\"]\n\
                     discovery.peer_exchange = true";
        let named = Config::parse(named, offline.clone()).unwrap().daemon().discovery;
        assert_eq!(named.lan, Lan::Loopback);
        assert!(named.dht && named.peer_exchange && !named.relay && !named.unnamed);
        let tracked = Config::parse("discovery.trackers = [\"udp://10.0.0.1:6969\"]", offline).unwrap();
        assert!(tracked.daemon().discovery.relay, "it goes through that tracker");
    }

    #[test]
    fn the_name_is_never_empty() {
        let settings = Config::parse("", Surroundings::default()).unwrap().daemon();
        assert_eq!(settings.name, "unnamed");
    }
}
